package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/nss"
)

// checkFlags are those of `net-porter check`.
type checkFlags struct {
	path          string
	json, strict  bool
	noHost, start bool
	as            string
	groups, ips   []string
	resource, mac string
	acl           string
}

func checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration, or what it allows to a user, without running anything",
		Long: "Check all that can be known without running anything: the configuration and config.d, users and\n" +
			"groups, conflists, plugins, parent links, grants and folders. It exits with 1 if something keeps the\n" +
			"daemon or a resource from working, and with 0 if there are no findings, or warnings only.\n\n" +
			"With --start, look only for what keeps the daemon from starting: it exits with 1 if it would not start,\n" +
			"and with 0 if it would, which it does without the resources whose conflists are wrong.\n\n" +
			"With --as, say whether a user may attach to a resource, with addresses of their choice, and by which\n" +
			"line: 0 if so, 1 if not, 2 if that cannot be told.\n\n" +
			"With --import-acl, print the rules of an acl.d of the Zig net-porter (1.0 to 1.5) as a file of config.d,\n" +
			"and on stderr what is not in it or means something else. With an error nothing is printed.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.usage(cmd, args); err != nil {
				return &exitError{2, err}
			}
			if f.as != "" {
				return f.preview(cmd)
			}
			if f.acl != "" {
				return f.importACL(cmd)
			}
			return f.check(cmd)
		},
	}
	configFlag(cmd, &f.path)
	flags := cmd.Flags()
	flags.BoolVar(&f.json, "json", false, "print JSON, for scripts")
	flags.BoolVar(&f.strict, "strict", false, "exit with 1 for warnings, too")
	flags.BoolVar(&f.noHost, "no-host", false, "look at the files alone, not at this host's users, plugins, links and folders")
	flags.BoolVar(&f.start, "start", false, "look only for what keeps the daemon from starting")
	flags.StringVar(&f.as, "as", "", "say what `USER` may do, a name or a number")
	flags.StringSliceVar(&f.groups, "groups", nil, "of --as: the user's `GROUPS`, in place of those of a new login")
	flags.StringVar(&f.resource, "resource", "", "of --as: the `RESOURCE`")
	flags.StringArrayVar(&f.ips, "ip", nil, "of --as: an `ADDRESS` as of podman run --ip or --ip6; may be given again")
	flags.StringVar(&f.mac, "mac", "", "of --as: an `ADDRESS` as of podman run --mac-address")
	flags.StringVar(&f.acl, "import-acl", "", "print the rules of the Zig net-porter's acl.d in `DIR` as a file of config.d")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{2, err} })
	return cmd
}

// usage refuses flags that make no sense together.
func (f *checkFlags) usage(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return err
	}
	given := cmd.Flags().Changed
	notFor := func(mode string, flags ...string) error {
		if i := slices.IndexFunc(flags, given); given(mode) && i >= 0 {
			return fmt.Errorf("--%s is not for --%s", flags[i], mode)
		}
		return nil
	}
	if err := cmp.Or(
		notFor("import-acl", "as", "no-host", "start", "json"),
		notFor("start", "as", "no-host", "strict"),
		notFor("as", "strict", "no-host"),
	); err != nil {
		return err
	}
	if given("import-acl") && f.acl == "" {
		return errors.New("--import-acl needs a folder")
	}
	if !given("as") {
		for _, flag := range []string{"groups", "resource", "ip", "mac"} {
			if given(flag) {
				return fmt.Errorf("--%s belongs to --as USER", flag)
			}
		}
		return nil
	}
	if f.as == "" || f.resource == "" {
		return errors.New("--as needs a user, and --resource with a name")
	}
	return nil
}

func (f *checkFlags) check(cmd *cobra.Command) error {
	o := check.Options{Path: f.path}
	switch {
	case f.start:
		o.Start = checkEnforceable
	case !f.noHost:
		o.Host, o.Names = true, nss.New()
	}
	report := check.Run(cmd.Context(), o)
	failed := report.Count(check.Error) > 0 || f.strict && report.Count(check.Warning) > 0
	if err := f.print(cmd.OutOrStdout(), report, failed); err != nil {
		return err
	}
	if failed {
		return &exitError{1, fmt.Errorf("%s: %s", f.path, countOf(report))}
	}
	return nil
}

func (f *checkFlags) print(out io.Writer, report *check.Report, failed bool) error {
	if f.json {
		findings := report.Findings
		if findings == nil {
			findings = []check.Finding{}
		}
		return writeIndented(out, map[string]any{
			"file": f.path, "ok": !failed, "errors": report.Count(check.Error), "warnings": report.Count(check.Warning), "findings": findings,
		})
	}
	for _, finding := range report.Findings {
		if _, err := fmt.Fprintln(out, finding); err != nil {
			return err
		}
	}
	if failed {
		return nil
	}
	if f.start {
		_, err := fmt.Fprintf(out, "%s does not keep the daemon from starting\n", f.path)
		return err
	}
	rest := ""
	if n := report.Count(check.Warning); n > 0 {
		rest = "; " + plural(n, "warning")
	}
	_, err := fmt.Fprintf(out, "%s is right, and so are the network configurations of its resources (%d)%s\n", f.path, len(report.Config.Resources), rest)
	return err
}

func countOf(report *check.Report) string {
	return plural(report.Count(check.Error), "error") + ", " + plural(report.Count(check.Warning), "warning")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func writeIndented(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// exitError is an error that the program exits with a status for.
type exitError struct {
	status int
	err    error // nil: it has been told
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fail tells of an error and returns the status to exit with.
func fail(err error) int {
	own, ok := errors.AsType[*exitError](err)
	if !ok {
		own = &exitError{1, err}
	}
	if own.err != nil {
		fmt.Fprintln(os.Stderr, "net-porter:", own.err)
	}
	return own.status
}
