package netns

import (
	"context"
	"sync"
)

// slots bounds what each user has in progress at a time. The zero value is not
// usable.
type slots struct {
	perUser int

	mu sync.Mutex
	by map[uint32]*userSlots
}

type userSlots struct {
	taken chan struct{} // as full as slots are taken
	users int           // who holds or waits for one
}

func newSlots(perUser int) *slots {
	return &slots{perUser: perUser, by: map[uint32]*userSlots{}}
}

// take waits for a slot of the user's, and returns the function that gives it back,
// or false when ctx ends first.
func (s *slots) take(ctx context.Context, uid uint32) (release func(), ok bool) {
	s.mu.Lock()
	u := s.by[uid]
	if u == nil {
		u = &userSlots{taken: make(chan struct{}, s.perUser)}
		s.by[uid] = u
	}
	u.users++
	s.mu.Unlock()

	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		u.users--
		if u.users == 0 {
			delete(s.by, uid) // or the map would grow with every user ever seen
		}
	}
	select {
	case u.taken <- struct{}{}:
		return func() { <-u.taken; leave() }, true
	case <-ctx.Done():
		leave()
		return nil, false
	}
}
