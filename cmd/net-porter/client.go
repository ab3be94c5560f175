package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/api/apiclient"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/taken"
	"github.com/net-porter/net-porter/internal/unixdial"
)

// maxAnswer bounds what is read of an answer, in bytes; root's list of thousands of
// attachments is far below it.
const maxAnswer = 64 << 20

// takenPatience is how long the daemon may take to take a request: a restart takes a second
// or two.
const takenPatience = 10 * time.Second

// remote is how the commands reach the daemon and print what it says.
type remote struct {
	socket string
	json   bool
}

func (r *remote) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.socket, "socket", config.DefaultSocketPath, "the daemon's unix `SOCKET`")
	cmd.Flags().BoolVar(&r.json, "json", false, "print the daemon's answer as JSON")
}

func (r *remote) client() (*apiclient.Client, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixdial.DialSoon(ctx, r.socket)
		},
	}
	return apiclient.NewClient("http://localhost", apiclient.WithHTTPClient(taken.Doer{
		Socket: r.socket, Patience: takenPatience, Client: &http.Client{Transport: transport},
	}))
}

// answer reads what the daemon answered into v, nil for an answer without a body.
func (r *remote) answer(response *http.Response, err error, v any) error {
	if err != nil {
		return r.unreachable(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read the daemon's answer: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		var p api.Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Detail == "" {
			return fmt.Errorf("the daemon answered %s", response.Status)
		}
		return fmt.Errorf("%s (%s)", p.Detail, p.Code)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("the daemon's answer is not what its API promises; is it of another version? %w", err)
	}
	return nil
}

func (r *remote) unreachable(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("the daemon does not listen on %s: is it running (systemctl status net-porter)?", r.socket)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("too many are waiting at %s: try again in a moment", r.socket)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("you may not connect to %s: ask the administrator to put you into the group that it belongs to, and log in again", r.socket)
	}
	return err
}

// print writes v as JSON, or else what table writes, in columns.
func (r *remote) print(out io.Writer, v any, table func(io.Writer)) error {
	if r.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

func networksCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "networks", Short: "List the resources that you may use", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			response, err := c.ListNetworks(cmd.Context())
			var list api.NetworkList
			if err := r.answer(response, err, &list); err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), list, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tREADY\tPLUGINS\tREASON")
				for _, n := range list.Networks {
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", n.Name, yesNo(n.Ready), strings.Join(n.Plugins, ","), n.Reason)
				}
			})
		},
	}
	r.flags(cmd)
	return cmd
}

func attachmentsCommand() *cobra.Command {
	var r remote
	cmd := &cobra.Command{
		Use: "attachments", Short: "List your attachments, as root everybody's", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := r.attachments(cmd.Context())
			if err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), list, func(w io.Writer) { printAttachments(w, list.Attachments) })
		},
	}
	r.flags(cmd)
	cmd.AddCommand(checkAttachmentCommand())
	return cmd
}

func (r *remote) attachments(ctx context.Context) (list api.AttachmentList, err error) {
	c, err := r.client()
	if err != nil {
		return list, err
	}
	response, err := c.ListAttachments(ctx)
	return list, r.answer(response, err, &list)
}

// printAttachments writes a line for each, and what is wrong with those that have
// anything wrong.
func printAttachments(w io.Writer, attachments []api.Attachment) {
	fmt.Fprintln(w, "USER\tCONTAINER\tRESOURCE\tINTERFACE\tADDRESSES\tSTATE\tAGE\tLEASE\tPROBLEM")
	for _, a := range attachments {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", userOf(a), containerOf(a), a.Resource,
			a.InterfaceName, addressesOf(a.Result), a.State, ageOf(a), leasesOf(a.Result), strings.Join(problemsOf(a), "; "))
	}
}

