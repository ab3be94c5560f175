package enforce_test

import (
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/enforce"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

func newEnforcer(t testing.TB) *enforce.Enforcer {
	t.Helper()
	e, err := enforce.New(slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	t.Cleanup(func() {
		e.Close()
		must(t, enforce.Purge())
	})
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func command(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

func in(t testing.TB, ns *testlab.Netns, argv ...string) string {
	t.Helper()
	var out string
	must(t, ns.Do(func() error {
		raw, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if out = string(raw); err != nil {
			t.Errorf("%s: %v: %s", strings.Join(argv, " "), err, raw)
		}
		return err
	}))
	return out
}

func mac(text string) net.HardwareAddr {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return m
}

func ips(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}
