// Command testsummary reads the events of `go test -json` (go doc test2json) on stdin
// and writes what a person wants to read of them: a line per package, everything of
// what failed, what was left out, and at last "N passed, N failed, N skipped".
//
// A test with subtests is counted by its subtests. It exits with 1 when something
// failed, when nothing ran, and, with -no-skips, when something was left out.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	noSkips := flag.Bool("no-skips", false, "a test that is left out is a failure")
	flag.Parse()
	s := newSummary(os.Stdout)
	if err := read(os.Stdin, s); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary: cannot read the events:", err)
		os.Exit(1)
	}
	if !s.close(*noSkips) {
		os.Exit(1)
	}
}

// read gives every event of r to s. A line that is no event, as from a tool that
// `go test` runs, is passed on as it is.
func read(r io.Reader, s *summary) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil || e.Action == "":
			s.write(string(line))
		default:
			s.add(e)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
