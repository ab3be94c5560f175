package config

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds how deep values nest; the file's own shape needs five levels.
const maxDepth = 32

type kind int

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// node is a JSON value (RFC 8259) and where it was written.
type node struct {
	kind    kind
	at      int      // offset of the first byte
	path    string   // for messages, such as "resources[0].name"; set while reading
	text    string   // a string's value, or a number or boolean as written
	items   []*node  // of an array
	members []member // of an object, in the file's order, duplicates included
}

type member struct {
	name  string
	at    int // offset of the name
	value *node
}

// parser makes nodes. encoding/json is not used: its errors point past the fault,
// and it neither finds duplicate keys nor tells what was probably meant.
type parser struct {
	file string
	data []byte
	pos  int
}

// parseSyntax parses one JSON document. The error is an *Error: the first fault only,
// since what follows a broken piece of syntax cannot be judged.
func parseSyntax(file string, data []byte) (*node, error) {
	p := &parser{file: file, data: data}
	if err := p.checkBytes(); err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos == len(data) {
		e := newError(file, data, 0, `the shortest configuration is {"resources": []}`, "the file is empty")
		return nil, e
	}
	root, err := p.value(1)
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos < len(data) {
		return nil, p.fault(p.pos, "one JSON object is the whole file; a brace may be closed too early",
			"unexpected %s after the end of the configuration", p.found())
	}
	return root, nil
}

// checkBytes refuses what is not UTF-8 text of a sane size.
func (p *parser) checkBytes() error {
	switch {
	case len(p.data) > maxSize:
		return &Error{File: p.file, Message: fmt.Sprintf("the file is larger than %d KiB", maxSize>>10),
			Hint: "is this the configuration file?"}
	case bytes.HasPrefix(p.data, []byte("\xef\xbb\xbf")):
		return p.fault(0, "save it as UTF-8 without BOM", "the file starts with a byte order mark, which JSON does not allow")
	case bytes.HasPrefix(p.data, []byte("\xff\xfe")), bytes.HasPrefix(p.data, []byte("\xfe\xff")):
		return p.fault(0, "save it as UTF-8 without BOM", "the file is UTF-16, not UTF-8")
	}
	for i := 0; i < len(p.data); {
		r, size := utf8.DecodeRune(p.data[i:])
		if r == utf8.RuneError && size == 1 {
			return p.fault(i, "save it as UTF-8", "byte 0x%02x is not valid UTF-8", p.data[i])
		}
		i += size
	}
	return nil
}

func (p *parser) fault(at int, hint, format string, args ...any) *Error {
	return newError(p.file, p.data, at, hint, fmt.Sprintf(format, args...))
}

// space skips white space and stops at a comment with an error of its own.
func (p *parser) space() error {
	for ; p.pos < len(p.data); p.pos++ {
		switch p.data[p.pos] {
		case ' ', '\t', '\r', '\n':
		case '/', '#':
			return p.fault(p.pos, "remove the comment", "JSON has no comments")
		default:
			return nil
		}
	}
	return nil
}

// peek returns the next byte, or 0 at the end of the file.
func (p *parser) peek() byte {
	if p.pos < len(p.data) {
		return p.data[p.pos]
	}
	return 0
}

// found describes what stands at the current position: a word, or one character.
func (p *parser) found() string {
	if p.pos == len(p.data) {
		return "end of file"
	}
	if word := p.word(); word != "" {
		return quote(word)
	}
	r, _ := utf8.DecodeRune(p.data[p.pos:])
	return strconv.QuoteRune(r)
}

// word returns the run of letters, digits and the like at the current position.
func (p *parser) word() string {
	end := p.pos
	for end < len(p.data) && (isWord(p.data[end]) || p.data[end] >= utf8.RuneSelf) {
		end++
	}
	return string(p.data[p.pos:end])
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		c == '_' || c == '-' || c == '+' || c == '.'
}

// quote shows a piece of the file, shortened and with control characters escaped,
// since errors end up on terminals.
func quote(s string) string {
	const most = 48
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return strconv.Quote(s)
}
