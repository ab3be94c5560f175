package config

import (
	"fmt"
	"strings"
)

// The decoders of single values: they judge the JSON type, not the meaning.

func (r *reader) wrongType(n *node, want, hint string) {
	r.fault(n, hint, "must be %s, not %s", want, describe(n))
}

func describe(n *node) string {
	switch n.kind {
	case kindNull:
		return "null"
	case kindBool:
		return n.text
	case kindNumber:
		return "the number " + shorten(n.text)
	case kindString:
		return "the string " + quote(n.text)
	case kindArray:
		return "a list"
	default:
		return "an object"
	}
}

func shorten(number string) string {
	return strings.Trim(quote(number), `"`)
}

func text(r *reader, n *node) (string, bool) {
	return str(r, n, "a string", "put it in quotes")
}

// octal is a string because JSON's numbers are decimal: 660 would be mode 01224.
func octal(r *reader, n *node) (string, bool) {
	return str(r, n, `a string of octal digits such as "0660"`, "put it in quotes")
}

func duration(r *reader, n *node) (string, bool) {
	hint := "a number and its unit in quotes"
	if n.kind == kindNumber {
		hint = fmt.Sprintf(`"%ss" for seconds`, shorten(n.text))
	}
	return str(r, n, `a string such as "30s"`, hint)
}

// str is the common part: hint is given for a number or a boolean, which quotes turn into a string.
func str(r *reader, n *node, want, hint string) (string, bool) {
	if n.kind != kindString {
		if n.kind != kindNumber && n.kind != kindBool {
			hint = ""
		}
		if n.kind == kindNull {
			hint = "leave the key out to get the default"
		}
		r.wrongType(n, want, hint)
		return "", false
	}
	return n.text, true
}

// number is a number as it was written, whole or not.
func number(r *reader, n *node) (string, bool) {
	if n.kind != kindNumber {
		hint := ""
		if n.kind == kindString && digits(n.text) {
			hint = "write it without the quotes"
		}
		if n.kind == kindNull {
			hint = "leave the key out to get the default"
		}
		r.wrongType(n, "a number", hint)
		return "", false
	}
	return n.text, true
}

func boolean(r *reader, n *node) (bool, bool) {
	if n.kind != kindBool {
		hint := ""
		if n.kind == kindString && (n.text == "true" || n.text == "false") {
			hint = "write " + n.text + " without the quotes"
		}
		r.wrongType(n, "true or false", hint)
		return false, false
	}
	return n.text == "true", true
}

// rawPrincipal is a user or group as written: a name, or a number with or without quotes.
type rawPrincipal struct {
	text    string
	numeric bool
}

func principal(r *reader, n *node) (rawPrincipal, bool) {
	if n.kind != kindString && n.kind != kindNumber {
		r.wrongType(n, "a name or a number", "")
		return rawPrincipal{}, false
	}
	return rawPrincipal{text: n.text, numeric: n.kind == kindNumber || digits(n.text)}, true
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
