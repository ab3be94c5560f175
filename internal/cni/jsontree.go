package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// placeError is a fault at a byte offset of a configuration.
type placeError struct {
	offset int64
	reason string
}

func (e *placeError) Error() string { return e.reason }

// decodeTree reads one JSON object with exact numbers (json.Number), and refuses
// what encoding/json takes silently: a key that is there twice, of which one would
// be lost, and anything after the end. A fault is a *placeError.
func decodeTree(data []byte) (map[string]any, error) {
	var whole any
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, syntaxFault(data, err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	value, err := decodeValue(dec)
	if err != nil {
		return nil, err
	}
	tree, ok := value.(map[string]any)
	if !ok {
		return nil, &placeError{1, "a network configuration is a JSON object, { ... }"}
	}
	return tree, nil
}

func syntaxFault(data []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return &placeError{0, err.Error()}
	}
	reason := syntax.Error()
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		reason = "the file is empty"
	case strings.Contains(reason, "after object key:value pair"), strings.Contains(reason, "after array element"):
		reason += " (is a comma missing before it?)"
	case strings.Contains(reason, "looking for beginning of object key"):
		reason += " (is there a comma too many, or a key without quotes?)"
	}
	return &placeError{syntax.Offset, reason}
}

func decodeValue(dec *json.Decoder) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, &placeError{dec.InputOffset(), err.Error()}
	}
	switch token {
	case json.Delim('{'):
		return decodeObject(dec)
	case json.Delim('['):
		return decodeArray(dec)
	}
	return token, nil
}

func decodeObject(dec *json.Decoder) (any, error) {
	object := map[string]any{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, &placeError{dec.InputOffset(), err.Error()}
		}
		key, _ := token.(string)
		if _, twice := object[key]; twice {
			return nil, &placeError{dec.InputOffset(), fmt.Sprintf("key %q is there twice", key)}
		}
		if object[key], err = decodeValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, ignoreEOF(err)
}

func decodeArray(dec *json.Decoder) (any, error) {
	array := []any{}
	for dec.More() {
		value, err := decodeValue(dec)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	_, err := dec.Token()
	return array, ignoreEOF(err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// lineColumn turns the offset after a byte into that byte's line and column, both
// from 1, the column in characters as editors count it.
func lineColumn(data []byte, offset int64) (line, column int) {
	before := data[:max(0, min(offset-1, int64(len(data))))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}
