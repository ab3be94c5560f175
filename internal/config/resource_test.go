package config_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/config"
)

// An administrator who shortens cni.timeout has not asked for an acquisition that
// it cuts off.
func TestDHCPTimeoutFollowsAShortCNITimeout(t *testing.T) {
	for cniTimeout, want := range map[string]time.Duration{
		"100ms": 75 * time.Millisecond,
		"10s":   7500 * time.Millisecond,
		"15s":   11250 * time.Millisecond,
		"20s":   15 * time.Second,
		"2m":    15 * time.Second,
	} {
		for _, dhcp := range []string{``, `, "dhcp": {}`, `, "dhcp": {"conflict_detection": true}`} {
			c := parse(t, fmt.Sprintf(`{"resources": [{"name": "a"%s}], "cni": {"timeout": %q}}`, dhcp, cniTimeout))
			if got := c.Resources[0].DHCP; got != (config.DHCP{Timeout: want, ConflictDetection: true}) {
				t.Errorf("cni.timeout %s%s: %+v, want a timeout of %s", cniTimeout, dhcp, got, want)
			}
		}
	}
}

func TestLongestWaitsOfAResource(t *testing.T) {
	for _, c := range []struct {
		cniTimeout, dhcp, ipv6 string
	}{{"2m", "119.999s", "10s"}, {"10.001s", "10s", "10s"}, {"1001ms", "1s", "1s"}, {"100ms", "", "99ms"}} {
		dhcp := ""
		if c.dhcp != "" {
			dhcp = fmt.Sprintf(`"dhcp": {"timeout": %q}, `, c.dhcp)
		}
		r := parse(t, fmt.Sprintf(`{"cni": {"timeout": %q}, "resources": [{"name": "a", %s"ipv6_wait": %q}]}`, c.cniTimeout, dhcp, c.ipv6)).Resources[0]
		if want, _ := time.ParseDuration(c.ipv6); r.IPv6Wait != want {
			t.Errorf("%+v: waits %s for IPv6", c, r.IPv6Wait)
		}
		if want, err := time.ParseDuration(c.dhcp); err == nil && r.DHCP.Timeout != want {
			t.Errorf("%+v: the DHCP timeout is %s", c, r.DHCP.Timeout)
		}
	}
}

func TestFilesThatMeanTheSameAreEqual(t *testing.T) {
	want := withoutPlaces(parse(t, `{"resources": [{"name": "a"}]}`))
	for _, entry := range []string{
		`{"name": "a", "dhcp": {}}`,
		`{"ipv6_wait": "0", "mac": "stable", "identity": "container-name", "name": "a"}`,
		`{"name": "a", "dhcp": {"timeout": "15000ms", "conflict_detection": true}, "ipv6_wait": "0h0m"}`,
	} {
		if got := withoutPlaces(parse(t, `{"resources": [`+entry+`]}`)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s gives\n%+v\nwant\n%+v", entry, got, want)
		}
	}
}
