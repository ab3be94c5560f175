// Package e2e owns the end-to-end suite: unprivileged users of a real Debian host
// run real rootless podman against the installed daemon and plugin, on LANs with
// real DHCP servers. It has no code but its tests.
//
// The host is a lab of scripts/lab that the suite boots for itself. `make test`
// runs the suite, as root; so does
//
//	make build cni && NET_PORTER_E2E=1 go test -v -count=1 ./internal/e2e
//
// With NET_PORTER_LAB_BIN=bin/race the daemon and plugin are those that `make build-race`
// has built, with the race detector, as in `make test-race` and .ci/run.
//
// NET_PORTER_LAB_NAME names the lab ("e2e" if it is not set), and with
// NET_PORTER_LAB_KEEP=1 it is still there afterwards, for people who look around.
//
// Tests that stop a service or a link are alone; the others run side by side and
// therefore look only at what belongs to their own containers. That nothing at all
// is left behind is looked at when the last test is over.
package e2e
