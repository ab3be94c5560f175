package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/api"
)

// completionTime bounds how long somebody who presses tab waits for the daemon.
const completionTime = 2 * time.Second

// completer is what cobra calls for the rest of a word.
type completer = cobra.CompletionFunc

// completionCommand is in the place of cobra's own, which knows shells that no host with
// network namespaces has.
func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print what lets a shell complete the commands",
		Long: "Print a script that lets a shell complete commands, flags, and names that the daemon knows. Packages\n" +
			"install it; by hand: source <(net-porter completion bash)",
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "zsh", "fish"},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			out, root := cmd.OutOrStdout(), cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			}
			return root.GenFishCompletion(out, true)
		},
	}
}

// resources completes the one argument of a command by the resources that the user may use.
func (r *remote) resources() completer {
	return r.first(func(ctx context.Context) []cobra.Completion {
		c, err := r.client()
		if err != nil {
			return nil
		}
		response, err := c.ListNetworks(ctx)
		var list api.NetworkList
		if r.answer(response, err, &list) != nil {
			return nil
		}
		var names []cobra.Completion
		for _, n := range list.Networks {
			names = append(names, cobra.CompletionWithDesc(n.Name, n.Reason))
		}
		return names
	})
}

// ids completes it by the ids of the user's attachments.
func (r *remote) ids() completer {
	return r.first(func(ctx context.Context) []cobra.Completion {
		list, err := r.attachments(ctx)
		if err != nil {
			return nil
		}
		var ids []cobra.Completion
		for _, a := range list.Attachments {
			ids = append(ids, cobra.CompletionWithDesc(a.ID, fmt.Sprintf("%s of %s on %s", containerOf(a), userOf(a), a.Resource)))
		}
		return ids
	})
}

// first completes a command's first argument. A daemon that does not answer has nothing to
// offer, which a prompt is not the place to complain about.
func (r *remote) first(list func(context.Context) []cobra.Completion) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		return list(ctx), cobra.ShellCompDirectiveNoFileComp
	}
}
