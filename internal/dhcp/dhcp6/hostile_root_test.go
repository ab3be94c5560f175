package dhcp6

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// neighbour is a host of the LAN that hears what clients say to servers.
type neighbour struct {
	t       *testing.T
	servers *socket // on the servers' port
	other   *socket // on another port
}

func newNeighbour(t *testing.T, lan *testlab.LAN) *neighbour {
	t.Helper()
	return neighbourIn(t, lan.Netns, "lan0")
}

func neighbourIn(t *testing.T, ns *testlab.Netns, ifname string) *neighbour {
	t.Helper()
	n := &neighbour{t: t}
	if err := ns.Do(func() error {
		dev, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		n.servers, err = listenOn(dev.Index, serverPort)
		if err != nil {
			return err
		}
		n.other, err = listenOn(dev.Index, serverPort+1)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.servers.close()
		n.other.close()
	})
	return n
}

func listenOn(index, port int) (*socket, error) {
	s, err := openSocket(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	if err != nil {
		return nil, err
	}
	return s, s.control(func(fd int) error {
		group := &unix.IPv6Mreq{Multiaddr: servers().As16(), Interface: uint32(index)}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index),
			unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, group),
			unix.Bind(fd, &unix.SockaddrInet6{Port: port}),
		)
	})
}

// serve calls answer for each message of a client until ctx ends.
func (n *neighbour) serve(ctx context.Context, answer func(sent *dhcpv6.Message, client unix.Sockaddr)) {
	buf := make([]byte, maxMessage)
	for {
		size, client, err := n.servers.receive(ctx, time.Time{}, buf)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			n.t.Error(err)
			return
		}
		sent, err := dhcpv6.MessageFromBytes(buf[:size])
		if err != nil {
			n.t.Error(err)
			return
		}
		answer(sent, client)
	}
}

func (n *neighbour) send(from *socket, b []byte, client unix.Sockaddr) {
	if err := from.send(b, client); err != nil && !errors.Is(err, unix.ENOBUFS) {
		n.t.Error(err)
	}
}

// start runs serve for as long as the test, which waits for its end.
func (n *neighbour) start(answer func(sent *dhcpv6.Message, client unix.Sockaddr)) {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		n.serve(ctx, answer)
	}()
	n.t.Cleanup(func() {
		cancel()
		<-over
	})
}

func TestHostileFramesOnTheWire(t *testing.T) {
	lan := silentLAN(t)
	n := newNeighbour(t, lan)
	stranger := withAddr(iaAddr{otherAddr, 3600, 7200})
	n.start(func(sent *dhcpv6.Message, client unix.Sockaddr) {
		n.send(n.other, answer(sent, stranger, with(optPreference, 255)), client)                                    // not a server's port
		n.send(n.servers, answer(sent, stranger, with(optPreference, 255), with(99, make([]byte, 1500)...)), client) // too long
		for _, b := range hostileFrames(sent) {
			n.send(n.servers, b, client)
		}
		n.send(n.servers, answer(sent), client)
	})
	var bad atomic.Int32
	ns := container(t, lan)
	c := open(t, ns, 16, func(c *Config) { c.BadFrame = func() { bad.Add(1) } })
	g := mustAcquire(t, c, lan, grant.Wish{})
	if g.Address.Addr() != testAddr || bad.Load() == 0 {
		t.Errorf("%+v, %d bad frames", g, bad.Load())
	}
	if renewed, err := c.Renew(bounded(t), g); err != nil || renewed.Address != g.Address {
		t.Errorf("Renew: %+v, %v", renewed, err)
	}
}

// A flood neither keeps an exchange from its end nor fills the log.
func TestFloodOnTheWire(t *testing.T) {
	lan := silentLAN(t)
	n := newNeighbour(t, lan)
	log := &countingHandler{}
	var bad atomic.Int32
	c := open(t, container(t, lan), 16, func(c *Config) {
		c.BadFrame = func() { bad.Add(1) }
		c.Log = log.logger()
	})
	ready(t, c)
	ctx := within(t, time.Second)
	n.start(func(sent *dhcpv6.Message, client unix.Sockaddr) {
		for ctx.Err() == nil {
			n.send(n.servers, answer(sent, withAddr(iaAddr{testAddr, 0, 0})), client)
		}
	})
	if _, err := c.Acquire(ctx, grant.Wish{}); !errors.Is(err, grant.ErrNoOffer) {
		t.Error(err)
	}
	if bad.Load() < 2 || log.count.Load() != 1 {
		t.Errorf("%d bad frames, %d lines in the log", bad.Load(), log.count.Load())
	}
}
