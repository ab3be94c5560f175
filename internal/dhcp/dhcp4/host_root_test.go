package dhcp4

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

// ack is a frame with a DHCPACK for mac, by the server of its number.
func ack(t *testing.T, dst, mac net.HardwareAddr, server byte) []byte {
	t.Helper()
	msg, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithServerIP(net.IP{192, 0, 2, server}))
	ok(t, err)
	msg.OpCode = dhcpv4.OpcodeBootReply
	packet := udpPacket(netip.AddrFrom4([4]byte{192, 0, 2, server}), netip.AddrFrom4([4]byte{255, 255, 255, 255}), msg.ToBytes())
	packet[ipHeaderLen+1], packet[ipHeaderLen+3] = serverPort, clientPort
	return append(append(append([]byte{}, dst...), 2, 0, 0, 0, 0, server, unix.ETH_P_IP>>8, 0), packet...)
}

// sender sends whole frames from a namespace's interface.
func sender(t *testing.T, ns *testlab.Netns, ifname string) func(frame []byte) {
	t.Helper()
	var s packetSocket
	ok(t, ns.Do(func() error {
		if out, err := exec.Command("ip", "link", "set", ifname, "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		dev, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		return s.openAs(unix.SOCK_RAW, dev.Index)
	}))
	t.Cleanup(s.close)
	return func(frame []byte) { t.Helper(); ok(t, s.write(frame[:6], unix.ETH_P_IP, frame)) }
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An answer to a probe that came in time counts for who looks late, as on a busy host.
func TestClaimInTimeIsReadLate(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	parent, err := net.InterfaceByName(lan.ParentName)
	ok(t, err)
	var p arpPort
	ok(t, p.open(parent.Index))
	defer p.close()
	ok(t, p.watch(probed))
	send := sender(t, lan.Netns, "lan0")
	if packet, err := p.receiveARP(t.Context(), time.Now()); err == nil {
		t.Errorf("before there is one it reads % x", packet)
	}
	claim := arpRequest(somebody, probed, probed)
	send(append(append(append(broadcastMAC(), somebody...), unix.ETH_P_ARP>>8, unix.ETH_P_ARP&0xff), claim...))
	if packet, err := p.receiveARP(t.Context(), time.Now()); err != nil || !bytes.Equal(packet[:arpLen], claim) {
		t.Errorf("after the deadline it reads % x, %v", packet, err)
	}
}

// Whoever has one macvlan has two, and what one sends to the other looks on the parent as
// if it came from the LAN. The witness takes it for what it is.
func TestWitnessHearsTheLANAlone(t *testing.T) {
	lan := testlab.NewLAN(t, testlab.WithoutServer())
	hers, second := lan.NewContainerNS("eth0"), lan.NewContainerNS("eth0")
	fromLAN, fromSecond := sender(t, lan.Netns, "lan0"), sender(t, second, "eth0")
	sender(t, hers, "eth0") // sets it up
	var mac net.HardwareAddr
	ok(t, hers.Do(func() error {
		dev, err := net.InterfaceByName("eth0")
		if err == nil {
			mac = dev.HardwareAddr
		}
		return err
	}))
	parent, err := net.InterfaceByName(lan.ParentName)
	ok(t, err)
	p, err := openHostPort(parent.Index, mac)
	ok(t, err)
	defer p.close()
	var tap packetSocket // of all that passes the parent, as one would think of first
	ok(t, tap.openAs(unix.SOCK_RAW, parent.Index))
	defer tap.close()
	ok(t, tap.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: parent.Index})
	}))

	for _, dst := range []net.HardwareAddr{mac, broadcastMAC(), parent.HardwareAddr} {
		fromSecond(ack(t, dst, mac, 66))
	}
	fromLAN(ack(t, mac, mac, 67))
	fromLAN(ack(t, broadcastMAC(), somebody, 68))
	fromLAN(ack(t, broadcastMAC(), mac, 1))

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, from, err := p.receive(ctx, time.Time{})
	ok(t, err)
	if from.String() != "02:00:00:00:00:01" {
		t.Errorf("the witness takes what %s says", from)
	}
	if _, _, err := p.receive(ctx, time.Now()); err == nil {
		t.Error("the witness takes more than one")
	}
	for {
		frame, from, err := tap.read(ctx, time.Time{})
		if err != nil {
			t.Fatalf("a frame between two macvlans is not seen on their parent: then the witness could be simpler: %v", err)
		}
		if from[5] == 66 && net.HardwareAddr(frame[:6]).String() == mac.String() {
			break
		}
	}
}
