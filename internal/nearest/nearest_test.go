package nearest_test

import (
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/nearest"
)

func TestName(t *testing.T) {
	names := []string{"allow_users", "master", "mode", "rangeStart", "warn"}
	for typed, want := range map[string]string{
		"maste": "master", "Master": "master", "msater": "master", "users": "allow_users", "allow-user": "allow_users",
		"range_start": "rangeStart", "warning": "warn", "xyzzy": "", "": "", "m": "", strings.Repeat("master", 20): "",
	} {
		if got := nearest.Name(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
