package attachment

import (
	"context"
	"errors"
	"fmt"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/netns"
)

// Detach removes an attachment by its record; that there is none is no error.
// Presented is the namespace that the caller showed and proved, or nil. The work
// is finished even if the caller hangs up.
func (m *Manager) Detach(ctx context.Context, k Key, presented *netns.Namespace) error {
	return m.detach(ctx, k, presented, func(r *Record) *Record { return r })
}

// DetachRecord is Detach of one attachment that the caller has seen, and not of one that
// has taken its place: while a caller waits for the key's lock, the container may have
// started again.
func (m *Manager) DetachRecord(ctx context.Context, seen *Record, presented *netns.Namespace) error {
	return m.detach(ctx, seen.Key, presented, func(r *Record) *Record {
		if r.serial != seen.serial {
			return nil
		}
		return r
	})
}

// Revoke is DetachRecord of what its user may not have any more: getting it back would be
// something new, in the same container, too.
func (m *Manager) Revoke(ctx context.Context, seen *Record) error {
	return m.detach(ctx, seen.Key, nil, func(r *Record) *Record {
		if r.serial != seen.serial {
			return nil
		}
		revoked := *r
		revoked.Revoked = true
		m.show(&revoked) // the removal writes it
		return &revoked
	})
}

// detach removes what meant makes of the record that the key has when its lock is held;
// nil is for another one than was meant.
func (m *Manager) detach(ctx context.Context, k Key, presented *netns.Namespace, meant func(*Record) *Record) error {
	ctx = context.WithoutCancel(ctx)
	release, err := m.keys.acquire(ctx, k)
	if err != nil {
		return err
	}
	defer release()
	r, ok := m.Get(k)
	if !ok {
		return nil
	}
	if r = meant(r); r == nil {
		return nil
	}
	return m.remove(ctx, r, presented)
}

// remove undoes what a record stands for and forgets it, in a turn of the user's. The
// caller holds the key's lock, and no namespace's. Where no turn comes, nothing has
// changed.
func (m *Manager) remove(ctx context.Context, r *Record, presented *netns.Namespace) error {
	ctx, done, err := m.turns.Enter(ctx, r.UID, fair.Remove)
	if err != nil {
		return err
	}
	defer done()
	leave, err := m.places.acquire(ctx, r.NSID)
	if err != nil {
		return fmt.Errorf("other interfaces of the container take their time: %w", err)
	}
	defer leave()
	return m.removeLocked(ctx, r, presented)
}

// removeLocked is remove with the lock of the record's namespace held, too.
func (m *Manager) removeLocked(ctx context.Context, r *Record, presented *netns.Namespace) error {
	going := m.becomeAnyway(r, removing, nil)
	last := m.View(r) // before its leases are gone
	// Whatever is left of it sends no more.
	err := errors.Join(m.undo(ctx, going, presented), m.expel(going))
	if err == nil {
		m.remember(last) // before there is nothing to learn it from
		err = m.forget(going)
	}
	if err != nil {
		m.fail(r.Key, err)
		return err
	}
	return nil
}

// remember has what is removed be had again in a moment, or not if it was revoked.
func (m *Manager) remember(last View) {
	var err error
	if last.Revoked {
		err = m.replays.forget(last.Key)
	} else {
		err = m.replays.remember(last, m.now())
	}
	if err != nil {
		m.logOf(last.Record).Warn("a daemon that starts now would not know what was released last, and refuse a podman network reload that began before", "error", err)
	}
}

// errUnfinished says that a record waits for its namespace to die or to be shown.
var errUnfinished = errors.New("the attach was cut short, and the user of its namespace may have hidden what is left of it: " +
	"it is released when the namespace is gone or something is attached there under the same name")

// undo runs CNI DEL and sees to it that the link is gone. going is in state detaching.
func (m *Manager) undo(ctx context.Context, going *Record, presented *netns.Namespace) error {
	if ns := m.recorded(going, presented); ns != nil {
		// DEL first, which may have something to say on the link. If it fails, the
		// link goes all the same.
		delErr, linksErr := m.del(ctx, going, ns), m.removeLinks(going, ns)
		if delErr != nil && linksErr == nil && going.Result == nil {
			cleared := *going
			cleared.Cleared = true
			linksErr = m.put(&cleared)
		}
		return errors.Join(delErr, linksErr)
	}
	// Without the namespace CNI gives the address back and leaves the link, which in a
	// namespace that lives on would go on using it.
	lives, err := m.lives(going)
	if err != nil {
		return err
	}
	if lives && !going.Cleared {
		if err := m.removeLinks(going, nil); err != nil {
			return err
		}
		if going.Result == nil {
			return errUnfinished
		}
	}
	return m.del(ctx, going, nil)
}

// lives says whether a record's namespace is known to be there. It is not of one
// whose id may be another's by now, which only root's are.
func (m *Manager) lives(r *Record) (bool, error) {
	if r.Namespace.BootID != m.boot || !netns.Lasting(r.NSID) {
		return false, nil
	}
	alive, err := m.namespaces.Alive([]int32{r.NSID})
	_, lives := alive[r.NSID]
	return lives, err
}

// recorded returns the namespace that a caller showed if it is the one of the record,
// nil if it is somebody else's, or the next one of this container.
func (m *Manager) recorded(r *Record, presented *netns.Namespace) *netns.Namespace {
	if presented == nil || presented.ID() != r.Namespace {
		return nil
	}
	// The kernel uses the numbers of ID again once a namespace is gone.
	if id, _, err := m.namespaces.Assign(presented); err != nil || id != r.NSID {
		return nil
	}
	return presented
}

// del runs CNI DEL with the lease service waiting for its call.
func (m *Manager) del(ctx context.Context, r *Record, ns *netns.Namespace) error {
	network, err := cni.Parse(r.Resource, r.Config)
	if err != nil {
		return fmt.Errorf("cannot use the recorded configuration: %w", err)
	}
	expectation, err := m.leases.Expect(m.expected(r, ns))
	if err != nil {
		return err
	}
	defer expectation.Done()
	if err := m.runner.Del(ctx, network.WithDHCPSocket(m.socket), r.invocation(ns)); err != nil {
		return err
	}
	if r.Result == nil {
		// Its ADD may have been killed in the middle.
		addresses, err := network.ForgetHalfReserved(ctx)
		if err != nil {
			return err
		}
		if len(addresses) > 0 {
			m.logOf(r).Warn("removed addresses that a killed host-local had begun to reserve", "of", addresses)
		}
	}
	// A chain that failed before its IPAM part was reached has left a lease behind.
	return m.leases.Forget(r.CNIContainerID(), r.Interface)
}
