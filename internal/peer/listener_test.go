package peer

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestServer: each request comes with the identity of who connected, at the same
// time for two users, and not with what they say of themselves.
func TestServer(t *testing.T) {
	testlab.RequireRoot(t)
	l, socket := listen(t)
	srv := &http.Server{ConnContext: ConnContext, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := FromContext(r.Context())
		fmt.Fprintf(w, "%t %d %v %s", ok, id.UID, id.Alive(), r.RemoteAddr)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })

	var wg sync.WaitGroup
	for _, u := range []testlab.User{alice, mallory} {
		s := u.Sandbox(t)
		want := fmt.Sprintf("true %d <nil> peer", u.UID)
		wg.Go(func() {
			for range 20 {
				got := s.HTTP(socket, testlab.Request{Method: "GET", Path: "/", Header: http.Header{
					"X-Forwarded-For": {"uid=0"}, "X-Remote-User": {"root"},
				}})
				if string(got.Body) != want {
					t.Errorf("got %q, want %q", got.Body, want)
				}
			}
		})
	}
	wg.Wait()
}

func TestConnContextOfAnyOtherConnection(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if id, ok := FromContext(ConnContext(context.Background(), a)); ok {
		t.Errorf("a pipe has the identity %+v", id)
	}
}

// TestRemoteAddrIsNotThePeersChoice: a peer that binds its end to a name must not
// find the name in a log or in anything that is decided (snapd, CVE-2019-7304).
func TestRemoteAddrIsNotThePeersChoice(t *testing.T) {
	l, socket := listen(t)
	c, err := net.DialUnix("unix",
		&net.UnixAddr{Name: filepath.Join(t.TempDir(), "pid=1;uid=0;"), Net: "unix"},
		&net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted := accept(t, l)
	for _, got := range []net.Conn{accepted, anonymous{accepted.UnixConn}} {
		if addr := got.RemoteAddr().String(); addr != "peer" {
			t.Errorf("the remote address of a %T is %q", got, addr)
		}
	}
}

// TestMaxPerUser: exactly as many as allowed, by user, whoever comes at once; root
// always gets in; and closing makes room once.
func TestMaxPerUser(t *testing.T) {
	testlab.RequireRoot(t)
	const allowed, tried = 5, 40
	l, socket := listen(t, MaxPerUser(allowed))
	accepted := make(chan *Conn)
	for range 4 { // counting must not depend on there being one acceptor
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted <- c.(*Conn)
			}
		}()
	}
	open := map[uint32][]*Conn{}
	take := func(n int) {
		for range n {
			c := <-accepted
			t.Cleanup(func() { c.Close() })
			open[c.Identity().UID] = append(open[c.Identity().UID], c)
		}
	}
	var dialled sync.WaitGroup
	users := []*testlab.Sandbox{alice.Run(t), alice.Sandbox(t), mallory.Run(t)}
	for _, s := range users {
		dialled.Go(func() {
			for range tried {
				if _, err := s.Try("dial", socket); err != nil {
					t.Error(err)
				}
			}
		})
	}
	take(2 * allowed)
	dialled.Wait()

	// Root's come after all of those in the queue of the socket.
	root := testlab.User{}.Run(t)
	for range 2 * allowed {
		root.Dial(socket)
	}
	take(2 * allowed)
	if a, m, r := len(open[alice.UID]), len(open[mallory.UID]), len(open[0]); a != allowed || m != allowed || r != 2*allowed {
		t.Errorf("let in: %d of alice's, %d of mallory's, %d of root's", a, m, r)
	}

	// Closing one twice makes room for one: of two more, one gets in.
	gone := open[mallory.UID][0]
	gone.Close()
	gone.Close()
	users[2].Dial(socket)
	users[2].Dial(socket)
	take(1)
	root.Dial(socket)
	take(1)
	if m := len(open[mallory.UID]) - 1; m != allowed {
		t.Errorf("%d of mallory's are open after one went", m)
	}
}

// TestRejectedPeerIsTold: the canned answer arrives, and the connection is over.
func TestRejectedPeerIsTold(t *testing.T) {
	testlab.RequireRoot(t)
	l, socket := listen(t, MaxPerUser(1), OnReject(func(id Identity, c net.Conn) {
		const body = "busy"
		fmt.Fprintf(c, "HTTP/1.1 429 Too Many Requests\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	}))
	srv := &http.Server{ConnContext: ConnContext, Handler: http.NotFoundHandler()}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	hog := mallory.Run(t)
	hog.Dial(socket)
	if got := mallory.Run(t).HTTP(socket, testlab.Request{Method: "GET", Path: "/"}); got.Status != 429 || string(got.Body) != "busy" {
		t.Errorf("one connection too many got %d %q", got.Status, got.Body)
	}
	if got := alice.Run(t).HTTP(socket, testlab.Request{Method: "GET", Path: "/"}); got.Status != 404 {
		t.Errorf("another user got %d", got.Status)
	}
}

// TestPidfdsAreClosed: a daemon that serves for months must not run out of
// descriptors.
func TestPidfdsAreClosed(t *testing.T) {
	testlab.RequireRoot(t)
	l, socket := listen(t, MaxPerUser(1))
	s, root := alice.Run(t), testlab.User{}.Run(t)
	round := func() {
		s.Dial(socket)
		first := accept(t, l)
		s.Dial(socket) // refused
		root.Dial(socket)
		accept(t, l).Close()
		first.Close()
		s.Hangup()
		root.Hangup()
	}
	round()
	before := descriptors(t)
	for range 10 {
		round()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if len(l.open)+len(l.rejecting) != 0 {
		t.Errorf("still counted: %v, %v", l.open, l.rejecting)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestCredentialsOfNoPeer(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if id, err := fromSocket(fd, peerPidfd); err == nil {
		t.Errorf("a socket without a peer has the identity %+v", id)
	}
}
