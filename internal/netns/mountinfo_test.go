package netns

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

func TestFindMounts(t *testing.T) {
	const other = "36 35 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
	ns := func(root, at string) string {
		return "84 64 0:4 " + root + " " + at + " rw,nosuid shared:7 - nsfs nsfs rw\n"
	}
	tests := []struct {
		name, text string
		want       []string
	}{
		{"as podman mounts it", other + ns("net:[402]", "/run/user/1000/netns/netns-1") + other, []string{"/run/user/1000/netns/netns-1"}},
		{"in two places", ns("net:[402]", "/a") + ns("net:[402]", "/b"), []string{"/a", "/b"}},
		{"escaped", ns("net:[402]", `/a\040b\134c\012\043d`), []string{"/a b\\c\n#d"}},
		{"not an escape", ns("net:[402]", `/a\9\04`), []string{`/a\9\04`}},
		{"with a space that is not ASCII", ns("net:[402]", "/a\u00a0b"), []string{"/a\u00a0b"}},
		{"another one", ns("net:[4020]", "/a") + ns("net:[40]", "/b") + ns("uts:[402]", "/c") + ns("net:[402", "/d"), nil},
		{"a directory with such a name", ns("/net:[402]", "/a"), nil},
		{"after a line that is too long", "1 " + strings.Repeat("x", 3*maxMountLine) + "\n" + ns("net:[402]", "/a"), []string{"/a"}},
		{"on a line that is too long", ns("net:[402]", "/"+strings.Repeat("a", maxMountLine)), nil},
		{"at the end of a line that is too long", strings.Repeat("x", maxMountLine) + ns("net:[402]", "/a"), nil},
		{"on a cut line", "84 64 0:4 net:[402] /a rw", nil},
		{"in too many places", strings.Repeat(ns("net:[402]", "/a"), 2*maxMounts), slices.Repeat([]string{"/a"}, maxMounts)},
		{"short lines", "\n1\n1 2 3\n1 2 3 net:[402] /a\n", nil},
	}
	reader := newMountReader(maxMountinfo)
	for _, tt := range tests {
		if got, err := reader.find(strings.NewReader(tt.text), 402); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestMountinfoBudget: a user with a hundred thousand mounts has them read once, and no
// further.
func TestMountinfoBudget(t *testing.T) {
	testlab.RequireRoot(t)
	s, path := container(t, alice)
	ino := inode(t, fmt.Sprintf("/proc/%d/root%s", s.PID(), path))
	all := newMountReader(maxMountinfo)
	if got, err := all.mountsOf(s.PID(), ino); err != nil || !slices.Equal(got, []string{path}) {
		t.Errorf("%q, %v", got, err)
	}
	read := maxMountinfo - all.left
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", s.PID())); err != nil || read != int64(len(text)) {
		t.Errorf("%d bytes were read of %d, %v", read, len(text), err)
	}
	for _, budget := range []int64{0, 10, read - 10} {
		some := newMountReader(budget)
		if got, err := some.mountsOf(s.PID(), ino); err != nil || len(got) != 0 || some.left != 0 {
			t.Errorf("%q, %v, %d bytes left", got, err, some.left)
		}
	}
	s.Exit()
	if _, err := all.mountsOf(s.PID(), ino); !errors.Is(err, ErrCallerGone) {
		t.Errorf("%v", err)
	}
}

// TestMountHints: what is remembered of mounts stays bounded.
func TestMountHints(t *testing.T) {
	var h mountHints
	for i := range int32(10 * maxHints) {
		h.set(Wanted{NSID: i}, mountHint{pid: int(i)})
		if got, ok := h.get(Wanted{NSID: i}); !ok || got.pid != int(i) {
			t.Fatalf("%d: %+v", i, got)
		}
	}
	if len(h.by) > maxHints {
		t.Errorf("%d are remembered", len(h.by))
	}
}
