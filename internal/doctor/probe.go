package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/osthread"
)

// DefaultProbeTime is how long answers to a probe are waited for: a server may look whether
// an address is in use before it offers it (RFC 2131, section 2.2).
const DefaultProbeTime = 6 * time.Second

// probed are the links to ask on, each once. The error says why what was asked for is not
// possible at all.
func (e *examination) probed() (links []string, err error) {
	switch {
	case !e.o.Probe:
		return nil, nil
	case !e.host.asRoot:
		return nil, errors.New("only root can ask the LAN's DHCP servers, as that takes a macvlan interface")
	case e.o.Interface != "":
		return []string{e.o.Interface}, nil
	}
	for _, p := range e.parentsOf() {
		if p.dhcp && p.macvlan && !slices.Contains(links, p.link) && (e.o.Resource == "" || p.resource == e.o.Resource) {
			links = append(links, p.link)
		}
	}
	if len(links) == 0 && e.o.Resource != "" {
		return nil, fmt.Errorf("there is no resource %q with macvlan and DHCP in %s; --interface LINK asks on any link of the host", e.o.Resource, e.o.Config)
	}
	return links, nil
}

// probe asks on links who would grant an address there, as a container does.
func (e *examination) probe(ctx context.Context, links []string) {
	if !e.o.Probe {
		return
	}
	e.area = "DHCP"
	for _, link := range links {
		offers, err := survey(ctx, link, e.o.ProbeTime)
		e.surveyed(link, offers, err)
	}
	if len(links) == 0 {
		e.unknown("dhcp.probe", "there is nothing to ask: no resource with macvlan and DHCP is configured here")
	}
}

// surveyed says what came of asking on a link.
func (e *examination) surveyed(link string, offers []grant.Grant, err error) {
	switch {
	case err != nil:
		e.add(Problem, "dhcp.probe", fmt.Sprintf("cannot ask for DHCP servers on %s: %v", link, err), "")
	case len(offers) == 0:
		e.add(Problem, "dhcp.probe", fmt.Sprintf("no DHCP server answers a macvlan's question on %s within %s", link, e.o.ProbeTime),
			"is there one on that LAN, with addresses left? If the host itself gets one there, a switch or a virtual machine's host drops what comes from other MACs")
	}
	var servers []string
	for _, o := range offers {
		lifetime := "without end"
		if !o.Infinite() {
			lifetime = "for " + o.Lifetime.String()
		}
		servers = append(servers, fmt.Sprintf("%s (%s)", o.Server, o.ServerMAC))
		e.ok("dhcp.offer", "on %s the DHCP server %s offers %s %s; it was not taken", link, servers[len(servers)-1], o.Address, lifetime)
	}
	if len(offers) > 1 {
		e.add(Warning, "dhcp.servers", fmt.Sprintf("%d DHCP servers answer on %s: %s", len(offers), link, strings.Join(servers, ", ")),
			"unless they share their ranges on purpose, switch off the one that should not be there")
	}
}

// survey asks for offers on a link by a macvlan of its own, in a network namespace of
// a thread that ends with it. So nothing is left, even when this process is killed.
func survey(ctx context.Context, link string, wait time.Duration) (offers []grant.Grant, err error) {
	done := make(chan struct{})
	osthread.Run(func() (clean bool) {
		defer close(done)
		offers, err = surveyHere(ctx, link, wait)
		return false
	})
	<-done
	return offers, err
}

// surveyHere turns the thread's network namespace into a new one.
func surveyHere(ctx context.Context, name string, wait time.Duration) ([]grant.Grant, error) {
	parent, err := netlink.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, errors.New("there is no such link on this host")
	}
	if err != nil {
		return nil, err
	}
	// A macvlan on it would be up all the same, and ask in vain.
	if flags := parent.Attrs().RawFlags; flags&unix.IFF_UP == 0 {
		return nil, fmt.Errorf("it is down; ip link set %s up", name)
	} else if flags&unix.IFF_LOWER_UP == 0 {
		return nil, errors.New("it has no carrier: look at its cable, switch port or, of a bridge, its ports")
	}
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer here.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("cannot make a network namespace: %w", err)
	}
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(own)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Namespace = "probe0", parent.Attrs().Index, netlink.NsFd(own)
	if err := here.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); err != nil {
		return nil, fmt.Errorf("cannot make a macvlan on it: %w", err)
	}
	link, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return nil, err
	}
	return ask(ctx, link, wait)
}

func ask(ctx context.Context, link netlink.Link, wait time.Duration) ([]grant.Grant, error) {
	mac := link.Attrs().HardwareAddr
	c, err := dhcp4.Open(dhcp4.Config{
		Index: link.Attrs().Index, MAC: mac, Params: dhcp4.Params{ClientID: clientID(mac), Requested: []byte{dhcp4.OptSubnetMask, dhcp4.OptRouters}},
		Log: slog.New(slog.DiscardHandler), BadFrame: func() {},
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	patience, cancel := context.WithTimeoutCause(ctx, wait, grant.ErrTimeout)
	defer cancel()
	return c.Survey(patience)
}

// clientID is that of a machine which is known by its MAC (RFC 2132, section 9.14).
func clientID(mac net.HardwareAddr) []byte { return append([]byte{1}, mac...) }
