package stress

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{r: rand.New(rand.NewPCG(seed, 0))}
	w.crashed = &crashed{pool: filepath.Join(testlab.PublicDir(t), "pool")}
	w.lab = &lab{t: t, lan: testlab.NewLAN(t, testlab.WithParent(fmt.Sprintf("lan%d", labs.Add(1))))}
	w.must(w.lan.Do(prepareBigLAN))
	parent := w.lan.ParentName
	var users []testlab.User
	for n := range uint32(3) {
		users = append(users, testlab.User{UID: 60410 + n, GID: 60410 + n})
	}
	resources := []testlab.Resource{
		{Name: "dhcp", Users: users, Plugins: fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"dhcp"}}`, parent)},
		{Name: "host-local", Users: users, Plugins: w.fromPool(0)},
	}
	for i, u := range users {
		static, own := fmt.Sprintf("static-%d", i), fmt.Sprintf("host-local-%d", i)
		resources = append(resources, testlab.Resource{Name: static, Users: []testlab.User{u}, Plugins: fmt.Sprintf(
			`{"type":"macvlan","master":%q,"ipam":{"type":"static","addresses":[{"address":"192.0.2.%d/24"}]}},{"type":"tuning","mtu":1400}`, parent, 50+i)},
			testlab.Resource{Name: own, Users: []testlab.User{u}, Plugins: w.fromPool(1 + i)})
		of := &tenant{User: u}
		w.tenants = append(w.tenants, of)
		for number, resource := range []string{static, "host-local", own, "dhcp", "dhcp", "dhcp"} {
			of.slots = append(of.slots, &slot{w: w, of: of, number: number, resource: resource})
		}
		of.login = func() (*testlab.Container, error) { return u.Containers(t, 1)[0], nil }
		of.any, _ = of.login()
	}
	w.Daemon = testlab.NewDaemon(t, testlab.WithFaultPoints(t), testlab.WithResources(resources...))
	return w
}

// fromPool is a chain with one of host-local's pools.
func (w *world) fromPool(n int) string {
	return fmt.Sprintf(`{"type":"macvlan","master":%q,"ipam":{"type":"host-local","dataDir":%q,"subnet":"198.18.0.0/16",`+
		`"rangeStart":"198.18.%[3]d.10","rangeEnd":"198.18.%[3]d.250"}}`, w.lan.ParentName, w.pool, n)
}

// compare waits until everything is as the users believe, and tells what is not.
func (w *world) compare() {
	w.t.Helper()
	var wrong []error
	if !w.soon(func() bool { wrong = w.wrong(); return len(wrong) == 0 }) {
		w.fault(errors.Join(wrong...))
	}
	for _, s := range w.slots() {
		if s.attached {
			if err := w.lan.TryPing(s.answer.ip()); err != nil {
				w.fault(fmt.Errorf("%d/%d (%s): %w", s.of.UID, s.number, s.resource, err))
			}
		}
	}
}

func (w *world) slots() (all []*slot) {
	for _, of := range w.tenants {
		all = append(all, of.slots...)
	}
	return all
}

// wrong are the differences between what there is and what is believed.
func (w *world) wrong() (problems []error) {
	w.t.Helper()
	want := map[string][]string{}
	granted := w.serverLeases()
	all := w.attachments()
	for _, s := range w.slots() {
		if s.c == nil {
			continue
		}
		links := "lo"
		if s.attached {
			key := fmt.Sprintf("%d.%s@%s", s.of.UID, s.c.ID, ifname)
			want["attachments"] = append(want["attachments"], s.c.ID+" "+s.answer.ip().String())
			want["journal"] = append(want["journal"], key+".json")
			want["CNI's cache"] = append(want["CNI's cache"], key)
			switch {
			case s.resource == "dhcp":
				want["leases"] = append(want["leases"], key+"@4.json")
				if !granted[s.answer.ip().String()] {
					problems = append(problems, fmt.Errorf("%d/%d: the server has no lease of %s", s.of.UID, s.number, s.answer.ip()))
				}
			case strings.HasPrefix(s.resource, "host-local"):
				want["host-local's files"] = append(want["host-local's files"], s.answer.ip().String())
			}
			links = ifname + "\nlo"
		}
		if got, err := s.c.Sandbox.Try("links", s.c.Netns); err != nil || sorted(strings.Fields(got)) != links {
			problems = append(problems, fmt.Errorf("%d/%d (%s): the links are %q, want %q (%w)", s.of.UID, s.number, s.resource, got, links, err))
		}
	}
	var attached []string
	for id, a := range all {
		attached = append(attached, id+" "+a.ip().String())
	}
	for what, got := range map[string][]string{
		"attachments": attached, "journal": w.files("attachments"), "CNI's cache": w.files("cni"),
		"leases": w.files("leases"), "host-local's files": w.pooled(),
	} {
		if sorted(got) != sorted(want[what]) {
			problems = append(problems, fmt.Errorf("%s: %q, want %q", what, got, want[what]))
		}
	}
	if got := w.leases(); got != len(want["leases"]) {
		problems = append(problems, fmt.Errorf("%d leases in the metrics, want %d", got, len(want["leases"])))
	}
	return problems
}

func sorted(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// finish runs everything that is not running, and then ends it in different ways.
func (w *world) finish() {
	w.t.Helper()
	w.each(func(s *slot) error {
		switch {
		case s.c == nil:
			return errors.Join(s.make(true, false), s.attach())
		case !s.attached:
			return s.attach()
		}
		return nil
	})
	w.compare()
	w.each(func(s *slot) error {
		if s.number%2 == 0 {
			return s.remove()
		}
		return errors.Join(s.detach(s.number < 3), s.remove())
	})
	w.compare()
	// By now each name has got its address again that a daemon was dead to remember.
	if !w.soon(func() bool { return len(w.serverLeases()) == 0 }) {
		w.fault(fmt.Errorf("the server still has leases of %v", slices.Collect(maps.Keys(w.serverLeases()))))
	}
	if !w.soon(func() bool { return len(w.Processes()) == 1 }) {
		w.fault(fmt.Errorf("the daemon has left processes: %v", w.Processes()))
	}
}

// each does something to all containers, those of a user one after another.
func (w *world) each(do func(*slot) error) {
	var plans [][]planned
	for _, of := range w.tenants {
		var plan []planned
		for _, s := range of.slots {
			plan = append(plan, planned{fmt.Sprintf("end of %d/%d", s.of.UID, s.number), func() error { return do(s) }})
		}
		plans = append(plans, plan)
	}
	w.all(plans)
}
