package attachment

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/netns"
)

// `podman network reload` tears an interface down and sets it up again in the same
// namespace, with the addresses that it had as static ones. What was just released
// is therefore remembered for a while, so that getting it back counts as what it
// is: nothing new.
const (
	replayFor = time.Minute
	// replaysPerUser bounds what a user who detaches in a loop makes the daemon
	// remember; a bound over all users would let one crowd out the others.
	replaysPerUser = 256
)

type replayed struct {
	Resource  string       `json:"resource"`
	Namespace netns.ID     `json:"namespace"`
	IPs       []netip.Addr `json:"ips,omitempty"` // what the plugins and leases gave
	MAC       string       `json:"mac,omitempty"` // what ADD was told to use
	// What of these was the user's own choice.
	StaticIPs []netip.Addr `json:"static_ips,omitempty"`
	StaticMAC string       `json:"static_mac,omitempty"`
	// What was read in the container, whose root may have put there what nobody granted: it
	// may be asked for again, but not be had for that reason.
	SeenIPs  []netip.Addr `json:"seen_ips,omitempty"`
	SeenMACs []string     `json:"seen_macs,omitempty"`
	Until    time.Time    `json:"until"`
}

// Replay is what of the addresses that were asked for again was given the last time, and
// is to be had again if that is possible.
type Replay struct {
	// Namespace is the one in which they were: the caller has to present the same.
	Namespace netns.ID
	IPs       []netip.Addr
	MAC       net.HardwareAddr
	// Of both, what the user had asked for the last time, too, and nobody else had chosen.
	StaticIPs []netip.Addr
	StaticMAC bool
}

type replays struct {
	mu      sync.Mutex
	entries map[Key]replayed
	log     replayLog
}

// open goes on with what an earlier daemon remembered in a file.
func (r *replays) open(path string, now time.Time) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries, err = r.log.open(path, now)
	return err
}

// remember returns an error where the next daemon will not know of it; this one does.
func (r *replays) remember(rec View, now time.Time) error {
	if rec.CNI == nil {
		return nil
	}
	entry := replayed{
		Resource: rec.Resource, Namespace: rec.Namespace,
		MAC: rec.chosenMAC(), StaticIPs: rec.Static, StaticMAC: rec.StaticMAC, SeenMACs: rec.MACs(), Until: now.Add(replayFor),
	}
	for _, p := range rec.Learned {
		entry.SeenIPs = append(entry.SeenIPs, p.Addr())
	}
	// Podman knows the addresses of the beginning, whatever leases have made of them.
	for _, result := range []*types100.Result{rec.CNI, rec.Result.CNI} {
		for _, ip := range withoutLearned(rec.Record, result).IPs {
			if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
				entry.IPs = append(entry.IPs, a.Unmap())
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.entries == nil {
		r.entries = map[Key]replayed{}
	}
	mine := 0
	for k, e := range r.entries {
		switch {
		case now.After(e.Until):
			delete(r.entries, k)
		case k.UID == rec.UID && k != rec.Key:
			mine++
		}
	}
	if mine >= replaysPerUser {
		return nil
	}
	r.entries[rec.Key] = entry
	return r.log.add(rec.Key, entry, r.entries)
}

// forget has nothing of the key's be had again.
func (r *replays) forget(k Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.entries[k]; !ok {
		return nil
	}
	delete(r.entries, k)
	return r.log.add(k, replayed{}, r.entries)
}

// covers reports whether every address asked for is one that the key had on the
// resource a moment ago.
func (r *replays) covers(k Key, resource string, ips []netip.Addr, mac net.HardwareAddr, now time.Time) (Replay, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[k]
	if !ok || e.Resource != resource || now.After(e.Until) {
		return Replay{}, false
	}
	replay := Replay{Namespace: e.Namespace}
	for _, ip := range ips {
		switch ip = ip.Unmap(); {
		case slices.Contains(e.IPs, ip):
			replay.IPs = append(replay.IPs, ip)
			if slices.Contains(e.StaticIPs, ip) {
				replay.StaticIPs = append(replay.StaticIPs, ip)
			}
		case !slices.Contains(e.SeenIPs, ip):
			return Replay{}, false
		}
	}
	switch text := strings.ToLower(mac.String()); {
	case len(mac) == 0:
	case text == e.MAC:
		replay.MAC, replay.StaticMAC = mac, text == e.StaticMAC
	case !slices.Contains(e.SeenMACs, text):
		return Replay{}, false
	}
	return replay, true
}
