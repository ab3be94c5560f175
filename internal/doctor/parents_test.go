package doctor

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/testlab"
)

// ip runs a command of ip in the test's own host namespace.
func ip(t *testing.T, command string) error {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput()
	t.Logf("ip %s: %s%v", command, out, err)
	return err
}

// What is told of a parent that is a port is what Linux does with it.
func TestPort(t *testing.T) {
	testlab.RequireRoot(t)
	port := func() *examination {
		e := fake(t, nil, nil)
		link, err := netlink.LinkByName("np-port")
		if err != nil {
			t.Fatal(err)
		}
		e.port(link, parent{link: "np-port", resource: "lan", macvlan: true})
		return e
	}
	const macvlan = "link add name np-mac link np-port type macvlan mode bridge"
	t.Cleanup(func() { ip(t, "link del np-port"); ip(t, "link del np-bridge") })
	for _, command := range []string{"link add name np-port type veth peer name np-peer", "link add name np-bridge type bridge"} {
		if ip(t, command) != nil {
			t.FailNow()
		}
	}
	want(t, port(), OK, "lan.parent", "np-port")
	if ip(t, "link set np-port master np-bridge") != nil {
		t.FailNow()
	}
	if ip(t, macvlan) == nil {
		t.Error("there is a macvlan on a bridge's port")
	}
	want(t, port(), Problem, "lan.port", "np-port (of resource lan) is a port of np-bridge", `"master": "np-bridge"`)
}

// A host that is on its own parent by a macvlan reaches the containers, and is told so; one
// that is not learns how.
func TestShim(t *testing.T) {
	testlab.RequireRoot(t)
	t.Cleanup(func() { ip(t, "link del np-port") })
	if ip(t, "link add name np-port type veth peer name np-peer") != nil {
		t.FailNow()
	}
	look := func() *examination {
		e := fake(t, nil, nil)
		e.checked = checkedWith(t, `{"type":"macvlan","master":"np-port"}`)
		e.parents()
		return e
	}
	want(t, look(), OK, "lan.host", "this host itself does not reach containers on np-port", "ip link add lan-shim link np-port type macvlan mode bridge")
	if ip(t, "link add lan-shim link np-port type macvlan mode bridge") != nil { // as is told
		t.FailNow()
	}
	want(t, look(), OK, "lan.shim", "lan-shim")
}

func TestBridges(t *testing.T) {
	const knob = "/proc/sys/net/bridge/bridge-nf-call-iptables"
	for value, told := range map[string]int{"1\n": 1, "0\n": 0, "": 0} {
		e := fake(t, map[string]string{knob: value}, nil)
		e.checked = checkedWith(t, `{"type":"bridge","bridge":"lan0"}`)
		e.bridges()
		if n := e.report.Count(Warning); n != told || told > 0 && !strings.Contains(e.report.Findings[0].Text, "of resource lan ") {
			t.Errorf("%q: %+v", value, e.report.Findings)
		}
		e = fake(t, map[string]string{knob: value}, nil)
		e.checked = checkedWith(t, `{"type":"macvlan","master":"lan0"}`)
		e.bridges()
		if len(e.report.Findings) > 0 {
			t.Errorf("macvlan does not cross a bridge's ports, and told was %+v", e.report.Findings)
		}
	}
}

func TestMachine(t *testing.T) {
	const dmi = "/sys/class/dmi/id/"
	for _, c := range []struct {
		files map[string]string
		words string
	}{
		{map[string]string{dmi + "sys_vendor": "Microsoft Corporation\n", dmi + "product_name": "Virtual Machine\n"}, "Hyper-V"},
		{map[string]string{dmi + "sys_vendor": "Microsoft Corporation\n", dmi + "product_name": "Virtual Machine\n", dmi + "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77\n"}, "Azure"},
		{map[string]string{dmi + "sys_vendor": "Xen", dmi + "bios_version": "4.11.amazon"}, "AWS"},
		{map[string]string{dmi + "sys_vendor": "Google", dmi + "product_name": "Google Compute Engine"}, "Google Cloud"},
		{map[string]string{dmi + "sys_vendor": "Google", dmi + "product_name": "Eve"}, ""}, // a laptop
		{map[string]string{dmi + "sys_vendor": "OpenStack Foundation", dmi + "chassis_vendor": "QEMU"}, "port security"},
		{map[string]string{dmi + "sys_vendor": "VMware, Inc."}, "forged transmits"},
		{map[string]string{dmi + "sys_vendor": "Dell Inc."}, ""},
		{nil, ""},
	} {
		e := fake(t, c.files, nil)
		e.machine()
		if c.words != "" {
			want(t, e, Warning, "lan.virtual", c.words)
		} else if len(e.report.Findings) > 0 {
			t.Errorf("%v: %+v", c.files, e.report.Findings)
		}
	}
}

// checkedWith has one resource "lan" with a plugin.
func checkedWith(t *testing.T, plugin string) *check.Report {
	t.Helper()
	n, err := cni.Parse("lan", []byte(`{"cniVersion":"1.0.0","name":"lan","plugins":[`+plugin+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return &check.Report{Config: &config.Config{Resources: []config.Resource{{Name: "lan"}}}, Networks: map[string]*cni.Network{"lan": n}}
}
