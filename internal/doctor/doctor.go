// Package doctor says in plain words what is right and what is not for somebody whose
// container does not get its interface, and how to mend it.
//
// It looks with the rights of who runs it, and changes nothing. Run by root it runs no
// program and trusts no file that somebody else could have put there; what it prints of
// what others have named is quoted.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/nss"
)

// Result is what came of looking at one thing.
type Result string

// A Problem keeps containers from their interfaces; a Warning may, or surprises people. What
// could not be looked at is Unknown, and says why.
const (
	OK      Result = "ok"
	Warning Result = "warning"
	Problem Result = "problem"
	Unknown Result = "unknown"
)

// Finding is one thing that was looked at. Its JSON is what scripts read.
type Finding struct {
	ID     string `json:"id"`   // of what was looked at; stable
	Area   string `json:"area"` // the heading that it belongs to; stable
	Result Result `json:"result"`
	Text   string `json:"text"`             // what is so
	Remedy string `json:"remedy,omitempty"` // what to do
}

// Options say whose eyes to look with, and at what.
type Options struct {
	Socket string // of the daemon; "" is that of the configuration, or else the default
	Config string // the daemon's configuration file
	// User is by whose eyes root looks, as far as that can be done; "" is who runs it.
	User string
	// Probe has root ask the LANs of resources with DHCP who would grant an address.
	Probe bool
	// Resource is the one to probe, and Interface a link of the host in its place.
	Resource, Interface string
	// ProbeTime is how long answers to a probe are waited for.
	ProbeTime time.Duration
}

// Report is what was found, in the order of a container's way onto the LAN.
type Report struct {
	Subject  string // whose eyes it was looked at with
	Findings []Finding
}

// Count returns the number of findings of a result.
func (r *Report) Count(result Result) (n int) {
	for _, f := range r.Findings {
		if f.Result == result {
			n++
		}
	}
	return n
}

// Run looks at everything. Its error is that of Options that cannot be: a User that nobody
// knows, a Probe without root. What cannot be looked at otherwise is a finding.
func Run(ctx context.Context, o Options) (*Report, error) {
	e, err := newExamination(ctx, o)
	if err != nil {
		return nil, err
	}
	e.readConfiguration(ctx)
	probed, err := e.probed()
	if err != nil {
		return nil, err
	}
	e.kernel()
	e.daemon(ctx)
	e.membership(ctx)
	e.configuration()
	e.resources(ctx)
	e.parents()
	e.probe(ctx, probed)
	conf := e.containersConf()
	e.podman(ctx, conf)
	e.plugin(ctx, conf)
	e.networks()
	e.session()
	return &e.report, nil
}

// examination is one run.
type examination struct {
	o       Options
	host    host
	names   *nss.Resolver
	subject subject
	checked *check.Report // nil: the configuration cannot be read with these rights
	offered []offer       // to the subject
	told    bool          // what is offered is known
	said    bool          // the daemon has answered
	refused bool          // the kernel did not let this process connect
	version string        // of the daemon
	report  Report
	area    string
}

// add keeps a finding. What others have named is in it, so it is made harmless to a terminal
// here, for people and for scripts that show it.
func (e *examination) add(result Result, id, text, remedy string) {
	e.report.Findings = append(e.report.Findings, Finding{ID: id, Area: e.area, Result: result, Text: printable(text), Remedy: printable(remedy)})
}

func (e *examination) ok(id, format string, args ...any) {
	e.add(OK, id, fmt.Sprintf(format, args...), "")
}

func (e *examination) unknown(id, format string, args ...any) {
	e.add(Unknown, id, fmt.Sprintf(format, args...), "")
}
