package policy

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/addrrange"
)

func ips(t testing.TB, texts ...string) []addrrange.IP {
	t.Helper()
	var all []addrrange.IP
	for _, text := range texts {
		r, err := addrrange.ParseIP(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func macs(t testing.TB, texts ...string) []addrrange.MAC {
	t.Helper()
	var all []addrrange.MAC
	for _, text := range texts {
		r, err := addrrange.ParseMAC(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// The suite reads like the documentation: alice and the group staff (200) may use the
// resource; bob (1001) and the group web (300) have grants.
func TestPolicy(t *testing.T) {
	lan := NewResource(Rules{
		Name:        "lan",
		Users:       map[uint32]string{1000: "allow_users alice", 0: "allow_users root"},
		Groups:      map[uint32]string{200: "allow_groups staff"},
		MostPerUser: 16,
		Grants: []Grant{
			{Rule: "grant 1", Users: []uint32{1001}, IPs: ips(t, "192.168.1.64/28", "192.168.1.100-192.168.1.120", "2001:db8::/64"), Most: 8},
			{Rule: "grant 2", Users: []uint32{1001, 1000}, Groups: []uint32{300}, MACs: macs(t, "02:00:00:aa:00:00-02:00:00:aa:00:ff")},
			{Rule: "grant 3", Groups: []uint32{300}, IPs: ips(t, "192.168.1.200"), Most: 4},
			{Rule: "grant 4", Groups: []uint32{300}, Most: 2},
		},
	})
	free := NewResource(Rules{Name: "free", Users: map[uint32]string{1000: "allow_users alice"}})
	tests := []struct {
		who      string
		uid      uint32
		gids     []uint32
		resource *Resource
		asks     string // addresses and a MAC; "replay" for network reload's
		want     string // the rules, or why not; and how many
	}{
		{"a listed user", 1000, nil, lan, "", "allow_users alice, most 16"},
		{"a listed user with no bound on the resource", 1000, nil, free, "", "allow_users alice, most 0"},
		{"root, because it is listed", 0, nil, lan, "", "allow_users root, most 16"},
		{"root is nobody where it is not listed", 0, []uint32{0}, free, "", "not-listed"},
		{"a member of a listed group", 7, []uint32{7, 200}, lan, "", "allow_groups staff, most 16"},
		{"a uid that equals a listed gid", 200, []uint32{9}, lan, "", "not-listed"},
		{"a gid that equals a listed uid", 7, []uint32{1000, 1001}, lan, "", "not-listed"},
		{"a uid that equals a granted gid", 300, []uint32{9}, lan, "", "not-listed"},
		{"a stranger", 1002, []uint32{1002}, lan, "", "not-listed"},
		{"anybody, on no resource", 1000, []uint32{200}, nil, "", "not-listed"},
		{"anybody, without rules", 1000, []uint32{200}, NewResource(Rules{}), "", "not-listed"},

		{"who has a grant may use the resource", 1001, nil, lan, "", "grant 1, most 8"},
		{"the same by a group", 7, []uint32{300}, lan, "", "grant 2, most 4"},
		{"a list goes before a grant in the record", 7, []uint32{200, 300}, lan, "", "allow_groups staff, most 4"},
		{"a grant that says nothing of the number leaves the resource's", 1000, []uint32{}, lan, "", "allow_users alice, most 16"},

		{"to be listed grants no address", 1000, nil, lan, "192.168.1.70", "static-address 192.168.1.70"},
		{"nor a MAC on a resource without grants", 1000, nil, free, "02:00:00:aa:00:01", "static-mac 02:00:00:aa:00:01"},
		{"the first address of a network", 1001, nil, lan, "192.168.1.64", "grant 1, most 8"},
		{"the last one", 1001, nil, lan, "192.168.1.79", "grant 1, most 8"},
		{"the one before", 1001, nil, lan, "192.168.1.63", "static-address 192.168.1.63"},
		{"the one after", 1001, nil, lan, "192.168.1.80", "static-address 192.168.1.80"},
		{"the first address of a range", 1001, nil, lan, "192.168.1.100", "grant 1, most 8"},
		{"the last one of a range", 1001, nil, lan, "192.168.1.120", "grant 1, most 8"},
		{"the one after a range", 1001, nil, lan, "192.168.1.121", "static-address 192.168.1.121"},
		{"IPv6", 1001, nil, lan, "2001:db8::7", "grant 1, most 8"},
		{"IPv6 outside", 1001, nil, lan, "2001:db8:0:1::7", "static-address 2001:db8:0:1::7"},
		{"both families", 1001, nil, lan, "192.168.1.70 2001:db8::7", "grant 1, most 8"},
		{"every one is checked", 1001, nil, lan, "192.168.1.70 192.168.1.71 192.168.1.99", "static-address 192.168.1.99"},
		{"another's address", 7, []uint32{300}, lan, "192.168.1.70", "static-address 192.168.1.70"},
		{"a single address, by a group", 7, []uint32{300}, lan, "192.168.1.200", "grant 2, grant 3, most 4"},

		{"a MAC at the beginning", 1000, nil, lan, "02:00:00:aa:00:00", "allow_users alice, grant 2, most 16"},
		{"at the end", 1000, nil, lan, "02:00:00:aa:00:ff", "allow_users alice, grant 2, most 16"},
		{"before", 1000, nil, lan, "02:00:00:a9:ff:ff", "static-mac 02:00:00:a9:ff:ff"},
		{"after", 1000, nil, lan, "02:00:00:aa:01:00", "static-mac 02:00:00:aa:01:00"},
		{"a MAC does not bring an address", 1000, nil, lan, "192.168.1.70 02:00:00:aa:00:00", "static-address 192.168.1.70"},
		{"address and MAC of two grants", 1001, nil, lan, "192.168.1.70 02:00:00:aa:00:00", "grant 1, grant 2, most 8"},

		{"a replay of what it had", 1000, nil, lan, "replay 192.168.1.70 02:00:00:ff:00:00", "allow_users alice, most 16"},
		{"a stranger's replay", 1002, nil, lan, "replay 192.168.1.70", "not-listed"},
	}
	for _, tt := range tests {
		t.Run(tt.who, func(t *testing.T) {
			var q Request
			for _, word := range strings.Fields(tt.asks) {
				if mac, err := net.ParseMAC(word); err == nil {
					q.StaticMAC = mac
				} else if word == "replay" {
					q.Replay = true
				} else {
					q.StaticIPs = append(q.StaticIPs, netip.MustParseAddr(word))
				}
			}
			d := Attach(Subject{tt.uid, tt.gids}, tt.resource, q)
			got := strings.TrimSpace(fmt.Sprint(d.Reason, " ", d.Address))
			if d.Allowed {
				got = fmt.Sprintf("%s, most %d", strings.Join(d.Rules, ", "), d.Most)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// One decision among a thousand grants: each for another user, and all for the same one.
func BenchmarkDecision(b *testing.B) {
	for name, uid := range map[string]func(i int) uint32{
		"1000 grants for 1000 users": func(i int) uint32 { return uint32(1000 + i) },
		"1000 grants for one user":   func(int) uint32 { return 1999 },
	} {
		b.Run(name, func(b *testing.B) {
			rules := Rules{Name: "lan", Users: map[uint32]string{}, Groups: map[uint32]string{}}
			for i := range 1000 {
				rules.Grants = append(rules.Grants, Grant{
					Rule: fmt.Sprint("grant ", i), Users: []uint32{uid(i)}, Groups: []uint32{uint32(5000 + i)},
					IPs: ips(b, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), fmt.Sprintf("2001:db8:0:%x::/64", i)), MACs: macs(b, "02:00:00:aa:00:00-02:00:00:aa:00:ff"),
				})
			}
			r := NewResource(rules)
			s := Subject{UID: 1999, GIDs: []uint32{1999, 10, 20, 30, 5998}}
			q := Request{StaticIPs: []netip.Addr{netip.MustParseAddr("10.3.231.7"), netip.MustParseAddr("2001:db8:0:3e7::7")}, StaticMAC: net.HardwareAddr{2, 0, 0, 0xaa, 0, 1}}
			for b.Loop() {
				if d := Attach(s, r, q); !d.Allowed {
					b.Fatal(d)
				}
			}
		})
	}
}

// The table gives the same answers as looking at every range.
func FuzzTable(f *testing.F) {
	f.Add([]byte{1, 9, 2, 3, 5, 20, 30, 40}, byte(7))
	f.Fuzz(func(t *testing.T, ends []byte, value byte) {
		var all table[byte]
		inside := false
		for i := 0; i+1 < len(ends); i += 2 {
			first, last := min(ends[i], ends[i+1]), max(ends[i], ends[i+1])
			all = append(all, piece[byte]{first, last, fmt.Sprint(first, "-", last)})
			inside = inside || first <= value && value <= last
		}
		all.sort(cmp.Compare[byte])
		rule := all.find(value, cmp.Compare[byte])
		var first, last byte
		if rule != "" {
			if _, err := fmt.Sscanf(rule, "%d-%d", &first, &last); err != nil || value < first || last < value {
				t.Errorf("%d is given by %s", value, rule)
			}
		}
		if inside != (rule != "") {
			t.Errorf("%d in %v: %v, want %v", value, ends, rule != "", inside)
		}
	})
}
