package main

import (
	"strings"
	"testing"
)

func summarise(t *testing.T, noSkips bool, lines ...string) (text string, ok bool) {
	t.Helper()
	var out strings.Builder
	s := newSummary(&out)
	if err := read(strings.NewReader(strings.Join(lines, "\n")), s); err != nil {
		t.Fatal(err)
	}
	ok = s.close(noSkips)
	return out.String(), ok
}

func TestSummary(t *testing.T) {
	const (
		run     = `{"Action":"run","Package":"p","Test":"TestA"}`
		pass    = `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}`
		fail    = `{"Action":"fail","Package":"p","Test":"TestA"}`
		runSub  = `{"Action":"run","Package":"p","Test":"TestA/sub"}`
		passSub = `{"Action":"pass","Package":"p","Test":"TestA/sub"}`
		failSub = `{"Action":"fail","Package":"p","Test":"TestA/sub"}`
		saySub  = `{"Action":"output","Package":"p","Test":"TestA/sub","Output":"    a_test.go:3: it broke\n"}`
		say     = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: LEFT OUT: needs root\n"}`
		figures = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: FIGURES: 7 of 7\n"}`
		skip    = `{"Action":"skip","Package":"p","Test":"TestA"}`
		good    = `{"Action":"pass","Package":"p","Elapsed":0.2}`
		bad     = `{"Action":"fail","Package":"p"}`
		panics  = `{"Action":"output","Package":"p","Output":"panic: test timed out\n"}`
	)
	tests := []struct {
		name    string
		noSkips bool
		lines   []string
		last    string
		ok      bool
		also    string
	}{
		{"a pass", false, []string{run, pass, good}, "1 passed, 0 failed, 0 skipped", true, "ok\tp\t0.2s"},
		{"figures of a pass", false, []string{run, say, figures, pass, good}, "1 passed, 0 failed, 0 skipped", true, "        7 of 7\n"},
		{"a failure", false, []string{run, say, fail, bad}, "0 passed, 1 failed, 0 skipped", false, "LEFT OUT"},
		{"subtests count, not what holds them", false, []string{run, runSub, passSub, pass, good}, "1 passed, 0 failed, 0 skipped", true, ""},
		{"one failed subtest is one failure", false, []string{run, runSub, saySub, failSub, fail, bad}, "0 passed, 1 failed, 0 skipped", false, "it broke"},
		{"a test that fails by itself after its subtests", false, []string{run, runSub, passSub, fail, bad}, "1 passed, 1 failed, 0 skipped", false, ""},
		{"a package that fails without a test", false, []string{run, pass, panics, bad}, "1 passed, 1 failed, 0 skipped", false, "test timed out"},
		{"a package that does not build", false, []string{`{"ImportPath":"p","Action":"build-output","Output":"a.go:1: syntax error\n"}`, bad}, "0 passed, 1 failed, 0 skipped", false, "syntax error"},
		{"what is left out is named", false, []string{run, say, skip, good}, "0 passed, 0 failed, 1 skipped", true, "p: needs root\n    TestA\n"},
		{"nothing may be left out", true, []string{run, say, skip, good}, "0 passed, 0 failed, 1 skipped", false, "this is a failure"},
		{"nothing ran", false, []string{`{"Action":"skip","Package":"p"}`}, "0 passed, 0 failed, 0 skipped", false, "No test ran"},
		{"a line that is no event", false, []string{"go: downloading", run, pass, good}, "1 passed, 0 failed, 0 skipped", true, "go: downloading"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text, ok := summarise(t, test.noSkips, test.lines...)
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if last := lines[len(lines)-1]; last != test.last || ok != test.ok {
				t.Errorf("ends with %q and %v", last, ok)
			}
			if !strings.Contains(text, test.also) {
				t.Errorf("%q is not in\n%s", test.also, text)
			}
		})
	}
}
