package attachment

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/linkaddr"
	"github.com/net-porter/net-porter/internal/testlab"
)

// What is read in the container's namespace is what its root has put there: while the
// plugins report, or while addresses are waited for, root may set the MAC of another
// machine, or its address, and must not be let send as that for good.
func TestHeldIsNotWhatTheContainerSays(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	r := &Record{
		Key: Key{UID: 1000, ContainerID: "c", Interface: "eth0"}, Parent: "infra",
		Args: [][2]string{{argMAC, "02:00:00:00:00:0a"}},
		Result: &Result{CNI: &types100.Result{
			Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:99", Sandbox: "/ns"}},
			IPs:        []*types100.IPConfig{ipConfig("192.0.2.50/24"), ipConfig("2001:db8::1/64")},
		}},
		Learned: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")},
	}
	h, err := m.held(r)
	if err != nil {
		t.Fatal(err)
	}
	if h.MAC.String() != "02:00:00:00:00:0a" {
		t.Errorf("it may send as MAC %s, which was found in the container", h.MAC)
	}
	if len(h.Addrs) != 1 || h.Addrs[0] != netip.MustParseAddr("192.0.2.50") {
		t.Errorf("it may send from %v, want what the plugins gave alone", h.Addrs)
	}
}

func ipConfig(prefix string) *types100.IPConfig {
	ip, network, err := net.ParseCIDR(prefix)
	if err != nil {
		panic(err)
	}
	return &types100.IPConfig{Address: net.IPNet{IP: ip, Mask: network.Mask}}
}

// Of what the kernel calls global some was never advertised, and could be taken for an IPv4
// address of another machine.
func TestLearnedIsWhatARouterCanAdvertise(t *testing.T) {
	for text, want := range map[string]bool{
		"2001:db8::1/64": true, "3fff::1/64": true, "fd00::1/64": true, "fc00::1/64": true,
		"::ffff:192.0.2.1/128": false, "::192.0.2.1/128": false, "64:ff9b::192.0.2.1/96": false, "ff0e::1/128": false, "4000::1/64": false,
	} {
		ready, _ := global([]linkaddr.Address{{Prefix: netip.MustParsePrefix(text), Scope: unix.RT_SCOPE_UNIVERSE}})
		if got := len(ready) == 1; got != want {
			t.Errorf("%s is learned: %v", text, got)
		}
	}
}

