//go:build 386 || arm

package netns

import "golang.org/x/sys/unix"

// The call without "32" takes 16-bit ids there (setgroups(2)).
const sysSetgroups = unix.SYS_SETGROUPS32
