// Package api owns the Go shape of openapi/net-porter.yaml: the types here, the
// client in apiclient and the chi server interface in apiserver are generated
// from that document, and nothing is written by hand but what names a problem.
package api

//go:generate make -C ../.. generate

// ProblemMediaType is the Content-Type of every error (RFC 9457, section 3).
const ProblemMediaType = "application/problem+json"

// ProblemTypePrefix with a ProblemCode after it is a problem's type URI (RFC 9457, section 3.1.1).
const ProblemTypePrefix = "urn:net-porter:problem:"
