package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"
)

// slow is from how many seconds on a test that passed gets a line of its own, so
// that a long package shows its progress.
const slow = 1.0

// event is one line of `go test -json` (go doc test2json; build-output: go doc buildjson).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

type testID struct{ pkg, test string }

// parent is the test that a subtest belongs to; ok is false for a test that is none.
func (id testID) parent() (parent testID, ok bool) {
	i := strings.LastIndexByte(id.test, '/')
	if i < 0 {
		return testID{}, false
	}
	return testID{id.pkg, id.test[:i]}, true
}

// group is the tests of a package that were left out for one reason.
type group struct {
	pkg, reason string
	tests       []string
}

// summary counts results, and keeps output until it is known to matter.
type summary struct {
	out                     io.Writer
	passed, failed, skipped int
	leftOut                 []group

	output   map[testID]*strings.Builder // of a package itself under an empty test
	children map[testID]bool             // has subtests
	broken   map[testID]bool             // failed, or has something under it that did
}

func newSummary(out io.Writer) *summary {
	return &summary{
		out: out, output: map[testID]*strings.Builder{},
		children: map[testID]bool{}, broken: map[testID]bool{},
	}
}

func (s *summary) write(text string) { fmt.Fprint(s.out, text) }

func (s *summary) add(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.write(e.Output)
	case "output":
		if s.output[id] == nil {
			s.output[id] = &strings.Builder{}
		}
		s.output[id].WriteString(e.Output)
	case "run":
		if parent, ok := id.parent(); ok {
			s.children[parent] = true
		}
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, id)
		} else {
			s.endTest(e, id)
		}
	}
}

func (s *summary) endTest(e event, id testID) {
	output := s.take(id)
	switch {
	case e.Action == "fail":
		if !s.broken[id] { // else what is under it was counted
			s.failed++
		}
		s.breakUp(id)
		s.write(output)
	case e.Action == "skip":
		s.skipped++
		s.leaveOut(id, reason(output))
	default:
		if !s.children[id] {
			s.passed++
		}
		if _, sub := id.parent(); !sub && e.Elapsed >= slow {
			s.write(fmt.Sprintf("      %s (%.1fs)\n", e.Test, e.Elapsed))
		}
		for _, figures := range figures(output) {
			s.write("        " + figures + "\n")
		}
	}
}

// leaveOut notes a skipped test beside those of its package with the same reason.
func (s *summary) leaveOut(id testID, reason string) {
	for i, g := range s.leftOut {
		if g.pkg == id.pkg && g.reason == reason {
			s.leftOut[i].tests = append(g.tests, id.test)
			return
		}
	}
	s.leftOut = append(s.leftOut, group{id.pkg, reason, []string{id.test}})
}

// breakUp marks what failed and all above it, the package included.
func (s *summary) breakUp(id testID) {
	s.broken[testID{id.pkg, ""}] = true
	for ok := true; ok; id, ok = id.parent() {
		s.broken[id] = true
	}
}

func (s *summary) endPackage(e event, id testID) {
	output := s.take(id)
	switch e.Action {
	case "fail":
		// A build, a panic or a TestMain that failed belongs to no test.
		if !s.broken[id] {
			s.failed++
		}
		for test, text := range s.output { // of tests that had not ended
			if test.pkg == id.pkg {
				s.write(text.String())
				delete(s.output, test)
			}
		}
		s.write(output)
		if !strings.Contains(output, "FAIL\t") {
			s.write(fmt.Sprintf("FAIL\t%s\n", e.Package))
		}
	case "skip":
		s.write(fmt.Sprintf("--\t%s [no tests]\n", e.Package))
	default:
		s.write(fmt.Sprintf("ok\t%s\t%.1fs\n", e.Package, e.Elapsed))
	}
}

// take gives what was written under id, and forgets it.
func (s *summary) take(id testID) string {
	b := s.output[id]
	delete(s.output, id)
	if b == nil {
		return ""
	}
	return b.String()
}

var location = regexp.MustCompile(`(?m)^\s+\S+\.go:\d+: (.*)$`)

// reason is what a test said when it was skipped, without the place in the source
// and the words that testlab puts before it.
func reason(output string) string {
	all := location.FindAllStringSubmatch(output, -1)
	if len(all) == 0 {
		return "no reason given"
	}
	return strings.TrimPrefix(all[len(all)-1][1], "LEFT OUT: ")
}

// figures are what a test that passed wants to be seen all the same: what it has logged
// after "FIGURES: ".
func figures(output string) (all []string) {
	for _, line := range location.FindAllStringSubmatch(output, -1) {
		if text, ok := strings.CutPrefix(line[1], "FIGURES: "); ok {
			all = append(all, text)
		}
	}
	return all
}

// close says what was left out and the numbers, and reports whether all is well.
func (s *summary) close(noSkips bool) bool {
	ok := s.failed == 0
	if len(s.leftOut) > 0 {
		s.write(fmt.Sprintf("\nLeft out (%d):\n", s.skipped))
		for _, g := range s.leftOut {
			s.write(fmt.Sprintf("  %s: %s\n    %s\n", g.pkg, g.reason, strings.Join(g.tests, " ")))
		}
		if noSkips {
			s.write("Here nothing may be left out: this is a failure.\n")
			ok = false
		}
	}
	if s.passed+s.failed+s.skipped == 0 {
		s.write("No test ran: this is a failure.\n")
		ok = false
	}
	s.write(fmt.Sprintf("\n%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped))
	return ok
}
