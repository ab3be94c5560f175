package enforce

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
)

// sweepEvery is how often the mark of the host's own packets is changed, and all rules are
// written anew if anybody has changed anything in nf_tables meanwhile, or the last try failed.
const sweepEvery = time.Minute

// Run keeps the rules until ctx ends: it restores what others change or remove, follows
// the host's links and addresses, and has a parent that is made anew enforced. The rules
// stay when it returns; its error is nil if ctx has ended.
func (e *Enforcer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	rules, err := nft.Subscribe()
	if err != nil {
		return err
	}
	defer rules.Close()
	links, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR)
	if err != nil {
		return fmt.Errorf("cannot listen to changes of the host's links: %w", err)
	}
	defer links.Close()
	stop := context.AfterFunc(ctx, func() { rules.Close(); links.Close() }) // ends both loops
	defer stop()

	e.mu.Lock()
	port := e.conn.Port()
	e.mu.Unlock()
	tampered, changed := make(chan struct{}, 1), make(chan struct{}, 1)
	go follow(ctx, cancel, tampered, func() (bool, error) { return rules.Next(TableName, port) })
	go follow(ctx, cancel, changed, func() (bool, error) {
		_, _, err := links.Receive()
		return err == nil, err
	})
	// What happened before the subscriptions.
	tell(changed)
	tell(tampered)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return nil
		case <-tampered:
			e.restore()
		case <-changed:
			e.refresh()
		case <-sweep.C:
			e.sweep()
		}
	}
}

// follow tells of what next finds until ctx ends. That some was lost is something found.
func follow(ctx context.Context, cancel context.CancelCauseFunc, found chan<- struct{}, next func() (bool, error)) {
	for ctx.Err() == nil {
		something, err := next()
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, unix.ENOBUFS):
			something = true
		case errors.Is(err, unix.EINTR):
		case err != nil:
			cancel(fmt.Errorf("cannot follow the kernel's changes: %w", err))
		}
		if something {
			tell(found)
		}
	}
}

func tell(found chan<- struct{}) {
	select {
	case found <- struct{}{}:
	default:
	}
}

// restore makes the rules anew after somebody else has changed them.
func (e *Enforcer) restore() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.installed.links) == 0 || !e.isForeign() {
		return // nothing of ours is there that it could have been, or it is restored already
	}
	before := e.installed
	err := e.installWanted()
	switch {
	case err != nil:
		e.failing = true
		e.log.Error("the rules that enforce what containers may send were changed or removed by another program, and cannot be restored; "+
			"containers may send as anybody", "error", err)
	case before.equal(e.installed):
		e.restored++
		e.log.Warn("the rules that enforce what containers may send were changed or removed by another program (nft flush ruleset, a firewall's reload), and are restored",
			"table", TableName)
	default:
		e.log.Info("the rules that enforce what containers may send follow the host's links")
	}
}

// refresh follows the host's links and addresses.
func (e *Enforcer) refresh() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.installed.links == nil && !e.failing {
		return
	}
	h, err := look()
	if err == nil {
		if !e.failing && e.draw(h, e.parents, e.held).equal(e.installed) {
			return
		}
		err = e.installWanted()
	}
	if err != nil {
		e.failing = true
		e.log.Error("the rules that enforce what containers may send cannot follow the host's links and addresses", "error", err)
		return
	}
	e.log.Info("the rules that enforce what containers may send follow the host's links and addresses")
}

// sweep does what nothing tells of, and again what has failed.
func (e *Enforcer) sweep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.installed.links) == 0 && !e.failing {
		return
	}
	if !e.failing && !e.isForeign() {
		err := e.remark()
		if err == nil {
			return
		}
		e.log.Warn("the rules that enforce what containers may send are not as they were made; they are made anew", "error", err)
	}
	failing := e.failing
	if err := e.installWanted(); err != nil {
		e.failing = true
		e.log.Error("the rules that enforce what containers may send cannot be made anew", "error", err)
	} else if failing {
		e.log.Info("the rules that enforce what containers may send are in force again")
	}
}

// installWanted writes everything as it has to be.
func (e *Enforcer) installWanted() error {
	w := e.wanted()
	return e.install(w.parents, w.held)
}

// isForeign says whether anybody else has changed anything in nf_tables since the last
// install. mu is held.
func (e *Enforcer) isForeign() bool {
	generation, err := e.conn.Generation()
	return err != nil || generation != e.generation
}
