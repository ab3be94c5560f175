package stress

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// crashed is a lab of the crash matrix: one user, one container at a time, and a daemon
// with fault points.
type crashed struct {
	*lab
	chain
	pool string // host-local's folder
	c    *testlab.Container
	// past holds the namespace that c had before, where an operation is about that.
	past *testlab.Netns
	// unrecorded are what the server has granted to a daemon that was dead before it could
	// write it down: nobody can give that back before its time is over.
	unrecorded map[string]bool
	// turn is whether what podman does is before or after the daemon's start: by moments
	// in turn, and by chains, so that each moment is followed by both.
	first, turn int
	// lasts has what killAtLast has learnt.
	lasts map[string]int
}

// chain is one of those that the matrix is about; %[1]q is the parent, %[2]q host-local's
// folder.
type chain struct{ name, plugins string }

const byHostLocal = `{"type":"macvlan","master":%[1]q,"ipam":{"type":"host-local","dataDir":%[2]q,"subnet":"192.0.2.0/24","rangeStart":"192.0.2.210","rangeEnd":"192.0.2.219"}}`

var chains = []chain{
	{"static", `{"type":"macvlan","master":%[1]q,"ipam":{"type":"static","addresses":[{"address":"192.0.2.50/24"}]}}`},
	{"host-local", byHostLocal},
	{"dhcp", `{"type":"macvlan","master":%[1]q,"ipam":{"type":"dhcp"}}`},
	{"tuning and sbr", byHostLocal + `,{"type":"tuning","mtu":1400},{"type":"sbr"}`},
}

// operation is what the daemon is killed in.
type operation struct {
	name string
	// prepare comes before the moments are counted.
	prepare func(l *crashed)
	// do returns when the operation is over, or the daemon is dead; then with its error.
	do func(l *crashed) error
	// next are what podman may do afterwards, each in a run of its own.
	next []next
}

// next is what podman does, and whether it then has the container attached. The daemon is
// dead, and is to be started again.
type next struct {
	name     string
	do       func(l *crashed) error
	attached bool
	// again: an attach of the same is made, so that what the server has granted to a daemon
	// that did not live to write it down is granted again, and known.
	again bool
}

// matrix counts over all chains.
type matrix struct {
	sync.Mutex
	points, runs, failures int
}

// The daemon is killed with -9 at each write of its state, around each run of a plugin,
// and around all else that it changes. After the next start all that there is has to be
// what podman believes that there is.
func TestCrashMatrix(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	program := testlab.WithFaultPoints(t)
	var m matrix
	t.Run("", func(t *testing.T) {
		for i, c := range chains {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				l := newCrashed(t, c, program)
				l.first = i
				l.Start()
				points := 0
				for _, op := range operations(l) {
					points += l.killedIn(&m, op)
				}
				if points < 100 {
					t.Errorf("%d points are not all of them", points)
				}
			})
		}
	})
	t.Logf("FIGURES: crash matrix: %d points, %d failures (of %d kills)", m.points, m.failures, m.runs)
}

// killedIn kills the daemon at each moment of an operation, until it comes to its end, and
// returns how many that were.
func (l *crashed) killedIn(m *matrix, op operation) (points int) {
	l.t.Helper()
	for n := 1; ; n++ {
		l.turn = l.first + n
		for _, next := range l.nextOf(op, n) {
			l.KillAt(0)
			op.prepare(l)
			l.KillAt(n)
			err := op.do(l)
			l.Disarm()
			moments := l.Moments()
			if len(moments) < n {
				if err != nil {
					l.t.Errorf("%s: %v", op.name, err)
				}
				l.afresh()
				l.t.Logf("%s: %d points", op.name, n-1)
				m.count(n - 1)
				return n - 1
			}
			l.KillWhole()
			moment := moments[n-1]
			problems := l.after(moment, next)
			m.ran(len(problems) > 0)
			for _, problem := range problems {
				l.t.Errorf("%s, killed at its moment %d, %q, then %s: %v", op.name, n, moment, next.name, problem)
			}
			if len(problems) > 0 {
				l.wipe()
			}
			l.afresh()
		}
	}
}

// nextOf is what is to come after an operation's moment n: in a long run everything that
// may, else one thing, in turn by moments and by chains.
func (l *crashed) nextOf(op operation, n int) []next {
	every := length(1, len(op.next))
	i := (n + l.first/2) % len(op.next)
	return slices.Concat(op.next[i:], op.next[:i])[:every]
}

func (m *matrix) count(points int) {
	m.Lock()
	defer m.Unlock()
	m.points += points
}

func (m *matrix) ran(failed bool) {
	m.Lock()
	defer m.Unlock()
	m.runs++
	if failed {
		m.failures++
	}
}

// after lets podman go on, and tells what is not as it believes.
func (l *crashed) after(moment string, next next) []error {
	l.t.Helper()
	if moment == "before lease write" && !next.again && len(l.files("leases")) == 0 {
		// The server has sent its ACK, and writes that down a moment later.
		if !l.soon(func() bool { return len(l.serverLeases()) == len(l.unrecorded)+1 }) {
			return []error{fmt.Errorf("the server has no lease more than %v", l.unrecorded)}
		}
		l.unrecorded = l.serverLeases()
	}
	if err := next.do(l); err != nil {
		return []error{err}
	}
	problems := l.differences(next.attached)
	if next.attached && len(problems) == 0 {
		if err := l.expect(204, l.detachShown); err != nil {
			return []error{err}
		}
		problems = l.differences(false)
	}
	return problems
}
