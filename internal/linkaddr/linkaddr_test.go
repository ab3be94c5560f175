package linkaddr

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

func TestList(t *testing.T) {
	ns := testlab.NewNetns(t)
	var batch strings.Builder
	fmt.Fprintln(&batch, "link add name left type veth peer name right")
	fmt.Fprintln(&batch, "link set left up")
	fmt.Fprintln(&batch, "link set right up")
	fmt.Fprintln(&batch, "addr add 2001:db8::1/64 dev left nodad")
	fmt.Fprintln(&batch, "addr add 2001:db8::2/128 dev left")
	fmt.Fprintln(&batch, "addr add 2001:db8::3/64 dev right nodad")
	in(t, ns, batch.String())
	var socket *Socket
	var index int
	if err := ns.Do(func() (err error) {
		if socket, err = Open(); err != nil {
			return err
		}
		dev, err := net.InterfaceByName("left")
		if err == nil {
			index = dev.Index
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	addrs, err := socket.List(index)
	if err != nil {
		t.Fatal(err)
	}
	found := map[netip.Prefix]Address{}
	for _, a := range addrs {
		found[a.Prefix] = a
	}
	one, ok := found[netip.MustParsePrefix("2001:db8::1/64")]
	if !ok || one.IsTentative() || one.IsDuplicate() || one.Scope != 0 {
		t.Errorf("the first address: %+v, %v", one, ok)
	}
	if two, ok := found[netip.MustParsePrefix("2001:db8::2/128")]; !ok || !two.IsTentative() {
		t.Errorf("the one that is being probed: %+v, %v", two, ok)
	}
	if _, ok := found[netip.MustParsePrefix("2001:db8::3/64")]; ok {
		t.Error("an address of another link is listed")
	}

	// Its user puts a thousand more there.
	batch.Reset()
	for i := range 1000 {
		fmt.Fprintf(&batch, "addr add 2001:db8:1::%x/128 dev right nodad\n", i+1)
	}
	in(t, ns, batch.String())
	if _, err := socket.List(index); !errors.Is(err, ErrTooMany) {
		t.Errorf("with a thousand: %v", err)
	}
}

func in(t *testing.T, ns *testlab.Netns, batch string) {
	t.Helper()
	if err := ns.Do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestParseSurvives(t *testing.T) {
	for n := range 40 {
		parse(make([]byte, n))
	}
}
