package enforce_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce"
)

// sendWithChecksums has the kernel write checksums of what is behind many places to many
// more (PACKET_VNET_HDR; struct virtio_net_hdr of linux/virtio_net.h).
func (s sender) sendWithChecksums(frames ...[]byte) {
	s.t.Helper()
	must(s.t, onOneCPU(s.ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
		header := make([]byte, 10)
		header[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
		for _, f := range frames {
			for start := 0; start < 54; start += 2 {
				for at := 0; at < 10; at += 2 {
					binary.NativeEndian.PutUint16(header[6:], uint16(start))
					binary.NativeEndian.PutUint16(header[8:], uint16(at))
					err := unix.Sendto(fd, cat(header, f), 0, &unix.SockaddrLinklayer{Ifindex: s.index, Halen: 6})
					if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: the kernel allows no such place
						return err
					}
				}
			}
		}
		return nil
	}))
}

// A checksum that the kernel writes late, where the sender says, must not make another
// address of one that was looked at.
func TestChecksumsDoNotOverwriteAddresses(t *testing.T) {
	s := newScene(t, "private")
	must(t, enforce.WithoutOffload("infra")) // so that it is the kernel that writes them
	e := newEnforcer(t)
	frames := map[string][]byte{
		"ipv4": ether(own, s.lanMAC, 0x800, ipv4(own4, lan4, 17, 0, nil, udp(4000, 4000, nil))),
		"arp":  ether(own, broadcast, 0x806, arp(1, own, own4, lan4)),
		"ipv6": ether(own, allNodes, 0x86dd, ipv6(own6, "ff02::1", 58, cat([]byte{128, 0, 0, 0}, make([]byte, 20)))),
	}
	// Where each says who sends it.
	looked := map[string][2]int{"ipv4": {26, 30}, "arp": {22, 32}, "ipv6": {22, 38}}
	// changed counts those that arrive with somebody else there.
	changed := func() (changed, all int) {
		t.Helper()
		for name, f := range frames {
			s.sender.sendWithChecksums(cat(f, make([]byte, 40), mark(name)))
		}
		s.sender.send(0, ether(own, s.lanMAC, 0x800, cat(ipv4(own4, lan4, 17, 0, nil, udp(4000, 4000, nil)), mark("end"))))
		s.tap.each("end", func(name string, got []byte) {
			all++
			place := looked[name]
			if !bytes.Equal(got[:12], frames[name][:12]) || !bytes.Equal(got[place[0]:place[1]], frames[name][place[0]:place[1]]) {
				changed++
			}
		})
		return changed, all
	}
	if n, _ := changed(); n == 0 {
		t.Fatal("without enforcement no frame is changed, so this measures nothing")
	}
	must(t, e.Reconcile([]string{"infra"}, held))
	if n, all := changed(); n != 0 || all == 0 {
		t.Errorf("%d of %d frames reach the LAN with other addresses than were looked at", n, all)
	}
}
