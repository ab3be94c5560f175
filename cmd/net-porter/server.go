package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/config"
)

func serverCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the daemon (root)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return fmt.Errorf("the daemon makes interfaces for others and must be run by root (it is uid %d): use systemd's net-porter.service", os.Geteuid())
			}
			return runDaemon(cmd.Context(), c, newLogger(c.Log))
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func newLogger(c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if os.Getenv("JOURNAL_STREAM") != "" {
		// journald has a time of its own on every line (systemd.exec(5)).
		options.ReplaceAttr = withoutTime
	}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}

// gcPercent has the garbage of an attach collected earlier than by default (GOGC): the
// daemon is idle for most of its life, and memory is what it costs then.
const gcPercent = 50

// runDaemon runs everything until ctx ends.
func runDaemon(ctx context.Context, c *config.Config, log *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d, err := newDaemon(ctx, c, log)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}
