package netns

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// BenchmarkFind measures each way among 200 containers of one user, with namespaces of
// all kinds and a process each: where it knows the way, and where it has to look.
func BenchmarkFind(b *testing.B) {
	testlab.RequireRoot(b)
	const containers = 200
	for range containers {
		stays(b, alice, "unshare", "--map-root-user", "--user", "--mount", "--net")
	}
	path := filepath.Join(alice.Dir(b), "netns")
	s := alice.Sandbox(b)
	s.PersistNetns(path)
	for _, bm := range []struct {
		name, path string
		way        string
		forget     bool
	}{
		{"handle", path, "handle", false},
		{"process/known", ownNet, "process", false},
		{"process/look", ownNet, "process", true},
		{"mount/known", path, "mount", false},
		{"mount/look", path, "mount", true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			f := newFinder(b, waysAlone[bm.way]...)
			want := recorded(b, f, alice, s, bm.path)
			if bm.way == "handle" {
				needsHandles(b)
			}
			for b.Loop() {
				if bm.forget {
					f.mounts = mountHints{}
					f.processes.last.Store(nil)
				}
				ns, err := f.Find(context.Background(), want)
				if err != nil {
					b.Fatal(err)
				}
				ns.Close()
			}
		})
	}
}
