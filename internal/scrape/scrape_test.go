package scrape

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"

// patience is how long a test waits for what has to come. It is long, since a machine may
// be slow: only a test that fails waits for it.
const patience = time.Minute

// server serves 64 KiB of metrics on TCP until the test ends.
type server struct {
	t    *testing.T
	addr string
	log  *log
}

// log is a buffer that many may write to.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t *testing.T, timeouts Timeouts) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: l.Addr().String(), log: &log{}}
	metrics := bytes.Repeat([]byte("metric 1\n"), 1<<16/9)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, l, Options{
			Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(metrics) }),
			Logger:   slog.New(slog.NewTextHandler(s.log, nil)),
			Timeouts: timeouts,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended: %v", err)
		}
	})
	return s
}

// dial connects, for who has a place.
func (s *server) dial() *net.TCPConn {
	s.t.Helper()
	c, err := s.tryDial()
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// tryDial connects. What is done with the connection takes no longer than the test's
// patience. It fails where the connection is reset before the kernel has told of it.
func (s *server) tryDial() (*net.TCPConn, error) {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if errors.Is(err, syscall.ECONNRESET) {
		return nil, err
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return c.(*net.TCPConn), nil
}

// scrape asks on a connection of its own and says whether there was an answer.
func (s *server) scrape() bool {
	s.t.Helper()
	c, err := s.tryDial()
	if err != nil {
		return false
	}
	defer c.Close()
	_, _ = io.WriteString(c, request)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// waitScrape returns when a scrape is answered: nothing tells of a place that is free.
func (s *server) waitScrape() {
	s.t.Helper()
	for end := time.Now().Add(patience); !s.scrape(); {
		if time.Now().After(end) {
			s.t.Fatal("no scrape is answered")
		}
	}
}

// wantHungUp fails the test unless the server ends the connection by itself.
func wantHungUp(t *testing.T, who string, err error) {
	t.Helper()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s keeps the connection", who)
	}
}

// Whoever does not go on, be it in asking or in taking answers, loses the connection and
// with it the place, which is then another's.
func TestConnectionsOfWhoDoesNotGoOn(t *testing.T) {
	const soon = 50 * time.Millisecond
	for who, behave := range map[string]func(c *net.TCPConn) error{
		"who sends nothing":     func(*net.TCPConn) error { return nil },
		"who sends half a head": func(c *net.TCPConn) error { _, err := io.WriteString(c, request[:20]); return err },
		"who never asks again":  func(c *net.TCPConn) error { _, err := io.WriteString(c, request); return err },
		"who sends no whole body": func(c *net.TCPConn) error {
			_, err := io.WriteString(c, strings.Replace(request, "\r\n\r\n", "\r\nContent-Length: 9\r\n\r\n", 1))
			return err
		},
		"who reads no answers": func(c *net.TCPConn) error {
			for {
				if _, err := io.WriteString(c, strings.Repeat(request, 100)); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			s := start(t, Timeouts{Header: soon, Read: soon, Write: soon, Idle: soon})
			all := make([]*net.TCPConn, maxConnections)
			var behaving sync.WaitGroup
			for i := range all {
				all[i] = s.dial()
				behaving.Go(func() { wantHungUp(t, who, behave(all[i])) })
			}
			behaving.Wait()
			for _, c := range all {
				_, err := io.Copy(io.Discard, c)
				wantHungUp(t, who, err)
			}
			s.waitScrape()
		})
	}
}

// Who comes when all places are taken is hung up on at once, which is told once and not
// for each of them; who has a place keeps it, and one that is given back is the next's.
func TestMoreConnectionsThanPlaces(t *testing.T) {
	s := start(t, Timeouts{Header: time.Hour, Read: time.Hour, Write: time.Hour, Idle: time.Hour})
	var in []*net.TCPConn
	for range maxConnections {
		in = append(in, s.dial())
	}
	for range 3 * maxConnections {
		c, err := s.tryDial()
		if err != nil {
			continue
		}
		n, err := c.Read(make([]byte, 1))
		wantHungUp(t, "who has no place", err)
		if n > 0 {
			t.Fatal("who has no place is answered")
		}
	}
	if n := strings.Count(s.log.String(), "level=WARN"); n != 1 {
		t.Errorf("it is told %d times, want once:\n%s", n, s.log.String())
	}
	_, _ = io.WriteString(in[0], request)
	if r, err := http.ReadResponse(bufio.NewReader(in[0]), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("who has a place is not answered: %v", err)
	}
	in[1].Close()
	s.waitScrape()
}
