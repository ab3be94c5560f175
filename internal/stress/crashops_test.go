package stress

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/net-porter/net-porter/internal/testlab"
)

// operations are those of the matrix. The last of them need to know the moments of the
// others, which they look up when they are prepared.
func operations(l *crashed) []operation {
	attach := func(l *crashed) error { return l.expect(http.StatusOK, l.attachIt) }
	fail := func(l *crashed) error { return l.expect(http.StatusBadGateway, l.attachFailing) }
	detach := func(l *crashed) error { return l.expect(http.StatusNoContent, l.detachShown) }
	gone := func(l *crashed) error { l.removeNamespace(); return l.emptied() }
	nothing := func(*crashed) {}
	attached := func(l *crashed) { l.must(attach(l)) }
	// Podman got an error, and takes the namespace away: before or after the daemon is back.
	failed := next{"the namespace is removed", func(l *crashed) error {
		if l.turn%2 == 0 {
			l.removeNamespace()
			l.Start()
			return l.emptied()
		}
		l.Start()
		return gone(l)
	}, false, false}
	repeated := next{"the attach is repeated", func(l *crashed) error { l.Start(); return l.attachAgain() }, true, true}
	started := []next{{"the daemon is started", func(l *crashed) error { l.Start(); return l.emptied() }, false, false}}
	all := []operation{
		{"attach", nothing, attach, []next{failed, repeated}},
		{"attach that fails", nothing, fail, []next{failed, next{"the attach fails again", func(l *crashed) error { l.Start(); return fail(l) }, false, true}}},
		{"detach", attached, detach, []next{failed, next{"the detach is repeated", func(l *crashed) error { l.Start(); return detach(l) }, false, false}}},
		{"detach without the namespace", attached, func(l *crashed) error {
			return l.expect(http.StatusNoContent, func() (testlab.Response, error) {
				body := l.c.DetachBody()
				delete(body, "netns")
				return l.TryDetach(l.c.Sandbox, resource, body)
			})
		}, []next{failed}},
		{"attach over a predecessor", func(l *crashed) { attached(l); l.past = l.c.Open(); l.replaceNamespace() }, attach, []next{failed, repeated}},
		{"the namespace's death", attached, gone, started},
		{"recovery of an attach", func(l *crashed) {
			l.killAtLast("after plugin", nothing, attach)
			l.removeNamespace()
		}, (*crashed).startEmptied, started},
		{"recovery of a detach", func(l *crashed) {
			l.killAtLast("before plugin", attached, detach)
			l.removeNamespace()
		}, (*crashed).startEmptied, started},
		{"recovery of a death", func(l *crashed) {
			attached(l)
			l.KillWhole()
			l.removeNamespace()
		}, (*crashed).startEmptied, started},
		{"recovery without a record", func(l *crashed) {
			attached(l)
			l.KillWhole()
			l.removeNamespace()
			l.must(os.RemoveAll(filepath.Join(l.StateDir, "attachments")))
			if l.name == "host-local" { // which is then all that knows of it
				l.must(os.RemoveAll(filepath.Join(l.StateDir, "cni")))
			}
		}, (*crashed).startCleaned, []next{{"the daemon is started", (*crashed).startCleaned, false, false}}},
		{"recovery of an attach that is repeated", func(l *crashed) {
			l.killAtLast("after plugin", nothing, attach)
		}, func(l *crashed) error {
			if err := l.TryStart(); err != nil {
				return err
			}
			return l.attachAgain()
		}, []next{repeated}},
	}
	if !strings.Contains(l.plugins, "sbr") { // macvlan's CHECK misses the routes that sbr has moved to a table of its own
		all = append(all, operation{"check", attached, (*crashed).check, []next{{"the daemon is started", func(l *crashed) error { l.Start(); return l.check() }, true, false}}})
	}
	return all
}

// check has CNI CHECK run, which has to find nothing.
func (l *crashed) check() error {
	r, err := l.TryHTTP(testlab.Request{Method: http.MethodPost, Path: "/v1/attachments/" + l.id() + "/check"})
	var found struct{ Consistent bool }
	if err == nil {
		err = json.Unmarshal(r.Body, &found)
	}
	if err == nil && !found.Consistent {
		err = fmt.Errorf("the attachment has changed: %d %s", r.Status, r.Body)
	}
	return err
}

func (l *crashed) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// attachAgain attaches as a plugin does that got no answer: when the interface is there
// already, the answer was all that was lost (internal/plugin/repeat.go).
func (l *crashed) attachAgain() error {
	r, err := l.attachIt()
	if err == nil && r.Status == http.StatusConflict {
		if err := l.expect(http.StatusNoContent, l.detachShown); err != nil {
			return err
		}
		r, err = l.attachIt()
	}
	return l.expect(http.StatusOK, func() (testlab.Response, error) { return r, err })
}

// startEmptied starts the daemon, and waits until it has released everything.
func (l *crashed) startEmptied() error {
	if err := l.TryStart(); err != nil {
		return err
	}
	return l.emptied()
}

// startCleaned starts the daemon, and waits until it has found and removed what nobody
// owns, of which the list of attachments tells nothing.
func (l *crashed) startCleaned() error {
	if err := l.TryStart(); err != nil {
		return err
	}
	var err error
	if !l.soon(func() bool {
		if err = l.emptied(); err != nil {
			return true
		}
		return len(l.pooled())+len(l.files("cni"))+len(l.files("leases"))+len(l.files("attachments")) == 0
	}) {
		return fmt.Errorf("there is still %q, %q, %q", l.pooled(), l.files("cni"), l.files("leases"))
	}
	return err
}

// killAtLast kills the daemon at the last moment that begins so of what do does, which it
// learns by doing it once with another container.
func (l *crashed) killAtLast(moment string, prepare func(*crashed), do func(*crashed) error) {
	l.t.Helper()
	at, known := l.lasts[moment]
	if !known {
		prepare(l)
		l.KillAt(0)
		l.must(do(l))
		for i, m := range l.Moments() {
			if strings.HasPrefix(m, moment) {
				at = i + 1
			}
		}
		l.lasts[moment] = at
		l.afresh()
	}
	prepare(l)
	l.KillAt(at)
	if err := do(l); err == nil {
		l.t.Fatalf("the daemon has not come to its moment %d, %q", at, moment)
	}
	l.KillWhole()
}
