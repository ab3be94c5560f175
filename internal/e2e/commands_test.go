package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// document is a page that shows commands.
type document struct {
	name    string   // its file's
	scripts []shown  // to be run, in the order printed
	others  []string // the commands that are not marked to be run
}

// shown is what one user types, a script for bash.
type shown struct{ user, text string }

var (
	// fenced finds the blocks of a guide, and whether a comment says by whom they are run.
	fenced = regexp.MustCompile("(?ms)^(?:<!-- run as ([a-z]+) -->\n)?```([a-z]*)\n(.*?)^```$")
	// display finds what a manual page shows as typed.
	display   = regexp.MustCompile(`(?ms)^\.Dl ([^\n]*)\n|^\.Bd -literal[^\n]*\n(.*?)^\.Ed$`)
	comment   = regexp.MustCompile(` +# .*$`)
	continued = regexp.MustCompile(`\\\n`)
)

// documents are the README, the guides and the manual pages, in the order in which they are run.
func documents(t *testing.T) []document {
	t.Helper()
	guides, err := filepath.Glob("../../contrib/doc/*.md")
	if err != nil {
		t.Fatal(err)
	}
	manuals, err := filepath.Glob("../../contrib/man/*.[0-9]")
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, path := range append(append([]string{"../../README.md"}, guides...), manuals...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d := document{name: filepath.Base(path)}
		if strings.HasSuffix(path, ".md") {
			d.readMarkdown(string(text))
		} else {
			d.readManual(string(text))
		}
		all = append(all, d)
	}
	return all
}

func (d *document) readMarkdown(text string) {
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		user, language, script := block[1], block[2], block[3]
		switch {
		case user != "":
			d.scripts = append(d.scripts, shown{user, script})
		case language == "" || language == "bash" || language == "sh" || language == "console":
			for line := range strings.Lines(continued.ReplaceAllString(script, "")) {
				line = comment.ReplaceAllString(strings.TrimPrefix(strings.TrimSpace(line), "$ "), "")
				if line != "" {
					d.others = append(d.others, line)
				}
			}
		}
	}
}

// readManual takes lines with a prompt: root's is #, alice's is $.
func (d *document) readManual(text string) {
	for _, match := range display.FindAllStringSubmatch(text, -1) {
		lines := strings.ReplaceAll(match[1]+match[2], "\\e\n", "\\\n")
		lines = strings.ReplaceAll(lines, "\\&", "")
		user := ""
		for line := range strings.Lines(lines) {
			prompted := len(line) > 2 && (line[:2] == "# " || line[:2] == "$ ")
			switch {
			case prompted:
				user = map[byte]string{'#': "root", '$': "alice"}[line[0]]
				d.scripts = append(d.scripts, shown{user, line[2:]})
			case user != "":
				d.scripts[len(d.scripts)-1].text += line
			}
		}
	}
}

// proof says where a command is run that the lab cannot run as printed.
type proof struct {
	file string // whose text has
	has  string // this
	why  string // the lab does not
}

// Every command that people are shown is run by a test: here, by TestReadme, or where the
// table says.
func TestEveryCommandIsRun(t *testing.T) {
	used := map[string]bool{}
	scripts := 0
	for _, d := range documents(t) {
		scripts += len(d.scripts)
		for _, command := range d.others {
			p, known := elsewhere[command]
			if !known {
				t.Errorf("%s shows a command that no test runs: %s", d.name, command)
				continue
			}
			used[command] = true
			text, err := os.ReadFile("../../" + p.file)
			if err != nil || !strings.Contains(string(text), p.has) {
				t.Errorf("%s: %q is said to be run by %s, which does not have %q (%v)", d.name, command, p.file, p.has, err)
			}
		}
	}
	for command := range elsewhere {
		if !used[command] {
			t.Errorf("the table has %q, which no document shows", command)
		}
	}
	if scripts < 30 {
		t.Errorf("there are only %d to run", scripts)
	}
}
