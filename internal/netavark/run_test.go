package netavark

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// stub answers what a test wants and keeps what it was asked.
type stub struct {
	err    error
	change func(*Network)
	netns  string
	exec   *Exec
	called string
}

func (s *stub) Create(_ context.Context, n *Network) error {
	s.called = "create"
	if s.change != nil {
		s.change(n)
	}
	return s.err
}

func (s *stub) Setup(_ context.Context, netns string, exec *Exec) (*StatusBlock, error) {
	s.called, s.netns, s.exec = "setup", netns, exec
	if s.err != nil {
		return nil, s.err
	}
	return &StatusBlock{
		Interfaces:       map[string]Interface{"eth0": {MACAddress: "02:00:00:00:00:01", Subnets: []Subnet{{IPNet: "192.0.2.10/24"}}}},
		DNSServerIPs:     []string{},
		DNSSearchDomains: []string{},
	}, nil
}

func (s *stub) Teardown(_ context.Context, netns string, exec *Exec) {
	s.called, s.netns, s.exec = "teardown", netns, exec
}

func (s *stub) Info() Info { return Info{Version: "1.2.3", APIVersion: APIVersion} }

func run(t *testing.T, h Handler, stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), h, args, stdin, &out, &errs)
	return code, out.String(), errs.String()
}

func golden(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// errorOf checks that stdout is netavark's error document, which has one member only.
func errorOf(t *testing.T, stdout string) string {
	t.Helper()
	var doc map[string]string
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil {
		t.Fatalf("stdout is not an error document: %v: %q", err, stdout)
	}
	text, ok := doc["error"]
	if !ok || len(doc) != 1 {
		t.Fatalf("stdout has other members than error: %q", stdout)
	}
	return text
}

func TestSetupReadsNullAndAbsentAlike(t *testing.T) {
	var got []*Exec
	for _, name := range []string{"setup-1.x.json", "setup-2.x.json"} {
		s := new(stub)
		code, stdout, stderr := run(t, s, strings.NewReader(golden(t, name)), "setup", "/run/user/1000/netns/netns-1")
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit %d, stdout %s, stderr %s", name, code, stdout, stderr)
		}
		want := `{"interfaces":{"eth0":{"mac_address":"02:00:00:00:00:01","subnets":[{"ipnet":"192.0.2.10/24"}]}},"dns_server_ips":[],"dns_search_domains":[]}` + "\n"
		if stdout != want {
			t.Errorf("%s: reply %s, want %s", name, stdout, want)
		}
		if s.netns != "/run/user/1000/netns/netns-1" {
			t.Errorf("%s: netns %q", name, s.netns)
		}
		s.exec.Network.members = nil // what Echo keeps differs, of course
		got = append(got, s.exec)
	}
	if !reflect.DeepEqual(got[0], got[1]) {
		t.Errorf("read differently:\n%+v\n%+v", got[0], got[1])
	}
	if got[0].Network.Options["net_porter_resource"] != "macvlan-dhcp" || got[0].NetworkOptions.InterfaceName != "eth0" {
		t.Errorf("read %+v", got[0])
	}
}

func TestCreateEchoesWhatItDoesNotKnow(t *testing.T) {
	s := &stub{change: func(n *Network) { n.DNSEnabled = false; n.Options["net_porter_socket"] = "/s" }}
	in := golden(t, "create.json")
	code, stdout, _ := run(t, s, strings.NewReader(in), "create")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stdout)
	}
	want := strings.Replace(in, `"dns_enabled":true`, `"dns_enabled":false`, 1)
	want = strings.Replace(want, `"macvlan-dhcp"}`, `"macvlan-dhcp","net_porter_socket":"/s"}`, 1)
	if stdout != want {
		t.Errorf("echoed\n%swant\n%s", stdout, want)
	}
}

func TestCreateEchoOfDuplicateAndMissingMembers(t *testing.T) {
	s := &stub{change: func(n *Network) { n.Options = map[string]string{"a": "b"} }}
	_, stdout, _ := run(t, s, strings.NewReader(`{"name":"x","name":"y","options":null}`), "create")
	if want := `{"name":"y","options":{"a":"b"},"dns_enabled":false}` + "\n"; stdout != want {
		t.Errorf("echoed %swant %s", stdout, want)
	}
}

