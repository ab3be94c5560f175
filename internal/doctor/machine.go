package doctor

import (
	"os"
	"path/filepath"
	"strings"
)

const (
	// cloudText is of clouds whose networks know one MAC for each machine.
	cloudText   = " pass a machine's own MAC alone, so that containers with macvlan hear nothing"
	cloudRemedy = "there is no remedy for macvlan: use published ports there"
)

// vendors are machines whose virtual switches look at MACs, by what the firmware says of
// the machine: the first that is found in that.
var vendors = []struct {
	sign, text, remedy string
}{
	// Clouds first: most say of themselves what their hypervisor is, too. The numbers are
	// Azure's chassis tag.
	{"7783-7084-3265-9085-8269-3286-77", "the networks of Azure" + cloudText, cloudRemedy},
	{"Amazon EC2", "the networks of AWS" + cloudText, cloudRemedy},
	{".amazon", "the networks of AWS" + cloudText, cloudRemedy}, // on Xen, in the firmware's version
	{"Google Compute Engine", "the networks of Google Cloud" + cloudText, cloudRemedy},
	{"DigitalOcean", "the networks of DigitalOcean" + cloudText, cloudRemedy},
	{"Hetzner", "the networks of Hetzner Cloud" + cloudText, cloudRemedy},
	{"OracleCloud.com", "the networks of Oracle Cloud" + cloudText, cloudRemedy},
	{"Alibaba Cloud", "the networks of Alibaba Cloud" + cloudText, cloudRemedy},
	{"OpenStack", "OpenStack's port security passes a port's own MAC and addresses alone", "allow others by allowed address pairs, or switch port security off for the port"},
	{"VMware", "VMware's virtual switches pass a machine's own MAC alone", "allow promiscuous mode, forged transmits and MAC changes on its port group"},
	{"VirtualBox", "VirtualBox passes a machine's own MAC alone", `set the adapter to bridged, with promiscuous mode "Allow All"`},
	{"Microsoft Corporation Virtual Machine", "Hyper-V passes a machine's own MAC alone", "Set-VMNetworkAdapter -MacAddressSpoofing On, on its host"},
	{"Parallels", "Parallels passes a machine's own MAC alone in some modes", "bridged network, with promiscuous mode allowed"},
	{"QEMU", "if libvirt's macvtap or a MAC filter is between this machine and its network, it passes the machine's own MAC alone", `trustGuestRxFilters="yes" of the macvtap interface, or a bridge without filter`},
}

// machine tells of virtual machines, whose hosts often drop what comes from MACs that they
// have not given out, and that without a word.
func (e *examination) machine() {
	var firmware []string
	for _, file := range []string{"sys_vendor", "product_name", "product_version", "bios_vendor", "bios_version", "chassis_vendor", "chassis_asset_tag"} {
		// Files of the kernel's, and yet links on the way: not by e.host.read.
		if text, err := os.ReadFile(filepath.Join(e.host.path("/sys/class/dmi/id"), file)); err == nil {
			firmware = append(firmware, strings.TrimSpace(string(text)))
		}
	}
	said := strings.Join(firmware, " ")
	for _, v := range vendors {
		if strings.Contains(said, v.sign) {
			e.add(Warning, "lan.virtual", "this is a virtual machine: "+v.text, v.remedy)
			return
		}
	}
}
