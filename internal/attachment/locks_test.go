package attachment

import (
	"context"
	"errors"
	"testing"
)

// Work on one container waits for nobody else's.
func TestLocksArePerInterface(t *testing.T) {
	var l locks[Key]
	ctx := context.Background()
	a, b := Key{1000, "a", "eth0"}, Key{1000, "a", "eth1"}
	releaseA, err := l.acquire(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	releaseB, err := l.acquire(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(ctx)
	hangUp()
	if _, err := l.acquire(gone, a); !errors.Is(err, context.Canceled) {
		t.Errorf("a second lock on the same: %v", err)
	}
	releaseA()
	releaseB()
	again, err := l.acquire(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if len(l.held) != 0 {
		t.Errorf("locks that nobody holds are kept: %v", l.held)
	}
}
