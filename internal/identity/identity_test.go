package identity_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/identity"
)

var seed = []byte("\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff")

var web = identity.Container{UID: 1000, Name: "web", Resource: "macvlan-dhcp", Interface: "eth0"}

// These values are a promise: they are reservations in DHCP servers and rules in
// switches. A change of the derivation that this test finds is not to be made; the
// values come from another implementation of the package's documentation.
func TestIdentitiesAreThoseOfEveryRelease(t *testing.T) {
	h := identity.NewHost(seed)
	for _, c := range []struct {
		of   identity.Container
		duid string
		iaid uint32
		macs []string
	}{
		{web, "00043ed0b81e9b478da99a5e871910b803e5", 0xdfba7cd8,
			[]string{"7a:2c:e8:be:0e:d3", "e6:20:e5:ef:e0:69", "7a:a7:76:f0:e7:2f"}},
		{identity.Container{UID: 1000, Name: "web", Resource: "macvlan-dhcp", Interface: "eth1"},
			"00043ed0b81e9b478da99a5e871910b803e5", 0x41f1784b,
			[]string{"d2:80:d5:7f:e7:b9", "d6:61:42:54:2d:5b", "1a:07:52:0b:93:e3"}},
		{identity.Container{}, "00049bffd73b030b8b3c9ea5c45cad80debb", 0x453560b7,
			[]string{"3a:26:96:36:35:4f", "ba:6e:c8:57:3e:62", "d6:b2:44:14:73:eb"}},
		{identity.Container{UID: 4294967294, Name: strings.Repeat("f00dcafe", 8), Resource: "lan", Interface: "eth0"},
			"000447ff1da661e58597b1f491d9db47bc85", 0xa999e412,
			[]string{"86:bb:03:0f:ba:58", "e6:87:28:1f:6b:0f", "ae:c2:1e:67:9a:06"}},
	} {
		id := h.Identity(c.of)
		if got := hex.EncodeToString(id.DUID); got != c.duid {
			t.Errorf("%+v: the DUID is %s, was %s", c.of, got, c.duid)
		}
		if id.IAID != c.iaid {
			t.Errorf("%+v: the IAID is %#x, was %#x", c.of, id.IAID, c.iaid)
		}
		if id.MAC.String() != c.macs[0] {
			t.Errorf("%+v: the MAC address is %s, was %s", c.of, id.MAC, c.macs[0])
		}
		for attempt, mac := range c.macs {
			if got := h.MAC(c.of, attempt).String(); got != mac {
				t.Errorf("%+v: the MAC address of attempt %d is %s, was %s", c.of, attempt, got, mac)
			}
		}
	}
}

