// Package nss owns the look-up of users and groups by name and by number.
//
// It asks getent(1), which is linked with the C library and so knows every source
// of nsswitch.conf(5), LDAP and SSSD included; a static binary knows none but the
// files. Where there is no getent, /etc/passwd and /etc/group are read instead.
package nss

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// ErrNotFound says that no source knows the user or group. A source that is down,
// such as SSSD, cannot be told from one that does not know: getent(1) exits 2 for both.
// It is reason enough to give nobody anything, and none to take something away.
var ErrNotFound = errors.New("no such user or group")

// User is an entry of the passwd database: passwd(5).
type User struct {
	Name     string
	UID, GID uint32 // GID is the primary group
}

// Group is an entry of the group database, without its members: group(5).
type Group struct {
	Name string
	GID  uint32
}

const (
	// timeout bounds one getent, which may wait for a directory server.
	timeout = 5 * time.Second
	// maxRunning bounds the getent processes at a time.
	maxRunning = 8
	// maxName bounds a name, in bytes; it is an argument of a process.
	maxName = 256
)

// Resolver looks users and groups up. It may be used by several goroutines at once.
type Resolver struct {
	getent        []string // candidates, the first that exists is used
	passwd, group string   // files, where there is no getent
	timeout       time.Duration
	now           func() time.Time
	running       chan struct{}

	mu    sync.Mutex
	users map[uint32]cached // what UserByID was answered lately
}

// Option changes how a [Resolver] made by [New] works; for tests.
type Option func(*Resolver)

// WithGetent names the getent programs to try, in this order.
func WithGetent(paths ...string) Option { return func(r *Resolver) { r.getent = paths } }

// WithFiles names the files that are read where there is no getent: passwd(5), group(5).
func WithFiles(passwd, group string) Option {
	return func(r *Resolver) { r.passwd, r.group = passwd, group }
}

// WithTimeout bounds one look-up.
func WithTimeout(d time.Duration) Option { return func(r *Resolver) { r.timeout = d } }

// WithClock sets the clock by which answers grow old.
func WithClock(now func() time.Time) Option { return func(r *Resolver) { r.now = now } }

// New returns a Resolver that asks /usr/bin/getent or /bin/getent.
func New(options ...Option) *Resolver {
	r := &Resolver{
		getent:  []string{"/usr/bin/getent", "/bin/getent"},
		passwd:  "/etc/passwd",
		group:   "/etc/group",
		timeout: timeout,
		now:     time.Now,
		running: make(chan struct{}, maxRunning),
		users:   make(map[uint32]cached),
	}
	for _, option := range options {
		option(r)
	}
	return r
}

// UserByName returns the user of that name. A number is a name like any other here,
// never a user id. The name in the answer may differ in case and in its domain,
// as directory services have it. Errors: [ErrNotFound], or why nobody could be asked.
func (r *Resolver) UserByName(ctx context.Context, name string) (User, error) {
	u, err := find(ctx, r, r.passwd, "passwd", name, parseUser, func(u User) bool { return sameName(name, u.Name) })
	if err != nil {
		return User{}, fmt.Errorf("cannot look up user %q: %w", name, err)
	}
	return u, nil
}

// UserByID returns the user of that user id. The answer may be a minute old. Errors:
// [ErrNotFound], or why nobody could be asked.
func (r *Resolver) UserByID(ctx context.Context, uid uint32) (User, error) {
	u, err := r.userByID(ctx, uid)
	if err != nil {
		return User{}, fmt.Errorf("cannot look up uid %d: %w", uid, err)
	}
	return u, nil
}

// GroupByName returns the group of that name, under the rules of [Resolver.UserByName].
func (r *Resolver) GroupByName(ctx context.Context, name string) (Group, error) {
	g, err := find(ctx, r, r.group, "group", name, parseGroup, func(g Group) bool { return sameName(name, g.Name) })
	if err != nil {
		return Group{}, fmt.Errorf("cannot look up group %q: %w", name, err)
	}
	return g, nil
}

// GroupByID returns the group of that group id. Errors: [ErrNotFound], or why
// nobody could be asked.
func (r *Resolver) GroupByID(ctx context.Context, gid uint32) (Group, error) {
	g, err := find(ctx, r, r.group, "group", decimal(gid), parseGroup, func(g Group) bool { return g.GID == gid })
	if err != nil {
		return Group{}, fmt.Errorf("cannot look up gid %d: %w", gid, err)
	}
	return g, nil
}

// find asks getent for the entry of a key, or reads the file where there is no
// getent. Only the entry that is wanted counts: getent takes a key that strtoul(3)
// takes whole, "+0" included, for a number.
func find[T any](ctx context.Context, r *Resolver, file, database, key string,
	parse func(string) (T, error), wanted func(T) bool) (T, error) {
	var none T
	if !askable(key) {
		return none, ErrNotFound // no entry can have such a name
	}
	line, err := r.ask(ctx, database, key)
	if errors.Is(err, errNoGetent) {
		return scanFile(file, parse, wanted)
	}
	if err != nil {
		return none, err
	}
	entry, err := parse(line)
	if err != nil {
		return none, fmt.Errorf("getent %s answered with an entry that makes no sense: %w", database, err)
	}
	if !wanted(entry) {
		return none, fmt.Errorf("%w: getent %s answered with another entry", ErrNotFound, database)
	}
	return entry, nil
}

// askable tells whether a key can be a name at all, and can be an argument.
func askable(key string) bool {
	return key != "" && len(key) <= maxName && !strings.ContainsRune(key, ':') &&
		!strings.ContainsFunc(key, unicode.IsControl)
}

// sameName tells whether an entry of name got answers a question for asked. Active
// Directory ignores case, and SSSD and winbind add or drop the domain: "Jo" may be
// answered with "jo@example.com", "EXAMPLE\jo" with "jo".
func sameName(asked, got string) bool {
	return asked == got || strings.EqualFold(withoutDomain(asked), withoutDomain(got))
}

func withoutDomain(name string) string {
	if i := strings.LastIndexByte(name, '\\'); i >= 0 {
		name = name[i+1:]
	}
	if i := strings.IndexByte(name, '@'); i > 0 {
		name = name[:i]
	}
	return name
}

func decimal(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
