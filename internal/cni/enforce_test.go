package cni_test

import (
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/cni"
)

func TestWhatCanBeEnforced(t *testing.T) {
	for plugins, want := range map[string]string{
		`{"type":"macvlan","master":"infra"}`:                                          "",
		`{"type":"macvlan","master":"infra","mode":"private"},{"type":"tuning"}`:       "",
		`{"type":"macvlan","master":"infra"},{"type":"sbr"},{"type":"made-by-others"}`: "",
		`{"type":"macvlan"}`: "name it in",
		`{"type":"macvlan","master":"infra","linkInContainer":true}`:                      "name it in",
		`{"type":"macvlan","master":"infra","mode":"passthru"}`:                           "passthru",
		`{"type":"ipvlan","master":"infra"}`:                                              "macvlan alone",
		`{"type":"bridge"}`:                                                               "macvlan alone",
		`{"type":"host-device","device":"infra"}`:                                         "macvlan alone",
		`{"type":"tuning"}`:                                                               "one macvlan",
		`{"type":"macvlan","master":"infra"},{"type":"macvlan","master":"infra"}`:         "one macvlan",
		`{"type":"macvlan","master":"infra"},{"type":"tuning","mac":"02:00:00:00:00:01"}`: "tuning sets another",
	} {
		err := parseChain(t, plugins).Enforceable()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", plugins, err, want)
		}
	}
}

func TestWhoReachesSiblings(t *testing.T) {
	for plugins, want := range map[string]bool{
		`{"type":"macvlan","master":"infra"}`:                  true,
		`{"type":"macvlan","master":"infra","mode":"bridge"}`:  true,
		`{"type":"macvlan","master":"infra","mode":"private"}`: false,
		`{"type":"macvlan","master":"infra","mode":"vepa"}`:    false,
	} {
		if got := parseChain(t, plugins).ReachesSiblings(); (got != "") != want {
			t.Errorf("%s: %q", plugins, got)
		}
	}
}

func parseChain(t *testing.T, plugins string) *cni.Network {
	t.Helper()
	n, err := cni.Parse("lan", []byte(`{"cniVersion":"1.0.0","name":"lan","plugins":[`+plugins+`]}`))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
