package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/net-porter/net-porter/internal/api"
)

const (
	// maxBody is far above what podman can send: 1,024 port mappings are under 128 KiB.
	maxBody = 256 << 10
	// defaultBodyTimeout is how long a caller may take to send a body, or to read an answer.
	defaultBodyTimeout = 10 * time.Second
)

// decodeBody reads a JSON body into v: one value, no unknown keys, no more than
// maxBody bytes within the server's body timeout.
func (s *Server) decodeBody(w http.ResponseWriter, r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		p := newProblem(api.InvalidRequest, "the body must be JSON: send the header Content-Type: application/json")
		p.status = http.StatusUnsupportedMediaType
		return p
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(s.bodyTimeout)); err != nil {
		return fmt.Errorf("cannot bound the reading of the body: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return s.bodyProblem(err)
	}
	if answer, ok := w.(*codeWriter); ok {
		answer.unread = false
	}
	// The deadline must not end the wait for a slow attach: net/http goes on reading
	// in order to learn that the caller hung up.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("cannot lift the bound on reading: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return newProblem(api.InvalidRequest, "the body is not what the API asks for: "+jsonFault(err)+"; see /openapi.yaml")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return newProblem(api.InvalidRequest, "the body has something after its JSON object")
	}
	return nil
}

func (s *Server) bodyProblem(err error) error {
	p := newProblem(api.InvalidRequest, "the body could not be read")
	p.cause = err
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		p.status = http.StatusRequestEntityTooLarge
		p.detail = fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		p.status = http.StatusRequestTimeout
		p.detail = fmt.Sprintf("the body did not arrive within %s", s.bodyTimeout)
	}
	return p
}

// jsonFault puts encoding/json's words into those of somebody who writes JSON, not Go.
func jsonFault(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		kind, literal, has := strings.Cut(wrong.Value, " ")
		if has { // the right kind, out of bounds or with a fraction
			return fmt.Sprintf("%s must not be the %s %.64q (byte %d)", nameOr(wrong.Field, "it"), kind, literal, wrong.Offset)
		}
		return fmt.Sprintf("%s must not be a %s (byte %d)", nameOr(wrong.Field, "it"), kind, wrong.Offset)
	}
	if broken, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("%s (byte %d)", broken, broken.Offset)
	}
	if errors.Is(err, io.EOF) {
		return "it is empty"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if name, err := strconv.Unquote(quoted); err == nil {
			return fmt.Sprintf("it has the unknown key %.64q", name)
		}
	}
	return fmt.Sprintf("%.64q", strings.TrimPrefix(err.Error(), "json: "))
}

// clip bounds text that callers or plugins choose, in bytes.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func nameOr(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return clip(name, 64)
}
