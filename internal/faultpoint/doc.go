// Package faultpoint owns the moments at which tests kill the daemon: those between
// which what is on disk, in the kernel and in a plugin's own files does not agree.
//
// They are in programs that are built with the tag "faultpoints" alone. In all others
// Hit is empty and inlined, so that nothing of it is in what is shipped.
package faultpoint

// DirEnv is the environment variable that names a folder, in programs that have the
// points. In its file "hits" each moment that is reached becomes a line; when that is the
// line whose number is in the file "kill", the process kills itself. Both may be
// written while the program runs; without the variable nothing happens.
const DirEnv = "NET_PORTER_FAULTPOINTS"
