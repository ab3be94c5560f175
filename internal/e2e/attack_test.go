package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// post sends a request to the daemon's socket with curl, as a user.
func post(t testing.TB, user, path string, body map[string]string) (status string, r result) {
	t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r = lab(t, user, "curl", "-sS", "--max-time", "30", "--unix-socket", "/run/net-porter.sock",
		"-H", "Content-Type: application/json", "-d", string(data), "-w", "\n%{http_code}", "http://localhost"+path)
	lines := strings.Split(r.stdout, "\n")
	return lines[len(lines)-1], r
}

// What another user sends to the daemon changes nothing about a container that runs,
// even if they know all about it.
func TestAnotherUsersContainer(t *testing.T) {
	requireLab(t)
	t.Parallel()
	c := start(t, "alice", "--network", dhcpNet)
	before := c.works(t, dhcpNet, "eth0", first, dhcpRange)
	namespace := c.inspect(t).NetworkSettings.SandboxKey
	byProcess := fmt.Sprintf("/proc/%d/ns/net", c.inspect(t).State.Pid)

	for _, test := range []struct {
		name, user, call, id, netns string
		status                      string // 000: no answer
	}{
		{"detach", "bob", "detach", c.id, "", "204"}, // bob has none of that id, which is as good as gone
		{"detach with namespace", "bob", "detach", c.id, namespace, "204"},
		{"detach by user and id", "bob", "detach", "1000." + c.id, "", "204"}, // a strange id of bob's own
		{"attach to the namespace", "bob", "attach", c.id, namespace, "404"},
		{"attach to the process's namespace", "bob", "attach", c.id, byProcess, "404"},
		{"attach to the host's namespace", "bob", "attach", c.id, "/proc/1/ns/net", "404"},
		{"detach by a user who is allowed nothing", "carol", "detach", c.id, namespace, "204"},
		{"attach by a user who is allowed nothing", "carol", "attach", c.id, namespace, "404"},
		{"detach from outside the group", "mallory", "detach", c.id, namespace, "000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := map[string]string{"container_id": test.id, "interface_name": "eth0"}
			if test.netns != "" {
				body["netns"] = test.netns
			}
			status, r := post(t, test.user, "/v1/networks/macvlan-dhcp/"+test.call, body)
			t.Logf("%s%s", r.stdout, r.stderr)
			if status != test.status {
				t.Errorf("the answer is %s, want %s", status, test.status)
			}
			if strings.Contains(r.stdout, "alice") || strings.Contains(r.stdout, before.addr.String()) {
				t.Error("the answer tells of alice's container")
			}
		})
	}
	for _, user := range []string{"bob", "carol"} {
		for _, a := range attachments(t, user) {
			if a.ContainerID == c.id {
				t.Errorf("%s sees alice's attachment", user)
			}
		}
	}
	if after := c.works(t, dhcpNet, "eth0", first, dhcpRange); after != before {
		t.Errorf("the container has %v, before it had %v", after, before)
	}
	c.remove(t, first, before)
}
