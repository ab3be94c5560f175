package cni_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/cni"
)

// seed is the configuration of the project's documentation.
const seed = `{
  "cniVersion": "1.0.0",
  "name": "macvlan-dhcp",
  "plugins": [
    {
      "type": "macvlan",
      "master": "infra",
      "linkInContainer": false,
      "ipam": {
        "type": "dhcp",
        "request": [{"skipDefault": true, "option": "subnet-mask"}],
        "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"}]
      }
    }
  ]
}
`

func mustParse(t *testing.T, data string) *cni.Network {
	t.Helper()
	n, err := cni.Parse("lan", []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSeedConfigurationIsTakenAsItIs(t *testing.T) {
	n := mustParse(t, seed)
	var wrote, kept any
	if err := json.Unmarshal([]byte(seed), &wrote); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(n.Bytes(), &kept); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(wrote, kept) {
		t.Errorf("the configuration became %s", n.Bytes())
	}
	if n.Name != "lan" || n.CNIName() != "macvlan-dhcp" || !n.UsesDHCP() {
		t.Errorf("resource %q, network %q, DHCP %v", n.Name, n.CNIName(), n.UsesDHCP())
	}
	if !slices.Equal(n.Types(), []string{"macvlan"}) || !slices.Equal(n.IPAMTypes(), []string{"dhcp"}) || !slices.Equal(n.Masters(), []string{"infra"}) {
		t.Errorf("types %v, ipam %v, masters %v", n.Types(), n.IPAMTypes(), n.Masters())
	}
}

func TestSinglePluginBecomesAList(t *testing.T) {
	n := mustParse(t, `{"cniVersion":"0.4.0","name":"n","type":"host-device","device":"eth7","x-note":9007199254740993,"rate":1.50}`)
	want := `{"cniVersion":"0.4.0","name":"n","plugins":[{"cniVersion":"0.4.0","device":"eth7","name":"n","rate":1.50,"type":"host-device","x-note":9007199254740993}]}`
	if string(n.Bytes()) != want {
		t.Errorf("got  %s\nwant %s", n.Bytes(), want)
	}
	again, err := cni.Parse("lan", n.Bytes())
	if err != nil || string(again.Bytes()) != want {
		t.Errorf("parsing what was kept gives %v, %v", again, err)
	}
	if !slices.Equal(n.Masters(), []string{"eth7"}) {
		t.Errorf("masters %v", n.Masters())
	}
}

func TestMasterInsideTheContainerIsNotTheHosts(t *testing.T) {
	n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"macvlan","master":"eth0","linkInContainer":true},{"type":"bridge","bridge":"br0"}]}`)
	if len(n.Masters()) != 0 {
		t.Errorf("masters %v", n.Masters())
	}
	if err := n.CheckParents(); !errors.Is(err, cni.ErrInvalidConfig) || !strings.Contains(err.Error(), "linkInContainer") {
		t.Errorf("it may be used: %v", err)
	}
}

// Plugins take a key in whatever case, so that is what they are checked for.
func TestMasterInAnotherCase(t *testing.T) {
	n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"macvlan","MASTER":"eth0"},{"type":"host-device","Device":"eth1"},{"type":"ipvlan","master":"eth2","Master":"eth3"}]}`)
	if got := n.Masters(); !slices.Equal(got, []string{"eth0", "eth1", "eth2"}) {
		t.Errorf("masters %v", got)
	}
	if err := n.CheckParents(); err != nil {
		t.Error(err)
	}
	if mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"vlan","linkincontainer":true}]}`).CheckParents() == nil {
		t.Error("a link in the container, in another case, may be used")
	}
}

func TestParseRefuses(t *testing.T) {
	list := func(fields string) string { return `{"cniVersion":"1.0.0","name":"n","plugins":[` + fields + `]}` }
	for name, c := range map[string]struct {
		data, says   string
		line, column int
	}{
		"empty":                   {data: " \n", says: "empty"},
		"not an object":           {data: `[]`, says: "JSON object"},
		"missing comma":           {data: "{\n  \"cniVersion\": \"1.0.0\"\n  \"name\": \"n\"}", says: "comma missing", line: 3, column: 3},
		"comma too many":          {data: "{\"a\": 1,\n}", says: "comma too many", line: 2, column: 1},
		"column in characters":    {data: `{"é": x}`, says: "invalid character", line: 1, column: 7},
		"something after the end": {data: list(`{"type":"a"}`) + "\n}", says: "after top-level value", line: 2, column: 1},
		"a key twice":             {data: list("{\"type\":\"a\",\n\"type\":\"b\"}"), says: `"type" is there twice`, line: 2},
		"a key in other case":     {data: list(`{"type":"a","Type":"../b"}`), says: `"Type" must be written "type"`},
		"ipam key in other case":  {data: list(`{"type":"a","ipam":{"TYPE":"b"}}`), says: `"TYPE" must be written "type"`},
		"neither list nor plugin": {data: `{"cniVersion":"1.0.0","name":"n"}`, says: "neither"},
		"no plugins":              {data: list(``), says: "at least one plugin"},
		"plugins not an array":    {data: `{"cniVersion":"1.0.0","name":"n","plugins":{}}`, says: "array"},
		"plugin not an object":    {data: list(`"macvlan"`), says: "object"},
		"plugin without type":     {data: list(`{"master":"a"}`), says: `"type" is missing`},
		"type is a path":          {data: list(`{"type":"../../tmp/x"}`), says: "plain name"},
		"type is a folder":        {data: list(`{"type":".."}`), says: "plain name"},
		"ipam type is a path":     {data: list(`{"type":"a","ipam":{"type":"/tmp/x"}}`), says: "plain name"},
		"ipam is no object":       {data: list(`{"type":"a","ipam":"dhcp"}`), says: "ipam"},
		"socket is no string":     {data: list(`{"type":"a","ipam":{"type":"dhcp","daemonSocketPath":1}}`), says: "daemonSocketPath"},
		"name is a path":          {data: `{"cniVersion":"1.0.0","name":"../../evil","plugins":[{"type":"a"}]}`, says: "CNI network name"},
		"name is missing":         {data: `{"cniVersion":"1.0.0","plugins":[{"type":"a"}]}`, says: `"name" is missing`},
		"name is a file too long": {data: `{"cniVersion":"1.0.0","name":"` + strings.Repeat("n", 97) + `","plugins":[{"type":"a"}]}`, says: "at most 96"},
		"version missing":         {data: `{"name":"n","plugins":[{"type":"a"}]}`, says: `"cniVersion" is missing`},
		"version too old":         {data: `{"cniVersion":"0.2.0","name":"n","plugins":[{"type":"a"}]}`, says: "not supported"},
		"version of the future":   {data: `{"cniVersion":"9.0.0","name":"n","plugins":[{"type":"a"}]}`, says: "not supported"},
		"too large":               {data: `{"a":"` + strings.Repeat("x", 1<<20) + `"}`, says: "larger"},
		"deep":                    {data: strings.Repeat(`[`, 100_000), says: "depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cni.Parse("lan", []byte(c.data))
			var fault *cni.ConfigError
			if !errors.Is(err, cni.ErrInvalidConfig) || !errors.As(err, &fault) {
				t.Fatalf("got error %v", err)
			}
			if !strings.Contains(fault.Reason, c.says) || !strings.Contains(err.Error(), "lan") {
				t.Errorf("error %q does not say %q of resource lan", err, c.says)
			}
			if c.line != 0 && fault.Line != c.line || c.column != 0 && fault.Column != c.column {
				t.Errorf("error is at %d:%d, want %d:%d", fault.Line, fault.Column, c.line, c.column)
			}
		})
	}
}

func TestParseRefusesResourceNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../lan", "a/b", "-lan", "a\nb", "a\x00", strings.Repeat("a", 129)} {
		if _, err := cni.Parse(name, []byte(seed)); !errors.Is(err, cni.ErrInvalidConfig) {
			t.Errorf("resource %q: %v", name, err)
		}
	}
}

func TestDHCPSocketIsAddedAndNothingElseChanged(t *testing.T) {
	n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[
		{"type":"macvlan","mtu":1500,"big":9007199254740993,"ipam":{"type":"dhcp","x":1.0}},
		{"type":"bridge","ipam":{"type":"dhcp","daemonSocketPath":"/run/theirs.sock"}},
		{"type":"ptp","ipam":{"type":"static"}},
		{"type":"tuning"}]}`)
	before := string(n.Bytes())
	ours := n.WithDHCPSocket("/run/ours.sock")
	want := strings.Replace(before, `{"type":"dhcp","x":1.0}`, `{"daemonSocketPath":"/run/ours.sock","type":"dhcp","x":1.0}`, 1)
	if string(ours.Bytes()) != want {
		t.Errorf("got  %s\nwant %s", ours.Bytes(), want)
	}
	if string(n.Bytes()) != before {
		t.Error("the network itself was changed")
	}
	if !n.UsesDHCP() || !ours.UsesDHCP() {
		t.Error("DHCP through our service is not seen")
	}
}

