package enforce_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/testlab"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

func indexOf(t testing.TB, name string) int {
	t.Helper()
	l, err := net.InterfaceByName(name)
	must(t, err)
	return l.Index
}

func answers(ns *testlab.Netns, to string) bool {
	return ns.Do(func() error { _, err := output("busybox", "ping", "-c1", "-W1", to); return err }) == nil
}

func nc(ns *testlab.Netns, host, port string) (out string, err error) {
	err = ns.Do(func() error { out, err = output("busybox", "nc", "-w", "3", host, port); return err })
	return out, err
}

// run runs an Enforcer until the test ends.
func run(t *testing.T, e *enforce.Enforcer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// logged is a log that is read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// spoofOnce says whether one of a few spoofed frames arrives, and whether what is honest does.
func (s *scene) passes() (spoof, honest bool) {
	s.t.Helper()
	frames := []frame{
		{"spoof", 0, ether(own, s.lanMAC, 0x800, cat(ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("spoof")))},
		{"spoof", 0, ether(stranger, s.lanMAC, 0x800, cat(ipv4(own4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("spoof")))},
		{"honest", 0, ether(own, s.lanMAC, 0x800, cat(ipv4(own4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("honest")))},
	}
	for _, f := range frames {
		s.sender.send(0, f.data)
	}
	s.end()
	got := s.tap.until("end")
	return got["spoof"] > 0, got["honest"] > 0
}

// end sends the last frame as the host, which is let through always.
func (s *scene) end() {
	newSender(s.t, nil, "infra").send(0, ether(s.host, s.lanMAC, 0x800, cat(ipv4(host4, lan4, 17, 0, nil, udp(1, 2, nil)), mark("end"))))
}

// What others do to the ruleset is noticed, put right and logged.
func TestTamperingIsNoticed(t *testing.T) {
	s := newScene(t, "private")
	log := &logged{}
	e, err := enforce.New(slog.New(slog.NewTextHandler(log, nil)))
	must(t, err)
	t.Cleanup(func() { e.Close(); must(t, enforce.Purge()) })
	must(t, e.Reconcile([]string{"infra"}, held))
	chain := fmt.Sprintf("parent_%d", indexOf(t, "infra"))
	run(t, e)
	t.Cleanup(func() { t.Log(log) })
	for i, tamper := range []string{
		"flush ruleset",
		"delete table netdev net_porter",
		"delete table inet net_porter",
		"insert rule netdev net_porter host accept",
		"flush chain netdev net_porter host",
		"add chain netdev net_porter " + chain + " { policy accept; }; flush chain netdev net_porter " + chain,
		"flush set netdev net_porter ipv4",
		"add element netdev net_porter ipv4 { infra . " + own.String() + " . " + other4 + " }",
		"add table netdev net_porter { flags dormant; }",
		"flush ruleset; add table netdev net_porter; add set netdev net_porter ipv4 { type ipv4_addr; }",
	} {
		command(t, "nft", tamper)
		wait(t, "restoration after "+tamper, func() bool { return strings.Count(log.String(), "are restored") == i+1 })
		if spoof, honest := s.passes(); spoof || !honest {
			t.Errorf("after %q: spoofed frames pass: %v, honest ones: %v", tamper, spoof, honest)
		}
	}
	// Others' tables are none of ours.
	command(t, "nft", "add table ip t")
	command(t, "nft", "delete table ip t")
	if n := strings.Count(log.String(), "level=WARN"); n != 10 {
		t.Errorf("%d warnings, want one each: %s", n, log)
	}
	if wanted, inForce, restored := e.Status(); !wanted || !inForce || restored != 10 {
		t.Errorf("the status is %v, %v, %d times restored", wanted, inForce, restored)
	}
	free := takeTable(t)
	wait(t, "being told that the rules are not in force", func() bool { _, inForce, _ := e.Status(); return !inForce })
	free()
	command(t, "nft", "delete table netdev net_porter") // of the owner's end nothing tells
	wait(t, "the rules to be in force again", func() bool { _, inForce, _ := e.Status(); return inForce })
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("after the owner's end: spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
}

// takeTable takes a table of ours for another program until free is called: one with an
// owner is changed by nobody else, and goes with it (nft(8), "flags owner").
func takeTable(t *testing.T) (free func()) {
	t.Helper()
	owner := exec.Command("nft", "-i")
	stdin, err := owner.StdinPipe()
	must(t, err)
	must(t, owner.Start())
	_, err = fmt.Fprintln(stdin, "delete table inet net_porter; add table inet net_porter { flags owner; }")
	must(t, err)
	wait(t, "the table's owner", func() bool {
		out, err := exec.Command("nft", "list", "table", "inet", "net_porter").CombinedOutput()
		return err == nil && contains(string(out), "flags owner")
	})
	return func() {
		t.Helper()
		stdin.Close()
		must(t, owner.Wait())
	}
}

// While the daemon is dead the rules stay, and the next one changes them into what the
// journal says with no moment in which anything passes that should not, or does not that
// should.
func TestRulesOutliveTheDaemon(t *testing.T) {
	s := newScene(t, "private")
	e, err := enforce.New(slog.New(slog.DiscardHandler))
	must(t, err)
	must(t, e.Reconcile([]string{"infra"}, held))
	e.Close() // as a kill does
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("without a daemon spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	e = newEnforcer(t)
	ended := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			next, err := enforce.New(slog.New(slog.DiscardHandler))
			if err == nil {
				err = next.Reconcile([]string{"infra"}, held)
				next.Close()
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	const times = 5000
	spoof := cat(ether(own, s.lanMAC, 0x800, ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("spoof"))
	honest := cat(ether(own, s.lanMAC, 0x800, ipv4(own4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("honest"))
	frames := make([][]byte, 0, 2*times)
	for range times {
		frames = append(frames, spoof, honest)
	}
	s.sender.send(0, frames...)
	cancel()
	for err := range ended {
		t.Fatal(err)
	}
	s.end()
	if got := s.tap.until("end"); got["spoof"] != 0 || got["honest"] != times {
		t.Errorf("while rules are made anew %d of %d spoofed frames pass, and %d of %d honest ones", got["spoof"], times, got["honest"], times)
	}
	// What the journal no longer has is gone.
	must(t, e.Reconcile([]string{"infra"}, nil))
	if _, honest := s.passes(); honest {
		t.Error("what an attachment held that is gone passes")
	}
}

// Whoever removes the links between, or sets them down, stops the containers at most.
func TestGateIsMadeAnew(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	run(t, e)
	out, in := fmt.Sprintf("npout%d", indexOf(t, "infra")), fmt.Sprintf("npin%d", indexOf(t, "infra"))
	for _, change := range [][]string{
		{"ip", "link", "del", out}, {"ip", "link", "set", in, "down"}, {"ip", "link", "set", out, "name", "another"},
	} {
		command(t, change...)
		wait(t, "honest frame after "+strings.Join(change, " "), func() bool {
			spoof, honest := s.passes()
			if spoof {
				t.Fatalf("after %v spoofed frames pass", change)
			}
			return honest
		})
	}
	must(t, e.Reconcile(nil, nil))
	if left := gates(t); left != "" {
		t.Errorf("there is left: %s", left)
	}
}

// gates are the links between that are there.
func gates(t *testing.T) string {
	t.Helper()
	links := ""
	for line := range strings.Lines(command(t, "ip", "-o", "link")) {
		if contains(line, " npout") || contains(line, " npin") || contains(line, " npgate") {
			links += line
		}
	}
	return links
}

// A host on which links come and go gives them numbers of any length, and one such parent
// must not keep all others from being enforced.
func TestParentOfALargeIndex(t *testing.T) {
	s := newScene(t, "private")
	command(t, "ip", "link", "add", "late", "index", "200000", "type", "veth", "peer", "name", "late0")
	command(t, "ip", "link", "add", "latest", "index", "2147483647", "type", "veth", "peer", "name", "latest0")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra", "late", "latest"}, held))
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	if rules := command(t, "nft", "list", "ruleset"); strings.Count(rules, "hook egress") != 3 {
		t.Errorf("not each parent has a chain: %s", rules)
	}
	must(t, e.Reconcile(nil, nil))
	if left := gates(t); left != "" {
		t.Errorf("there is left: %s", left)
	}
}

// Links between that go by the names of an earlier version do not stay for ever.
func TestGatesOfAnEarlierVersion(t *testing.T) {
	s := newScene(t, "private")
	n := indexOf(t, "infra")
	command(t, "ip", "link", "add", fmt.Sprintf("npgate-out%d", n), "type", "veth", "peer", "name", fmt.Sprintf("npgate-in%d", n))
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	if links := gates(t); contains(links, "npgate") || !contains(links, "npout") {
		t.Errorf("there are: %s", links)
	}
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
}

// What cannot be written when it is asked for is not forgotten, and does not keep what is in
// force from being changed.
func TestReconcileIsOwed(t *testing.T) {
	s := newScene(t, "private")
	command(t, "ip", "link", "add", "more", "type", "veth", "peer", "name", "more0")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, nil))
	free := takeTable(t)
	onMore := enforce.Held{ID: "more", Parent: "more", MAC: mac("02:00:00:00:00:0e"), SLAAC: true}
	gone := enforce.Held{ID: "gone", Parent: "more", MAC: mac("02:00:00:00:00:0f"), SLAAC: true}
	if err := e.Reconcile([]string{"infra", "more"}, []enforce.Held{onMore, gone}); err == nil {
		t.Fatal("the rules were written into another program's table")
	}
	if wanted, inForce, _ := e.Status(); !wanted || inForce {
		t.Errorf("the status is %v, %v", wanted, inForce)
	}
	if err := e.Admit(gone); err == nil {
		t.Error("an attachment is admitted where no rules are")
	}
	must(t, e.Remove("gone"))
	must(t, e.Admit(held[0]))
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("on the parent of before spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	e.Sweep()
	if _, inForce, _ := e.Status(); inForce {
		t.Error("the rules are said to be in force")
	}
	free()
	e.Sweep()
	if wanted, inForce, _ := e.Status(); !wanted || !inForce {
		t.Errorf("afterwards the status is %v, %v", wanted, inForce)
	}
	rules := command(t, "nft", "list", "ruleset")
	if strings.Count(rules, "hook egress") != 2 || !contains(rules, onMore.MAC.String()) || contains(rules, gone.MAC.String()) {
		t.Errorf("the rules are not what was wanted: %s", rules)
	}
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("afterwards spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
}

// A parent that is made anew has no chain, or one of its old name.
func TestParentIsMadeAnew(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	run(t, e)
	command(t, "ip", "link", "del", "infra")
	command(t, "ip", "link", "add", "infra", "type", "veth", "peer", "name", "lan0", "netns", s.lan.Netns.Path())
	command(t, "ip", "link", "set", "infra", "up")
	command(t, "ip", "addr", "add", host4+"/24", "dev", "infra")
	in(t, s.lan.Netns, "ip", "link", "set", "lan0", "up")
	// An attach that comes at once finds it enforced.
	must(t, e.Admit(held[0]))
	s.host, s.lanMAC = linkMAC(t, nil, "infra"), linkMAC(t, s.lan.Netns, "lan0")
	s.container = newContainer(t, own, "private", own4)
	s.tap, s.sender = newTap(t, s.lan.Netns, "lan0"), newSender(t, s.container, "eth0")
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	if rules := command(t, "nft", "list", "ruleset"); strings.Count(rules, "hook egress") != 1 {
		t.Errorf("a chain of the old link is left: %s", rules)
	}
}

// A link that is renamed has its macvlans still.
func TestParentIsRenamed(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, held))
	run(t, e)
	command(t, "ip", "link", "set", "infra", "name", "renamed")
	t.Cleanup(func() { command(t, "ip", "link", "del", "renamed") })
	wait(t, "chain on the renamed link", func() bool { return contains(command(t, "nft", "list", "ruleset"), `device "renamed"`) })
	s.sender.send(0, cat(ether(own, s.lanMAC, 0x800, ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("spoof")),
		cat(ether(own, s.lanMAC, 0x800, ipv4(own4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("end")))
	if got := s.tap.until("end"); len(got) != 0 {
		t.Errorf("there arrive %v", got)
	}
	next := newEnforcer(t) // which has not seen it happen
	must(t, next.Reconcile([]string{"infra"}, held))
	s.sender.send(0, cat(ether(own, s.lanMAC, 0x800, ipv4(other4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("spoof")),
		cat(ether(own, s.lanMAC, 0x800, ipv4(own4, lan4, 17, 0, nil, udp(1, 2, nil))), mark("end")))
	if got := s.tap.until("end"); len(got) != 0 {
		t.Errorf("after a restart there arrive %v", got)
	}
}

// Nothing is left when nothing is to be enforced any more, nor after an uninstall.
func TestNothingIsLeft(t *testing.T) {
	testlab.NewLAN(t, testlab.WithoutServer())
	e := newEnforcer(t)
	left := func() string { return command(t, "nft", "list", "ruleset") + gates(t) }
	must(t, e.Reconcile([]string{"infra"}, held))
	must(t, e.Reconcile(nil, nil))
	if got := left(); got != "" {
		t.Errorf("with no resource to enforce there is left: %s", got)
	}
	must(t, e.Reconcile([]string{"infra"}, held))
	must(t, e.Reconcile(nil, held[:1])) // the administrator has taken it back, one lives still
	if got := left(); !contains(got, "hook egress") {
		t.Errorf("with a live attachment there is left: %s", got)
	}
	must(t, e.Remove("own"))
	if got := left(); got != "" {
		t.Errorf("after the last attachment there is left: %s", got)
	}
	must(t, e.Reconcile([]string{"infra"}, held))
	must(t, enforce.Purge())
	must(t, enforce.Purge())
	if got := left(); got != "" {
		t.Errorf("after a purge there is left: %s", got)
	}
	must(t, e.Admit(held[0])) // a purge under a running daemon is a flush like another
	if got := left(); !contains(got, own4) || !contains(got, other4) {
		t.Errorf("an admission after a purge leaves out something: %s", got)
	}
	must(t, enforce.Supported())
}

// A thousand attachments, at once and one by one.
func TestAThousandAttachments(t *testing.T) {
	s := newScene(t, "private")
	e := newEnforcer(t)
	must(t, e.Reconcile([]string{"infra"}, nil))
	all := many(1000)
	var group sync.WaitGroup
	errs := make([]error, len(all))
	for i, h := range all {
		group.Go(func() { errs[i] = e.Admit(h) })
	}
	group.Wait()
	for _, err := range errs {
		must(t, err)
	}
	must(t, e.Admit(held[0]))
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	must(t, e.Reconcile([]string{"infra"}, append(all, held[0])))
	if spoof, honest := s.passes(); spoof || !honest {
		t.Errorf("after a restart spoofed frames pass: %v, honest ones: %v", spoof, honest)
	}
	for i := range all {
		group.Go(func() { errs[i] = e.Remove(all[i].ID) })
	}
	group.Wait()
	for _, err := range errs {
		must(t, err)
	}
	if got := strings.Count(command(t, "nft", "list", "set", "netdev", "net_porter", "macs"), "02:"); got != 1 {
		t.Errorf("%d MACs are left, want one", got)
	}
}

func many(n int) []enforce.Held {
	var all []enforce.Held
	for i := range n {
		all = append(all, enforce.Held{
			ID: fmt.Sprint("many", i), Parent: "infra", MAC: net.HardwareAddr{2, 1, 0, 0, byte(i >> 8), byte(i)},
			Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)})}, SLAAC: true,
		})
	}
	return all
}
