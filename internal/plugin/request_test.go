package plugin

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/net-porter/net-porter/internal/netavark"
)

func TestHostname(t *testing.T) {
	const short = "2d0fe608dc86"
	tests := []struct {
		aliases []string
		want    string
	}{
		{[]string{"alias1", short, "myhost"}, "myhost"},
		{[]string{short, "my-host.lan.example"}, "my-host.lan.example"},
		{[]string{short}, ""},
		{[]string{"alias1", short}, ""},
		{[]string{"alias1", "alias2"}, ""},
		{[]string{short, "alias1", "alias2"}, ""},
		{nil, ""},
		{[]string{short, "my_host"}, ""},
		{[]string{short, "-host"}, ""},
		{[]string{short, "host."}, ""},
		{[]string{short, "a..b"}, ""},
		{[]string{short, "h\u00f6st"}, ""},
		{[]string{short, strings.Repeat("a", 63)}, strings.Repeat("a", 63)},
		{[]string{short, strings.Repeat("a", 64)}, ""},
		{[]string{short, strings.Repeat("a.", 126) + "ab"}, ""},
	}
	for _, tt := range tests {
		if got := hostname(containerID, tt.aliases); got != tt.want {
			t.Errorf("hostname of %q = %q, want %q", tt.aliases, got, tt.want)
		}
	}
}

func TestContainerCanDoWithoutANameThatTheAPIRefuses(t *testing.T) {
	for _, name := range []string{"", "_x", "a;b", strings.Repeat("a", 254)} {
		if got := attachRequest(netnsPath, &netavark.Exec{ContainerName: name}).ContainerName; got != "" {
			t.Errorf("sent %q", got)
		}
	}
}

func TestPlain(t *testing.T) {
	if got := plain(" a\x1b[31m\tb\n\n\u202ec\x00\xff\u00fc "); got != "a[31m b c\u00fc" {
		t.Errorf("got %q", got)
	}
}

// The slim binary starts once or twice for every container.
func TestPluginLinksOnlyWhatItNeeds(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("LEFT OUT: needs the go command")
	}
	out, err := exec.CommandContext(t.Context(), goTool, "list", "-deps", "github.com/net-porter/net-porter/cmd/netavark-plugin").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		dep = strings.TrimSpace(dep)
		for _, heavy := range []string{"chi", "prometheus", "containernetworking", "cobra", "yaml", "insomniacslk", "netlink", "internal/server", "testing"} {
			if strings.Contains("/"+dep+"/", "/"+heavy+"/") || strings.Contains(dep, heavy+".") {
				t.Errorf("links %s", dep)
			}
		}
	}
}

// Whatever netavark says, what the plugin sends fits the parts of the API's grammar
// that it promises to keep, and the daemon's answer never makes an invalid reply.
func FuzzAttachRequest(f *testing.F) {
	f.Add([]byte(exec1x))
	f.Add([]byte(exec2x))
	f.Add([]byte(execAll))
	f.Fuzz(func(t *testing.T, stdin []byte) {
		var e netavark.Exec
		if json.Unmarshal(stdin, &e) != nil {
			return
		}
		if target, err := findTarget(&e.Network); err == nil && (strings.ContainsAny(target.resource, "/%?#") || strings.HasPrefix(target.resource, ".")) {
			t.Errorf("resource %q", target.resource)
		}
		_ = checkNetwork(&e.Network)
		_ = checkOptions(e.Network.Options)
		r := attachRequest(netnsPath, &e)
		if r.Hostname != "" && !isHostname(r.Hostname) || r.ContainerName != "" && !isContainerName(r.ContainerName) {
			t.Errorf("host name %q, container name %q", r.Hostname, r.ContainerName)
		}
		if len(r.Aliases) > maxAliases || len(r.StaticIps) > len(e.NetworkOptions.StaticIPs) {
			t.Errorf("%d aliases, %d addresses", len(r.Aliases), len(r.StaticIps))
		}
		for _, alias := range r.Aliases {
			if len(alias) > maxName || !utf8.ValidString(alias) {
				t.Errorf("alias %q", alias)
			}
		}
	})
}
