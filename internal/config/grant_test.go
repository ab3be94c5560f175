package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/config"
)

func TestGrants(t *testing.T) {
	c := parse(t, `{"max_attachments_per_user": 64, "resources": [
		{"name": "lan", "allow_users": ["alice"], "max_attachments_per_user": 16, "grants": [
			{"users": ["bob", 1002], "groups": ["web"], "static_ips": ["192.168.1.64/28", "192.168.1.100-192.168.1.120", "2001:db8::/64"],
				"static_macs": ["02:00:00:AA:00:00-02:00:00:aa:00:ff"], "max_attachments": 8},
			{"groups": ["ops"], "max_attachments": 1}]}]}`)
	r := c.Resources[0]
	if c.MaxAttachmentsPerUser != 64 || r.MaxAttachmentsPerUser != 16 || len(r.Grants) != 2 {
		t.Fatalf("got %+v", c)
	}
	g := r.Grants[0]
	if got := fmt.Sprint(g.Users, g.Groups, g.StaticIPs, g.StaticMACs, g.MaxAttachments); got !=
		"[bob 1002] [web] [192.168.1.64-192.168.1.79 192.168.1.100-192.168.1.120 2001:db8::-2001:db8::ffff:ffff:ffff:ffff] [02:00:00:aa:00:00-02:00:00:aa:00:ff] 8" {
		t.Errorf("the first grant is %s", got)
	}
	if want := (config.Place{File: "config.json", Line: 5}); r.Grants[1].At != want || g.At.Line != 3 || r.AllowUsers[0].At.Line != 2 {
		t.Errorf("written at %s, %s and %s", g.At, r.Grants[1].At, r.AllowUsers[0].At)
	}
	if want := (config.Grant{Groups: []config.Principal{{Name: "ops"}}, MaxAttachments: 1, At: r.Grants[1].At}); !reflect.DeepEqual(r.Grants[1], want) {
		t.Errorf("the second grant is %+v", r.Grants[1])
	}
}

// Each says what is wrong, where, and what was probably meant.
func TestBadGrants(t *testing.T) {
	for grant, want := range map[string]string{
		`{"users": ["u"]}`:                     `1:41: resources[0].grants[0] grants nothing (add "static_ips", "static_macs" or "max_attachments", or name the users in the resource's allow_users)`,
		`{"max_attachments": 3}`:               `1:41: resources[0].grants[0] grants to nobody (name somebody in "users" or "groups")`,
		`{}`:                                   "grants to nobody",
		`{"users": "u", "max_attachments": 3}`: "resources[0].grants[0].users must be a list, not the string \"u\" (put it in [ ])",
		`{"user": ["u"], "users": ["v"], "max_attachments": 3}`:                                         "written twice",
		`{"users": ["u"], "static_ip": ["192.168.1.70/28"]}`:                                            "resources[0].grants[0].static_ip[0] cannot be used: 192.168.1.70/28 is an address within the network 192.168.1.64/28: write that, or the address alone",
		`{"users": ["u"], "static_ips": ["192.0.2.1-192.0.2.9", "192.0.2.9"]}`:                          "static_ips[1] has addresses in common with 192.0.2.1-192.0.2.9, which is in the list already",
		`{"users": ["u"], "static_ips": ["192.0.2.9-192.0.2.1"]}`:                                       "did you mean 192.0.2.1-192.0.2.9?",
		`{"users": ["u"], "static_ips": [1]}`:                                                           "must be a string",
		`{"users": ["u"], "static_macs": ["01:00:5e:00:00:01"]}`:                                        "group addresses",
		`{"users": ["u"], "static_macs": ["02:00:00:00:00:01", "02:00:00:00:00:00-02:00:00:00:00:ff"]}`: "static_macs[1] has addresses in common",
		`{"users": ["u"], "max_attachments": 0}`:                                                        "must be a whole number from 1 to 1000000, not 0 (leave the key out to have no bound",
		`{"users": ["u"], "max_attachments": -1}`:                                                       "must be a whole number from 1",
		`{"users": ["u"], "max_attachments": 1.5}`:                                                      "must be a whole number from 1",
		`{"users": ["u"], "max_attachments": 1000001}`:                                                  "must be a whole number from 1",
		`{"users": ["u"], "max_attachments": 99999999999999999999}`:                                     "must be a whole number from 1",
		`{"users": ["u"], "max_attachments": "8"}`:                                                      "must be a number, not the string \"8\" (write it without the quotes)",
		`{"users": ["u"], "max_attachment": 8}`:                                                         "did you mean \"max_attachments\"?",
	} {
		text := `{"resources": [{"name": "a", "grants": [` + grant + `]}]}`
		_, err := config.Parse("config.json", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %s", grant, err, want)
		}
		fault, beyond := config.SchemaFault(t, text), strings.Contains(want, "in common") || strings.Contains(want, "within the network") || strings.Contains(want, "did you mean 192")
		if (fault == nil) != beyond {
			t.Errorf("%s: the schema says %v", grant, fault)
		}
	}
}

func TestEnforceNeedsAKnownMAC(t *testing.T) {
	if r := parse(t, `{"resources": [{"name": "a", "enforce": true}, {"name": "b", "mac": "random", "enforce": false}]}`).Resources; !r[0].Enforce || r[1].Enforce {
		t.Errorf("got %+v", r)
	}
	_, err := config.Parse("config.json", []byte(`{"resources": [{"name": "a", "mac": "random", "enforce": true}]}`))
	if err == nil || !strings.Contains(err.Error(), `resources[0].enforce cannot be true with "mac": "random"`) {
		t.Error(err)
	}
}
