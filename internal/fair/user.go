package fair

import "slices"

// user is somebody who has turns, or waits for some.
type user struct {
	running int
	waiting [kinds][]*waiter // each in the order of their arrival
}

type waiter struct {
	arrival uint64
	called  chan struct{} // closed when the wait is over
	err     error         // why there is no turn; to be read once called
}

// oldest is the user's waiter who came first, or nil.
func (u *user) oldest() *waiter {
	var oldest *waiter
	for _, line := range u.waiting {
		if len(line) > 0 && (oldest == nil || line[0].arrival < oldest.arrival) {
			oldest = line[0]
		}
	}
	return oldest
}

// take takes the user's next waiter, of whom there is one, out of the line.
func (u *user) take() *waiter {
	kind := Make
	if len(u.waiting[Remove]) > 0 {
		kind = Remove
	}
	w := u.waiting[kind][0]
	u.waiting[kind] = slices.Delete(u.waiting[kind], 0, 1)
	return w
}
