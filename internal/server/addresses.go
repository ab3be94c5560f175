package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/policy"
)

// asked is what becomes of the addresses that an attach asks for.
type asked struct {
	network  *cni.Network // with those that its plugins give
	static   []netip.Addr // granted; nobody else on the resource may have them
	ofServer netip.Addr   // the one of static that a DHCP server is asked for
	hints    []netip.Addr // to have again if that is possible
	mac      net.HardwareAddr
	ownMAC   bool // of the user's choice

	// in is the namespace in which the caller had all of it a moment ago; nil where that is
	// not why it may be had. In another one verdict holds.
	in      *netns.ID
	verdict policy.Decision
}

// askedFor refuses addresses that nobody granted. Those which the same container had a
// moment ago are nothing new, whatever is granted: `podman network reload` sends them. What
// the user had not asked for then is not asked for now.
func (s *Server) askedFor(d *decision, rules *policy.Resource, network *cni.Network, key attachment.Key, in *attachInput) (*asked, error) {
	if len(in.ips) == 0 && len(in.mac) == 0 {
		return &asked{network: network}, nil
	}
	granted := func(ips []netip.Addr, mac net.HardwareAddr) policy.Decision {
		return policy.Attach(subject(d.id), rules, policy.Request{StaticIPs: ips, StaticMAC: mac})
	}
	a := &asked{network: network, verdict: granted(in.ips, in.mac)}
	had, replay := s.attachments.Replays(key, d.resource, in.ips, in.mac)
	if a.verdict.Allowed {
		d.rules = a.verdict.Rules
	}
	if !replay {
		if !a.verdict.Allowed {
			d.denied(string(a.verdict.Reason))
			return nil, addressDenied(d.resource, a.verdict)
		}
		return a, a.choose(network, in)
	}
	a.in, a.mac = &had.Namespace, had.MAC
	a.ownMAC = had.StaticMAC && granted(nil, had.MAC).Allowed
	if granted(had.StaticIPs, nil).Allowed { // it may be the MAC alone that nobody granted any more
		a.static = had.StaticIPs
	}
	a.hints = slices.DeleteFunc(had.IPs, func(ip netip.Addr) bool { return slices.Contains(a.static, ip) })
	return a, a.place()
}

// choose takes all that is asked for as the user's choice.
func (a *asked) choose(network *cni.Network, in *attachInput) error {
	*a = asked{network: network, verdict: a.verdict, static: in.ips, mac: in.mac, ownMAC: len(in.mac) > 0}
	return a.place()
}

// place finds out who gives the addresses: a DHCP server one of IPv4, plugins all others.
func (a *asked) place() error {
	ofPlugins := a.static
	if AsksServer(a.network) {
		ofPlugins = nil
		for _, ip := range a.static {
			switch {
			case !ip.Is4():
				ofPlugins = append(ofPlugins, ip)
			case a.ofServer.IsValid():
				return newProblem(api.AddressUnavailable, fmt.Sprintf("a DHCP server gives one address: ask for %s or %s with --ip, not for both", a.ofServer, ip))
			default:
				a.ofServer = ip
			}
		}
	}
	if len(ofPlugins) == 0 {
		return nil
	}
	network, err := a.network.WithStaticAddresses(ofPlugins)
	if fault, ok := errors.AsType[*cni.AddressError](err); ok {
		return newProblem(api.AddressUnavailable, fault.Error()+": choose another address, or ask the administrator of the resource")
	}
	if err != nil {
		return err
	}
	a.network = network
	return nil
}

// AsksServer says whether a network has its IPv4 addresses from a DHCP server by way of
// our lease service, which can ask for a certain one.
func AsksServer(network *cni.Network) bool {
	return slices.ContainsFunc(network.DHCPConfigs(), dhcp.GrantsIPv4)
}

// addressDenied says what was not granted.
func addressDenied(resource string, v policy.Decision) error {
	if v.Reason == policy.ReasonStaticMAC {
		return newProblem(api.AddressNotPermitted, fmt.Sprintf("the MAC address %s is not granted to you on resource %s: run the container without --mac-address, or ask the administrator for a grant (static_macs)", v.Address, resource))
	}
	return newProblem(api.AddressNotPermitted, fmt.Sprintf("the address %s is not granted to you on resource %s, which gives addresses itself: run the container without --ip and --ip6 (and create the network without --subnet), or ask the administrator for a grant (static_ips)", v.Address, resource))
}

// addressProblem names the address that was asked for where that is what failed.
func addressProblem(a *asked, err error) error {
	p := newProblem(api.AddressUnavailable, "")
	p.cause = err
	switch {
	case errors.Is(err, attachment.ErrAbandoned):
		return err
	case errors.Is(err, attachment.ErrQuota):
		p.code, p.detail = api.QuotaExceeded, last[*attachment.QuotaError](err)+": remove a container first, or ask the administrator (max_attachments)"
	case errors.Is(err, attachment.ErrHeld):
		p.detail = last[*attachment.HeldError](err) + ": choose another address, or remove the container that has it"
	case a.ofServer.IsValid() && errors.Is(err, grant.ErrConflict):
		p.detail = fmt.Sprintf("%s, which was asked for with --ip, is used by another machine on this network: choose another address, or run the container without --ip", a.ofServer)
	case a.ofServer.IsValid() && errors.Is(err, grant.ErrOther):
		p.detail = fmt.Sprintf("the DHCP server does not grant %s, which was asked for with --ip; it may be in use, reserved for another machine, or outside of what the server gives out: choose another address, or run the container without --ip", a.ofServer)
	case len(a.static) > 0 && isTaken(err):
		p.detail = fmt.Sprintf("%s cannot be had: host-local has given it to somebody else, or keeps it for the gateway: choose another address", joinAddresses(a.static, " or "))
	default:
		return err
	}
	return p
}

// last is what an error of a type says, without what it is wrapped in.
func last[E error](err error) string {
	e, _ := errors.AsType[E](err)
	return e.Error()
}

// isTaken says whether host-local refused an address that was asked for. It has no code
// for that.
func isTaken(err error) bool {
	failure, ok := errors.AsType[*cni.PluginError](err)
	return ok && (strings.Contains(failure.Message, "is not available in range set") || strings.Contains(failure.Message, "requested ip"))
}

func joinAddresses(ips []netip.Addr, between string) string {
	var all []string
	for _, ip := range ips {
		all = append(all, ip.String())
	}
	return strings.Join(all, between)
}
