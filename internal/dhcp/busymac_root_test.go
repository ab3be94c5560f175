package dhcp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/testlab"
)

// A container that has died may still be there for a moment, and its successor has its
// MAC: that waits, and not for ever.
func TestLinkWhoseMACIsBusyIsWaitedFor(t *testing.T) {
	lan := testlab.NewLAN(t)
	h := newHarness(t)
	before, after := lan.NewContainerNS(testIfname), lan.NewContainerNS(testIfname)
	mac := macOf(t, before)
	if err := errors.Join(
		after.Do(func() error { return ip("link", "set", testIfname, "address", mac) }),
		before.Do(func() error { return ip("link", "set", testIfname, "up") }),
	); err != nil {
		t.Fatal(err)
	}
	e := h.expect(Attachment{Namespace: after, Timeout: 200 * time.Millisecond})
	if out, err := output(h.plugin("dhcp", "ADD", testID, after.Path(), seedIPAM)); !errors.Is(e.Err(), grant.ErrLinkDown) ||
		!strings.Contains(err.Error(), "another interface on the same parent has its MAC "+mac) {
		t.Errorf("%s, %v", out, err)
	}
	e.Done()
	h.wantNoLease()

	h.expect(Attachment{Namespace: after})
	gone := make(chan error, 1)
	go func() { // at about the same time as what follows
		gone <- before.Do(func() error { return ip("link", "del", testIfname) })
	}()
	h.add(testID, after, seedIPAM)
	if err := <-gone; err != nil {
		t.Error(err)
	}
	if h.held().MAC != mac {
		t.Errorf("the lease is of %s", h.held().MAC)
	}
}
