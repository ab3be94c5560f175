package e2e

// elsewhere are the commands that the lab does not run as they are printed, and what does.
var elsewhere = map[string]proof{
	"make demo": {".ci/run", "stage demo make demo", "it boots a lab of its own"},
	"make test": {".ci/run", "make --no-print-directory test", "it is what runs this"},

	"sudo apt install ./net-porter_VERSION-1_amd64.deb": {
		"internal/installed/installed_test.go", `apt(t, "install", put(t, oldVersion))`, "it takes a machine of its own, in which root needs no sudo"},
	"sudo dnf install ./net-porter-VERSION-1.x86_64.rpm": {
		"internal/packaging/format_test.go", `"install": {"rpm", `, "Debian has rpm, but no dnf with repositories to go with it"},
	"sudo pacman -U ./net-porter-VERSION-1-x86_64.pkg.tar.zst": {
		"internal/packaging/format_test.go", `"--noconfirm", "-Udd"}`, "Debian has pacman, but not Arch Linux's packages that it would ask for"},
	"sudo net-porter check": {
		"internal/installed/installed_test.go", `run(t, "root", "net-porter", "check")`, "it is of the machine on which the package is installed; root needs no sudo"},
	"sudo systemctl enable --now net-porter.service": {
		"internal/installed/installed_test.go", "systemctl enable --now net-porter.socket", "it is of that machine; the test enables the socket, and has the service started by it"},
	"sudo usermod -aG net-porter alice": {
		"internal/installed/installed_test.go", `"usermod", "-aG", "net-porter", "alice"`, "it is of that machine; the lab's alice is in the group"},

	"make build cni":                   {"scripts/test", "make --silent build cni", "it is run before the lab is made"},
	"sudo make install":                {"scripts/packages", "make --silent install", "a package is what make install has installed, byte by byte (internal/packaging)"},
	"sudo systemd-sysusers":            {"contrib/packaging/functions.sh", "systemd-sysusers net-porter.conf", "the package does so when it is installed; with no names it does all of them"},
	"sudo systemd-tmpfiles --create":   {"contrib/packaging/functions.sh", "systemd-tmpfiles --create net-porter.conf", "likewise"},
	"sudo journalctl --update-catalog": {"contrib/packaging/functions.sh", "journalctl --update-catalog", "likewise"},
	"sudo systemctl daemon-reload":     {"contrib/packaging/functions.sh", "daemon-reload", "likewise"},

	"sudo cp /usr/share/net-porter/prometheus/net-porter.rules.yml /etc/prometheus/": {
		"internal/monitoring/promtool_test.go", "rulesFile", "the lab has no Prometheus; the tests of the rules copy them to one"},
	"promtool check rules /etc/prometheus/net-porter.rules.yml": {
		"internal/monitoring/promtool_test.go", `"check", "rules"`, "likewise"},
}
