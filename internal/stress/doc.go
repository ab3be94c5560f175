// Package stress owns the tests of what only shows when it is hard on the daemon: hundreds
// of leases at once, a flood of hostile frames while leases are acquired, kill -9 at every
// moment of a lease's life and of an attachment's (package faultpoint), hundreds of
// operations at random, and of pairs of attach and detach. It has no code but its tests.
//
// They run the real daemon as root, on LANs with real DHCP servers, in real time with
// leases of seconds. What a lease comes to at each moment of its life is tested by a
// clock of the tests' own in package dhcp.
//
// `make test` has them for minutes. `make stress` does more of the same: 1,000 leases, 2,000
// operations, 5,000 pairs, and all that may follow each moment at which the daemon is killed.
//
// `make test` has them for minutes. `make stress` does more of the same: 1,000 leases, 2,000
// operations, 5,000 pairs, and all that may follow each moment at which the daemon is killed.
package stress
