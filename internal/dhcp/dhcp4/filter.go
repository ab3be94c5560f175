package dhcp4

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// setFilter drops in the kernel what a program does not admit, from the first frame on
// if the socket receives nothing yet.
func setFilter(fd int, instructions []bpf.Instruction) error {
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	insns := make([]unix.SockFilter, len(program))
	for i, in := range program {
		insns[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]})
}

// dhcpFilter admits the first fragment of a UDP packet to port 68 that carries a
// BOOTREPLY to mac, so that a flood of the LAN does not reach the daemon. Its jumps go
// to the last instruction, which drops the packet.
func dhcpFilter(mac net.HardwareAddr) []bpf.Instruction {
	const message = udpHeaderLen // offset from the end of the IP header
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 12},
		bpf.LoadAbsolute{Off: 6, Size: 2}, // flags and fragment offset
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 10},
		bpf.LoadMemShift{Off: 0}, // X = length of the IP header
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 7},
		bpf.LoadIndirect{Off: message, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 2, SkipTrue: 5}, // BOOTREPLY
		bpf.LoadIndirect{Off: message + chaddrOffset, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(mac[:4]), SkipTrue: 3},
		bpf.LoadIndirect{Off: message + chaddrOffset + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	}
}

// arpFilter admits what says that a machine has addr.
func arpFilter(addr netip.Addr) []bpf.Instruction {
	ip := addr.As4()
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 14, Size: 4}, // the sender's address
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipTrue: 1},
		bpf.RetConstant{Val: 0xffff},
		bpf.RetConstant{Val: 0},
	}
}
