package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/enforce"
)

func enforceCommand() *cobra.Command {
	purge := false
	cmd := &cobra.Command{
		Use:   "enforce",
		Short: "Tell whether this kernel can hold containers to their addresses, or remove what does (root)",
		Long: "Tell whether this kernel can hold what containers send to their addresses (\"enforce\" of a resource).\n" +
			"The rules stay when the daemon stops, since containers live on; with --purge they are removed,\n" +
			"as when net-porter is uninstalled.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if purge {
				return enforce.Purge()
			}
			if err := enforce.Supported(); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "this kernel can enforce what containers send; see `nft list table netdev "+enforce.TableName+"` for what is in force")
			return err
		},
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove all rules of net-porter's")
	return cmd
}
