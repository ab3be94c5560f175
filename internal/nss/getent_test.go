package nss

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fake writes a shell script that stands in for getent.
func fake(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "getent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOddAnswers(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"nothing", `:`, "getent's answer is not one line"},
		{"no newline", `printf x:x:1:1:::`, "getent's answer is not one line"},
		{"two entries", `echo x:x:1:1:::; echo x:x:0:0:::`, "getent's answer is not one line"},
		{"few fields", `echo x:x:1`, "it has 3 fields, not 7"},
		{"many fields", `echo x:x:1:1::::`, "it has 8 fields, not 7"},
		{"no name", `echo :x:1:1:::`, "it has no name"},
		{"no uid", `echo x:x::1:::`, `"" is not an id`},
		{"negative uid", `echo x:x:-1:1:::`, `"-1" is not an id`},
		{"signed uid", `echo x:x:+0:1:::`, `"+0" is not an id`},
		{"uid (uid_t)-1", `echo x:x:4294967295:1:::`, `"4294967295" is not an id`},
		{"uid that wraps to root", `echo x:x:4294967296:1:::`, `"4294967296" is not an id`},
		{"gid in hex", `echo x:x:1:0x1:::`, `"0x1" is not an id`},
		{"complaint", `echo 'no "db"' >&2; exit 1`, `getent passwd failed: exit status 1: "no \"db\""`},
		{"long complaint", `head -c 100000 /dev/zero >&2; exit 3`, "getent passwd failed: exit status 3: "},
		{"killed", `kill -9 $$`, "getent passwd failed: signal: killed"},
		{"endless", `exec yes`, "getent's answer is too long"},
		{"entry, then failure", `echo x:x:0:0:::; exit 1`, "getent passwd failed: exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := New(WithGetent(fake(t, c.script))).UserByName(context.Background(), "x")
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotFound) {
				t.Errorf("got %+v, %v; want %s", u, err, c.want)
			}
			if err != nil && len(err.Error()) > 5000 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestTheEntryMustBeTheOneAskedFor(t *testing.T) {
	r := New(WithGetent(fake(t, `case $1 in passwd) echo root:x:0:0:::;; group) echo root:x:0:a,b;; esac`)))
	ctx := context.Background()
	if u, err := r.UserByName(ctx, "alice"); !errors.Is(err, ErrNotFound) {
		t.Errorf("alice is %+v, %v", u, err)
	}
	if u, err := r.UserByID(ctx, 1000); !errors.Is(err, ErrNotFound) {
		t.Errorf("uid 1000 is %+v, %v", u, err)
	}
	if g, err := r.GroupByName(ctx, "net-porter"); !errors.Is(err, ErrNotFound) {
		t.Errorf("net-porter is %+v, %v", g, err)
	}
	if g, err := r.GroupByID(ctx, 1000); !errors.Is(err, ErrNotFound) {
		t.Errorf("gid 1000 is %+v, %v", g, err)
	}
}

// Directory services answer with their own spelling of the name.
func TestDirectorySpellings(t *testing.T) {
	for asked, answer := range map[string]string{
		"Jo": "jo", "jo@example.com": "jo", "jo": "jo@example.com", `EXAMPLE\Jo Doe`: "jo doe", "alice": `EX\alice`,
	} {
		script := "cat <<'END'\n" + answer + ":*:70001:70002:Jo:/home/jo:/bin/sh\nEND\n"
		u, err := New(WithGetent(fake(t, script))).UserByName(context.Background(), asked)
		if err != nil || u != (User{Name: answer, UID: 70001, GID: 70002}) {
			t.Errorf("%s is %+v, %v", asked, u, err)
		}
	}
}

func TestArgumentsAndEnvironment(t *testing.T) {
	t.Setenv("LD_PRELOAD_FOR_TEST", "1")
	t.Setenv("NSS_WRAPPER_PASSWD", "/tmp/evil")
	out := filepath.Join(t.TempDir(), "out")
	r := New(WithGetent(fake(t, `{ echo "$#|$1|$2|$3"; env; } >`+out+`; exit 2`)))
	if _, err := r.UserByName(context.Background(), "-a b;c"); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), "3|passwd|--|-a b;c\n") {
		t.Errorf("called with %s", got)
	}
	if strings.Contains(string(got), "FOR_TEST") || strings.Contains(string(got), "NSS_WRAPPER") {
		t.Errorf("the environment leaks: %s", got)
	}
}

// The child that the script leaves behind holds the output open; neither it nor the
// script may delay the answer or live on.
func TestTimeoutEndsTheWholeGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	script := "sleep 1000 & echo $! >" + pidFile + ".tmp; mv " + pidFile + ".tmp " + pidFile + "; wait"
	ctx, cancel := context.WithCancel(context.Background())
	r := New(WithGetent(fake(t, script)), WithTimeout(time.Hour))
	done := make(chan error, 1)
	go func() { _, err := r.UserByName(ctx, "x"); done <- err }()
	var pid int
	for pid == 0 {
		data, err := os.ReadFile(pidFile)
		if err == nil {
			pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		}
		select {
		case err := <-done:
			t.Fatalf("it ended early: %v", err)
		default:
		}
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	// A pidfd is readable once its process has exited: pidfd_open(2). The bound, in
	// milliseconds, is only for a child that was never killed.
	fds := []unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 60_000)
	for err == unix.EINTR {
		n, err = unix.Poll(fds, 60_000)
	}
	if n != 1 {
		t.Errorf("the child lives on: %v", err)
		_ = unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
	}
}

