package dhcp6

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

const testIfname = "eth0"

// newLAN is a LAN on which a real dnsmasq gives addresses of 2001:db8:1::/64.
func newLAN(t *testing.T, args ...string) *testlab.LAN {
	t.Helper()
	lan := silentLAN(t, args...)
	lan.StartServer()
	return lan
}

func silentLAN(t *testing.T, args ...string) *testlab.LAN {
	t.Helper()
	// testlab waits for the IPv4 server's socket, which the range of IPv4 is for.
	lan := testlab.NewLAN(t, testlab.WithoutServer(), testlab.WithDnsmasq(append(args,
		"--dhcp-range=192.0.2.100,192.0.2.200", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,5m")...))
	if err := lan.Do(func() error { return ip("addr", "add", "2001:db8:1::1/64", "dev", "lan0", "nodad") }); err != nil {
		t.Fatal(err)
	}
	return lan
}

// container is a namespace with an interface on the LAN that is up.
func container(t *testing.T, lan *testlab.LAN) *testlab.Netns {
	t.Helper()
	ns := lan.NewContainerNS(testIfname)
	setSysctl(t, ns, "accept_dad", "0") // spares a second; TestDuplicateAddressDetectionIsWaitedFor has it
	setUp(t, ns)
	return ns
}

func setUp(t *testing.T, ns *testlab.Netns) {
	t.Helper()
	if err := ns.Do(func() error { return ip("link", "set", testIfname, "up") }); err != nil {
		t.Fatal(err)
	}
}

func setSysctl(t *testing.T, ns *testlab.Netns, name, value string) {
	t.Helper()
	if err := ns.Do(func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", testIfname, name), []byte(value), 0o644)
	}); err != nil {
		t.Fatal(err)
	}
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", append([]string{"-6"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %v: %w: %s", args, err, out)
	}
	return nil
}

// open opens a client in ns; container n has its own identity.
func open(t *testing.T, ns *testlab.Netns, n byte, change ...func(*Config)) *Client {
	t.Helper()
	c, err := tryOpen(t, ns, n, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func tryOpen(t *testing.T, ns *testlab.Netns, n byte, change ...func(*Config)) (c *Client, err error) {
	t.Helper()
	config := Config{Name: testIfname, Params: testParams(), Log: slog.New(slog.DiscardHandler), BadFrame: func() {}}
	config.DUID[len(config.DUID)-1] = n
	err = ns.Do(func() error {
		dev, err := net.InterfaceByName(testIfname)
		if err != nil {
			t.Fatal(err)
		}
		config.Index = dev.Index
		for _, fn := range change {
			fn(&config)
		}
		c, err = Open(config)
		return err
	})
	return c, err
}

// within ends as the daemon ends an exchange whose time is over.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, grant.ErrTimeout)
	t.Cleanup(cancel)
	return ctx
}

// bounded is for exchanges that a server answers.
func bounded(t *testing.T) context.Context { return within(t, 20*time.Second) }

// ready waits until the client's interface can send, which is no part of the time that a
// test gives an exchange.
func ready(t *testing.T, c *Client) {
	t.Helper()
	if err := c.wire.ready(bounded(t)); err != nil {
		t.Fatal(err)
	}
}

func mustAcquire(t *testing.T, c *Client, lan *testlab.LAN, wish grant.Wish) grant.Grant {
	t.Helper()
	g, err := c.Acquire(bounded(t), wish)
	if err != nil {
		t.Fatalf("%v\n%s", err, lan.Log())
	}
	return g
}

// rewriteLeases is for a dnsmasq that is stopped: its file, which also has its DUID,
// becomes content. testlab has it in a temporary folder of the test.
func rewriteLeases(t *testing.T, content string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(t.TempDir()), "*", "leases"))
	if err != nil || len(files) != 1 {
		t.Fatalf("lease files %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// countingHandler counts what is logged.
type countingHandler struct{ count atomic.Int32 }

func (h *countingHandler) logger() *slog.Logger { return slog.New(h) }

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *countingHandler) Handle(context.Context, slog.Record) error {
	h.count.Add(1)
	return nil
}

func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *countingHandler) WithGroup(string) slog.Handler { return h }