// ageOf is an age in its greatest units, as `podman ps` has it but short.
func ageOf(a api.Attachment) string {
	age := time.Duration(a.AgeSeconds) * time.Second
	switch {
	case age < 2*time.Minute:
		return fmt.Sprintf("%ds", int(age.Seconds()))
	case age < 2*time.Hour:
		return fmt.Sprintf("%dm", int(age.Minutes()))
	case age < 48*time.Hour:
		return fmt.Sprintf("%dh", int(age.Hours()))
	}
	return fmt.Sprintf("%dd", int(age.Hours()/24))
}

// problemsOf says what is wrong with an attachment.
func problemsOf(a api.Attachment) []string {
	problems := a.Faults
	if f := a.Failure; f != nil {
		problems = append(problems, fmt.Sprintf("cannot be removed (%d attempts, next at %s): %s",
			f.Attempts, f.NextTry.Local().Format(timeFormat), f.Error))
	}
	return problems
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func userOf(a api.Attachment) string {
	if a.User != "" {
		return a.User
	}
	return fmt.Sprint(a.UID)
}

func containerOf(a api.Attachment) string {
	if a.ContainerName != "" {
		return a.ContainerName
	}
	return a.ContainerID[:min(len(a.ContainerID), 12)]
}

func addressesOf(result *api.AttachResult) string {
	if result == nil {
		return ""
	}
	var addresses []string
	for _, ip := range result.Ips {
		addresses = append(addresses, ip.Address)
	}
	return strings.Join(addresses, ",")
}

const timeFormat = "2006-01-02 15:04:05"

// leasesOf says how an attachment's DHCP leases are: "bound until ...", or what else is
// the matter with them.
func leasesOf(result *api.AttachResult) string {
	if result == nil {
		return ""
	}
	if result.LeaseIpv6 == nil {
		return leaseOf(result.Lease)
	}
	if result.Lease == nil {
		return leaseOf(result.LeaseIpv6)
	}
	return "IPv4 " + leaseOf(result.Lease) + ", IPv6 " + leaseOf(result.LeaseIpv6)
}

func leaseOf(l *api.Lease) string {
	switch {
	case l == nil:
		return ""
	case l.State == api.Selecting:
		return "expired, had " + l.Address
	case l.Expires == nil:
		return "without end"
	}
	return string(l.State) + " until " + l.Expires.Local().Format(timeFormat)
}

func attachCommand() *cobra.Command {
	var r remote
	var body api.AttachRequest
	cmd := &cobra.Command{
		Use: "attach RESOURCE", Short: "Attach a network namespace of yours to a resource", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.resources(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			response, err := c.AttachContainer(cmd.Context(), args[0], body)
			var result api.AttachResult
			if err := r.answer(response, err, &result); err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				fmt.Fprintf(w, "%s\t%s\n", body.InterfaceName, addressesOf(&result))
			})
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&body.ContainerID, "container-id", "", "the container's `ID`")
	cmd.Flags().StringVar(&body.ContainerName, "name", "", "the container's `NAME`")
	cmd.Flags().StringVar(&body.InterfaceName, "interface", "eth0", "the interface's `NAME` in the namespace")
	cmd.Flags().StringVar(&body.Netns, "netns", "", "`PATH` of the network namespace, as you see it")
	require(cmd, "container-id", "netns")
	return cmd
}

func detachCommand() *cobra.Command {
	var r remote
	var body api.DetachRequest
	cmd := &cobra.Command{
		Use: "detach RESOURCE", Short: "Remove an attachment", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.resources(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			response, err := c.DetachContainer(cmd.Context(), args[0], body)
			return r.answer(response, err, nil)
		},
	}
	r.flags(cmd)
	cmd.Flags().StringVar(&body.ContainerID, "container-id", "", "the container's `ID`; root may write <uid>.<id>")
	cmd.Flags().StringVar(&body.InterfaceName, "interface", "eth0", "the interface's `NAME` in the namespace")
	cmd.Flags().StringVar(&body.Netns, "netns", "", "`PATH` of the network namespace, if it still is there")
	require(cmd, "container-id")
	return cmd
}

// require marks flags without which a command makes no sense.
func require(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a name that is no flag of the command: a mistake in this file
		}
	}
}