// Nobody loses what was granted to them to a container that has put it on its interface.
func TestNobodyHoldsWhatTheyGaveThemselves(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	r := &Record{
		Key: Key{UID: 1000, ContainerID: "c", Interface: "eth0"}, Resource: "lan", Args: [][2]string{{argMAC, "02:00:00:00:00:0a"}},
		Result: &Result{CNI: &types100.Result{
			Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:99", Sandbox: "/ns"}},
			IPs:        []*types100.IPConfig{ipConfig("192.0.2.50/24"), ipConfig("2001:db8::1/64")},
		}},
		Learned: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")},
	}
	for claim, held := range map[*Claims]bool{
		{MAC: "02:00:00:00:00:0a"}: true, {MAC: "02:00:00:00:00:99"}: false,
		{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.50")}}: true, {IPs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}}: false,
	} {
		if got := m.holds(r, claim); (got != "") != held {
			t.Errorf("%+v: held: %q", *claim, got)
		}
	}
}

// kernel is a Guard that says what it was asked.
type kernel struct {
	fails    error
	inForce  []string
	parents  []string
	held     []enforce.Held
	admitted []enforce.Held
}

func (k *kernel) Admit(h enforce.Held) error {
	if k.fails == nil {
		k.admitted = append(k.admitted, h)
	}
	return k.fails
}

func (k *kernel) Reconcile(parents []string, all []enforce.Held) error {
	k.parents, k.held = parents, all
	return k.fails
}

func (*kernel) Remove(string) error { return nil }

func (k *kernel) InForce() ([]string, error) { return k.inForce, nil }

func (*kernel) Link(string) int { return 1 }

// says is what a configuration has to say of every resource.
func says(wanted, known bool) func(string) (bool, bool) {
	return func(string) (bool, bool) { return wanted, known }
}

// guarded is a Manager with a Guard, and an attach on a resource that enforces.
func guarded(t *testing.T, k *kernel, r *runner) (*Manager, Request) {
	t.Helper()
	m := open(t, t.TempDir(), r)
	m.guard.Guard = k
	q := request(t, namespace(t))
	q.Enforced, q.StableMAC = true, true
	return m, q
}

// Rules that cannot be written let nobody on the parent, and keep those there who are held.
func TestNothingIsAttachedWithoutRules(t *testing.T) {
	testlab.RequireRoot(t)
	r, k := &runner{}, &kernel{}
	m, q := guarded(t, k, r)
	if err := m.Enforce([]string{"before"}, says(false, true)); err != nil {
		t.Fatal(err)
	}
	k.fails = errors.New("no rules")
	if err := m.Enforce([]string{"infra"}, says(true, true)); !errors.Is(err, k.fails) {
		t.Fatalf("Enforce: %v", err)
	}
	if want := []string{"before", "infra"}; !slices.Equal(k.parents, want) {
		t.Errorf("what is owed is to be in force on %v, want %v", k.parents, want)
	}
	if _, err := m.Attach(t.Context(), q); !errors.Is(err, k.fails) {
		t.Errorf("attach: %v", err)
	}
	if slices.ContainsFunc(r.calls, func(call string) bool { return strings.HasPrefix(call, "ADD") }) {
		t.Errorf("the plugins ran: %v", r.calls)
	}
	k.fails = nil
	if _, err := m.Attach(t.Context(), q); err != nil || len(k.admitted) == 0 {
		t.Errorf("once the rules can be written: %v, admitted %v", err, k.admitted)
	}
}

// A configuration is in force a moment before its rules are. Who is attached between is
// told to come again if the new one has to be gone by, and else held with the others.
func TestAttachWhileEnforcementBegins(t *testing.T) {
	testlab.RequireRoot(t)
	k := &kernel{}
	r := &runner{}
	m, q := guarded(t, k, r)
	if err := m.Enforce(nil, says(false, true)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Attach(t.Context(), q); !errors.Is(err, ErrNotEnforced) {
		t.Errorf("attach before the rules: %v", err)
	}
	q.Enforced = false // as the configuration before has it
	r.add = func() error { return m.Enforce([]string{"infra"}, says(true, true)) }
	if _, err := m.Attach(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if len(k.held) != 1 || k.held[0].ID != q.Key.String() || len(k.held[0].MAC) == 0 {
		t.Errorf("what is held is %v, want the one whose plugins ran", k.held)
	}
}

// Attachments are as free as they were, until the configuration says that they are to be
// free: not if it says nothing of their resource any more, nor if the daemon starts anew.
func TestEnforcementIsLiftedByTheConfigurationAlone(t *testing.T) {
	testlab.RequireRoot(t)
	k, dir := &kernel{}, t.TempDir()
	begin := func() *Manager {
		m := open(t, dir, &runner{})
		m.guard.Guard = k
		return m
	}
	m := begin()
	expect := func(what string, want []string, parents []string, enforces func(string) (bool, bool)) {
		t.Helper()
		if err := m.Enforce(parents, enforces); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(k.parents, want) || len(k.held) != len(want) {
			t.Errorf("%s: in force on %v for %v, want %v", what, k.parents, k.held, want)
		}
	}
	if err := m.Enforce([]string{"infra"}, says(true, true)); err != nil {
		t.Fatal(err)
	}
	q := request(t, namespace(t))
	q.StableMAC = true
	if _, err := m.Attach(t.Context(), q); err != nil { // begun before "enforce" was there
		t.Fatal(err)
	}
	on := []string{"infra"}
	expect("the conflist is gone", on, nil, says(true, true))
	expect("the resource is gone", on, nil, says(false, false))
	k.inForce, m = on, begin()
	expect("and the daemon starts", on, nil, says(false, false))
	expect("enforce is off", nil, nil, says(false, true))
	expect("the resource is gone after that", nil, nil, says(false, false))

	if err := m.Enforce(on, says(true, true)); err != nil {
		t.Fatal(err)
	}
	q.Key.ContainerID, q.Enforced = "c2", true
	if err := m.Detach(t.Context(), m.List()[0].Key, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Attach(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	k.inForce, m = nil, begin()
	expect("the rules were flushed while no daemon ran", on, nil, says(false, false))
	if err := m.Detach(t.Context(), q.Key, nil); err != nil {
		t.Fatal(err)
	}
	expect("the last attachment is gone", nil, nil, says(false, false))
}
