# net-porter: `make help` lists what there is to do.

VERSION ?= $(shell scripts/version)
REVISION ?= $(shell git rev-parse --verify -q HEAD 2>/dev/null || echo unknown)
GO ?= go
CNI_PLUGINS_VERSION := v1.9.1
# Where programs are built to and installed from; GOARCH says for what.
BIN ?= bin
BUILDFLAGS ?=

LDFLAGS = -s -w \
	-X github.com/net-porter/net-porter/internal/version.version=$(VERSION) \
	-X github.com/net-porter/net-porter/internal/version.commit=$(REVISION)
GOBUILD = CGO_ENABLED=0 $(GO) build $(BUILDFLAGS) -trimpath -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := build
.PHONY: help build build-race cni install generate check-generated packages release fmt lint test test-race stress demo bench lab-up lab-shell lab-down clean

help: ## say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | column -t -s "$$(printf '\t')"

build: ## bin/net-porter and bin/netavark-plugin, static and stripped
	$(GOBUILD) -o $(BIN)/net-porter ./cmd/net-porter
	$(GOBUILD) -o $(BIN)/netavark-plugin ./cmd/netavark-plugin

build-race: ## bin/race: the same with the race detector, for the tests
	CGO_ENABLED=1 $(GO) build -race -ldflags '$(filter-out -s -w,$(LDFLAGS))' -o bin/race/net-porter ./cmd/net-porter
	CGO_ENABLED=1 $(GO) build -race -ldflags '$(filter-out -s -w,$(LDFLAGS))' -o bin/race/netavark-plugin ./cmd/netavark-plugin
	ln -sfn ../cni bin/race/cni

cni: ## bin/cni: the CNI plugins, from their Go module
	CGO_ENABLED=0 $(GO) -C internal/tools/cniplugins build -trimpath \
		-ldflags '-s -w -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(CNI_PLUGINS_VERSION)' \
		-o $(abspath $(BIN))/cni/ tool

# put FILE TARGET: what runs the program meanwhile finds the old one or the new one, whole.
put = install -D -m 755 $(1) $(2).new && mv -f $(2).new $(2)