func TestClientID(t *testing.T) {
	const want = "ff" + "dfba7cd8" + "00043ed0b81e9b478da99a5e871910b803e5"
	id := identity.NewHost(seed).Identity(web)
	if got := hex.EncodeToString(id.ClientID()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	id.ClientID()[5] = 0xee
	if again := hex.EncodeToString(id.ClientID()); again != want {
		t.Errorf("who changed one client id changed the next: %s", again)
	}
}

// What is the same between two interfaces is as important as what is not.
func TestWhatEachFieldChanges(t *testing.T) {
	h := identity.NewHost(seed)
	was := h.Identity(web)
	for _, c := range []struct {
		name             string
		of               identity.Container
		host             identity.Host
		duid, iaid, macs bool // whether it changes
	}{
		{"nothing", web, identity.NewHost(bytes.Clone(seed)), false, false, false},
		{"user", identity.Container{UID: 1001, Name: "web", Resource: "macvlan-dhcp", Interface: "eth0"}, h, true, false, true},
		{"name", identity.Container{UID: 1000, Name: "Web", Resource: "macvlan-dhcp", Interface: "eth0"}, h, true, false, true},
		{"resource", identity.Container{UID: 1000, Name: "web", Resource: "macvlan-dhcq", Interface: "eth0"}, h, false, true, true},
		{"interface", identity.Container{UID: 1000, Name: "web", Resource: "macvlan-dhcp", Interface: "eth1"}, h, false, true, true},
		{"host", web, identity.NewHost(append(bytes.Clone(seed[:15]), 0xfe)), true, true, true},
	} {
		is := c.host.Identity(c.of)
		if bytes.Equal(is.DUID, was.DUID) == c.duid || (is.IAID == was.IAID) == c.iaid || bytes.Equal(is.MAC, was.MAC) == c.macs {
			t.Errorf("another %s: %x %x %s, was %x %x %s", c.name, is.DUID, is.IAID, is.MAC, was.DUID, was.IAID, was.MAC)
		}
	}
}

// A user chooses names: none may reach over into the next field, or into another user's.
func TestFieldsHaveBoundaries(t *testing.T) {
	h := identity.NewHost(seed)
	macs, duids, iaids := map[string]string{}, map[string]string{}, map[uint32]string{}
	for _, c := range []identity.Container{
		{Name: "ab", Resource: "c", Interface: "d"},
		{Name: "a", Resource: "bc", Interface: "d"},
		{Name: "a", Resource: "b", Interface: "cd"},
		{Name: "abc", Resource: "", Interface: "d"},
		{Name: "abc", Resource: "d", Interface: ""},
		{Name: "", Resource: "abc", Interface: "d"},
		{Name: "abcd"},
		{Name: "a\x00\x00\x00\x00\x00\x00\x00\x01b", Resource: "c", Interface: "d"},
		{Name: "a\x00", Resource: "b", Interface: "c"},
		{Name: "\x00a", Resource: "b", Interface: "c"},
		{UID: 'a', Name: "b", Resource: "c", Interface: "d"},
		{UID: 'a' << 24, Name: "b", Resource: "c", Interface: "d"},
	} {
		name := fmt.Sprintf("%d %q %q %q", c.UID, c.Name, c.Resource, c.Interface)
		id := h.Identity(c)
		if other, ok := macs[string(id.MAC)]; ok {
			t.Errorf("%s has the MAC address of %s", name, other)
		}
		macs[string(id.MAC)] = name
		who := fmt.Sprintf("%d %q", c.UID, c.Name)
		if other, ok := duids[string(id.DUID)]; ok && other != who {
			t.Errorf("%s has the DUID of %s", who, other)
		}
		duids[string(id.DUID)] = who
		where := fmt.Sprintf("%q %q", c.Resource, c.Interface)
		if other, ok := iaids[id.IAID]; ok && other != where {
			t.Errorf("%s has the IAID of %s", where, other)
		}
		iaids[id.IAID] = where
	}
}

// 100000 containers of ten users: every bit of form is right, no address comes twice.
func TestManyContainers(t *testing.T) {
	h := identity.NewHost(seed)
	const users, names = 10, 10_000
	seen := make(map[[6]byte]bool, users*names)
	var ones, zeros [6]byte
	for uid := range uint32(users) {
		for n := range names {
			c := identity.Container{UID: 1000 + uid, Name: fmt.Sprint("c", n), Resource: "lan", Interface: "eth0"}
			id := h.Identity(c)
			if len(id.MAC) != 6 || id.MAC[0]&3 != 2 {
				t.Fatalf("%+v: %s is not a locally administered unicast address", c, id.MAC)
			}
			if len(id.DUID) != 18 || id.DUID[0] != 0 || id.DUID[1] != 4 || id.DUID[8]>>4 != 8 || id.DUID[10]>>6 != 2 {
				t.Fatalf("%+v: %x is not a DUID-UUID of version 8", c, id.DUID)
			}
			mac := [6]byte(id.MAC)
			if seen[mac] {
				t.Fatalf("%+v: %s is another container's already", c, id.MAC)
			}
			seen[mac] = true
			for i, b := range mac {
				ones[i], zeros[i] = ones[i]|b, zeros[i]|^b
			}
		}
	}
	if ones != [6]byte{0xfe, 255, 255, 255, 255, 255} || zeros != [6]byte{0xfd, 255, 255, 255, 255, 255} {
		t.Errorf("bits that are never one: %x, never zero: %x", ones, zeros)
	}
}

func TestEachAttemptIsAnotherAddress(t *testing.T) {
	h := identity.NewHost(seed)
	seen := map[string]int{}
	for attempt := range 1000 {
		mac := h.MAC(web, attempt)
		if mac[0]&3 != 2 {
			t.Fatalf("attempt %d: %s is not a locally administered unicast address", attempt, mac)
		}
		if before, ok := seen[mac.String()]; ok {
			t.Fatalf("attempts %d and %d give %s", before, attempt, mac)
		}
		seen[mac.String()] = attempt
	}
}

// The LAN sees what a Host gives, and the log may see the Host.
func TestTheSeedIsNotShown(t *testing.T) {
	h := identity.NewHost(seed)
	id := h.Identity(web)
	shown := slices.Concat(id.DUID, id.MAC, id.ClientID())
	for i := range len(seed) - 3 {
		if bytes.Contains(shown, seed[i:i+4]) {
			t.Errorf("%x of the seed is in %x", seed[i:i+4], shown)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		if got := fmt.Sprintf(verb, h); got != "identity.Host" {
			t.Errorf("%s shows %s", verb, got)
		}
		if got := fmt.Sprintf(verb, &h); got != "identity.Host" {
			t.Errorf("%s of a pointer shows %s", verb, got)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("", "host", h)
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "host", h)
	if text := log.String(); !strings.Contains(text, `"host":{}`) || !strings.Contains(text, "host=identity.Host") {
		t.Errorf("logged %s", text)
	}
}

func TestIdentitiesAreTheCallersToChange(t *testing.T) {
	h := identity.NewHost(seed)
	id := h.Identity(web)
	want := net.HardwareAddr(bytes.Clone(id.MAC))
	_ = append(id.MAC, 0xff)
	id.MAC[5]++
	id.DUID[17]++
	if again := h.Identity(web); !bytes.Equal(again.MAC, want) || bytes.Equal(again.DUID, id.DUID) {
		t.Errorf("who changed one identity changed the next: %s %x", again.MAC, again.DUID)
	}
}
