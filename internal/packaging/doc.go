// Package packaging owns the tests of what users install: packages and releases are built
// from a copy of the tree and looked at with each distribution's own tools, in roots where
// nothing else is. It has no code but its tests.
//
// Whether they work on a machine with systemd is not seen here. The roots have stand-ins for
// systemctl and its like, which note what the packages' scripts ask of them.
package packaging