install: share := $(DESTDIR)/usr/share
install: doc := $(share)/doc/net-porter
install: ## what make build and make cni have built, into DESTDIR (root)
	$(call put,$(BIN)/net-porter,$(DESTDIR)/usr/bin/net-porter)
	$(call put,$(BIN)/netavark-plugin,$(DESTDIR)/usr/lib/netavark/net-porter)
	for plugin in $(BIN)/cni/*; do $(call put,"$$plugin",$(DESTDIR)/usr/lib/net-porter/cni/"$${plugin##*/}") || exit 1; done
	install -d -m 755 $(DESTDIR)/etc/net-porter $(DESTDIR)/etc/net-porter/cni.d $(DESTDIR)/etc/net-porter/config.d
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system contrib/systemd/net-porter.service contrib/systemd/net-porter.socket
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/catalog contrib/systemd/net-porter.catalog
	install -D -m 644 contrib/systemd/net-porter.sysusers $(DESTDIR)/usr/lib/sysusers.d/net-porter.conf
	install -D -m 644 contrib/systemd/net-porter.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/net-porter.conf
	install -D -m 644 -t $(share)/net-porter contrib/schema/net-porter.schema.json contrib/schema/net-porter.config.d.schema.json
	install -D -m 644 contrib/completion/net-porter.bash $(share)/bash-completion/completions/net-porter
	install -D -m 644 contrib/completion/net-porter.zsh $(share)/zsh/site-functions/_net-porter
	install -D -m 644 -t $(share)/fish/vendor_completions.d contrib/completion/net-porter.fish
	for page in contrib/man/*.[0-9]; do install -d -m 755 $(share)/man/man$${page##*.} && \
		gzip -9nc $$page | install -m 644 /dev/stdin $(share)/man/man$${page##*.}/$${page##*/}.gz || exit 1; done
	install -D -m 644 -t $(share)/net-porter/prometheus contrib/prometheus/net-porter.rules.yml contrib/prometheus/prometheus.yml
	install -D -m 644 -t $(share)/net-porter/grafana contrib/grafana/net-porter.json
	install -D -m 644 -t $(doc) README.md CHANGELOG.md $(wildcard contrib/doc/*.md)
	sed -i 's,](contrib/doc/,](,g' $(doc)/README.md
	install -D -m 644 $(firstword $(wildcard $(BIN)/copyright) LICENSE) $(doc)/copyright
	install -D -m 644 -t $(doc)/examples contrib/example/config.json
	install -D -m 644 -t $(doc)/examples/cni.d contrib/example/cni.d/*
	install -D -m 644 -t $(doc)/examples/quadlet contrib/quadlet/*
	install -D -m 644 -t $(doc)/examples/compose contrib/compose/*
	install -D -m 644 -t $(doc)/examples/journald contrib/journald/*

packages: ## dist: deb, rpm and archlinux packages for amd64 and arm64; VERSION=1.2.3 to name them
	VERSION='$(VERSION)' scripts/packages $(ARCHES)

release: ## dist/net-porter-VERSION: packages, tarballs, SBOM, checksums; VERSION=1.2.3
	VERSION='$(VERSION)' DRAFT='$(DRAFT)' scripts/release

bin/packaging/shipped: $(wildcard internal/tools/packaging/shipped/*.go) internal/tools/packaging/go.mod internal/tools/packaging/go.sum
	GOARCH= $(GO) -C internal/tools/packaging build -o $(CURDIR)/$@ ./shipped

bin/packaging/%: internal/tools/packaging/go.mod internal/tools/packaging/go.sum
	GOARCH= $(GO) -C internal/tools/packaging build -o $(CURDIR)/$@ $$(sed -n 's,^tool \(.*/$*\)$$,\1,p' internal/tools/packaging/go.mod)

bin/tools/%: internal/tools/go.mod internal/tools/go.sum
	$(GO) -C internal/tools build -o $(CURDIR)/$@ $$(sed -n 's,^\t\(.*/$*\)$$,\1,p' internal/tools/go.mod)

generate: bin/tools/oapi-codegen ## internal/api from openapi/net-porter.yaml, and contrib/completion
	for config in internal/api/types.yaml internal/api/apiclient/client.yaml internal/api/apiserver/server.yaml; do \
		bin/tools/oapi-codegen -config $$config openapi/net-porter.yaml || exit 1; done
	for shell in bash zsh fish; do $(GO) run ./cmd/net-porter completion $$shell >contrib/completion/net-porter.$$shell || exit 1; done

check-generated: generate ## fail if generated code is not current
	git diff --exit-code -- internal/api contrib/completion

fmt: ## format the Go code
	gofmt -w cmd internal openapi

lint: bin/tools/staticcheck ## format, vet, staticcheck, shellcheck
	@unformatted=$$(gofmt -l cmd internal openapi); test -z "$$unformatted" || { echo "not formatted (make fmt): $$unformatted"; exit 1; }
	$(GO) vet ./...
	bin/tools/staticcheck -checks all ./...
	bin/tools/staticcheck -checks all -tags faultpoints ./internal/faultpoint
	$(GO) -C internal/tools/packaging vet ./...
	cd internal/tools/packaging && $(CURDIR)/bin/tools/staticcheck -checks all ./...
	scripts/lint-shell

test: ## every test; as root also those on real namespaces and with real podman
	scripts/test

test-race: ## the same under the race detector, and so are the daemon and the plugin in them
	scripts/test-race

stress: build cni ## internal/stress for as long as it takes: every point, thousands of operations (root)
	NET_PORTER_TEST_LONG=1 $(GO) test -v -count=1 -timeout=60m ./internal/stress

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
