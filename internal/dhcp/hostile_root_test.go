package dhcp

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/net-porter/net-porter/internal/testlab"
)

// A host of the LAN floods the container's MAC with broken and random replies while
// the real server answers.
func TestFloodOfHostileFramesOnTheWire(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	ns := lan.NewContainerNS(testIfname)
	mac, err := net.ParseMAC(macOf(t, ns))
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	flooded := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := lan.Do(func() error { return flood(mac, flooded, stop) }); err != nil {
			t.Error(err)
		}
	})
	for range 10 {
		e := h.expect(Attachment{Namespace: ns})
		h.add(testID, ns, seedIPAM)
		if l := h.held(); l.Server != netip.MustParseAddr(testlab.LANServer) {
			t.Errorf("a lease of the attacker's: %+v", l)
		}
		h.del(testID, ns.Path())
		e.Done()
	}
	<-flooded
	close(stop)
	wg.Wait()
	if h.obs.badFrames() == 0 {
		t.Error("no bad frame was counted: the flood did not arrive")
	}
}

// flood sends replies to a MAC, broken behind it, which the filter looks at, until stop.
// After a thousand it closes flooded.
func flood(mac net.HardwareAddr, flooded, stop chan struct{}) error {
	conn, err := net.ListenPacket("ip4:udp", testlab.LANServer)
	if err != nil {
		return err
	}
	defer conn.Close()
	everybody := &net.IPAddr{IP: net.IPv4(192, 0, 2, 255)}
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := 0; ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		msg, err := dhcpv4.New(dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithHwAddr(mac),
			dhcpv4.WithYourIP(net.IPv4(203, 0, 113, 66).To4()), dhcpv4.WithServerIP(net.IPv4(192, 0, 2, 9).To4()))
		if err != nil {
			return err
		}
		msg.OpCode = dhcpv4.OpcodeBootReply
		b := msg.ToBytes()
		for range 1 + rnd.IntN(8) {
			b[40+rnd.IntN(len(b)-40)] = byte(rnd.Uint32())
		}
		b = b[:40+rnd.IntN(len(b)-40)]
		size := 8 + len(b)
		udp := append([]byte{0, 67, 0, 68, byte(size >> 8), byte(size), 0, 0}, b...)
		if _, err := conn.WriteTo(udp, everybody); err != nil {
			return err
		}
		if n == 1000 {
			close(flooded)
		}
	}
}
