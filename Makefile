# net-porter: `make help` lists what there is to do.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse --verify -q HEAD 2>/dev/null || echo unknown)
GO ?= go
CNI_PLUGINS_VERSION := v1.9.1

LDFLAGS := -s -w \
	-X github.com/net-porter/net-porter/internal/version.version=$(VERSION) \
	-X github.com/net-porter/net-porter/internal/version.commit=$(REVISION)
GOBUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := build
.PHONY: help build cni install generate check-generated fmt lint test test-race demo bench lab-up lab-shell lab-down clean

help: ## say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

build: ## bin/net-porter and bin/netavark-plugin, static and stripped
	$(GOBUILD) -o bin/net-porter ./cmd/net-porter
	$(GOBUILD) -o bin/netavark-plugin ./cmd/netavark-plugin

cni: ## bin/cni: the CNI plugins, from their Go module
	CGO_ENABLED=0 $(GO) -C internal/tools/cniplugins build -trimpath \
		-ldflags '-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(CNI_PLUGINS_VERSION)' \
		-o $(CURDIR)/bin/cni/ tool

install: ## what make build and make cni have built, into DESTDIR (root)
	install -D -m 755 bin/net-porter $(DESTDIR)/usr/bin/net-porter
	install -D -m 755 bin/netavark-plugin $(DESTDIR)/usr/lib/netavark/net-porter
	install -D -m 755 -t $(DESTDIR)/usr/lib/net-porter/cni bin/cni/*
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system contrib/systemd/net-porter.service contrib/systemd/net-porter.socket
	install -D -m 644 contrib/systemd/net-porter.sysusers $(DESTDIR)/usr/lib/sysusers.d/net-porter.conf
	install -d -m 755 $(DESTDIR)/etc/net-porter/cni.d

bin/tools/%: internal/tools/go.mod internal/tools/go.sum
	$(GO) -C internal/tools build -o $(CURDIR)/$@ $$(sed -n 's,^\t\(.*/$*\)$$,\1,p' internal/tools/go.mod)

generate: bin/tools/oapi-codegen ## internal/api from openapi/net-porter.yaml
	for config in internal/api/types.yaml internal/api/apiclient/client.yaml internal/api/apiserver/server.yaml; do \
		bin/tools/oapi-codegen -config $$config openapi/net-porter.yaml || exit 1; done

check-generated: generate ## fail if generated code is not current
	git diff --exit-code -- internal/api

fmt: ## format the Go code
	gofmt -w cmd internal openapi

lint: bin/tools/staticcheck ## format, vet, staticcheck, shellcheck
	@unformatted=$$(gofmt -l cmd internal openapi); test -z "$$unformatted" || { echo "not formatted (make fmt): $$unformatted"; exit 1; }
	$(GO) vet ./...
	bin/tools/staticcheck -checks all ./...
	scripts/lint-shell

test: ## every test; as root also those on real namespaces and with real podman
	scripts/test

test-race: ## unit and integration tests under the race detector
	scripts/install-deps build test
	$(MAKE) cni
	$(GO) test -race -count=1 $$($(GO) list ./... | grep -v /internal/stress$$) # which runs the daemon as users have it

demo: ## show the main job with a real rootless podman container (root)
	scripts/demo

bench: ## measure attach, detach and the plugin's start (root)
	scripts/bench

lab-up: build cni ## boot the lab and put this tree's net-porter into it (root)
	scripts/lab up
	scripts/lab install

lab-shell: lab-up ## a shell in the lab; LAB_USER=alice for an ordinary user's (root)
	scripts/lab shell $(LAB_USER)

lab-down: ## stop the lab
	scripts/lab down

clean: ## remove what was built
	rm -rf bin dist
