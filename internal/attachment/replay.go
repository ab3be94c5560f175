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
	resource  string
	namespace netns.ID
	ips       []netip.Addr
	macs      []string
	until     time.Time
}

type replays struct {
	mu      sync.Mutex
	entries map[Key]replayed
}

func (r *replays) remember(rec View, now time.Time) {
	if rec.CNI == nil {
		return
	}
	entry := replayed{
		resource: rec.Resource, namespace: rec.Namespace,
		macs: rec.MACs(), until: now.Add(replayFor),
	}
	// Podman knows the addresses of the beginning, whatever leases have made of them.
	for _, result := range []*types100.Result{rec.CNI, rec.Result.CNI} {
		for _, ip := range result.IPs {
			if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
				entry.ips = append(entry.ips, a.Unmap())
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
		case now.After(e.until):
			delete(r.entries, k)
		case k.UID == rec.UID && k != rec.Key:
			mine++
		}
	}
	if mine < replaysPerUser {
		r.entries[rec.Key] = entry
	}
}

// covers reports whether every address asked for is one that the key had on the
// resource a moment ago, and in which namespace that was.
func (r *replays) covers(k Key, resource string, ips []netip.Addr, mac net.HardwareAddr, now time.Time) (netns.ID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[k]
	if !ok || e.resource != resource || now.After(e.until) {
		return netns.ID{}, false
	}
	for _, ip := range ips {
		if !slices.Contains(e.ips, ip.Unmap()) {
			return netns.ID{}, false
		}
	}
	if len(mac) > 0 && !slices.Contains(e.macs, strings.ToLower(mac.String())) {
		return netns.ID{}, false
	}
	return e.namespace, true
}
