package stress

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// believed is what the plan has come to for a slot, which is known before it is done.
type believed struct{ there, attached, alive bool }

// plan draws an operation that podman could do now. calm: the daemon is left in peace.
func (of *tenant) plan(calm bool) planned {
	r := of.slots[0].w.r
	if r.IntN(100) < 1 {
		for _, s := range of.slots {
			s.plan = believed{}
		}
		return planned{fmt.Sprintf("pause process of %d is killed", of.UID), of.killPause}
	}
	s := of.slots[r.IntN(len(of.slots))]
	return s.draw(calm)
}

// draw decides on an operation, and on what is believed afterwards.
func (s *slot) draw(calm bool) planned {
	r := s.w.r
	what := func(name string, run func() error) planned {
		return planned{fmt.Sprintf("%s %d/%d (%s)", name, s.of.UID, s.number, s.resource), run}
	}
	before, coin := s.plan, r.IntN(2) == 0
	switch {
	case !before.there:
		s.plan = believed{true, true, r.IntN(3) == 0}
		alive := s.plan.alive
		if r.IntN(8) == 0 {
			return s.drawHangUp(what, alive)
		}
		return what("run", func() error { return errors.Join(s.make(coin, alive), s.attach()) })
	case !before.attached && coin:
		s.plan = believed{}
		return what("remove", s.remove)
	case !before.attached && r.IntN(3) == 0:
		s.plan.attached = true
		return s.drawHangUp(what, before.alive)
	case !before.attached:
		s.plan.attached = true
		return what("connect", s.attach)
	}
	switch n := r.IntN(11); {
	case n < 3:
		s.plan = believed{}
		return what("stop", func() error { return errors.Join(s.detach(coin), s.remove()) })
	case n < 4:
		s.plan.attached = false
		return what("disconnect", func() error { return s.detach(true) })
	case n < 6:
		s.plan = believed{}
		return what("lose", s.remove)
	case n < 7 && before.alive:
		s.plan = believed{}
		return what("outlive", s.outlive)
	case n < 8 && before.alive:
		s.plan.alive = false
		return what("replace", s.replace)
	case n < 9 && calm: // what was had a moment ago, a daemon knows of its own life
		return what("reload", s.reload)
	case n < 10:
		s.plan = believed{}
		return what("kill", func() error { s.endProcess(); return errors.Join(s.detach(coin), s.remove()) })
	default:
		return what("again", func() error { return expectStatus(http.StatusConflict)(s.persist(s.tryAttach)) })
	}
}

// drawHangUp is an attach whose caller is gone before it is done. Podman removes the
// namespace then, and the user runs it again; or the plugin's user tries again.
func (s *slot) drawHangUp(what func(string, func() error) planned, alive bool) planned {
	after, remove := time.Duration(1+s.w.r.IntN(60))*time.Millisecond, s.w.r.IntN(2) == 0
	return what(fmt.Sprintf("hangup after %s, remove %v:", after, remove), func() error {
		if s.c == nil {
			if err := s.make(false, alive); err != nil {
				return err
			}
		}
		_, _ = s.w.HangUpAttach(s.c.Sandbox, s.resource, s.c.AttachBody(), after)
		if remove {
			if err := errors.Join(s.remove(), s.make(true, alive)); err != nil {
				return err
			}
		}
		return s.attachLost(true)
	})
}

// make makes the container's namespace: of the same container that starts again, or of
// another of its name.
func (s *slot) make(same, alive bool) error {
	c, err := s.of.any.TryAnother()
	if err != nil {
		return err
	}
	c.Name = fmt.Sprintf("web-%d-%d", s.of.UID, s.number)
	if same && s.id != "" {
		c.ID = s.id
	}
	s.c, s.id = c, c.ID
	if alive {
		s.alive, err = c.Live()
	}
	return err
}

func (s *slot) tryAttach() (testlab.Response, error) {
	return s.w.TryAttach(s.c.Sandbox, s.resource, s.c.AttachBody())
}

func (s *slot) attach() error { return s.attachLost(false) }

