package selfcheck

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

var errBroken = errors.New("broken")

// bench is a Checker whose rounds the test makes, with outcomes that it says.
type bench struct {
	t *testing.T
	*Checker
	err map[string]error
	log bytes.Buffer
	saw map[string]error // by Observe
}

func newBench(t *testing.T, names ...string) *bench {
	b := &bench{t: t, err: map[string]error{}, saw: map[string]error{}}
	var checks []Check
	for _, name := range names {
		checks = append(checks, Check{Name: name, Run: func(context.Context) error { return b.err[name] }})
	}
	b.Checker = New(Options{
		Checks: checks, Every: time.Hour,
		Observe: func(name string, err error) { b.saw[name] = err }, Logger: slog.New(slog.NewTextHandler(&b.log, nil)),
	})
	return b
}

// want makes a round and fails the test if it comes to something else.
func (b *bench) want(what string, well, alive bool, failing ...string) {
	b.t.Helper()
	gotWell, gotAlive := b.round(b.t.Context())
	var got []string
	for _, f := range b.Failing() {
		got = append(got, f.Name)
	}
	if gotWell != well || gotAlive != alive || strings.Join(got, " ") != strings.Join(failing, " ") {
		b.t.Errorf("%s: well %v, alive %v, failing %v; want %v, %v, %v", what, gotWell, gotAlive, got, well, alive, failing)
	}
	for name, err := range b.err {
		if b.saw[name] != err {
			b.t.Errorf("%s: of %s was observed %v, want %v", what, name, b.saw[name], err)
		}
	}
}

// The watchdog hears nothing while any check fails, except for those that never passed:
// a start has not mended them.
func TestWhatStopsTheWatchdog(t *testing.T) {
	b := newBench(t, "socket", "journal")
	b.err["journal"] = errBroken
	b.want("never passed", false, true, "journal")
	b.want("still not", false, true, "journal")
	b.err["socket"] = errBroken
	b.want("one that has passed fails as well", false, false, "socket", "journal")
	b.err["socket"], b.err["journal"] = nil, nil
	b.want("all pass", true, true)
	b.err["journal"] = errBroken
	for range 3 {
		b.want("fails now", false, false, "journal")
	}
	b.err["journal"] = nil
	b.want("mended", true, true)
	if n := strings.Count(b.log.String(), "level=ERROR"); n != 3 {
		t.Errorf("logged %d times that a check fails, want once for each change:\n%s", n, &b.log)
	}
	if n := strings.Count(b.log.String(), "passes again"); n != 3 {
		t.Errorf("logged %d times that a check passes again:\n%s", n, &b.log)
	}
}

// A check that hangs has failed, holds up no other, and is not made again beside itself.
func TestCheckThatHangs(t *testing.T) {
	b := newBench(t, "other")
	hang := make(chan struct{})
	begun := make(chan struct{}, 9)
	b.options.Every = 400 * time.Millisecond
	b.options.Checks = append(b.options.Checks, Check{Name: "disk", Run: func(context.Context) error {
		begun <- struct{}{}
		<-hang
		return nil
	}})
	b.states = append(b.states, state{passed: true})
	b.want("it hangs", false, false, "disk")
	b.want("it still hangs", false, false, "disk")
	if n := len(begun); n != 1 {
		t.Errorf("it was made %d times at once", n)
	}
	b.options.Every = time.Hour
	b.options.Checks[0].Run = func(context.Context) error { close(hang); return nil }
	b.want("it ends in the middle of a round", true, true)
	if n := len(begun); n != 1 {
		t.Errorf("it was made %d times", n)
	}
}

// What fails because the daemon ends is no failure.
func TestEndIsNoFailure(t *testing.T) {
	b := newBench(t)
	ctx, stop := context.WithCancel(t.Context())
	b.options.Checks = []Check{{Name: "socket", Run: func(context.Context) error { stop(); return errBroken }}}
	b.options.Every, b.options.Alive, b.options.After = time.Second, func() { t.Error("fed") }, func() {}
	b.states = []state{{passed: true}}
	b.Run(ctx)
	if b.log.Len() > 0 || len(b.Failing()) > 0 {
		t.Errorf("failing are %v; logged was %s", b.Failing(), &b.log)
	}
}

// It goes on and on, and feeds the watchdog each time.
func TestRun(t *testing.T) {
	b := newBench(t, "socket")
	ctx, stop := context.WithCancel(t.Context())
	fed := 0
	b.options.Every, b.options.After = time.Millisecond, func() {}
	b.options.Alive = func() {
		if fed++; fed == 3 {
			stop()
		}
	}
	b.Run(ctx)
}
