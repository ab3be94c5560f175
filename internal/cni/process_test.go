package cni_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/cni"
)

func TestEndlessOutputIsCut(t *testing.T) {
	l := newLab(t)
	l.fifo("pid")
	l.plugin("fake", `sh -c 'echo $$ >$0/pid; while ! test -e $0/started; do :; done; exec yes' $state & wait`)
	done := make(chan error)
	go func() {
		_, err := l.runner().Add(context.Background(), network(t, "fake"), invocation())
		done <- err
	}()
	yes := l.process("pid")
	l.start()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "printed more than 1048576 bytes") {
		t.Errorf("got %v", err)
	}
	mustEnd(t, yes)
}

func TestHangingPluginEndsWithItsDescendants(t *testing.T) {
	for name, end := range map[string]struct {
		ctx  func() (context.Context, func())
		want error
		late bool
	}{
		"deadline": {func() (context.Context, func()) { d := newDeadline(); return d, func() { close(d.over) } }, cni.ErrTimeout, true},
		"client gone": {func() (context.Context, func()) {
			ctx, cancel := context.WithCancel(context.Background())
			return ctx, cancel
		}, context.Canceled, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.fifo("pid")
			l.plugin("fake", `trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & echo $! >$state/pid; wait; sleep 1000`)
			ctx, over := end.ctx()
			done := make(chan error)
			go func() {
				_, err := l.runner().Add(ctx, network(t, "fake"), invocation())
				done <- err
			}()
			grandchild := l.process("pid")
			over()
			err := <-done
			var failure *cni.PluginError
			if !errors.Is(err, end.want) || !errors.As(err, &failure) || failure.TimedOut != end.late {
				t.Errorf("got %v", err)
			}
			mustEnd(t, grandchild)
		})
	}
}

func TestOptionsTimeoutEndsAPlugin(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", `sleep 1000`)
	r := l.runner(func(o *cni.Options) { o.Timeout = 100 * time.Millisecond })
	if _, err := r.Add(t.Context(), network(t, "fake"), invocation()); !errors.Is(err, cni.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestDescendantsOfASuccessEndToo(t *testing.T) {
	l := newLab(t)
	l.fifo("pid")
	l.plugin("fake", `sleep 1000 & echo $! >$state/pid; while ! test -e $state/started; do :; done; echo '{"cniVersion":"1.0.0"}'`)
	done := make(chan error)
	go func() {
		_, err := l.runner().Add(context.Background(), network(t, "fake"), invocation())
		done <- err
	}()
	left := l.process("pid")
	l.start()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mustEnd(t, left)
}

func TestDescendantOutsideTheGroupDoesNotHoldUs(t *testing.T) {
	l := newLab(t)
	l.fifo("pid")
	l.plugin("fake", `setsid sh -c 'echo $$ >$0/pid; exec sleep 1000' $state & cat >/dev/null; echo '{"cniVersion":"1.0.0"}'; while ! test -e $state/started; do :; done`)
	var out bytes.Buffer
	r := l.runner(func(o *cni.Options) { o.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
	done := make(chan error)
	go func() {
		_, err := r.Add(context.Background(), network(t, "fake"), invocation())
		done <- err
	}()
	l.process("pid")
	l.start()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "left a process behind") {
		t.Errorf("logged %q", &out)
	}
}

func TestNothingRunsWhenTimeIsOverBefore(t *testing.T) {
	l := newLab(t)
	l.plugin("fake", logCalls+succeed)
	over := newDeadline()
	close(over.over)
	if _, err := l.runner().Add(over, network(t, "fake"), invocation()); !errors.Is(err, cni.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if calls := l.calls(); calls != nil {
		t.Errorf("ran %v", calls)
	}
}
