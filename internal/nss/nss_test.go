package nss_test

import (
	"context"
	"errors"
	"testing"

	"github.com/net-porter/net-porter/internal/nss"
)

// root and daemon are in every Linux system's files, so that the real getent can be asked.
func TestRealGetent(t *testing.T) {
	ctx, r := context.Background(), nss.New()
	root := nss.User{Name: "root"}
	if u, err := r.UserByName(ctx, "root"); err != nil || u != root {
		t.Errorf("root is %+v, %v", u, err)
	}
	if u, err := r.UserByID(ctx, 0); err != nil || u != root {
		t.Errorf("uid 0 is %+v, %v", u, err)
	}
	if g, err := r.GroupByName(ctx, "root"); err != nil || g != (nss.Group{Name: "root"}) {
		t.Errorf("group root is %+v, %v", g, err)
	}
	d, err := r.GroupByName(ctx, "daemon")
	if err != nil || d.GID == 0 {
		t.Errorf("group daemon is %+v, %v", d, err)
	}
	if g, err := r.GroupByID(ctx, d.GID); err != nil || g != d {
		t.Errorf("gid %d is %+v, %v", d.GID, g, err)
	}
}

// getent takes what strtoul(3) takes for a number and would answer with root; an
// option would change what it does.
func TestNamesAreNotMisread(t *testing.T) {
	files := nss.New(nss.WithGetent("/nonexistent/getent"))
	for how, r := range map[string]*nss.Resolver{"getent": nss.New(), "files": files} {
		for _, name := range []string{
			"0", "+0", "-0", " 0", "\t0", "00", "4294967296", "", "-s", "--service=files", "--help", "-",
			"root:x", "root\n", "root\x00", "no-such-user-here", "/etc/passwd", "*", "$(id)",
		} {
			if u, err := r.UserByName(context.Background(), name); !errors.Is(err, nss.ErrNotFound) {
				t.Errorf("%s: user %q is %+v, %v", how, name, u, err)
			}
			if g, err := r.GroupByName(context.Background(), name); !errors.Is(err, nss.ErrNotFound) {
				t.Errorf("%s: group %q is %+v, %v", how, name, g, err)
			}
		}
		for _, id := range []uint32{4294967295, 4294967294} {
			if u, err := r.UserByID(context.Background(), id); !errors.Is(err, nss.ErrNotFound) {
				t.Errorf("%s: uid %d is %+v, %v", how, id, u, err)
			}
		}
	}
}
