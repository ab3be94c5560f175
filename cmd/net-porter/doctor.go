package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/doctor"
)

// maxProbeTime is far above what any DHCP server takes.
const maxProbeTime = time.Minute

func doctorCommand() *cobra.Command {
	var o doctor.Options
	var json, strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what keeps containers from their interfaces, and how to mend it",
		Long: "Look at everything on a container's way onto the LAN, say in plain words what is right and what is\n" +
			"not, and how to mend it: kernel, daemon, groups and session, configuration, resources, parent links,\n" +
			"podman, netavark and its plugin, podman networks, lingering. It changes nothing. Run it as the user\n" +
			"whose container does not start, and as root for what only root can see.\n\n" +
			"It exits with 0 if there are no problems, 1 if there are, and 2 if it was not told what to look at.",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return &exitError{2, err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := probeUsage(cmd, &o); err != nil {
				return &exitError{2, err}
			}
			report, err := doctor.Run(cmd.Context(), o)
			if err != nil {
				return &exitError{2, err}
			}
			failed := report.Count(doctor.Problem) > 0 || strict && report.Count(doctor.Warning) > 0
			if err := printDiagnosis(cmd.OutOrStdout(), report, json, failed); err != nil {
				return err
			}
			if failed {
				return &exitError{1, nil}
			}
			return nil
		},
	}
	configFlag(cmd, &o.Config)
	flags := cmd.Flags()
	flags.StringVar(&o.Socket, "socket", "", "the daemon's unix `SOCKET`, if not that of the configuration")
	flags.StringVar(&o.User, "user", "", "as root: look with the eyes of `USER`, as far as that can be done")
	flags.BoolVar(&o.Probe, "probe-dhcp", false, "as root: ask the LANs of the resources which DHCP servers answer; no address is taken")
	flags.StringVar(&o.Resource, "resource", "", "of --probe-dhcp: that `RESOURCE` alone")
	flags.StringVar(&o.Interface, "interface", "", "of --probe-dhcp: that `LINK` of the host, and no resource's")
	flags.DurationVar(&o.ProbeTime, "probe-time", doctor.DefaultProbeTime, "of --probe-dhcp: how `LONG` to wait for answers")
	flags.BoolVar(&strict, "strict", false, "exit with 1 for warnings, too")
	flags.BoolVar(&json, "json", false, "print JSON, for scripts")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{2, err} })
	return cmd
}

// probeUsage refuses flags that make no sense together.
func probeUsage(cmd *cobra.Command, o *doctor.Options) error {
	if !o.Probe {
		for _, flag := range []string{"resource", "interface", "probe-time"} {
			if cmd.Flags().Changed(flag) {
				return fmt.Errorf("--%s belongs to --probe-dhcp", flag)
			}
		}
	}
	if o.Resource != "" && o.Interface != "" {
		return errors.New("--resource and --interface cannot both be given")
	}
	if o.ProbeTime <= 0 || o.ProbeTime > maxProbeTime {
		return fmt.Errorf("--probe-time is more than 0s and at most %s", maxProbeTime)
	}
	return nil
}

// marks are what a result is called, with the worst to be seen at a glance.
var marks = map[doctor.Result]string{doctor.OK: "ok     ", doctor.Warning: "WARNING", doctor.Problem: "PROBLEM", doctor.Unknown: "unknown"}

func printDiagnosis(out io.Writer, r *doctor.Report, asJSON, failed bool) error {
	problems, warnings := r.Count(doctor.Problem), r.Count(doctor.Warning)
	if asJSON {
		return writeIndented(out, map[string]any{
			"user": r.Subject, "ok": !failed, "problems": problems, "warnings": warnings, "unknown": r.Count(doctor.Unknown), "findings": r.Findings,
		})
	}
	area := ""
	for _, f := range r.Findings {
		if f.Area != area {
			area = f.Area
			fmt.Fprintln(out, area)
		}
		fmt.Fprintf(out, "  %s  %s\n", marks[f.Result], f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(out, "           -> %s\n", f.Remedy)
		}
	}
	end := "nothing is wrong that can be seen from here"
	if problems+warnings > 0 {
		end = plural(problems, "problem") + ", " + plural(warnings, "warning")
	}
	_, err := fmt.Fprintf(out, "\n%s, as %s\n", end, r.Subject)
	return err
}