func TestTheirOwnDHCPDaemonIsNotOurs(t *testing.T) {
	n := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"dhcp","daemonSocketPath":"/run/theirs.sock"}}]}`)
	if n.UsesDHCP() || n.WithDHCPSocket("/run/ours.sock").UsesDHCP() {
		t.Error("the administrator's own daemon is taken for ours")
	}
}

func TestAddressHints(t *testing.T) {
	const hostLocal = `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge"%s,"ipam":{"type":"host-local","ranges":[[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.10","rangeEnd":"192.0.2.20"}],[{"subnet":"2001:db8::/64"}]]}}]}`
	hints := func(ips ...string) (addrs []netip.Addr) {
		for _, ip := range ips {
			addrs = append(addrs, netip.MustParseAddr(ip))
		}
		return addrs
	}
	for name, c := range map[string]struct {
		args string
		ips  []netip.Addr
		want string
	}{
		"both families":      {ips: hints("192.0.2.10", "2001:db8::5"), want: `{"cni":{"ips":["192.0.2.10","2001:db8::5"]}}`},
		"given twice":        {ips: hints("192.0.2.20", "192.0.2.20", "::ffff:192.0.2.20"), want: `{"cni":{"ips":["192.0.2.20"]}}`},
		"outside the ranges": {ips: hints("192.0.2.9", "192.0.2.21", "198.51.100.1", "2001:db8:1::1")},
		"none":               {},
		"other args kept":    {args: `,"args":{"cni":{"mac":"x"},"o":1}`, ips: hints("192.0.2.11"), want: `{"cni":{"ips":["192.0.2.11"],"mac":"x"},"o":1}`},
		"theirs kept":        {args: `,"args":{"cni":{"ips":["192.0.2.12"]}}`, ips: hints("192.0.2.11"), want: `{"cni":{"ips":["192.0.2.12"]}}`},
	} {
		t.Run(name, func(t *testing.T) {
			n := mustParse(t, strings.Replace(hostLocal, "%s", c.args, 1)).WithAddressHints(c.ips)
			var got struct {
				Plugins []struct{ Args json.RawMessage }
			}
			if err := json.Unmarshal(n.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if string(got.Plugins[0].Args) != c.want {
				t.Errorf("args are %s, want %s", got.Plugins[0].Args, c.want)
			}
		})
	}
	static := mustParse(t, `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"bridge","ipam":{"type":"static","subnet":"192.0.2.0/24"}}]}`)
	if hinted := static.WithAddressHints(hints("192.0.2.10")); strings.Contains(string(hinted.Bytes()), "args") {
		t.Errorf("hints for an IPAM plugin that takes none: %s", hinted.Bytes())
	}
}