// attachLost attaches as the plugin does: when an answer was lost, the interface that is
// there already is made anew.
func (s *slot) attachLost(lost bool) error {
	r, again, err := s.persistLost(s.tryAttach)
	if err == nil && (lost || again) && r.Status == http.StatusConflict {
		if err := s.detach(true); err != nil {
			return err
		}
		r, err = s.persist(s.tryAttach)
	}
	if err != nil {
		return err
	}
	s.answer, err = decode(r)
	s.attached = err == nil
	return err
}

// detach detaches, with the namespace shown or without.
func (s *slot) detach(shown bool) error {
	body := s.c.DetachBody()
	if !shown {
		delete(body, "netns")
	}
	s.attached = false
	return expectStatus(http.StatusNoContent)(s.persist(func() (testlab.Response, error) {
		return s.w.TryDetach(s.c.Sandbox, s.resource, body)
	}))
}

// remove takes the namespace away, and what lives in it, without a word to the daemon.
func (s *slot) remove() error {
	_, err := s.c.Sandbox.Try("umount", s.c.Netns)
	s.endProcess()
	s.c, s.attached = nil, false
	return err
}

// outlive takes the namespace's name away: as long as a process lives in it, its interface
// has to be there.
func (s *slot) outlive() error {
	if _, err := s.c.Sandbox.Try("umount", s.c.Netns); err != nil {
		return err
	}
	err := s.w.lan.TryPing(s.answer.ip())
	s.endProcess()
	s.c, s.attached = nil, false
	return err
}

// replace starts the container again while a process still lives in its last namespace,
// where nothing must be left to use its address.
func (s *slot) replace() error {
	past := s.alive
	if _, err := s.c.Sandbox.Try("umount", s.c.Netns); err != nil {
		return err
	}
	s.alive = 0
	err := errors.Join(s.make(true, false), s.attach())
	links, linksErr := s.c.Sandbox.Try("links", fmt.Sprintf("/proc/%d/ns/net", past))
	if linksErr == nil && links != "lo" {
		linksErr = fmt.Errorf("in the last namespace are %q", links)
	}
	s.alive = past
	s.endProcess()
	return errors.Join(err, linksErr)
}

// reload is `podman network reload`: down and up in the same namespace, with the addresses
// of before as static ones, each twice.
func (s *slot) reload() error {
	mac, ip := s.answer.Interfaces[0].MAC, s.answer.ip()
	if err := s.detach(true); err != nil {
		return err
	}
	body := s.c.AttachBody()
	body["static_ips"], body["static_mac"] = []string{ip.String(), ip.String()}, mac
	r, err := s.persist(func() (testlab.Response, error) { return s.w.TryAttach(s.c.Sandbox, s.resource, body) })
	if err != nil {
		return err
	}
	s.answer, err = decode(r)
	s.attached = err == nil
	if err == nil && s.resource == "host-local" && s.answer.Interfaces[0].MAC == mac {
		return nil // the pool is everybody's: the address may be another's by now
	}
	if err == nil && (s.answer.ip() != ip || s.answer.Interfaces[0].MAC != mac) {
		err = fmt.Errorf("it has %s and %s, and had %s and %s", s.answer.ip(), s.answer.Interfaces[0].MAC, ip, mac)
	}
	return err
}

// killPause kills the process that holds the user's namespaces, and all that the user runs.
func (of *tenant) killPause() error {
	of.any.Sandbox.Kill()
	for _, s := range of.slots {
		s.endProcess()
		s.c, s.attached = nil, false
	}
	var err error
	of.any, err = of.login()
	return err
}

func (s *slot) persist(request func() (testlab.Response, error)) (testlab.Response, error) {
	r, _, err := s.persistLost(request)
	return r, err
}

// persistLost makes a request until it is answered, as the plugin does, and tells whether
// an answer was lost.
func (s *slot) persistLost(request func() (testlab.Response, error)) (r testlab.Response, lost bool, err error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if r, err = request(); err == nil || time.Now().After(end) {
			return r, lost, err
		}
		lost = true
	}
}

// expectStatus wants an answer of a status.
func expectStatus(status int) func(testlab.Response, error) error {
	return func(r testlab.Response, err error) error {
		if err == nil && r.Status != status {
			err = fmt.Errorf("the answer is %d %s, want %d", r.Status, strings.TrimSpace(string(r.Body)), status)
		}
		return err
	}
}
