package hostlink

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWireless(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"wlan0/wireless", "wlan1/phy80211", "eth0/statistics"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]bool{"wlan0": true, "wlan1": true, "eth0": false, "absent": false} {
		if wirelessIn(dir, name) != want {
			t.Errorf("%s is wireless: %v", name, !want)
		}
	}
}
