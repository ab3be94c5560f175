package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/journald"
)

func serverCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the daemon (root)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// From here on, as before it would end the daemon (signal(7)).
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, unix.SIGHUP)
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("the daemon makes interfaces for others and must be run by root (it is uid %d): use systemd's net-porter.service", os.Geteuid())
			}
			level := &slog.LevelVar{}
			level.Set(c.Log.Level)
			return runDaemon(cmd.Context(), begin{path, c, hangups, level, newLogger(c.Log.Format, level)})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// newLogger makes the logger of the daemon, to stderr. Where that is the journal, records
// have fields of their own there, and format is how their lines look.
func newLogger(format string, level slog.Leveler) *slog.Logger {
	options, inJournal := &slog.HandlerOptions{Level: level}, journald.IsJournal(os.Stderr)
	lines := func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) }
	if format == "json" {
		lines = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) }
	}
	if !inJournal {
		return slog.New(lines(os.Stderr))
	}
	options.ReplaceAttr = withoutTime // every line has the journal's
	handler, err := journald.NewHandler(lines, os.Stderr)
	if err != nil {
		log := slog.New(lines(os.Stderr))
		log.Warn("records have no fields of their own in the journal", "error", err)
		return log
	}
	return slog.New(handler)
}

// gcPercent has the garbage of an attach collected earlier than by default (GOGC): the
// daemon is idle for most of its life, and memory is what it costs then.
const gcPercent = 50

// begin is what a daemon begins with.
type begin struct {
	path    string // of the configuration's file
	config  *config.Config
	hangups <-chan os.Signal // SIGHUP: the file is to be read again
	level   *slog.LevelVar   // of log
	log     *slog.Logger
}

// runDaemon runs everything until ctx ends.
func runDaemon(ctx context.Context, b begin) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d, err := newDaemon(ctx, b)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}
