// Package plugin owns what net-porter does as a netavark plugin: it turns netavark's
// commands into calls of the daemon's API over the daemon's unix socket, and what the
// daemon answers into netavark's replies and into words for the person at `podman run`.
//
// It runs as that person, without privileges, and decides nothing: who may attach
// to what is the daemon's business alone.
package plugin

import (
	"context"
	"io"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/netavark"
)

// Main runs the plugin with the command line args, without the program's name, and
// returns its exit code.
//
// SIGINT, SIGTERM and SIGHUP end create and setup with an error, and the end of netavark
// or podman ends setup, after the daemon was told by a closed connection to undo the
// attach. Teardown ignores all of them, as netavark does the signals.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	signals := []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}
	ctx := context.Background()
	if len(args) > 0 && args[0] == "teardown" {
		for _, s := range signals {
			signal.Ignore(s)
		}
	} else {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, signals[0], signals[1], signals[2])
		defer stop()
		if len(args) > 0 && args[0] == "setup" {
			ctx, stop = whileWaitedFor(ctx)
			defer stop()
		}
	}
	return netavark.Run(ctx, newHandler(stderr), args, stdin, stdout, stderr)
}
