package config

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// value parses the value at the current position, which is not white space.
func (p *parser) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, p.fault(p.pos, "", "values are nested more than %d deep", maxDepth)
	}
	n := &node{at: p.pos}
	switch c := p.peek(); {
	case c == '{':
		n.kind = kindObject
		return n, p.object(n, depth)
	case c == '[':
		n.kind = kindArray
		return n, p.array(n, depth)
	case c == '"':
		n.kind = kindString
		var err error
		n.text, err = p.str()
		return n, err
	default:
		return n, p.scalar(n)
	}
}

// scalar parses a number, true, false or null into n.
func (p *parser) scalar(n *node) error {
	word := p.word()
	switch word {
	case "true", "false":
		n.kind = kindBool
	case "null":
		n.kind = kindNull
	case "":
		return p.noValue()
	default:
		if word[0] != '-' && (word[0] < '0' || word[0] > '9') {
			hint := "a string is written in double quotes"
			switch lower := strings.ToLower(word); lower {
			case "true", "false", "null":
				hint = "write " + lower
			}
			return p.fault(p.pos, hint, "%s is not a JSON value", quote(word))
		}
		if !json.Valid([]byte(word)) {
			return p.fault(p.pos, "a string is written in double quotes", "%s is not a number", quote(word))
		}
		n.kind = kindNumber
	}
	n.text = word
	p.pos += len(word)
	return nil
}

func (p *parser) noValue() error {
	hint := ""
	if p.peek() == '\'' {
		hint = "a string is written in double quotes"
	}
	return p.fault(p.pos, hint, "expected a value, found %s", p.found())
}

// object parses the members of the object that starts at the current position.
func (p *parser) object(n *node, depth int) error {
	p.pos++
	comma := -1
	for {
		if err := p.space(); err != nil {
			return err
		}
		if done, err := p.closing('}', comma); done || err != nil {
			return err
		}
		m, err := p.member(n, depth)
		if err != nil {
			return err
		}
		n.members = append(n.members, m)
		if comma, err = p.separator(n, '}', "the value of "+quote(m.name)); err != nil {
			return err
		}
	}
}

func (p *parser) member(n *node, depth int) (member, error) {
	m := member{at: p.pos}
	if p.peek() != '"' {
		if p.pos == len(p.data) {
			return m, p.unclosed(n)
		}
		return m, p.fault(p.pos, "keys are written in double quotes", "expected a key, found %s", p.found())
	}
	var err error
	if m.name, err = p.str(); err != nil {
		return m, err
	}
	end := p.pos
	if err := p.space(); err != nil {
		return m, err
	}
	if p.peek() != ':' {
		return m, p.fault(end, "a colon is probably missing here", "expected ':' after the key %s, found %s", quote(m.name), p.found())
	}
	p.pos++
	if err := p.space(); err != nil {
		return m, err
	}
	m.value, err = p.value(depth + 1)
	return m, err
}

// array parses the items of the array that starts at the current position.
func (p *parser) array(n *node, depth int) error {
	p.pos++
	comma := -1
	for {
		if err := p.space(); err != nil {
			return err
		}
		if done, err := p.closing(']', comma); done || err != nil {
			return err
		}
		if p.pos == len(p.data) {
			return p.unclosed(n)
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
		if comma, err = p.separator(n, ']', "this list item"); err != nil {
			return err
		}
	}
}

// closing consumes the closing bracket if it is next. comma is the offset of the
// comma before it, or -1.
func (p *parser) closing(bracket byte, comma int) (bool, error) {
	if p.peek() != bracket {
		return false, nil
	}
	if comma >= 0 {
		return false, p.fault(comma, "remove this comma", "nothing follows this comma but '%c'", bracket)
	}
	p.pos++
	return true, nil
}

// separator consumes a comma and returns its offset, or stays before the closing
// bracket and returns -1. The fault of a missing comma is where the comma belongs,
// not at what comes next, which may be lines below.
func (p *parser) separator(n *node, bracket byte, after string) (comma int, err error) {
	end := p.pos
	if err := p.space(); err != nil {
		return -1, err
	}
	switch c := p.peek(); {
	case c == ',':
		p.pos++
		return p.pos - 1, nil
	case c == bracket:
		return -1, nil
	case p.pos == len(p.data):
		return -1, p.unclosed(n)
	case c == '"' || c == '{' || c == '[' || isWord(c):
		where := ""
		if line, _ := position(p.data, p.pos); line != lineOf(p.data, end) {
			where = fmt.Sprintf(" on line %d", line)
		}
		return -1, p.fault(end, "a comma is probably missing here",
			"expected ',' or '%c' after %s, found %s%s", bracket, after, p.found(), where)
	default:
		return -1, p.fault(p.pos, "", "expected ',' or '%c' after %s, found %s", bracket, after, p.found())
	}
}

func lineOf(data []byte, offset int) int {
	line, _ := position(data, offset)
	return line
}

// unclosed is the fault of a file that ends within n.
func (p *parser) unclosed(n *node) error {
	line, column := position(p.data, n.at)
	return p.fault(p.pos, "a closing bracket is probably missing",
		"the file ends within the '%c' of line %d, column %d", p.data[n.at], line, column)
}

// str parses the string at the current position: RFC 8259 section 7.
func (p *parser) str() (string, error) {
	start := p.pos
	var b strings.Builder
	for p.pos++; ; {
		switch c := p.peek(); {
		case p.pos == len(p.data), c == '\n', c == '\r':
			return "", p.fault(start, "a closing quote is probably missing", "this string does not end on its line")
		case c == '"':
			p.pos++
			return b.String(), nil
		case c < ' ':
			return "", p.fault(p.pos, fmt.Sprintf(`write it as \u%04x`, c), "a string holds the control character 0x%02x", c)
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
			p.pos++
		}
	}
}

// escape parses one escape sequence, or two that make up a surrogate pair.
func (p *parser) escape() (rune, error) {
	at := p.pos
	p.pos++
	c := p.peek()
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		p.pos++
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	r, ok := p.hex()
	if !ok {
		return 0, p.fault(at, `a backslash itself is written \\`, "this is not an escape sequence of JSON")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.peek() == '\\' {
		p.pos++
		if low, ok := p.hex(); ok {
			if pair := utf16.DecodeRune(r, low); pair != '\uFFFD' {
				return pair, nil
			}
		}
	}
	return 0, p.fault(at, "", "this is half of a surrogate pair, not a character")
}

// hex parses "uXXXX".
func (p *parser) hex() (rune, bool) {
	if p.peek() != 'u' || len(p.data)-p.pos < 5 {
		return 0, false
	}
	v, err := strconv.ParseUint(string(p.data[p.pos+1:p.pos+5]), 16, 16)
	if err != nil {
		return 0, false
	}
	p.pos += 5
	return rune(v), true
}
