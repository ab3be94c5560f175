package attachment

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/netns"
)

// What a container's root has put on its interface may come back with podman's reload,
// but nobody has chosen or granted it, so it is not had for that reason.
func TestReplayGivesWhatWasGiven(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	record := func(args [][2]string) *Record {
		return &Record{Key: Key{1000, "c", "eth0"}, Resource: "lan", Args: args, Result: &Result{CNI: &types100.Result{
			Interfaces: []*types100.Interface{{Name: "eth0", Mac: "02:00:00:00:00:99", Sandbox: "/ns"}},
			IPs:        []*types100.IPConfig{ipConfig("192.0.2.50/24"), ipConfig("2001:db8::1/64")},
		}}, Learned: []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")}}
	}
	chosen, seen := net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}, net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	given, learned := netip.MustParseAddr("192.0.2.50"), netip.MustParseAddr("2001:db8::1")
	tests := []struct {
		args [][2]string
		mac  net.HardwareAddr
		want net.HardwareAddr
	}{
		{[][2]string{{argMAC, "02:00:00:00:00:0a"}}, chosen, chosen},
		{[][2]string{{argMAC, "02:00:00:00:00:0a"}}, seen, nil},
		{nil, seen, nil},
	}
	for _, tt := range tests {
		r := record(tt.args)
		ok(t, m.replays.remember(m.View(r), m.now()))
		replay, is := m.Replays(r.Key, "lan", []netip.Addr{given, learned}, tt.mac)
		if !is || !slices.Equal(replay.IPs, []netip.Addr{given}) || replay.MAC.String() != tt.want.String() {
			t.Errorf("%v: %v, to be had again: %+v", tt, is, replay)
		}
		if _, ok := m.Replays(r.Key, "lan", []netip.Addr{netip.MustParseAddr("192.0.2.51")}, nil); ok {
			t.Error("it never had 192.0.2.51")
		}
	}
	if _, ok := m.Replays(Key{1000, "c", "eth0"}, "lan", nil, chosen); ok {
		t.Error("the last one had another MAC")
	}
}

// One user's detaches do not make another's reload fail.
func TestReplaysAreBoundedPerUser(t *testing.T) {
	m := open(t, t.TempDir(), &runner{})
	remember := func(uid uint32, id, ip string) Key {
		k := Key{uid, id, "eth0"}
		_ = m.replays.remember(m.View(&Record{Key: k, Resource: "lan", Result: &Result{CNI: &types100.Result{
			IPs: []*types100.IPConfig{{Address: net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)}}},
		}}}), m.now())
		return k
	}
	for i := range 2 * replaysPerUser {
		remember(1001, string(rune('a'+i%26))+strings.Repeat("x", i), "192.0.2.7")
	}
	if _, ok := m.Replays(remember(1000, "c1", "192.0.2.7"), "lan", nil, nil); !ok {
		t.Error("alice's container is not remembered")
	}
	// Whoever is at the bound is remembered by what they had last.
	first := remember(1001, "a", "192.0.2.8")
	if _, ok := m.Replays(first, "lan", []netip.Addr{netip.MustParseAddr("192.0.2.8")}, nil); !ok {
		t.Error("a container that is remembered is not so with its new address")
	}
}

// A daemon that starts between the two halves of `podman network reload` knows of the first.
func TestReplaysOutliveTheDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "released")
	now := time.Now()
	var first replays
	ok(t, first.open(path, now))
	key := func(id string) Key { return Key{1000, id, "eth0"} }
	remember := func(r *replays, id string, now time.Time) {
		t.Helper()
		rec := &Record{
			Key: key(id), Resource: "lan", Namespace: netns.ID{Dev: 4, Ino: 5, BootID: "b"}, Args: [][2]string{{argMAC, "02:00:00:00:00:0a"}},
			Result: &Result{CNI: &types100.Result{IPs: []*types100.IPConfig{ipConfig("192.0.2.50/24")}}},
		}
		ok(t, r.remember(View{Record: rec, CNI: rec.Result.CNI}, now))
	}
	remember(&first, "old", now.Add(-2*replayFor))
	remember(&first, "yes", now)
	remember(&first, "revoked", now)
	ok(t, first.forget(key("revoked")))

	had := func(id string) (Replay, bool) {
		t.Helper()
		var next replays
		ok(t, next.open(path, now))
		defer next.log.close()
		return next.covers(key(id), "lan", []netip.Addr{netip.MustParseAddr("192.0.2.50")}, net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}, now)
	}
	if replay, is := had("yes"); !is || replay.Namespace.Ino != 5 || replay.Namespace.BootID != "b" || len(replay.IPs) != 1 || len(replay.MAC) == 0 {
		t.Errorf("remembered: %v, %+v", is, replay)
	}
	for _, id := range []string{"old", "revoked"} {
		if _, is := had(id); is {
			t.Errorf("%s is remembered", id)
		}
	}
	// A line that a full disk has cut short takes no other one with it.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"uid":1000,"container_id":"cut`); err != nil {
		t.Fatal(err)
	}
	ok(t, f.Close())
	var next replays
	ok(t, next.open(path, now))
	remember(&next, "more", now)
	next.log.close()
	for _, id := range []string{"yes", "more"} {
		if _, is := had(id); !is {
			t.Errorf("%s is not remembered", id)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v: %v", info.Mode(), err)
	}
}

// Who detaches in a loop does not make the log grow.
func TestReplayLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "released")
	var r replays
	ok(t, r.open(path, time.Now()))
	t.Cleanup(r.log.close)
	rec := &Record{Key: Key{1000, strings.Repeat("c", 64), "eth0"}, Resource: "lan", Result: &Result{CNI: &types100.Result{}}}
	for range 10_000 {
		ok(t, r.remember(View{Record: rec, CNI: rec.Result.CNI}, time.Now()))
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxReplayLog+1000 || len(r.entries) != 1 {
		t.Errorf("%d bytes for %d entries: %v", info.Size(), len(r.entries), err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
