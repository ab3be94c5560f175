package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// licence is a text that comes with a module.
type licence struct {
	id   string // of the SPDX licence list, several joined with AND; "" of a notice
	text string
}

// isLicence matches names of files with terms or notices, by themselves or with a suffix.
var isLicence = regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying|notice|copyright)s?([-._].*)?$`)

// known are licences and what stands in their texts alone, in lower case, one space
// between words. Of those that begin the same, the longer one is first.
var known = []struct {
	id   string
	says []string
}{
	{"Apache-2.0", []string{"apache license version 2.0"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products derived"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose"}},
	{"MPL-2.0", []string{"mozilla public license version 2.0"}},
}

var spaces = regexp.MustCompile(`[\s,]+`)

// plain is a text without what differs between copies of it: case, commas, line ends.
func plain(text string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(strings.ToLower(text), " "))
}

// identify names the licences of a text, "" where there is none that is known.
func identify(text string) string {
	text = plain(text)
	var ids []string
	for _, k := range known {
		if slices.Contains(ids, k.id) || k.id == "BSD-2-Clause" && slices.Contains(ids, "BSD-3-Clause") {
			continue
		}
		if !slices.ContainsFunc(k.says, func(s string) bool { return !strings.Contains(text, plain(s)) }) {
			ids = append(ids, k.id)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND ")
}

// licencesIn reads the licences and notices in a folder, not below it.
func licencesIn(dir string) ([]licence, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []licence
	for _, e := range entries {
		if !e.Type().IsRegular() || !isLicence.MatchString(e.Name()) || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		l := licence{identify(string(text)), strings.ReplaceAll(string(text), "\r\n", "\n")}
		if l.id == "" && !strings.Contains(strings.ToLower(e.Name()), "notice") {
			return nil, fmt.Errorf("%s has terms that nobody has looked at: if net-porter can be passed on with it, add it to known",
				filepath.Join(dir, e.Name()))
		}
		found = append(found, l)
	}
	return found, nil
}

// expression joins what a module's licences are, for SPDX.
func expression(licences []licence) string {
	var ids []string
	for _, l := range licences {
		if l.id != "" {
			ids = append(ids, strings.Split(l.id, " AND ")...)
		}
	}
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}

// holders are the lines of texts that say whose the copyright is.
func holders(licences []licence) []string {
	var lines []string
	for _, l := range licences {
		for line := range strings.Lines(l.text) {
			line = strings.Join(strings.Fields(strings.Trim(line, "# \t\n")), " ")
			if copyrightLine.MatchString(line) && !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// copyrightLine matches "Copyright 2020 A", "Copyright (c) A", not "copyright notice" and
// not the gaps in Apache's appendix.
var copyrightLine = regexp.MustCompile(`^(?i:copyright|\(c\)|©)\s+(?i:\(c\)|©|\d{4}|the\s)[^\[{]*$`)
