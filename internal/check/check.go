// Package check says what is wrong with a configuration, and with this host for it,
// without running anything: all of it at once, in the words of the daemon where the
// daemon would say so too.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/config"
	"github.com/net-porter/net-porter/internal/server"
)

// Severity says how bad a finding is.
type Severity string

// An Error keeps the daemon from its work, or a resource from being used. A Warning is
// what is probably not meant, or what keeps single users from something.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong. Its JSON is what scripts read.
type Finding struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`   // from 1; 0: not known
	Column   int      `json:"column,omitempty"` // from 1, in characters; 0: not known
	Resource string   `json:"resource,omitempty"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"` // what to do, or what was probably meant
}

// String is "file:line:column: severity: message (hint)", without what is not known.
func (f Finding) String() string {
	text := f.Place() + string(f.Severity) + ": " + f.What()
	if f.Hint != "" {
		text += " (" + f.Hint + ")"
	}
	return text
}

// Place is "file:line:column: ", without what is not known.
func (f Finding) Place() string {
	place := f.File
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
	}
	if f.Column > 0 {
		place += fmt.Sprintf(":%d", f.Column)
	}
	if place != "" {
		place += ": "
	}
	return place
}

// What is what is wrong, and with which resource.
func (f Finding) What() string {
	if f.Resource != "" {
		return "resource " + f.Resource + ": " + f.Message
	}
	return f.Message
}

// Options say what is checked.
type Options struct {
	Path string // of the configuration file
	// Names look up users and groups; nil: they are not looked up.
	Names server.Names
	// Host: plugins, parent links and folders of this host are looked at, too.
	Host bool
	// Start: nothing is looked for but what keeps the daemon from starting. It is what the
	// daemon itself asks of a configuration whose files are right.
	Start func(*config.Config) error
}

// Report is the outcome of a check.
type Report struct {
	Path     string
	Config   *config.Config          // nil if it cannot be read
	Networks map[string]*cni.Network // by resource, those whose conflists can be read
	Findings []Finding               // errors first, each in the order of files and lines
}

// Run checks a configuration file, the files that belong to it and the conflists.
func Run(ctx context.Context, o Options) *Report {
	r := &Report{Path: o.Path}
	c, err := config.Load(o.Path)
	if err != nil {
		for _, fault := range config.Flat(err) {
			r.add(Fault(o.Path, fault))
		}
		return r.sorted()
	}
	r.Config = c
	if o.Start != nil {
		if err := o.Start(c); err != nil {
			r.add(Fault(o.Path, err))
		}
		return r
	}
	if o.Names != nil {
		server.ResolveTelling(ctx, c.Resources, o.Names, r.unknown)
	}
	networks := r.conflists(c)
	r.Networks = networks
	r.sharedNames(c, networks)
	r.enforced(c, networks, o.Host)
	for _, resource := range c.Resources {
		r.overlaps(resource)
		if n := networks[resource.Name]; n != nil {
			r.unreachable(resource, n)
		}
	}
	if o.Host {
		r.plugins(c, networks)
		r.parents(c, networks)
		r.folders(ctx, c, o.Names)
	}
	return r.sorted()
}

// Count returns the number of findings of a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

func (r *Report) sorted() *Report {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r
}

// Fault is the finding of an error of reading a file, which says itself where it is if it is
// a *config.Error.
func Fault(path string, err error) Finding {
	f := Finding{Severity: Error, File: path, Message: err.Error()}
	if at, ok := errors.AsType[*config.Error](err); ok {
		f.File, f.Line, f.Column, f.Message, f.Hint = at.File, at.Line, at.Column, at.Message, at.Hint
	}
	return f
}

// unknown adds a name that stands for nobody: its user may come later.
func (r *Report) unknown(u server.Unknown) {
	r.add(Finding{
		Severity: Warning, File: u.At.File, Line: u.At.Line, Resource: u.Resource,
		Message: fmt.Sprintf("%s: %q: %s", u.Key, u.Name, u.Message()),
	})
}
