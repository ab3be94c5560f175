package dhcp

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

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
	var attacker *port
	if err := lan.Do(func() error {
		dev, err := net.InterfaceByName("lan0")
		if err == nil {
			attacker, err = openPort(dev.Index, dev.HardwareAddr)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer attacker.close()

	stop := make(chan struct{})
	flooded := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		rnd := rand.New(rand.NewPCG(1, 2))
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			msg := reply(t, dhcpv4.MessageTypeOffer, func(m *dhcpv4.DHCPv4) {
				m.ClientHWAddr = mac
				m.YourIPAddr = net.IPv4(203, 0, 113, 66).To4()
			}).ToBytes()
			for range 1 + rnd.IntN(8) { // behind the MAC, which the filter looks at
				msg[40+rnd.IntN(len(msg)-40)] = byte(rnd.Uint32())
			}
			msg = msg[:40+rnd.IntN(len(msg)-40)]
			if err := attacker.sendReply(mac, msg); err != nil {
				t.Error(err)
				return
			}
			if n == 1000 {
				close(flooded)
			}
		}
	})
	for range 10 {
		e := h.expect(Attachment{Namespace: ns})
		h.add(testID, ns, seedIPAM)
		if l, _ := h.Lease(testID, testIfname); l.Server != netip.MustParseAddr(testlab.LANServer) {
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

// sendReply sends from the server's port to the client's.
func (p *port) sendReply(dst net.HardwareAddr, message []byte) error {
	packet := udpPacket(netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("255.255.255.255"), message)
	packet[21], packet[23] = serverPort, clientPort
	return p.write(dst, unix.ETH_P_IP, packet)
}