func TestTimeoutSaysSo(t *testing.T) {
	r := New(WithGetent(fake(t, "exec sleep 1000")), WithTimeout(time.Millisecond))
	_, err := r.UserByName(context.Background(), "x")
	if !errors.Is(err, errTimeout) || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestAbandonedWhileWaitingForItsTurn(t *testing.T) {
	r := New()
	for range maxRunning {
		r.running <- struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.UserByName(ctx, "root"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSecondCandidate(t *testing.T) {
	r := New(WithGetent("/nonexistent/getent", fake(t, "echo x:x:1:2:::")))
	if u, err := r.UserByName(context.Background(), "x"); err != nil || u != (User{"x", 1, 2}) {
		t.Errorf("got %+v, %v", u, err)
	}
}

func TestFilesWithoutGetent(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	text := "# comment\n\n+alice::0:0:::\nbad:x:zero:0:::\nalice:x:1000:1001:A:/home/alice:/bin/sh\n1000:x:7:7:::\nalice:x:0:0:::\n"
	if err := os.WriteFile(passwd, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(group, []byte("lan:x:1001:alice,bob\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := New(WithGetent("/nonexistent/getent"), WithFiles(passwd, group))
	alice := User{"alice", 1000, 1001}
	if u, err := r.UserByName(ctx, "alice"); err != nil || u != alice {
		t.Errorf("alice is %+v, %v", u, err)
	}
	if u, err := r.UserByID(ctx, 1000); err != nil || u != alice {
		t.Errorf("uid 1000 is %+v, %v", u, err)
	}
	if g, err := r.GroupByName(ctx, "lan"); err != nil || g != (Group{"lan", 1001}) {
		t.Errorf("lan is %+v, %v", g, err)
	}
	if _, err := r.GroupByID(ctx, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("gid 5: %v", err)
	}
	r = New(WithGetent("/nonexistent/getent"), WithFiles(dir+"/none", dir+"/none"))
	if _, err := r.UserByID(ctx, 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("without files: %v", err)
	}
}

// counting is a getent that answers for every uid below 100000 and counts its calls.
func counting(t *testing.T) (path string, calls func() int) {
	log := filepath.Join(t.TempDir(), "log")
	path = fake(t, `echo >>`+log+`; [ $3 -lt 100000 ] || exit 2; echo u$3:x:$3:$3:::`)
	return path, func() int {
		data, _ := os.ReadFile(log)
		return len(data)
	}
}

func TestUserByIDIsCachedForAShortTime(t *testing.T) {
	path, calls := counting(t)
	now := time.Unix(1_000_000, 0)
	r := New(WithGetent(path), WithClock(func() time.Time { return now }))
	ask := func(uid uint32, want int, found bool) {
		t.Helper()
		u, err := r.UserByID(context.Background(), uid)
		if found && (err != nil || u.UID != uid) || !found && !errors.Is(err, ErrNotFound) {
			t.Errorf("uid %d is %+v, %v", uid, u, err)
		}
		if got := calls(); got != want {
			t.Errorf("uid %d: getent ran %d times, want %d", uid, got, want)
		}
	}
	ask(1000, 1, true)
	ask(1000, 1, true)
	ask(1001, 2, true)
	now = now.Add(foundFor - 1)
	ask(1000, 2, true)
	now = now.Add(1)
	ask(1000, 3, true)
	ask(200000, 4, false)
	ask(200000, 4, false)
	now = now.Add(missingFor)
	ask(200000, 5, false)
	ask(1000, 5, true)
}

func TestFailuresAreNotCached(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "up")
	r := New(WithGetent(fake(t, `[ -e `+flag+` ] || exit 1; echo a:x:7:7:::`)))
	if _, err := r.UserByID(context.Background(), 7); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.UserByID(context.Background(), 7); err != nil {
		t.Error(err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := New(WithClock(func() time.Time { return now }))
	for uid := range uint32(10) {
		r.store(uid, cached{user: User{UID: uid}, until: now.Add(foundFor)})
	}
	for uid := range uint32(65536) { // a user's subordinate uids
		r.store(100000+uid, cached{err: ErrNotFound, until: now.Add(missingFor)})
	}
	if len(r.users) > maxCached {
		t.Errorf("%d answers are kept", len(r.users))
	}
	for uid := range uint32(10) {
		if _, ok := r.lookup(uid); !ok {
			t.Errorf("uid %d was pushed out by uids that nobody knows", uid)
		}
	}
	for uid := range uint32(5000) {
		r.store(uid, cached{user: User{UID: uid}, until: now.Add(foundFor)})
	}
	if len(r.users) > maxCached {
		t.Errorf("%d answers are kept", len(r.users))
	}
}

func TestConcurrentUse(t *testing.T) {
	path, _ := counting(t)
	r := New(WithGetent(path))
	var wg sync.WaitGroup
	for i := range uint32(24) {
		wg.Go(func() {
			if u, err := r.UserByID(context.Background(), i%4); err != nil || u.UID != i%4 {
				t.Errorf("uid %d is %+v, %v", i%4, u, err)
			}
		})
	}
	wg.Wait()
}
