package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/net-porter/net-porter/internal/aclimport"
	"github.com/net-porter/net-porter/internal/check"
	"github.com/net-porter/net-porter/internal/config"
)

// importACL prints a file of config.d with the rules of an acl.d, and on stderr what is not
// in it or means something else.
func (f *checkFlags) importACL(cmd *cobra.Command) error {
	file, findings := aclimport.Read(f.acl)
	report := &check.Report{Findings: findings}
	var out bytes.Buffer
	if file != nil {
		if err := writeIndented(&out, file); err != nil {
			return err
		}
		// As the daemon will read it; one of config.d has the same shape.
		if _, err := config.Parse("the output", out.Bytes()); err != nil {
			report.Findings = append(report.Findings, check.Finding{Severity: check.Error, Message: err.Error()})
		}
		report.Findings = append(report.Findings, f.present(file)...)
	}
	for _, finding := range report.Findings {
		fmt.Fprintln(cmd.ErrOrStderr(), finding)
	}
	if report.Count(check.Error) > 0 || f.strict && report.Count(check.Warning) > 0 {
		return &exitError{1, fmt.Errorf("%s: %s, so that nothing is printed", f.acl, countOf(report))}
	}
	_, err := out.WriteTo(cmd.OutOrStdout())
	return err
}

// present tells of resources that the configuration has already, as a resource is one file's.
func (f *checkFlags) present(file *aclimport.File) (findings []check.Finding) {
	c, err := config.Load(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []check.Finding{{Severity: check.Warning, File: f.path, Message: "cannot be read, so that nobody can tell which resources it has: " + err.Error()}}
	}
	for _, have := range c.Resources {
		for _, r := range file.Resources {
			if r.Name == have.Name {
				findings = append(findings, check.Finding{Severity: check.Warning, File: have.At.File, Line: have.At.Line, Resource: r.Name,
					Message: "is in the configuration already, and can be in one file only", Hint: "merge the two by hand"})
			}
		}
	}
	return findings
}
