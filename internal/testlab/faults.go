package testlab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// WithFaultPoints takes a program with the moments of package faultpoint in it, for KillAt.
func WithFaultPoints(t testing.TB) DaemonOption {
	t.Helper()
	program := built(t, "net-porter-faultpoints", "faultpoints")
	return func(d *Daemon) {
		d.program, d.faults = program, filepath.Join(d.dir, "faults")
		must(d.t, os.Mkdir(d.faults, 0o700))
		d.KillAt(0)
	}
}

// KillAt has a daemon WithFaultPoints kill itself at the n-th moment from now on, also
// when it has been started again before; with 0 at none. It must not be working.
func (d *Daemon) KillAt(n int) {
	d.t.Helper()
	// In this order: no moment counts for the number of another KillAt.
	for _, file := range []struct{ name, text string }{{"kill", "0"}, {"hits", ""}, {"kill", fmt.Sprint(n)}} {
		must(d.t, os.WriteFile(filepath.Join(d.faults, file.name), []byte(file.text), 0o600))
	}
}

// Disarm takes KillAt back, and lets the moments be as they are.
func (d *Daemon) Disarm() {
	d.t.Helper()
	must(d.t, os.WriteFile(filepath.Join(d.faults, "kill"), []byte("0"), 0o600))
}

// Moments are the moments that a daemon WithFaultPoints has reached since KillAt.
func (d *Daemon) Moments() []string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.faults, "hits"))
	must(d.t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")[:strings.Count(string(text), "\n")]
}
