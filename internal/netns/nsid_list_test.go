package netns

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// TestLinks: what hangs on the host's links is told from what only looks like it.
func TestLinks(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	hostLink(t, "np-parent", "np-lan")
	s, path := container(t, alice)
	ns := open(t, newOpener(t), caller(t, alice, s), path)
	id := assign(t, r, ns)
	ip(t, "link add link np-parent name np-macvlan address 02:00:00:00:00:07 netns "+ns.Path()+" type macvlan mode bridge")
	ip(t, "link add np-out type veth peer name np-veth netns "+ns.Path())
	inside := func(command string) {
		s.Exec(append([]string{"nsenter", "--net=" + path, "ip"}, strings.Fields(command)...)...)
	}
	// Of each kind, made by the user: on a link of the namespace itself, and of one more.
	inside("link add own-a type veth peer name own-b")
	inside("link add link own-a name own-macvlan type macvlan mode bridge")
	s.PersistNetns(path + "-2")
	s.Exec("nsenter", "--net="+path+"-2", "sh", "-c", `ip link add far-a type veth peer name far-b
		exec 3<`+path+`; ip link set far-b netns /proc/$$/fd/3; ip link add link far-a name far-macvlan netns /proc/$$/fd/3 type macvlan`)

	links, err := r.Links(ns, id, func(Link) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	onHost := map[string]bool{}
	for _, l := range links {
		onHost[l.Name] = l.OnHost
		if l.Name == "np-macvlan" && l.MAC.String() != "02:00:00:00:00:07" {
			t.Errorf("the MAC of %s is %s", l.Name, l.MAC)
		}
		if err := ns.Do(func() error {
			got, err := net.InterfaceByIndex(l.Index)
			if err == nil && got.Name != l.Name {
				t.Errorf("link %d is %s, not %s", l.Index, got.Name, l.Name)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
	want := map[string]bool{
		"lo": false, "np-macvlan": true, "np-veth": true,
		"own-a": false, "own-b": false, "own-macvlan": false, "far-b": false, "far-macvlan": false,
	}
	for name, on := range want {
		if got, ok := onHost[name]; !ok || got != on {
			t.Errorf("%s: listed %v, on the host %v, want %v", name, ok, got, on)
		}
	}
}

// TestLinksOfMany: more links than one message of the kernel's can hold.
func TestLinksOfMany(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	ns := unshared(t)
	id := assign(t, r, ns)
	const count = 150
	if err := ns.Do(func() error {
		for i := range count {
			ip(t, fmt.Sprintf("link add np-%d type bridge", i))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	links, err := r.Links(ns, id, func(l Link) bool { return strings.HasPrefix(l.Name, "np-") })
	if err != nil || len(links) != count {
		t.Errorf("%d links, want %d: %v", len(links), count, err)
	}
}

// TestLinksThatHide: the kernel's list of links ends, as if it were at its end, before
// one that is too long to tell. A link of the user's is not to hide so, nor behind it.
func TestLinksThatHide(t *testing.T) {
	testlab.RequireRoot(t)
	r := newRegistry(t)
	s, path := container(t, alice)
	ns := open(t, newOpener(t), caller(t, alice, s), path)
	id := assign(t, r, ns)
	names := func(from, to int) {
		s.Exec("nsenter", "--net="+path, "sh", "-c", fmt.Sprintf(`for i in $(seq %d %d); do
			printf 'link property add dev np-big altname a%%0120d\n' $i; done | ip -batch -`, from, to))
	}
	s.Exec("nsenter", "--net="+path, "sh", "-c", `ip link add np-big type bridge; ip link add np-behind type bridge`)
	index := linkNamed(t, r, id, "np-big")
	names(1, 300)
	visible, err := r.VisibleLinks(id, func(Link) bool { return true })
	t.Logf("without the namespace are seen %d links: %v", len(visible), err)
	all, err := r.Links(ns, id, func(Link) bool { return true })
	var listed []string
	for _, l := range all {
		listed = append(listed, l.Name)
	}
	if err != nil || !slices.Contains(listed, "np-big") || !slices.Contains(listed, "np-behind") {
		t.Errorf("listed are %v, %v", listed, err)
	}
	// With as many as there can be, it is more than can be read at once: that is said.
	names(301, 496)
	if all, err = r.Links(ns, id, func(Link) bool { return true }); err == nil && len(all) < 3 {
		t.Errorf("%d links are listed, and no error", len(all))
	}
	if err := r.DeleteLink(id, index); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
}
