package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/net-porter/net-porter/internal/testlab"
)

const manuals = "../../contrib/man/"

var (
	manCommand = regexp.MustCompile(`(?m)^\.Nm\n\.Cm ([a-z ]+)`)
	manFlag    = regexp.MustCompile(`(?m)^\.It (?:Fl . , -| Fl -|Fl -)([a-z-]+)`)
	manOption  = regexp.MustCompile(`(?m)^\.(?:Op )?Fl (?:-)?([a-z-]+)`)
)

// The manual page has every command and every flag, and no other; the synopsis of each
// command has its flags.
func TestManualHasTheCommands(t *testing.T) {
	page, err := os.ReadFile(manuals + "net-porter.1")
	if err != nil {
		t.Fatal(err)
	}
	synopsis := map[string]map[string]bool{}
	head, _, _ := strings.Cut(string(page), ".Sh DESCRIPTION")
	for part := range strings.SplitSeq(head, ".Nm\n") {
		name := manCommand.FindStringSubmatch(".Nm\n" + part)
		if name == nil {
			continue
		}
		command := strings.TrimSpace(name[1])
		if strings.HasPrefix(command, "completion") {
			command = "completion"
		}
		if synopsis[command] == nil {
			synopsis[command] = map[string]bool{}
		}
		for _, option := range manOption.FindAllStringSubmatch(part, -1) {
			synopsis[command][option[1]] = true
		}
	}
	flags := map[string]bool{"help": true}
	for _, cmd := range commandsOf(rootCommand()) {
		name := strings.TrimPrefix(cmd.CommandPath(), "net-porter ")
		if synopsis[name] == nil {
			t.Errorf("net-porter(1) has no synopsis of %q", name)
			continue
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			flags[f.Name] = true
			if f.Name != "help" && !synopsis[name][f.Name] && (f.Shorthand == "" || !synopsis[name][f.Shorthand]) {
				t.Errorf("net-porter(1): the synopsis of %q does not have --%s", name, f.Name)
			}
			delete(synopsis[name], f.Name)
			delete(synopsis[name], f.Shorthand)
		})
		for left := range synopsis[name] {
			t.Errorf("net-porter(1): the synopsis of %q has --%s, which is no flag of it", name, left)
		}
		delete(synopsis, name)
	}
	for left := range synopsis {
		t.Errorf("net-porter(1) has %q, which is no command", left)
	}
	var described []string
	for _, m := range manFlag.FindAllStringSubmatch(string(page), -1) {
		described = append(described, m[1])
		if !flags[m[1]] {
			t.Errorf("net-porter(1) describes --%s, which no command has", m[1])
		}
	}
	for flag := range flags {
		if !slices.Contains(described, flag) {
			t.Errorf("net-porter(1) does not describe --%s", flag)
		}
	}
}

// commandsOf are the commands below one that do something.
func commandsOf(cmd *cobra.Command) (all []*cobra.Command) {
	cmd.InitDefaultHelpFlag()
	for _, sub := range cmd.Commands() {
		sub.InitDefaultHelpFlag()
		if sub.Runnable() {
			all = append(all, sub)
		}
		all = append(all, commandsOf(sub)...)
	}
	return all
}

// The two programs that format manual pages understand them without a complaint.
func TestManualsAreWellFormed(t *testing.T) {
	testlab.RequireRoot(t) // so that they are installed
	pages, err := filepath.Glob(manuals + "*.[0-9]")
	if err != nil || len(pages) < 3 {
		t.Fatalf("%v, %v", pages, err)
	}
	for _, page := range pages {
		for _, argv := range [][]string{{"mandoc", "-Tlint", "-Wwarning", page}, {"groff", "-mandoc", "-Tutf8", "-ww", "-z", page}} {
			if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v: %s", strings.Join(argv, " "), err, out)
			}
		}
	}
}
