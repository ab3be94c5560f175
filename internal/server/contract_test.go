package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/net-porter/net-porter/internal/testlab"
	"github.com/net-porter/net-porter/openapi"
)

// contract is the API's document, to hold answers against.
type contract struct{ router routers.Router }

func loadContract(t *testing.T) *contract {
	t.Helper()
	doc := must(openapi3.NewLoader().LoadFromData(openapi.Document))(t)
	ok(t, doc.Validate(context.Background()))
	return &contract{must(legacy.NewRouter(doc))(t)}
}

// check fails the test if the document does not promise such an answer. Requests
// outside the document are answered with problems like any other.
func (c *contract) check(t *testing.T, q testlab.Request, r testlab.Response) {
	t.Helper()
	request := must(http.NewRequest(q.Method, "http://localhost"+q.Path, nil))(t)
	route, params, err := c.router.FindRoute(request)
	if err != nil {
		request = must(http.NewRequest("GET", "http://localhost/healthz", nil))(t)
		route, params, err = c.router.FindRoute(request)
		ok(t, err)
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: params, Route: route},
		Status:                 r.Status, Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body)),
	}
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		t.Errorf("%s %s: the answer %d is not what openapi/net-porter.yaml promises: %v\n%s", q.Method, q.Path, r.Status, err, r.Body)
	}
}
