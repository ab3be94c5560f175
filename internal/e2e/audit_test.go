package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/audit"
)

// entry is an entry of the journal as journalctl writes it in JSON.
type entry map[string]any

// journalOf returns the entries of an event that have some fields.
func journalOf(t testing.TB, e audit.Event, fields ...string) []entry {
	t.Helper()
	args := append([]string{"journalctl", "-u", "net-porter", "-o", "json", "--all", "--no-pager", "MESSAGE_ID=" + e.MessageID()}, fields...)
	var all []entry
	for line := range strings.Lines(must(t, "root", args...)) {
		var one entry
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// recorded waits for an entry, which comes after the answer, and checks what is in it.
func recorded(t testing.TB, e audit.Event, search []string, want map[string]string) entry {
	t.Helper()
	var found entry
	eventually(t, func() string {
		if all := journalOf(t, e, search...); len(all) > 0 {
			found = all[len(all)-1]
			return ""
		}
		return "the journal has no " + e.String() + " with " + strings.Join(search, " ")
	})
	for field, value := range want {
		if found[field] != value {
			t.Errorf("%s of %s is %q, want %q", field, e, found[field], value)
		}
	}
	return found
}

// A podman run, and one that is refused, are found in the journal by what they are, with
// who, by which rule and what came of it; and journalctl explains them.
func TestRecordsInJournal(t *testing.T) {
	requireLab(t)
	c := start(t, "alice", "--network", dhcpNet)
	is := c.endpoint(t, dhcpNet)
	search := []string{"NET_PORTER_CONTAINER=" + c.id}
	given := recorded(t, audit.Attach, search, map[string]string{
		"NET_PORTER_EVENT": "attach", "NET_PORTER_UID": "1000", "NET_PORTER_USER": "alice", "NET_PORTER_RESOURCE": "macvlan-dhcp",
		"NET_PORTER_CONTAINER_NAME": c.name, "NET_PORTER_INTERFACE": "eth0", "NET_PORTER_OUTCOME": "ok", "NET_PORTER_ADDRESSES": is.addr.String() + "/24",
		"NET_PORTER_MAC": is.mac, "PRIORITY": "6", "SYSLOG_IDENTIFIER": "net-porter", "_SYSTEMD_UNIT": "net-porter.service", "_TRANSPORT": "journal",
	})
	t.Logf("the record: %v", given)
	if rules, _ := given["NET_PORTER_RULES"].(string); !strings.Contains(rules, "allow_users alice at /etc/net-porter/config.json:") {
		t.Errorf("the rule is %q", rules)
	}
	if group, _ := given["NET_PORTER_CGROUP"].(string); !strings.HasPrefix(group, "/") {
		t.Errorf("the cgroup is %q", group)
	}
	explained := must(t, "root", "journalctl", "-u", "net-porter", "-x", "--no-pager", "MESSAGE_ID="+audit.Attach.MessageID(), search[0])
	for _, text := range []string{"msg=attach event=attach uid=1000 user=alice", "A container of alice (uid 1000) was given an interface", "has the interface eth0"} {
		if !strings.Contains(explained, text) {
			t.Errorf("journalctl -x does not say %q:\n%s", text, explained)
		}
	}
	c.podman(t, "rm", "-f", "-t", "0")
	recorded(t, audit.Detach, search, map[string]string{"NET_PORTER_UID": "1000", "NET_PORTER_ADDRESSES": is.addr.String() + "/24", "NET_PORTER_OUTCOME": "ok"})

	removeAfter(t, "alice", "not-hers")
	refused(t, "alice", runArgs("not-hers", "--network", dhcpNet, "--ip", "203.0.113.9"), "not granted")
	recorded(t, audit.Denied, []string{"NET_PORTER_CONTAINER_NAME=not-hers"}, map[string]string{
		"NET_PORTER_UID": "1000", "NET_PORTER_DENIAL": "static-address", "NET_PORTER_ASKED_IPS": "203.0.113.9", "PRIORITY": "4",
	})
}

// hostileGroup calls the daemon from a control group whose name looks like fields of the
// journal, and like commands to a terminal.
const hostileGroup = `cg=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
	odd=$'x.service MESSAGE_ID=0\e]0;pwned\a uid=0'
	mkdir "$cg/$odd" && echo 0 >"$cg/$odd/cgroup.procs" || exit
	curl -sS --unix-socket /run/net-porter.sock -H 'Content-Type: application/json' -d '{"container_id": "oddgroup", "interface_name": "eth0", "netns": "/x"}' \
		http://localhost/v1/networks/macvlan-dhcp/attach`

// The unit that calls is on record, and what its user has named is a value and no more.
func TestCallersUnitInJournal(t *testing.T) {
	requireLab(t)
	t.Log(must(t, "alice", "systemd-run", "--user", "--quiet", "--pipe", "--wait", "--collect", "--unit", "caller", "-p", "Delegate=yes", "bash", "-c", hostileGroup))
	got := recorded(t, audit.Denied, []string{"NET_PORTER_CONTAINER=oddgroup"}, map[string]string{
		"NET_PORTER_UID": "1000", "NET_PORTER_UNIT": "user@1000.service", "NET_PORTER_USER_UNIT": "caller.service", "NET_PORTER_DENIAL": "netns",
	})
	// journalctl writes what is not to be printed as a list of bytes.
	var group []byte
	list, _ := got["NET_PORTER_CGROUP"].([]any)
	for _, b := range list {
		n, _ := b.(float64)
		group = append(group, byte(n))
	}
	if want := "/caller.service/x.service MESSAGE_ID=0\x1b]0;pwned\a uid=0"; !strings.HasSuffix(string(group), want) {
		t.Errorf("the cgroup is %q (%v), and should end in %q", group, got["NET_PORTER_CGROUP"], want)
	}
	if shown := must(t, "root", "journalctl", "-u", "net-porter", "-o", "cat", "--no-pager", "-x", "NET_PORTER_CONTAINER=oddgroup"); strings.ContainsAny(shown, "\x1b\a") {
		t.Errorf("journalctl writes to the terminal: %q", shown)
	}
}
