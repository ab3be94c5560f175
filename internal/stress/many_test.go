package stress

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

var manyLeases = length(300, 1000)

// A thousand of the addresses for benchmarks (RFC 2544, appendix C.2.2), as a /24 has too
// few.
const (
	bigServer = "198.18.0.1/16"
	bigRange  = "--dhcp-range=198.18.1.0,198.18.6.255,255.255.0.0,1h"
)

// bigLAN are arguments of dnsmasq for that many.
func bigLAN(more ...string) []string {
	return append([]string{bigRange, "--dhcp-lease-max=2000"}, more...)
}

// prepareBigLAN gives the LAN's side its address in the range. And it makes it forget
// its neighbours soon: they are as many as all namespaces of the machine together may
// have (gc_thresh3, arp(7)), which without that are as good as silent from then on.
func prepareBigLAN() error {
	for name, value := range map[string]string{"delay_first_probe_time": "0", "base_reachable_time_ms": "500"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/neigh/lan0/"+name, []byte(value), 0); err != nil {
			return err
		}
	}
	return exec.Command("ip", "addr", "add", bigServer, "dev", "lan0").Run()
}

// crowd makes containers of several users, as the daemon bounds what one user may have
// going on.
func crowd(t *testing.T, users []testlab.User, count int) []*testlab.Container {
	t.Helper()
	var all []*testlab.Container
	for i, u := range users {
		all = append(all, u.Containers(t, count*(i+1)/len(users)-count*i/len(users))...)
	}
	return all
}

func eightUsers() []testlab.User {
	var users []testlab.User
	for n := range uint32(8) {
		users = append(users, testlab.User{UID: 60500 + n, GID: 60500 + n})
	}
	return users
}

// renewed is how many renewals servers have confirmed since the daemon started.
func (l *lab) renewed() int {
	l.t.Helper()
	return int(l.Metric(`net_porter_dhcp_exchange_duration_seconds_count{ip_version="4",kind="renew",outcome="ok"}`))
}

func TestManyLeases(t *testing.T) {
	l := newLab(t, eightUsers(), testlab.WithoutServer(), testlab.WithDnsmasq(bigLAN("--dhcp-option-force=option:T1,30")...))
	if err := l.lan.Do(prepareBigLAN); err != nil {
		t.Fatal(err)
	}
	l.lan.StartServer()
	l.Start()
	all := crowd(t, eightUsers(), manyLeases)

	l.attach(all[0])
	var one int // sockets of a daemon with one lease
	l.until("nothing is open for the first lease", func() bool {
		var namespaces int
		one, namespaces = l.sockets()
		return namespaces == 0
	})
	s := sample(l.PID())
	start := time.Now()
	answers := l.AttachAll(resource, all[1:])
	took := time.Since(start)
	t.Logf("%d attaches in %s, %.0f a second", len(answers), took.Round(time.Millisecond), float64(len(answers))/took.Seconds())
	// Dnsmasq offers an address to several who ask at once, and then refuses it to all but
	// one: nobody else has it.
	if n := strings.Count(l.lan.Log(), "DHCPDECLINE"); n > 0 {
		t.Errorf("%d addresses were declined", n)
	}
	wantAddressesOfTheirOwn(t, answers)
	l.untilSlowly("all leases are renewed", func() bool { return l.renewed() >= manyLeases })
	l.wantWithin("while they were attached and renewed", s.most())
	if n := l.leases(); n != manyLeases {
		t.Errorf("%d leases are held", n)
	}

	l.Kill()
	start = time.Now()
	l.Start()
	t.Logf("after kill -9 the daemon was ready again in %s", time.Since(start).Round(time.Millisecond))
	s = sample(l.PID())
	l.untilSlowly("all leases are renewed by the next daemon", func() bool { return l.renewed() >= manyLeases })
	l.wantWithin("in the next daemon", s.most())

	// Renewals come to an end when the server names no T1 any more, and then there is peace.
	l.lan.StopServer()
	l.lan.Server().Configure(bigLAN()...)
	l.lan.StartServer()
	l.untilSlowly("no renewal is due for long", func() bool {
		for _, a := range l.attachments() {
			if time.Until(a.Lease.T1) < time.Minute {
				return false
			}
		}
		return true
	})
	l.until("nothing is open for leases that are not due", func() bool {
		sockets, namespaces := l.sockets()
		return sockets <= one && namespaces == 0
	})

	s = sample(l.PID())
	start = time.Now()
	removeAll(t, all)
	l.untilSlowly("nothing is left of the containers", func() bool {
		return l.Metric(fmt.Sprintf("net_porter_attachments{resource=%q}", resource)) == 0
	})
	t.Logf("all is released %s after the containers are removed", time.Since(start).Round(time.Millisecond))
	l.wantNothingLeft()
	l.wantWithin("while they were released", s.most())
	l.until("the server has no lease left", func() bool { return l.lan.Leases() == "" })
}

// untilSlowly is until for what takes long, or costs the daemon something to tell.
func (l *lab) untilSlowly(what string, ok func() bool) {
	l.t.Helper()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(10 * patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			l.t.Fatalf("not within %s: %s", 10*patience, what)
		}
	}
}

// wantAddressesOfTheirOwn fails the test unless every attach has got an address of the
// server's range that no other has.
func wantAddressesOfTheirOwn(t *testing.T, answers []testlab.Response) {
	t.Helper()
	first, last := netip.MustParseAddr("198.18.1.0"), netip.MustParseAddr("198.18.6.255")
	seen := map[netip.Addr]bool{}
	for _, r := range answers {
		var a answer
		if err := json.Unmarshal(r.Body, &a); r.Status != http.StatusOK || err != nil {
			t.Fatalf("attach: %d %s", r.Status, r.Body)
		}
		addr := a.ip()
		if addr.Less(first) || last.Less(addr) || seen[addr] {
			t.Errorf("a container has %s, which is not the server's to grant or another's", addr)
		}
		seen[addr] = true
	}
}

// removeAll takes the namespaces away, those of all users at the same time.
func removeAll(t *testing.T, all []*testlab.Container) {
	t.Helper()
	of := map[*testlab.Sandbox][]*testlab.Container{}
	for _, c := range all {
		of[c.Sandbox] = append(of[c.Sandbox], c)
	}
	var removing sync.WaitGroup
	for sandbox, mine := range of {
		removing.Go(func() {
			for _, c := range mine {
				if _, err := sandbox.Try("umount", c.Netns); err != nil {
					t.Error(err)
				}
			}
		})
	}
	removing.Wait()
}
