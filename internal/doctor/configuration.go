package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/config"
)

// readConfiguration reads the configuration, where this user may.
func (e *examination) readConfiguration(ctx context.Context) {
	report := check.Run(ctx, check.Options{Path: e.o.Config, Names: e.names, Host: true})
	if report.Config != nil || !errors.Is(unreadable(e.o.Config), fs.ErrPermission) {
		e.checked = report
	}
	if e.o.Socket == "" && report.Config != nil {
		e.o.Socket = report.Config.Socket.Path
	}
	if e.o.Socket == "" {
		e.o.Socket = config.DefaultSocketPath
	}
}

// configuration says what `net-porter check` does.
func (e *examination) configuration() {
	e.area = "Configuration"
	if e.checked == nil {
		e.unknown("configuration.check", "%s cannot read %s: root can look at it with net-porter check", e.subject.name, e.o.Config)
		return
	}
	if err := unreadable(e.o.Config); errors.Is(err, fs.ErrNotExist) {
		e.add(Problem, "configuration.file", "there is no configuration "+e.o.Config, "as root, write one: /usr/share/doc/net-porter/examples has an example, net-porter.json(5) every key")
		return
	}
	for _, f := range e.checked.Findings {
		result := Warning
		if f.Severity == check.Error {
			result = Problem
		}
		f.Column = 0 // a line is enough for people
		e.add(result, "configuration.check", f.Place()+f.What(), f.Hint)
	}
	if len(e.checked.Findings) == 0 {
		e.ok("configuration.check", "%s is right, and so are the network configurations of its resources (%d)", e.o.Config, len(e.checked.Config.Resources))
	}
}

// parentsOf are the links of the host that resources need, each with a resource that does.
func (e *examination) parentsOf() (parents []parent) {
	if e.checked == nil || e.checked.Config == nil {
		return nil
	}
	for _, r := range e.checked.Config.Resources {
		n := e.checked.Networks[r.Name]
		if n == nil {
			continue
		}
		for _, master := range n.Masters() {
			parents = append(parents, parent{master, r.Name, slices.Contains(n.Types(), "macvlan"), n.UsesDHCP()})
		}
	}
	return parents
}

// parent is a link of the host that a resource needs.
type parent struct {
	link, resource string
	macvlan, dhcp  bool
}

// unreadable says why a file cannot be read, nil if it can.
func unreadable(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	return err
}
