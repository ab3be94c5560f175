package attachment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/testlab"
)

// hostLocal is a network of host-local's with its own folder, in which addresses are
// reserved as host-local does.
func hostLocal(t *testing.T, reserved map[string]string) (*cni.Network, string) {
	t.Helper()
	dir := t.TempDir()
	network, err := cni.Parse("lan", []byte(`{"cniVersion":"1.0.0","name":"lan","plugins":[{"type":"macvlan","master":"infra",
		"ipam":{"type":"host-local","dataDir":"`+dir+`","ranges":[[{"subnet":"192.0.2.0/24"}]]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lan"), 0o755); err != nil {
		t.Fatal(err)
	}
	for address, content := range reserved {
		if err := os.WriteFile(filepath.Join(dir, "lan", address), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return network, filepath.Join(dir, "lan")
}

func kinds(all []Garbage) []string {
	var names []string
	for _, g := range all {
		names = append(names, fmt.Sprint(g.Kind, " ", g.ID, " ", g.Removed, " ", g.Err != nil))
	}
	return names
}

// What nobody owns is removed at the start by DEL, and what somebody owns is not, nor
// what is another program's, nor what may be a record's that cannot be read.
func TestUnownedIsRemovedAtStart(t *testing.T) {
	testlab.RequireRoot(t)
	dir := t.TempDir()
	q := request(t, namespace(t)) // 1000.c1@eth0
	r := &runner{}
	mustAttach(t, open(t, dir, r), q)
	if err := os.WriteFile(filepath.Join(dir, "attachments", "1000.torn@eth0.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	network, _ := hostLocal(t, map[string]string{
		"192.0.2.7": "1000.c1\r\neth0", "192.0.2.8": "1001.lost\r\neth0", "192.0.2.9": "1000.torn\r\neth0",
		"192.0.2.10": "0123456789abcdef\r\neth0", "last_reserved_ip.0": "192.0.2.10", "lock": "",
	})
	next := &runner{world: r.world, cached: []cni.Leftover{
		{ContainerID: "1000.c1", Interface: "eth0", Network: network},
		{ContainerID: "1002.gone", Interface: "eth1", Network: network, Args: [][2]string{{"MAC", "02:00:00:00:00:01"}, {"K8S_POD_NAME", "web"}}},
		{ContainerID: "1003.empty", Interface: "eth0"},
		{ContainerID: "1000.torn", Interface: "eth0", Network: network},
	}}
	m := open(t, dir, next)
	m.networks = func() []*cni.Network { return []*cni.Network{network} }

	want := []string{
		"record 1000.torn@eth0 false true", "address 1001.lost@eth0 false false",
		"cni-result 1002.gone@eth1 false false", "cni-result 1003.empty@eth0 false false",
	}
	if all, err := m.Collect(context.Background(), true); err != nil || !slices.Equal(kinds(all), want) {
		t.Errorf("what would be removed: %q (%v), want %q", kinds(all), err, want)
	}
	if len(next.calls) > 0 || len(m.List()) != 1 {
		t.Errorf("looking has run %q", next.calls)
	}
	settle(m, m.recover)
	calls := []string{
		"DEL 1002.gone eth1 without a namespace", "discard 1003.empty eth0 inside", "DEL 1001.lost eth0 without a namespace",
	}
	if !slices.Equal(next.calls, calls) {
		t.Errorf("ran %q, want %q", next.calls, calls)
	}
	if all := m.List(); len(all) != 1 || all[0].Key != q.Key {
		t.Errorf("records are %v", all)
	}
}

// What cannot be removed is kept as an attachment whose removal has failed.
func TestUnownedThatStaysIsSeen(t *testing.T) {
	testlab.RequireRoot(t)
	network, _ := hostLocal(t, map[string]string{"192.0.2.8": "1001.lost\r\neth0"})
	r := &runner{del: func() error { return errors.New("not now") }}
	m := open(t, t.TempDir(), r)
	m.networks = func() []*cni.Network { return []*cni.Network{network} }
	settle(m, m.recover)
	all := m.List()
	if len(all) != 1 || all[0].State != FailedDetach || all[0].UID != 1001 || all[0].Resource != "lan" {
		t.Fatalf("records are %+v", all)
	}
	if garbage, err := m.Collect(context.Background(), true); err != nil || !slices.Equal(kinds(garbage), []string{"attachment 1001.lost@eth0 false false"}) {
		t.Errorf("what would be removed: %q (%v)", kinds(garbage), err)
	}
	r.del = nil
	// The script has not removed host-local's file, which then is nobody's again.
	want := []string{"attachment 1001.lost@eth0 true false", "address 1001.lost@eth0 true false"}
	if garbage, err := m.Collect(context.Background(), false); err != nil || !slices.Equal(kinds(garbage), want) {
		t.Errorf("what was removed: %q (%v), want %q", kinds(garbage), err, want)
	}
	if len(m.List()) > 0 {
		t.Errorf("left: %v", m.List())
	}
}

// vanishing is a runner whose cache is emptied after it was listed.
type vanishing struct {
	*runner
	listed bool
}

func (v *vanishing) Cached() ([]cni.Leftover, error) {
	if v.listed {
		return nil, nil
	}
	v.listed = true
	return v.cached, nil
}

// A detach at the time of the list removes what was listed, and then its record: what is
// left of that is nothing.
func TestWhatItsOwnerRemovesMeanwhileIsNotUnowned(t *testing.T) {
	testlab.RequireRoot(t)
	network, _ := hostLocal(t, nil)
	r := &runner{cached: []cni.Leftover{{ContainerID: "1001.gone", Interface: "eth0", Network: network}}}
	m := open(t, t.TempDir(), r)
	m.runner = &vanishing{runner: r}
	if all, err := m.Collect(context.Background(), false); err != nil || len(all) > 0 {
		t.Errorf("removed %q (%v)", kinds(all), err)
	}
	if len(r.calls) > 0 {
		t.Errorf("ran %q", r.calls)
	}
}
