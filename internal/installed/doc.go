// Package installed owns the tests of the Debian package on a machine that has never seen
// net-porter: a plain Debian 13 server with systemd as its init, on which apt installs,
// upgrades, removes and purges it. It has no code but its tests.
//
// The machine is the clean one of scripts/lab. Its apt resolves and installs truly, with
// podman and all that it brings; what it would download is in its cache, since the machine
// has no network but the LAN. `make test` runs this as root; so does
//
//	NET_PORTER_E2E=1 go test -v -count=1 ./internal/installed
//
// NET_PORTER_LAB_NAME names the machine ("installed" if it is not set), and with
// NET_PORTER_LAB_KEEP=1 it is still there afterwards, for people who look around.
package installed
