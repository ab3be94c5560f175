package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/selfcheck"
	"github.com/net-porter/net-porter/internal/server"
)

// checkEvery is the most time between two of the daemon's checks of itself.
const checkEvery = 30 * time.Second

// newChecker makes the check of what only a daemon that works can do.
func (d *daemon) newChecker(s *socket) *selfcheck.Checker {
	every := checkEvery
	if watchdog := d.supervisor.watchdog(); watchdog > 0 {
		every = min(every, watchdog/2) // as sd_watchdog_enabled(3) has it
	}
	return selfcheck.New(selfcheck.Options{
		Checks: []selfcheck.Check{
			{
				Name: "socket", Fault: "the daemon does not get an answer of its own on its socket, so users may not either",
				Run: selfcheck.Socket(s.name, s.passed),
			}, {
				Name: "journal", Fault: "the daemon cannot write its journal, so nothing can be attached",
				Run: func(context.Context) error { return d.journal.Check() },
			}, {
				Name: "netlink", Fault: "the daemon does not hear what the kernel tells of network namespaces, so what ends without a detach is released late",
				Run: d.registry.CheckWatch,
			},
		},
		Every:   every,
		Alive:   d.supervisor.alive,
		After:   func() { d.supervisor.status(d.status()) },
		Observe: d.metrics.SelfCheck,
		Logger:  d.log,
	})
}

// selfChecks checks the daemon until ctx ends.
func (d *daemon) selfChecks(ctx context.Context, s *socket) {
	checker := d.newChecker(s)
	d.checker.Store(checker)
	checker.Run(ctx)
}

// health is how the daemon is, in what GET /healthz answers.
func (d *daemon) health() server.Health {
	var h server.Health
	if checker := d.checker.Load(); checker != nil {
		for _, f := range checker.Failing() {
			h.Failing = true
			h.Faults = append(h.Faults, server.Fault{Summary: f.Fault, Detail: f.Err.Error()})
		}
	}
	if now := d.inForce.Load(); now.failure != nil {
		// Not failing: there is a configuration in force. Who has taken something away from
		// somebody has to know which.
		summary := "the last reload of the configuration is in force but for what has a fault, a resource's network configuration or the rules of \"enforce\", which stays as it was"
		if now.refused {
			summary = "the last reload of the configuration failed: nothing of it is in force, and the one before is"
		}
		h.Faults = append(h.Faults, server.Fault{Summary: summary, Detail: now.failure.Error()})
	}
	return h
}

// enforcement is how the rules are that enforce what containers send.
func (d *daemon) enforcement() (wanted, inForce bool, restored int) {
	if d.enforcer == nil {
		return false, false, 0
	}
	return d.enforcer.Status()
}

// status is a line about the daemon for `systemctl status`.
func (d *daemon) status() string {
	attachments := 0
	for _, n := range d.attachments.Counts() {
		attachments += n
	}
	status := []string{fmt.Sprintf("%d attachments, %d resources", attachments, len(d.current().Resources))}
	for _, f := range d.health().Faults {
		status = append(status, f.Summary+": "+f.Detail)
	}
	return strings.Join(status, "; ")
}
