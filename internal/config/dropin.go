package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/nearest"
)

// DropInDir is the folder of the files that add to a configuration file.
func DropInDir(path string) string { return filepath.Join(filepath.Dir(path), "config.d") }

// dropIns lists the files that add to a configuration file, by name. A name that begins
// with a dot is an editor's or a package manager's.
func dropIns(path string) ([]string, error) {
	dir := DropInDir(path)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{File: dir, Message: "cannot read the folder: " + reason(err), cause: err}
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, nil
}

// source is a file and what is in it.
type source struct {
	name string
	data []byte
}

// addition is a grant of one file on a resource that may be another's.
type addition struct {
	resource string
	grant    Grant
	fault    func(hint, format string, args ...any) // at the resource's name
}

// parseAll reads a configuration file and those that add to it. Each fault is told of the
// file that it is in.
func parseAll(main source, more []source) (*Config, error) {
	r, raw, err := read[rawConfig](main)
	if err != nil {
		return nil, err
	}
	c := r.config(raw)
	timeout := value[time.Duration]{ok: true, what: c.CNI.Timeout}
	readers := []*reader{r}
	var additions []addition
	var errs []error
	for _, file := range more {
		d, raw, err := read[rawDropIn](file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		readers = append(readers, d)
		c.add(d, d.resources(raw.resources.what, timeout))
		additions = append(additions, d.additions(raw.grants.what)...)
	}
	c.addGrants(additions)
	all := make([]error, 0, len(readers)+len(errs))
	for _, r := range readers {
		all = append(all, r.err())
	}
	if err := joined(append(all, errs...)); err != nil {
		return nil, err
	}
	return c, nil
}

// read reads one file's shape.
func read[T any, P keyed[T]](file source) (*reader, T, error) {
	var none T
	root, err := parseSyntax(file.name, file.data)
	if err != nil {
		return nil, none, err
	}
	r := &reader{file: file.name, data: file.data}
	raw, ok := object[T, P](r, root)
	if !ok {
		return nil, none, r.err()
	}
	return r, raw, nil
}

// joined is errors.Join, but for a single error, which stays what it is.
func joined(errs []error) error {
	var some []error
	for _, err := range errs {
		if err != nil {
			some = append(some, err)
		}
	}
	if len(some) == 1 {
		return some[0]
	}
	return errors.Join(some...)
}

// add adds one file's resources.
func (c *Config) add(d *reader, resources []Resource) {
	for _, r := range resources {
		if before := c.find(r.Name); before != nil {
			d.faultOnLine(r.At.Line, fmt.Sprintf("a resource is one file's; put grants on it into %q with \"resource\": %s", "grants", quote(r.Name)),
				fmt.Sprintf("the resource %s is in %s already", quote(r.Name), before.At))
			continue
		}
		c.Resources = append(c.Resources, r)
	}
}

func (c *Config) find(name string) *Resource {
	for i := range c.Resources {
		if c.Resources[i].Name == name {
			return &c.Resources[i]
		}
	}
	return nil
}

// additions takes the grants that name their resource.
func (r *reader) additions(raw []value[rawNamedGrant]) []addition {
	var plain []value[rawGrant]
	for _, item := range raw {
		plain = append(plain, value[rawGrant]{at: item.at, ok: item.ok, what: item.what.rawGrant})
	}
	var all []addition
	for i, g := range r.grants(plain) {
		name := raw[i].what.resource
		if name.ok {
			all = append(all, addition{name.what, g, func(hint, format string, args ...any) { r.fault(name.at, hint, format, args...) }})
		}
	}
	return all
}

// addGrants adds grants to the resources that they name, of whichever file these are.
func (c *Config) addGrants(additions []addition) {
	for _, a := range additions {
		r := c.find(a.resource)
		if r == nil {
			var names []string
			for _, r := range c.Resources {
				names = append(names, r.Name)
			}
			hint := ""
			if near := nearest.Name(a.resource, names); near != "" {
				hint = "did you mean " + quote(near) + "?"
			}
			a.fault(hint, "is no resource of the configuration: %s", quote(a.resource))
			continue
		}
		r.Grants = append(r.Grants, a.grant)
	}
}
