package journald

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"
)

const (
	// identifier is what the journal shows in front of a line (SYSLOG_IDENTIFIER).
	identifier  = "net-porter"
	fieldPrefix = "NET_PORTER_"
)

// Marked is the value of an attribute that gives a record its MESSAGE_ID
// (sd_journal_send(3)), which tells what kind of event it is about.
type Marked interface {
	// MessageID is 128 bits as 32 lower-case hexadecimal digits.
	MessageID() string
}

// Handler writes records to the journal: the line that another handler makes of one, which
// is what `journalctl` shows, and each attribute as a field besides, NET_PORTER_ and its
// name in capitals.
type Handler struct {
	lines     slog.Handler // writes to line
	line      *line
	sender    *sender
	otherwise io.Writer

	fields    []field // of WithAttrs
	groups    string  // of WithGroup, each with an underscore
	messageID string
}

// line is what lines writes, for one record at a time.
type line struct {
	sync.Mutex
	bytes.Buffer
}

// field is an attribute, its groups before its name.
type field struct{ key, value string }

// NewHandler makes a handler. How lines look, and which records are written, is up to the
// handler that lines makes. A line that the journal does not take, as while it is
// away, goes to otherwise.
func NewHandler(lines func(io.Writer) slog.Handler, otherwise io.Writer) (*Handler, error) {
	return newHandler(socketPath, lines, otherwise)
}

func newHandler(path string, lines func(io.Writer) slog.Handler, otherwise io.Writer) (*Handler, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("the journal's socket is not there: %w", err)
	}
	sender, err := newSender(path)
	if err != nil {
		return nil, err
	}
	h := &Handler{line: &line{}, sender: sender, otherwise: otherwise}
	h.lines = lines(&h.line.Buffer)
	return h, nil
}

// Enabled says whether records of a level are written.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.lines.Enabled(ctx, level)
}

// WithAttrs returns a handler whose records have these attributes too.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.fields = slices.Clip(h.fields)
	for _, a := range attrs {
		next.collect(next.groups, a)
	}
	next.lines = h.lines.WithAttrs(attrs)
	return &next
}

// WithGroup returns a handler whose records' further attributes are in a group.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.groups += name + "_"
	next.lines = h.lines.WithGroup(name)
	return &next
}

// Handle writes a record.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	message, err := h.text(ctx, r)
	if err != nil {
		return err
	}
	all := *h
	all.fields = slices.Clip(h.fields)
	r.Attrs(func(a slog.Attr) bool {
		all.collect(all.groups, a)
		return true
	})
	var e entry
	e.add("MESSAGE", message)
	e.add("PRIORITY", priority(r.Level))
	e.add("SYSLOG_IDENTIFIER", identifier)
	e.add("MESSAGE_ID", all.messageID)
	for _, f := range all.fields {
		e.add(fieldName(f.key), f.value)
	}
	if h.sender.send(e) == nil {
		return nil
	}
	_, err = io.WriteString(h.otherwise, message+"\n")
	return err
}

// text is the line of a record.
func (h *Handler) text(ctx context.Context, r slog.Record) (string, error) {
	h.line.Lock()
	defer h.line.Unlock()
	h.line.Reset()
	err := h.lines.Handle(ctx, r)
	return string(bytes.TrimSuffix(h.line.Bytes(), []byte("\n"))), err
}

// collect takes an attribute, those of a group one by one.
func (h *Handler) collect(groups string, a slog.Attr) {
	if event, ok := a.Value.Any().(Marked); ok {
		h.messageID = event.MessageID()
	}
	value := a.Value.Resolve()
	switch {
	case value.Kind() == slog.KindGroup:
		if a.Key != "" {
			groups += a.Key + "_"
		}
		for _, member := range value.Group() {
			h.collect(groups, member)
		}
	case a.Key != "":
		h.fields = append(h.fields, field{groups + a.Key, valueOf(value)})
	}
}

func valueOf(v slog.Value) string {
	switch v.Kind() {
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error, fmt.Stringer: // by fmt, which survives nil ones
		default:
			if b := reflect.ValueOf(x); b.Kind() == reflect.Slice && b.Type().Elem().Kind() == reflect.Uint8 {
				return string(b.Bytes()) // such as json.RawMessage
			}
		}
		return fmt.Sprintf("%+v", v.Any())
	}
	return v.String()
}

// priority is a level as syslog(3) counts.
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "3"
	case level >= slog.LevelWarn:
		return "4"
	case level >= slog.LevelInfo:
		return "6"
	}
	return "7"
}
