package installed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/labhost"
)

// An image is made by apt in a folder, where no systemd runs: all that the package has to
// set up is there, and nothing is started or said to be wrong.
func TestInstallInAnImage(t *testing.T) {
	requireMachine(t)
	root, err := exec.Command(labhost.ScriptPath("lab"), "root").Output()
	if err != nil {
		t.Fatal(err)
	}
	// The mount ends with its namespace. /var/cache is on a disk that overlays can be on.
	dir, err := os.MkdirTemp("/var/cache", "net-porter-image-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	image := exec.Command("unshare", "-m", "--propagation", "private", "sh", "-ec", `
		mkdir "$1/upper" "$1/work" "$1/root"
		mount -t overlay overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" "$1/root"
		cp "$3" "$1/root/root/net-porter.deb"
		mount -t proc proc "$1/root/proc"
		chroot "$1/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C \
			apt-get -y -q --no-install-recommends install /root/net-porter.deb
		chroot "$1/root" getent group net-porter
		chroot "$1/root" stat -c '%n %U %G %a' /etc/net-porter /var/lib/net-porter /etc/net-porter/cni.d
		chroot "$1/root" find /etc/systemd -name 'net-porter*'`,
		"sh", dir, strings.TrimSpace(string(root)), deb(oldVersion))
	out, err := image.CombinedOutput()
	said := string(out)
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	says(t, said, "net-porter:x:", "/etc/net-porter root root 755", "/var/lib/net-porter root root 700", "/etc/net-porter/cni.d root root 755")
	for _, wrong := range []string{"could not be made", "has not read the units", "Failed to", "warning", "/etc/systemd/system/"} {
		if strings.Contains(said, wrong) {
			t.Errorf("%q in:\n%s", wrong, said)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "upper/run/net-porter.sock")); err == nil {
		t.Error("something listens")
	}
}
