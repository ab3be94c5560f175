package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/server"
)

func checkCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and the conflists without running anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path)
			if err != nil {
				return err
			}
			var faults []error
			for _, r := range c.Resources {
				network, err := cni.Load(c.CNI.ConfigDir, r.Name)
				if err == nil {
					err = checkNetwork(network, c.CNI.PluginDirs)
				}
				if err != nil {
					faults = append(faults, fmt.Errorf("resource %s: %w", r.Name, err))
				}
			}
			if len(faults) > 0 {
				return errors.Join(faults...)
			}
			// Names that do not exist are no error: their users may come later.
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{ReplaceAttr: withoutTime}))
			server.Resolve(cmd.Context(), c.Resources, nss.New(), log)
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is right, and so are the network configurations of its resources (%d)\n", path, len(c.Resources))
			return err
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// checkNetwork says all that is wrong with a network configuration that can be read.
func checkNetwork(network *cni.Network, pluginDirs []string) error {
	faults := []error{network.Check(pluginDirs)}
	for _, config := range network.DHCPConfigs() {
		faults = append(faults, dhcp.CheckConfig(config))
	}
	return errors.Join(faults...)
}
