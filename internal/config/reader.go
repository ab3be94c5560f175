package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/net-porter/net-porter/internal/nearest"
)

// maxErrors bounds how many faults of one file are shown.
const maxErrors = 20

// reader maps nodes to raw types and collects what is wrong with them.
type reader struct {
	file string
	data []byte
	errs []*Error

	newlines []int // their offsets, once they were asked for
}

// fault records what is wrong with n. The message follows the value's name, as in
// "log.level must be ...".
func (r *reader) fault(n *node, hint, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if n.path != "" {
		message = n.path + " " + message
	}
	r.faultAt(n.at, hint, message)
}

func (r *reader) faultAt(offset int, hint, message string) {
	if !r.full() {
		r.errs = append(r.errs, newError(r.file, r.data, offset, hint, message))
	}
}

// faultOnLine records a fault of something that was read already.
func (r *reader) faultOnLine(line int, hint, message string) {
	if !r.full() {
		r.errs = append(r.errs, &Error{File: r.file, Line: line, Column: 1, Message: message, Hint: hint})
	}
}

// full tells that nothing more needs to be recorded: one more than is shown, to
// know that there are more.
func (r *reader) full() bool { return len(r.errs) > maxErrors }

// err returns the faults so far in the order of the file, or nil.
func (r *reader) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var errs []error
	for i, e := range r.errs {
		if i == maxErrors {
			errs = append(errs, &Error{File: r.file, Message: "more errors follow; they are not shown"})
			break
		}
		errs = append(errs, e)
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// value is a value of the file. at is where it was written; nil when it was left out.
type value[T any] struct {
	at   *node
	ok   bool // it is of the right type
	what T
}

// decode turns a node into a value of a type, or records why it cannot.
type decode[T any] func(*reader, *node) (T, bool)

// key is one key that an object may have.
type key struct {
	name      string
	spellings []string // accepted instead of name
	required  bool
	read      reading
}

// reading is how a key's value is read, and what it has to look like, which the test of
// the JSON Schema holds against that.
type reading struct {
	do func(*reader, *node)
	// list: the value is a list of what follows.
	list bool
	// as is the decode function; of an object, keys are its own.
	as   any
	keys func() []key
}

// readingOf is a reading of values, or of a list of them, without its do.
func readingOf[T any](as decode[T], list bool) reading {
	shape := reading{list: list, as: as}
	if o, ok := any(new(T)).(interface{ keys() []key }); ok {
		shape.keys = o.keys
	}
	return shape
}

// one reads a key's value.
func one[T any](to *value[T], as decode[T]) reading {
	shape := readingOf(as, false)
	shape.do = func(r *reader, n *node) {
		to.at = n
		to.what, to.ok = as(r, n)
	}
	return shape
}

// many reads a key's list of values. Items of the wrong type are left out; they
// have been recorded as faults.
func many[T any](to *value[[]value[T]], as decode[T]) reading {
	shape := readingOf(as, true)
	shape.do = func(r *reader, n *node) {
		to.at = n
		if n.kind != kindArray {
			hint := ""
			if n.kind == kindString || n.kind == kindNumber || n.kind == kindObject {
				hint = "put it in [ ]"
			}
			r.wrongType(n, "a list", hint)
			return
		}
		to.ok = true
		for i, item := range n.items {
			item.path = fmt.Sprintf("%s[%d]", n.path, i)
			if what, ok := as(r, item); ok {
				to.what = append(to.what, value[T]{at: item, ok: true, what: what})
			}
		}
	}
	return shape
}

// keyed is a pointer to a raw type.
type keyed[T any] interface {
	*T
	keys() []key
}

// object reads an object into a raw type by the type's own table of keys.
func object[T any, P keyed[T]](r *reader, n *node) (T, bool) {
	var raw T
	if n.kind != kindObject {
		r.wrongType(n, "an object", "")
		return raw, false
	}
	keys := P(&raw).keys()
	seen := make(map[string]member)
	for _, m := range n.members {
		i := slices.IndexFunc(keys, func(k key) bool {
			return m.name == k.name || slices.Contains(k.spellings, m.name)
		})
		if i < 0 {
			r.unknownKey(n, m, keys)
			continue
		}
		k := keys[i]
		if first, dup := seen[k.name]; dup {
			r.duplicateKey(first, m)
			continue
		}
		seen[k.name] = m
		m.value.path = join(n.path, m.name)
		k.read.do(r, m.value)
	}
	for _, k := range keys {
		if _, given := seen[k.name]; k.required && !given {
			r.fault(n, "", "%s", missing(n, k.name))
		}
	}
	return raw, true
}

func missing(n *node, name string) string {
	if n.path == "" {
		return fmt.Sprintf("the key %q is missing", name)
	}
	return fmt.Sprintf("has no key %q", name)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (r *reader) duplicateKey(first, again member) {
	if r.full() {
		return
	}
	message := fmt.Sprintf("the key %q is written twice", again.name)
	if first.name != again.name {
		message = fmt.Sprintf("the key is written twice: %q is another spelling of %q", again.name, first.name)
	}
	r.faultAt(again.at, fmt.Sprintf("it is on line %d already", lineOf(r.data, first.at)), message)
}

func (r *reader) unknownKey(n *node, m member, keys []key) {
	if r.full() {
		return
	}
	where := ""
	if n.path != "" {
		where = " in " + n.path
	}
	names := make([]string, 0, len(keys))
	for _, k := range keys {
		names = append(names, k.name)
		names = append(names, k.spellings...)
	}
	hint := ""
	if near := nearest.Name(m.name, names); near != "" {
		hint = "did you mean " + quote(near) + "?"
	} else {
		for i, k := range keys {
			names[i] = quote(k.name)
		}
		hint = "known keys: " + strings.Join(names[:len(keys)], ", ")
	}
	r.faultAt(m.at, hint, fmt.Sprintf("unknown key %s%s", quote(m.name), where))
}
