package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/api"
)

func gcCommand() *cobra.Command {
	var r remote
	var body api.GCRequest
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove what is left over (root)",
		Long: "Remove what is left over: attachments whose containers are gone or whose removal has failed, and\n" +
			"results, addresses and leases that no attachment owns. The daemon removes the former at all times\n" +
			"and the latter when it starts.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			response, err := c.CollectGarbage(cmd.Context(), body)
			var result api.GCResult
			if err := r.answer(response, err, &result); err != nil {
				return err
			}
			if err := r.print(cmd.OutOrStdout(), result, func(w io.Writer) { printGarbage(w, result.Items, body.DryRun) }); err != nil {
				return err
			}
			for _, item := range result.Items {
				if item.Error != "" {
					return errors.New("not everything could be removed")
				}
			}
			return nil
		},
	}
	r.flags(cmd)
	cmd.Flags().BoolVar(&body.DryRun, "dry-run", false, "remove nothing, and say what would be removed")
	return cmd
}

func printGarbage(w io.Writer, items []api.GCItem, dry bool) {
	if len(items) == 0 {
		fmt.Fprintln(w, "nothing is left over")
		return
	}
	fmt.Fprintln(w, "KIND\tATTACHMENT\tWHAT\tOUTCOME")
	for _, item := range items {
		outcome := "removed"
		switch {
		case item.Error != "":
			outcome = item.Error
		case dry:
			outcome = "would be removed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", item.Kind, item.ID, item.What, outcome)
	}
}

func checkAttachmentCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use:   "check ID",
		Short: "Check an attachment of yours, by the id that `net-porter attachments --json` shows",
		Long: "Check whether an attachment is as it was made, or as its leases have changed it: its interface is\n" +
			"looked at, and CNI CHECK is run. Fails if something is not as it should be.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: r.ids(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			response, err := c.CheckAttachment(cmd.Context(), args[0])
			var result api.CheckResult
			if err := r.answer(response, err, &result); err != nil {
				return err
			}
			err = r.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				for _, drift := range result.Drift {
					fmt.Fprintln(w, drift)
				}
				for _, reason := range result.Unchecked {
					fmt.Fprintln(w, "not checked:", reason)
				}
			})
			if err == nil && !result.Consistent {
				return errors.New("the attachment is not as it should be")
			}
			return err
		},
	}
	r.flags(cmd)
	return cmd
}
