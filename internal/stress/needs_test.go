package stress

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// What the daemon may need, also for a thousand leases.
const (
	maxRSS     = 64 // MiB
	maxThreads = 40
)

// sampler looks at a process again and again, as the most threads are told by nobody.
type sampler struct {
	stop    chan struct{}
	sampled sync.WaitGroup
	threads int
}

func sample(pid int) *sampler {
	s := &sampler{stop: make(chan struct{})}
	s.sampled.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			if tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid)); err == nil {
				s.threads = max(s.threads, len(tasks))
			}
			select {
			case <-tick.C:
			case <-s.stop:
				return
			}
		}
	})
	return s
}

// most is the most threads that were seen.
func (s *sampler) most() int {
	close(s.stop)
	s.sampled.Wait()
	return s.threads
}

// sockets counts the daemon's, and what pins a network namespace beside its own.
func (l *lab) sockets() (sockets, namespaces int) {
	l.t.Helper()
	for _, open := range l.FDs() {
		switch {
		case strings.HasPrefix(open, "socket:"):
			sockets++
		case strings.HasPrefix(open, "net:"):
			namespaces++
		}
	}
	return sockets, namespaces
}

// wantWithin fails the test if the daemon needs more than it may, and says what it needs.
// One with the race detector may need what it likes.
func (l *lab) wantWithin(what string, threads int) {
	l.t.Helper()
	l.t.Logf("%s: the most RSS was %.1f MiB, now it is %.1f; the most threads were %d", what, l.PeakRSS(), l.RSS(), threads)
	if testlab.Race {
		return
	}
	if rss := l.PeakRSS(); rss > maxRSS {
		l.t.Errorf("%s: the daemon has needed %.1f MiB, want at most %d", what, rss, maxRSS)
	}
	if threads > maxThreads {
		l.t.Errorf("%s: the daemon has had %d threads, want at most %d", what, threads, maxThreads)
	}
}
