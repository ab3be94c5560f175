package testlab

import (
	"fmt"
	"runtime"
	"testing"
)

// failures is a test that keeps to itself how it failed last.
type failures struct {
	testing.TB
	text string
}

// during runs what should fail the test, which may end its goroutine.
func (f *failures) during(fn func()) {
	f.text = ""
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	<-done
}

func (f *failures) Errorf(format string, args ...any) { f.text = fmt.Sprintf(format, args...) }

func (f *failures) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func (f *failures) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }
