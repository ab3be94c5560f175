package stress

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

const (
	// seedEnv is the seed of another run.
	seedEnv = "NET_PORTER_TEST_SEED"
	// operationsEnv is how many operations to do if not randomOperations.
	operationsEnv = "NET_PORTER_TEST_OPERATIONS"
	randomSeed    = 1 // of a run that names none; the moments are others each time
	compareEvery  = 200
)

var randomOperations = length(500, 2000)

// world is a daemon, and what is believed of it: what podman knows of its containers.
type world struct {
	*crashed
	r       *rand.Rand
	tenants []*tenant

	mu     sync.Mutex
	told   []string // what was done
	faults []string // what went wrong
}

// tenant is a user with some containers, whose namespaces one process holds, as podman's
// pause process does.
type tenant struct {
	testlab.User
	any   *testlab.Container // of the process, to make others
	login func() (*testlab.Container, error)
	slots []*slot
}

// slot is a container that is run again and again.
type slot struct {
	w        *world
	of       *tenant
	number   int
	resource string

	// plan is what the operations that were decided upon come to.
	plan believed
	// id is the container's, also when it is not there.
	id string
	// c is nil while there is no namespace.
	c *testlab.Container
	// alive is the process in the container, 0 for none.
	alive    int
	attached bool
	answer   answer
}

// planned is an operation that was decided upon. All that is random of it was drawn then,
// so that the sequence depends on the seed alone, and not on who was faster.
type planned struct {
	name string
	run  func() error
}

// Three users and an administrator do what comes to their minds: the users at the same
// time, and the daemon is killed or restarted meanwhile. Whatever came of it, the end is
// what podman believes, with nothing missing and nothing left.
func TestRandomOperations(t *testing.T) {
	testlab.RequireRoot(t)
	t.Parallel()
	seed := fromEnv(t, seedEnv, randomSeed)
	count := fromEnv(t, operationsEnv, uint64(randomOperations))
	t.Logf("%s=%d repeats this sequence", seedEnv, seed) // also when it does not come to its end
	w := newWorld(t, seed)
	w.Start()
	began := time.Now()
	kinds := map[string]int{}
	for done, compared := 0, 0; done < int(count); {
		done += w.batch(kinds)
		if done-compared >= compareEvery {
			w.compare()
			compared = done
		}
		if w.reported() {
			return
		}
	}
	t.Logf("FIGURES: %d random operations of seed %d in %s: %v", count, seed, time.Since(began).Round(time.Second), kinds)
	w.finish()
	w.reported()
}

func fromEnv(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// batch has some users do some operations each, at the same time as the administrator one
// of theirs, and returns how many that were.
func (w *world) batch(kinds map[string]int) int {
	var plans [][]planned
	fault := w.r.IntN(100)
	for _, of := range w.tenants {
		var plan []planned
		for range 1 + w.r.IntN(3) {
			plan = append(plan, of.plan(fault >= 12))
		}
		plans = append(plans, plan)
	}
	switch {
	case fault < 6:
		n := 1 + w.r.IntN(40)
		plans = append(plans, []planned{{fmt.Sprintf("crash of the daemon at its moment %d", n), nil}})
		w.KillAt(n)
	case fault < 8:
		plans = append(plans, []planned{{"reconfiguration", w.reconfigure}})
	case fault < 12:
		plans = append(plans, []planned{{"restart of the daemon", w.restart}})
	}
	stop := make(chan struct{})
	var systemd sync.WaitGroup
	if fault < 6 {
		systemd.Go(func() { w.keepRunning(stop) })
	}
	w.all(plans)
	close(stop)
	systemd.Wait()
	count := 0
	for _, plan := range plans {
		count += len(plan)
		for _, p := range plan {
			kind, _, _ := strings.Cut(p.name, " ")
			kinds[kind]++
		}
	}
	return count
}

// all carries plans out at the same time, each by itself in its order.
func (w *world) all(plans [][]planned) {
	var users sync.WaitGroup
	for _, plan := range plans {
		users.Go(func() {
			for _, p := range plan {
				w.do(p)
			}
		})
	}
	users.Wait()
}

func (w *world) do(p planned) {
	w.mu.Lock()
	w.told = append(w.told, time.Now().UTC().Format("15:04:05.000")+" "+p.name)
	w.mu.Unlock()
	if p.run == nil {
		return
	}
	if err := p.run(); err != nil {
		w.fault(fmt.Errorf("%s: %w", p.name, err))
	}
}

func (w *world) fault(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, time.Now().UTC().Format("15:04:05.000")+" "+err.Error())
}

// reported fails the test with what went wrong, and what was done before.
func (w *world) reported() bool {
	w.t.Helper()
	if len(w.faults) == 0 {
		return false
	}
	w.t.Errorf("%s\nafter these operations:\n%s", strings.Join(w.faults, "\n"), strings.Join(w.told[max(0, len(w.told)-60):], "\n"))
	return true
}

// restart is that of systemctl.
func (w *world) restart() error {
	w.Stop()
	return w.TryStart()
}

// reconfigure changes what does not concern anybody, and has it put in force.
func (w *world) reconfigure() error {
	before := w.Metric(reloads)
	w.Configure(func(config map[string]any) {
		config["log"] = map[string]any{"level": []string{"info", "debug"}[int(before)%2]}
	})
	if err := unix.Kill(w.PID(), unix.SIGHUP); err != nil {
		return err
	}
	if !w.soon(func() bool { return w.Metric(reloads) > before }) {
		return errors.New("the configuration is not read again")
	}
	return nil
}

const reloads = `net_porter_config_reloads_total{outcome="ok"}`

// keepRunning starts the daemon again when it has killed itself, as systemd does; if it has
// not come to that when the others are done, it is killed then.
func (w *world) keepRunning(stop <-chan struct{}) {
	select {
	case <-w.Ended():
	case <-stop:
	}
	w.KillWhole()
	w.Disarm()
	if err := w.TryStart(); err != nil {
		w.fault(err)
	}
}

// endProcess kills the process in the container.
func (s *slot) endProcess() {
	if s.alive > 0 {
		_ = unix.Kill(s.alive, unix.SIGKILL)
		s.alive = 0
	}
}
