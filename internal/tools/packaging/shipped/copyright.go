package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// copyright writes a Debian copyright file of what is in folders of programs
// (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/).
func copyright(out io.Writer, folders []string) error {
	modules := map[module]bool{}
	var all []program
	for _, folder := range folders {
		found, err := programs(folder)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	for _, p := range all {
		for _, m := range append(p.modules, p.main) {
			if m.path != ourModule {
				modules[m] = true
			}
		}
	}
	have, err := terms(all)
	if err != nil {
		return err
	}
	ours, err := os.ReadFile("LICENSE")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	texts := &texts{}
	fmt.Fprint(w, "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
		"Upstream-Name: net-porter\nSource: https://", ourModule, "\n",
		"Comment: The programs are linked from Go modules, each of which is in its version at\n",
		" https://proxy.golang.org, unchanged; here Files names them as module@version. \"stdlib\" is\n",
		" Go itself, from https://go.dev/dl. Of the CNI plugins the module is\n",
		" github.com/containernetworking/plugins.\n")
	paragraph(w, "*", []licence{{"MIT", string(ours)}}, texts)
	for _, m := range slices.SortedFunc(maps.Keys(modules), compareModules) {
		paragraph(w, m.String()+"/*", have[m], texts)
	}
	for _, t := range texts.all {
		fmt.Fprintf(w, "\nLicense: %s\n%s", t.name, indented(t.text))
	}
	return w.Flush()
}

func paragraph(w io.Writer, files string, licences []licence, texts *texts) {
	holders := holders(licences)
	if len(holders) == 0 {
		holders = []string{"The authors of " + strings.TrimSuffix(files, "/*")}
	}
	fmt.Fprintf(w, "\nFiles: %s\nCopyright: %s\n", files, strings.Join(holders, "\n           "))
	var names []string
	var notices strings.Builder
	for _, l := range licences {
		if l.id == "" {
			notices.WriteString(indented(l.text))
			continue
		}
		if name := texts.name(l); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	fmt.Fprintf(w, "License: %s\n", strings.Join(names, " and "))
	if notices.Len() > 0 {
		fmt.Fprintf(w, "Comment: It comes with this notice:\n%s", notices.String())
	}
}

// texts are licences with names, each text once.
type texts struct {
	all  []named
	seen map[string]string // names by plain text
}

type named struct{ name, text string }

// name is "MIT" for the first text of that licence and "MIT-2" for the next one that
// reads differently, as those that name their authors do.
func (t *texts) name(l licence) string {
	var lines []string
	for line := range strings.Lines(l.text) {
		if !copyrightLine.MatchString(strings.TrimSpace(line)) {
			lines = append(lines, line)
		}
	}
	key := plain(strings.Join(lines, ""))
	if name, ok := t.seen[key]; ok {
		return name
	}
	base := strings.ReplaceAll(strings.ReplaceAll(l.id, " AND ", "-and-"), "MIT", "Expat") // Debian's name
	name := base
	for n := 2; slices.ContainsFunc(t.all, func(o named) bool { return o.name == name }); n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	if t.seen == nil {
		t.seen = map[string]string{}
	}
	t.seen[key] = name
	t.all = append(t.all, named{name, l.text})
	return name
}

// indented is a text as the continuation of a field.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
		if line = strings.TrimRight(line, " \t\f\n"); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}
