// Package selfcheck owns the daemon's check of itself: at intervals it does what only a
// daemon that works can do, and tells a supervisor, systemd's watchdog, how that went.
//
// A check that has never passed since the start does not keep the watchdog from being
// fed. systemd has started the daemon anew by then, or an administrator has, and that
// did not help: doing so again each minute would only cost the containers their leases,
// of which a daemon that cannot write knows less after each start. What such a check
// finds is shown and counted all the same.
package selfcheck

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Check is one thing that has to work.
type Check struct {
	// Name is a metric's label.
	Name string
	// Fault says for everybody what it means that the check fails.
	Fault string
	// Run should end when ctx does. One that does not counts as failed until it ends,
	// and is not run anew before; in the round in which it ends, what it returns counts.
	Run func(ctx context.Context) error
}

// Failure is a check that fails.
type Failure struct {
	Check
	Err error
}

// Options are what a Checker works with.
type Options struct {
	Checks []Check
	// Every is the time between two rounds. After one in which a check failed it is a
	// quarter of that, so that what failed by chance is repeated in time. A check may
	// take half of it.
	Every time.Duration
	// Alive is called at the end of each round, unless a check fails that has passed before.
	Alive func()
	// After is called after each round.
	After func()
	// Observe is called with the outcome of each check, of a round one after the other.
	Observe func(name string, err error)
	Logger  *slog.Logger
}

// Checker makes checks again and again.
type Checker struct {
	options Options

	mu     sync.Mutex
	states []state // as Options.Checks
}

type state struct {
	running chan error // what is under way will say there how it went; nil: nothing is
	passed  bool       // at least once
	err     error
}

// New makes a Checker, in whose eyes all is well until Run has found otherwise.
func New(o Options) *Checker {
	return &Checker{options: o, states: make([]state, len(o.Checks))}
}

// Failing returns the checks that failed when they were made last.
func (c *Checker) Failing() []Failure {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failing []Failure
	for i, s := range c.states {
		if s.err != nil {
			failing = append(failing, Failure{c.options.Checks[i], s.err})
		}
	}
	return failing
}

// Run makes rounds until ctx ends, the first a quarter of the time from now.
func (c *Checker) Run(ctx context.Context) {
	pause := time.NewTimer(c.options.Every / 4)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		well, alive := c.round(ctx)
		if ctx.Err() != nil {
			return // what fails now does so because the daemon ends
		}
		if alive {
			c.options.Alive()
		}
		c.options.After()
		if well {
			pause.Reset(c.options.Every)
		} else {
			pause.Reset(c.options.Every / 4)
		}
	}
}

// round makes all checks at once. It is well when all pass, and the daemon is alive
// when none fails but those that have never passed.
func (c *Checker) round(ctx context.Context) (well, alive bool) {
	bound, cancel := context.WithTimeout(ctx, c.options.Every/2)
	defer cancel()
	// A check that keeps to its time has its own words for what was late.
	patience, cancelPatience := context.WithTimeout(ctx, c.options.Every*5/8)
	defer cancelPatience()
	outcomes := make([]chan error, len(c.options.Checks))
	for i := range c.options.Checks {
		outcomes[i] = c.start(bound, i)
	}
	well, alive = true, true
	for i, outcome := range outcomes {
		var err error
		select {
		case err = <-outcome:
		case <-patience.Done():
			err = fmt.Errorf("it has not ended within %s", c.options.Every/2)
			select { // it may have, while another one was waited for
			case err = <-outcome:
			default:
			}
		}
		if ctx.Err() != nil {
			return false, false
		}
		passedBefore := c.note(i, err)
		well = well && err == nil
		alive = alive && (err == nil || !passedBefore)
	}
	return well, alive
}

// start makes a check. One that is still under way from an earlier round will do: how it
// goes in the end is news, too.
func (c *Checker) start(ctx context.Context, i int) chan error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if under := c.states[i].running; under != nil {
		return under
	}
	outcome := make(chan error, 1)
	c.states[i].running = outcome
	go func() {
		err := c.options.Checks[i].Run(ctx)
		c.mu.Lock()
		c.states[i].running = nil
		c.mu.Unlock()
		outcome <- err
	}()
	return outcome
}

// note keeps a check's outcome, logs where it is another than before, and says whether
// the check has ever passed.
func (c *Checker) note(i int, err error) (passedBefore bool) {
	check := c.options.Checks[i]
	c.mu.Lock()
	s := &c.states[i]
	before := s.err
	s.err = err
	s.passed = s.passed || err == nil
	passedBefore = s.passed
	c.mu.Unlock()
	c.options.Observe(check.Name, err)
	switch {
	case err != nil && before == nil:
		c.options.Logger.Error("the daemon's check of itself fails", "check", check.Name, "error", err, "restart_may_help", passedBefore)
	case err == nil && before != nil:
		c.options.Logger.Info("the daemon's check of itself passes again", "check", check.Name)
	}
	return passedBefore
}
