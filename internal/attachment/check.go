package attachment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/fair"
)

// ErrNoAttachment says that the journal has no attachment of a key.
var ErrNoAttachment = errors.New("no such attachment")

// Condition is what a check of an attachment has found.
type Condition struct {
	// Drift says in what it is not as it was made, or as its leases have changed it.
	Drift []string
	// Unchecked says what could not be looked at, and why.
	Unchecked []string
}

// Check looks at an attachment: at its interface with the kernel's eyes, which its
// container cannot deceive, and then by CNI CHECK. It fails with ErrNoAttachment, or if
// it cannot begin; what is wrong with the attachment is in the Condition.
func (m *Manager) Check(ctx context.Context, k Key) (*Condition, error) {
	release, err := m.keys.acquire(ctx, k)
	if err != nil {
		return nil, err
	}
	defer release()
	turn, leave, err := m.turns.Enter(ctx, k.UID, fair.Make)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := m.bounded(turn)
	defer cancel()
	r, ok := m.Get(k)
	if !ok {
		return nil, ErrNoAttachment
	}
	c := &Condition{}
	if r.State != Attached {
		c.drift("it is not attached but in state %s", r.State)
		return c, nil
	}
	there, err := m.checkLink(r, c)
	if err != nil {
		return nil, err
	}
	if there {
		m.checkChain(ctx, r, c)
	}
	return c, ctx.Err()
}

func (c *Condition) drift(format string, args ...any) {
	c.Drift = append(c.Drift, fmt.Sprintf(format, args...))
}

// checkLink looks at the recorded interface, and says whether it is there at all. Without
// one on record there is nothing to look at.
func (m *Manager) checkLink(r *Record, c *Condition) (there bool, err error) {
	if r.Link == 0 {
		return true, nil
	}
	l, there, err := m.namespaces.Link(r.NSID, r.Link)
	switch {
	case err != nil:
		return false, err
	case !there:
		c.drift("the interface %s is no longer in the container", r.Interface)
		return false, nil
	case r.OnHost && !l.OnHost:
		c.drift("the interface %s no longer hangs on a link of the host's", r.Interface)
		return false, nil
	}
	if l.Name != r.Interface {
		c.drift("the interface %s has been renamed to %q", r.Interface, l.Name)
	}
	if macs := r.MACs(); len(macs) > 0 && !slices.Contains(macs, strings.ToLower(l.MAC.String())) {
		c.drift("the MAC address is %s and was %s", l.MAC, strings.Join(macs, ", "))
	}
	return true, nil
}

// checkChain runs CNI CHECK.
func (m *Manager) checkChain(ctx context.Context, r *Record, c *Condition) {
	if err := m.runCheck(ctx, r); err != nil {
		plugin, ok := errors.AsType[*cni.PluginError](err)
		if ok && !plugin.TimedOut {
			c.drift("the CNI plugin %s: %s", plugin.Plugin, plugin.Message)
			return
		}
		m.log.Warn("an attachment cannot be checked", "attachment", r.Key.String(), "error", err)
		c.Unchecked = append(c.Unchecked, "CNI CHECK: "+m.explain(err))
	}
}

func (m *Manager) runCheck(ctx context.Context, r *Record) error {
	network, err := cni.Parse(r.Resource, r.Config)
	if err != nil {
		return fmt.Errorf("cannot use the recorded configuration: %w", err)
	}
	ns, err := m.finder.Find(ctx, r.wanted())
	if err != nil {
		return err
	}
	defer ns.Close()
	// The dhcp plugin's CHECK asks for the lease. Without a namespace it gets the one that
	// there is, and never a new one.
	expectation, err := m.leases.Expect(m.expected(r, nil))
	if err != nil {
		return err
	}
	defer expectation.Done()
	inv := r.invocation(ns)
	inv.Current = withoutLearned(r, m.View(r).CNI)
	return m.runner.Check(ctx, network.WithDHCPSocket(m.socket), inv)
}

// withoutLearned is a result without the addresses that the kernel has made of router
// advertisements, which come and go with them: no plugin knows of those.
func withoutLearned(r *Record, result *types100.Result) *types100.Result {
	if result == nil {
		return nil
	}
	plain := *result
	plain.IPs = slices.Clone(plain.IPs)
	plain.IPs = slices.DeleteFunc(plain.IPs, func(ip *types100.IPConfig) bool { return slices.Contains(r.Learned, prefixOf(ip)) })
	return &plain
}
