package nft_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/enforce/nft"
	"github.com/net-porter/net-porter/internal/testlab"
)

func TestMain(m *testing.M) { testlab.Main(m) }

var table = nft.Table{Family: unix.NFPROTO_NETDEV, Name: "t"}

func TestBatchIsMadeWholeOrNotAtAll(t *testing.T) {
	testlab.RequireRoot(t)
	conn, err := nft.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer func() {
		b := &nft.Batch{}
		b.AddTable(table)
		b.DeleteTable(table)
		if err := conn.Apply(b); err != nil {
			t.Errorf("removal of the table: %v", err)
		}
	}()
	events, err := nft.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	batch := &nft.Batch{}
	batch.AddTable(table)
	batch.AddSet(table, "s", nft.FieldMAC, nft.FieldIPv4)
	key := nft.Key([]byte("123456"), []byte("1234"))
	batch.AddElements(table, "s", key)
	batch.AddChain(table, "c", &nft.Hook{Number: unix.NF_NETDEV_EGRESS, Device: "lo"}, "for a test")
	batch.AddRule(table, "c", nft.Frame(6, 6, nft.R(0)), nft.Frame(26, 4, nft.R(2)), nft.In("s", nft.R(0)), nft.Accept())

	if err := conn.Check(batch); err != nil {
		t.Fatalf("Check: %v", err)
	}
	if got := ruleset(t); got != "" {
		t.Fatalf("a check has made %s", got)
	}
	failing := &nft.Batch{}
	failing.AddTable(table)
	failing.AddRule(table, "none", nft.Drop())
	failing.AddTable(nft.Table{Family: unix.NFPROTO_NETDEV, Name: "u"})
	for name, apply := range map[string]func(*nft.Batch) error{"Apply": conn.Apply, "Check": conn.Check} {
		if err := apply(failing); !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "change 2 of 3") {
			t.Errorf("%s of a batch with a fault: %v", name, err)
		}
	}
	if got := ruleset(t); got != "" {
		t.Fatalf("a batch that failed has made %s", got)
	}
	before, err := conn.Generation()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is there already is no error
		if err := conn.Apply(batch); err != nil {
			t.Fatalf("Apply: %v", err)
		}
	}
	if after, err := conn.Generation(); err != nil || after != before+2 {
		t.Errorf("the generation is %d after %d and two batches: %v", after, before, err)
	}
	chains, err := conn.Chains(table)
	want := nft.Chain{Name: "c", Device: "lo", Comment: "for a test", Hooked: true}
	if err != nil || len(chains) != 1 || chains[0] != want {
		t.Errorf("chains %+v: %v, want %+v", chains, err, want)
	}
	gone := &nft.Batch{}
	gone.DeleteElements(table, "s", key)
	if err := conn.Apply(gone); err != nil {
		t.Errorf("removal of an element: %v", err)
	}
	if err := conn.Apply(gone); !errors.Is(err, unix.ENOENT) {
		t.Errorf("removal of an element that is not there: %v", err)
	}
	// Of all that, the listener is told as of another's, or as of its own.
	if others, err := events.Next("t", 0); err != nil || !others {
		t.Errorf("of another's changes: %v, %v", others, err)
	}
}

func ruleset(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	return string(out)
}