func TestFailuresAreErrorDocuments(t *testing.T) {
	long := strings.Repeat("\u00e9\x01", maxError)
	tests := []struct {
		name  string
		stdin io.Reader
		args  []string
		stub  stub
		want  string
	}{
		{"handler of setup", strings.NewReader("{}"), []string{"setup", "/n"}, stub{err: errors.New("no such thing")}, "net-porter: no such thing"},
		{"handler of create", strings.NewReader("{}"), []string{"create"}, stub{err: errors.New("no such thing")}, "net-porter: no such thing"},
		{"not JSON", strings.NewReader("hello"), []string{"setup", "/n"}, stub{}, "net-porter: cannot understand what netavark sent"},
		{"nothing", strings.NewReader(""), []string{"setup", "/n"}, stub{}, "net-porter: cannot understand what netavark sent"},
		{"two documents", strings.NewReader("{}{}"), []string{"create"}, stub{}, "net-porter: cannot understand what netavark sent"},
		{"wrong type", strings.NewReader(`{"name":1}`), []string{"create"}, stub{}, "net-porter: cannot understand what netavark sent"},
		{"too much", io.MultiReader(strings.NewReader(`{"x":"`), bytes.NewReader(make([]byte, maxInput))), []string{"create"}, stub{}, "net-porter: netavark sent more than 4194304 bytes"},
		{"unreadable", iotest.ErrReader(errors.New("broken pipe")), []string{"create"}, stub{}, "net-porter: cannot read what netavark sent: broken pipe"},
		{"a reply that podman would hang on", strings.NewReader(`{"labels":{"a":"` + strings.Repeat("a", maxReply) + `"}}`), []string{"create"}, stub{}, "net-porter: the network's definition is longer"},
		{"a long error", strings.NewReader("{}"), []string{"create"}, stub{err: errors.New(long)}, "net-porter: \u00e9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, _ := run(t, &tt.stub, tt.stdin, tt.args...)
			text := errorOf(t, stdout)
			if code != 1 || !strings.HasPrefix(text, tt.want) {
				t.Errorf("exit %d, error %.200q; want 1, %q", code, text, tt.want)
			}
			if len(stdout) >= 64<<10 || !utf8.ValidString(text) {
				t.Errorf("%d bytes, valid UTF-8 %v", len(stdout), utf8.ValidString(text))
			}
		})
	}
}

func TestPeopleWhoRunItByHandGetUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"delete"}, {"setup"}, {"setup", "/a", "/b"}, {"info", "x"}, {"create", "x"}, {strings.Repeat("x", 1<<20)}} {
		s := new(stub)
		code, stdout, stderr := run(t, s, strings.NewReader("{}"), args...)
		text := errorOf(t, stdout)
		if code != 2 || !strings.Contains(stderr, "podman network create -d net-porter") || s.called != "" || len(text) > 300 {
			t.Errorf("%.50q: exit %d, error %.300q, stderr %q", args, code, text, stderr)
		}
	}
	code, stdout, stderr := run(t, new(stub), strings.NewReader(""), "--help")
	if code != 0 || stdout != "" || !strings.Contains(stderr, "setup NETNS") {
		t.Errorf("--help: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestTeardownNeverFails(t *testing.T) {
	s := new(stub)
	code, stdout, stderr := run(t, s, strings.NewReader(golden(t, "setup-2.x.json")), "teardown", "/gone")
	if code != 0 || stdout != "" || stderr != "" || s.called != "teardown" || s.exec.ContainerName != "web" {
		t.Errorf("exit %d, stdout %q, stderr %q, called %q", code, stdout, stderr, s.called)
	}
	code, stdout, stderr = run(t, new(stub), strings.NewReader("hello"), "teardown", "/gone")
	if code != 0 || stdout != "" || !strings.HasPrefix(stderr, "net-porter: warning: nothing was detached") {
		t.Errorf("of nonsense: exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestInfoReadsNothing(t *testing.T) {
	code, stdout, _ := run(t, new(stub), iotest.ErrReader(errors.New("read")), "info")
	if want := `{"version":"1.2.3","api_version":"1.0.0"}` + "\n"; code != 0 || stdout != want {
		t.Errorf("exit %d, %s", code, stdout)
	}
}

func FuzzRun(f *testing.F) {
	for _, name := range []string{"setup-1.x.json", "setup-2.x.json", "create.json"} {
		f.Add(golden(f, name))
	}
	f.Add(`null`)
	f.Add(`{"network":{"options":{"a":null}},"name":"\ud800"}`)
	f.Fuzz(func(t *testing.T, stdin string) {
		for _, args := range [][]string{{"create"}, {"setup", "/n"}, {"teardown", "/n"}} {
			code, stdout, _ := run(t, new(stub), strings.NewReader(stdin), args...)
			if code != 0 {
				errorOf(t, stdout)
			}
			if stdout != "" && !json.Valid([]byte(stdout)) {
				t.Errorf("%s replied %q", args, stdout)
			}
			if args[0] != "create" || code != 0 {
				continue
			}
			var before, after Network
			if json.Unmarshal([]byte(stdin), &before) != nil || json.Unmarshal([]byte(stdout), &after) != nil ||
				before.Name != after.Name || before.ID != after.ID || before.Driver != after.Driver {
				t.Errorf("create changed the network: %q became %q", stdin, stdout)
			}
		}
	})
}
