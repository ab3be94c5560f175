package nss

import (
	"context"
	"errors"
	"time"
)

const (
	// foundFor is how long an answer to UserByID is used again: it is asked at every attach.
	foundFor = time.Minute
	// missingFor is the same for a uid without an entry: short, so that a new user is
	// known soon, but not nothing, since a user can call with 65536 subordinate uids
	// (subuid(5)) that no source knows.
	missingFor = 5 * time.Second
	// maxCached bounds the answers that are kept.
	maxCached = 1024
)

// cached is an answer to UserByID; a nil err means that user was found.
type cached struct {
	user  User
	err   error
	until time.Time
}

func (r *Resolver) userByID(ctx context.Context, uid uint32) (User, error) {
	if c, ok := r.lookup(uid); ok {
		return c.user, c.err
	}
	u, err := find(ctx, r, r.passwd, "passwd", decimal(uid), parseUser, func(u User) bool { return u.UID == uid })
	switch {
	case err == nil:
		r.store(uid, cached{user: u, until: r.now().Add(foundFor)})
	case errors.Is(err, ErrNotFound):
		r.store(uid, cached{err: err, until: r.now().Add(missingFor)})
	}
	return u, err
}

func (r *Resolver) lookup(uid uint32) (cached, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.users[uid]
	return c, ok && r.now().Before(c.until)
}

// store keeps an answer. When there is no room, what is too old goes first; then
// answers of "no such user", then any, so that strange uids do not push out real users.
func (r *Resolver) store(uid uint32, c cached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.drop(func(old cached) bool { return !now.Before(old.until) })
	r.drop(func(old cached) bool { return old.err != nil })
	if len(r.users) >= maxCached && c.err != nil {
		return
	}
	r.drop(func(cached) bool { return true })
	r.users[uid] = c
}

// drop removes answers of one sort if there is no room; the caller holds mu.
func (r *Resolver) drop(sort func(cached) bool) {
	if len(r.users) < maxCached {
		return
	}
	for uid, c := range r.users {
		if sort(c) {
			delete(r.users, uid)
		}
	}
}
