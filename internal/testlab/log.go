package testlab

import (
	"strings"
	"sync"
	"time"
)

// logBuffer collects what a program writes and wakes those who wait for it.
type logBuffer struct {
	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{changed: make(chan struct{})} }

// Write is what programs' output comes through.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) size() int { return len(b.String()) }

// tail is the end of the log, as much of it as a test's failure should show.
func (b *logBuffer) tail() string {
	text := b.String()
	return text[max(0, len(text)-8192):]
}

// wait returns true as soon as ok says so of what came after from, and false when
// end is closed first or the time is up. A nil end never is.
func (b *logBuffer) wait(from int, end <-chan struct{}, ok func(text string) bool) bool {
	timeout := time.After(waitBound)
	for {
		b.mu.Lock()
		text, changed := b.text.String()[from:], b.changed
		b.mu.Unlock()
		if ok(text) {
			return true
		}
		select {
		case <-changed:
		case <-end:
			return ok(b.String()[from:]) // its last words
		case <-timeout:
			return false
		}
	}
}

// contains is a condition of wait.
func contains(text string) func(string) bool {
	return func(log string) bool { return strings.Contains(log, text) }
}

// count is how many lines have all the words in them, each between spaces or
// brackets, so that 192.0.2.10 is not found in 192.0.2.100.
func count(log string, words ...string) int {
	n := 0
	for line := range strings.Lines(log) {
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n()", r) })
		all := true
		for _, word := range words {
			found := false
			for _, f := range fields {
				found = found || f == word
			}
			all = all && found
		}
		if all {
			n++
		}
	}
	return n
}
