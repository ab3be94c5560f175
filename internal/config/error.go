package config

import (
	"fmt"
	"unicode/utf8"
)

// Error is one fault of a configuration file, worded for the person who wrote the file.
type Error struct {
	File    string // as it was named on the command line
	Line    int    // from 1; 0 when the fault is the file's as a whole
	Column  int    // from 1, in characters, a tab counting as one
	Message string // what is wrong
	Hint    string // what was probably meant, or what to do; may be empty

	cause error
}

// Error returns "file:line:column: message (hint)", without the parts that are not known.
func (e *Error) Error() string {
	text := e.File + ": " + e.Message
	if e.Line > 0 {
		text = fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// Unwrap returns the system's error where there is one, so that a missing file is
// still fs.ErrNotExist.
func (e *Error) Unwrap() error { return e.cause }

// Flat takes joined errors apart (errors.Join), as deep as they go: Load joins those of each
// file, and then the files'.
func Flat(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Flat(e)...)
	}
	return all
}

// position turns an offset in data into a line and a column, both from 1.
func position(data []byte, offset int) (line, column int) {
	line, start := 1, 0
	for i, c := range data[:offset] {
		if c == '\n' {
			line, start = line+1, i+1
		}
	}
	return line, utf8.RuneCount(data[start:offset]) + 1
}

// newError returns a fault at an offset of data.
func newError(file string, data []byte, offset int, hint, message string) *Error {
	line, column := position(data, offset)
	return &Error{File: file, Line: line, Column: column, Message: message, Hint: hint}
}
