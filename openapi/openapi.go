// Package openapi owns the one source of net-porter's API: net-porter.yaml.
// Types, server interface and client in internal/api are generated from it.
package openapi

import _ "embed"

// Document is net-porter.yaml, OpenAPI 3.1, as the daemon serves it under /openapi.yaml.
//
//go:embed net-porter.yaml
var Document []byte
