package dhcp

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/dhcp4"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

func TestListenReplacesADeadDaemonsSocketAndNothingElse(t *testing.T) {
	dir, err := os.MkdirTemp("", "dhcp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	listen := func(path string) error {
		s, err := NewService(Options{SocketPath: path, LeaseDir: filepath.Join(dir, "leases")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		return s.Listen()
	}
	stale := filepath.Join(dir, "stale")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := listen(stale); err != nil {
		t.Errorf("stale socket: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := listen(file); err == nil {
		t.Error("a file was replaced")
	}
	if data, _ := os.ReadFile(file); string(data) != "mine" {
		t.Error("a file was touched")
	}
	if err := listen(filepath.Join(dir, strings.Repeat("x", 108))); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("long path: %v", err)
	}
}

func TestOnlyTheRPCPathIsServed(t *testing.T) {
	h := newHarness(t)
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", h.opts.SocketPath)
	}}}
	resp, err := client.Get("http://x/debug/rpc")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v %v", resp, err)
	}
}

func TestExpectRefuses(t *testing.T) {
	h := newHarness(t)
	for _, a := range []Attachment{
		{ID: "web", Interface: "eth0"},
		{ID: "1000.", Interface: "eth0"},
		{ID: "1000./../x", Interface: "eth0"},
		{ID: "1000.a\n", Interface: "eth0"},
		{ID: "1000.a@b", Interface: "eth0"},
		{ID: "1000." + strings.Repeat("a", 300), Interface: "eth0"},
		{ID: testID, Interface: ""},
		{ID: testID, Interface: ".."},
		{ID: testID, Interface: "a/b"},
		{ID: testID, Interface: "abcdefghijklmnop"},
		{ID: testID, Interface: "eth0", Wish: grant.Wish{Address: netip.MustParseAddr("::1")}},
	} {
		if _, err := h.Expect(a); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.60q %q: %v", a.ID, a.Interface, err)
		}
	}
	a := Attachment{ID: testID, Interface: testIfname}
	first, err := h.Expect(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Expect(a); !errors.Is(err, ErrBusy) {
		t.Errorf("twice: %v", err)
	}
	first.Done()
	second, err := h.Expect(a)
	if err != nil {
		t.Fatalf("after Done: %v", err)
	}
	first.Done() // must not end the second
	if _, err := h.Expect(a); !errors.Is(err, ErrBusy) {
		t.Errorf("the first's Done ended the second: %v", err)
	}
	second.Done()
	h.Close()
	if _, err := h.Expect(a); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestStore(t *testing.T) {
	h := newHarness(t)
	lease := Lease{
		ID: testID, Interface: testIfname, Family: IPv4,
		DHCP4: &dhcp4.Params{ClientID: []byte("id"), Options: []grant.Option{{Code: 60, Value: []byte("np")}}, Requested: []byte{1, 6}},
		Grant: grant.Grant{
			Address: netip.MustParsePrefix("192.0.2.10/24"), Server: netip.MustParseAddr("192.0.2.1"),
			T1: time.Hour, T2: time.Hour, Lifetime: time.Hour,
		},
		Acquired: h.clock.now(), AcquiredWall: time.Now().Round(0), BootID: "this boot",
	}
	if err := h.remember(lease); err != nil {
		t.Fatal(err)
	}
	file := h.store.path(lease.key())
	fi, err := os.Stat(file)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"1000.empty@eth0@4.json": "", "1000.garbage@eth0@4.json": "{", "1000.other@eth0@4.json": string(good),
		"1000.zero@eth0@4.json": `{"id":"1000.zero","interface":"eth0","family":4}`, ".1000.half@eth0.json123": string(good),
	} {
		if err := os.WriteFile(filepath.Join(h.opts.LeaseDir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.restart()
	if n := len(h.All()); n != 1 {
		t.Errorf("%d leases after a restart, want the one that is whole", n)
	}
	got := h.held()
	if got.Address != lease.Address || got.Lifetime != time.Hour || got.Acquired != lease.Acquired ||
		string(got.DHCP4.Options[0].Value) != "np" || string(got.DHCP4.Requested) != "\x01\x06" {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(h.opts.LeaseDir, ".1000.half@eth0.json123")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a half-written file is kept")
	}
	if err := h.Forget(testID, testIfname); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if err := h.Forget(testID, testIfname); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := h.Forget("../../x", testIfname); !errors.Is(err, ErrInvalid) {
		t.Errorf("Forget of a path: %v", err)
	}
}
