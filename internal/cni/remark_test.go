package cni_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/cni"
)

// What is right by the plugins' documentation is not remarked on; each of these is taken
// by the plugins that are shipped.
func TestNothingToRemark(t *testing.T) {
	example, err := os.ReadFile("../../contrib/example/cni.d/macvlan-dhcp.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, conflist := range []string{
		string(example),
		`{"cniVersion":"1.1.0","cniVersions":["1.0.0","1.1.0"],"name":"n","disableCheck":false,"disableGC":true,"plugins":[
			{"type":"bridge","bridge":"br0","isGateway":true,"isDefaultGateway":true,"forceAddress":false,"ipMasq":true,"ipMasqBackend":"nftables","mtu":1500,
				"hairpinMode":true,"promiscMode":false,"vlan":5,"vlanTrunk":[{"minID":1,"maxID":2},{"id":7}],"preserveDefaultVlan":false,"macspoofchk":true,"enabledad":true,
				"disableContainerInterface":false,"portIsolation":true,"capabilities":{"mac":true,"ips":true},"args":{"cni":{"ips":[]}},"runtimeConfig":{},
				"ipam":{"type":"host-local","dataDir":"/x","resolvConf":"/etc/resolv.conf","routes":[{"dst":"0.0.0.0/0","gw":"192.0.2.1","mtu":1,"advmss":1,"priority":1,"table":1,"scope":1}],
				"ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.2","rangeEnd":"192.0.2.9","gateway":"192.0.2.1"}],[{"subnet":"2001:db8::/64"}]]}},
			{"type":"portmap","snat":true,"backend":"nftables","conditionsV4":[],"conditionsV6":[],"masqAll":true,"markMasqBit":1,"externalSetMarkChain":"X","capabilities":{"portMappings":true}},
			{"type":"tuning","sysctl":{"net.ipv4.conf.IFNAME.arp_notify":"1"},"mac":"02:00:00:00:00:01","promisc":true,"mtu":1,"txQLen":1,"allmulti":true,"dataDir":"/x"},
			{"type":"sbr","table":100},{"type":"a-plugin-of-somebody's","anything":{"at":"all"}}]}`,
		`{"cniVersion":"1.0.0","name":"n","type":"macvlan","_comment":"//","//":"x","comment":"y","master":"eth0","mode":"bridge","mtu":1500,"mac":"02:00:00:00:00:01","linkInContainer":false,"bcqueuelen":1000,
			"dns":{"nameservers":["192.0.2.1"],"domain":"x","search":["y"],"options":["z"]},
			"ipam":{"type":"static","addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":[]}}}`,
	} {
		if remarks := load(t, conflist).Remarks(); len(remarks) > 0 {
			t.Errorf("%s:\n%+v", conflist, remarks)
		}
	}
}

func TestHostDeviceIsRemarkedOn(t *testing.T) {
	remarks := load(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"host-device","device":"eth5"}]}`).Remarks()
	if len(remarks) != 1 || !strings.Contains(remarks[0].Text, "whom you trust alone") || remarks[0].Line != 1 {
		t.Errorf("%+v", remarks)
	}
}

func load(t *testing.T, conflist string) *cni.Network {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "lan.json"), conflist)
	n, err := cni.Load(dir, "lan")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Places are those of the file as it was written, whatever its shape.
func TestPlaces(t *testing.T) {
	for conflist, want := range map[string]string{
		"{\"cniVersion\":\"1.0.0\", \"name\" : \"n\",\n \"plugins\": [{\"type\":\"tuning\"},\n  {\"type\": \"macvlan\",\n\t\"master\" :\"eth0\", \"ipam\":{\"type\":\"dhcp\"}}]}": "1:24 4:2 4:20",
		"{\"cniVersion\":\"1.0.0\",\n\"type\":\"macvlan\",\"é\":1,\"master\":\"eth0\",\n\"ipam\":{\"type\":\"dhcp\"},\"name\":\"n\"}":                                             "3:24 2:24 3:1",
	} {
		n := load(t, conflist)
		place := func(line, column int) string { return fmt.Sprintf("%d:%d", line, column) }
		if got := place(n.NamePlace()) + " " + place(n.MasterPlace("eth0")) + " " + place(n.IPAMPlace("dhcp")); got != want {
			t.Errorf("got %s, want %s:\n%s", got, want, conflist)
		}
	}
	if line, column := mustParse(t, seed).NamePlace(); line != 0 || column != 0 {
		t.Errorf("what came from no file has a place: %d, %d", line, column)
	}
}

func TestRanges(t *testing.T) {
	for ipam, want := range map[string]string{
		`{"type":"static","addresses":[{"address":"192.0.2.7/24"},{"address":"2001:db8::1/64"},{"address":"nonsense"}]}`:                    "[192.0.2.0-192.0.2.255 2001:db8::-2001:db8::ffff:ffff:ffff:ffff]",
		`{"type":"host-local","subnet":"192.0.2.0/24","rangeStart":"192.0.2.9"}`:                                                            "[192.0.2.9-192.0.2.255]",
		`{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","rangeEnd":"192.0.2.9"},{"subnet":"198.51.100.0/25"}],[{"subnet":"x"}]]}`: "[192.0.2.0-192.0.2.9 198.51.100.0-198.51.100.127]",
		`{"type":"dhcp"}`: "[]",
	} {
		n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"macvlan","ipam":`+ipam+`}]}`)
		if got := fmt.Sprint(n.Ranges()); got != want {
			t.Errorf("%s: %s, want %s", ipam, got, want)
		}
	}
}
