package cni

import "errors"

const (
	maxStdout      = 1 << 20  // bytes that a plugin may print as its result
	keptStderr     = 64 << 10 // bytes of stderr that are kept of a run, the last ones
	reportedStderr = 4 << 10  // bytes of stderr in an error, the last ones
)

var errFull = errors.New("too much output")

// boundedBuffer takes up to limit bytes; at the first byte more it closes full and
// refuses to take any.
type boundedBuffer struct {
	data  []byte
	limit int
	full  chan struct{}
	over  bool
}

func newBoundedBuffer(limit int) *boundedBuffer {
	return &boundedBuffer{limit: limit, full: make(chan struct{})}
}

// Write implements io.Writer; it is called by one goroutine.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > b.limit {
		if !b.over {
			b.over = true
			close(b.full)
		}
		return 0, errFull
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// tailBuffer keeps the last limit bytes of what is written to it.
type tailBuffer struct {
	data  []byte
	limit int
}

// Write implements io.Writer; it takes everything.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p[max(0, len(p)-b.limit):]...)
	if extra := len(b.data) - b.limit; extra > 0 {
		b.data = append(b.data[:0], b.data[extra:]...)
	}
	return len(p), nil
}

// tail returns at most the last n bytes.
func (b *tailBuffer) tail(n int) string {
	return string(b.data[max(0, len(b.data)-n):])
}
