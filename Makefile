# Everything that is done with this house has a name here; `make` lists them.

GO       ?= go
VERSION  ?= dev
FUZZTIME ?= 10s
BENCH    ?=
ARGS     ?=

# The linter is built once, at this version, into a folder that git ignores.
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := tools/bin/golangci-lint-$(GOLANGCI_VERSION)

# Faces link the whole of Caddy, whose build takes minutes, and as long again for
# the race detector. The core does not link it, and holds nearly all state that
# goroutines share. So `make test` runs everything without the detector, and the
# core once more under it, where SQLite runs ten times slower: with fewer histories
# (-short). A new package is core unless this pattern says otherwise.
FACES  := /(bench|cmd|test|modules/edge|modules/gateway|modules/standard)(/|$$)
# What lasts minutes by itself is short in `make test`, and whole in crash, defects
# and verify.
LONG   := /test(/|$$)
MODULE := github.com/purser-pay/purser
core    = $$($(GO) list ./... | grep -vE '^$(MODULE)$(FACES)')
most    = $$($(GO) list ./... | grep -vE '^$(MODULE)$(LONG)')

.DEFAULT_GOAL := help
.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build ./purser
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -X main.version=$(VERSION)' -o purser ./cmd/purser

.PHONY: run
run: ## run the gateway for development; ARGS="--listen 127.0.0.1:9443"
	$(GO) run ./cmd/purser dev $(ARGS)

.PHONY: test
test: ## run every test, the core once more under the race detector, the README's walk, HTTP's framing and the crash test whole
	$(GO) test $(most)
	$(GO) test -race -short $(core)
	$(GO) test -count=1 -v ./test/walk/...
	$(GO) test -count=1 ./test/framing/...
	$(GO) test -count=1 -v -run '^TestCrash$$' ./test/crash/...

.PHONY: test-short
test-short: ## run the core's tests without the long ones, for use between edits
	$(GO) test -short $(core)

.PHONY: test-race
test-race: ## run every test under the race detector; builds Caddy a second time
	$(GO) test -race ./...

.PHONY: crash
crash: ## kill the gateway in the middle of payments, and look what it knows afterwards
	$(GO) test -count=1 -v -run '^TestCrash$$' ./test/crash/...

.PHONY: cluster
cluster: ## the same to three nodes on PostgreSQL, and what only several can show; CLUSTER_PAYMENTS=5000
	$(GO) test -count=1 -timeout 45m -v -skip '^TestCrash$$' ./test/crash/...

.PHONY: tls
tls: ## let testssl.sh and sslscan judge the TLS of the binary, where they are installed
	$(GO) test -count=1 -timeout 60m -v ./test/tls/...

.PHONY: defects
defects: ## break the money path on purpose, and see that its tests notice
	$(GO) test -count=1 ./test/defects/...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each (10s)
	@set -e; grep -rlE '^func Fuzz' --include='*_test.go' modules | xargs -n1 dirname | sort -u | while read -r dir; do \
		for target in $$(cat "$$dir"/*_test.go | sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p'); do \
			echo "$$dir $$target"; \
			$(GO) test "./$$dir" -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME); \
		done; \
	done

.PHONY: bench
bench: ## measure a gateway on this machine; BENCH holds the program's own flags
	$(GO) run ./bench $(BENCH)

# A module of its own, as a connector author outside the tree has it.
.PHONY: examples
examples: ## build the example of a third party's connector, and pay with it
	cd examples/connector-acme && $(GO) vet ./... && $(GO) test -count=1 ./...

.PHONY: grown
grown: ## compare the cost of a payment among a million others with that in an empty store; GROWN=1000000
	PURSER_GROWN=$(or $(GROWN),1000000) $(GO) test -count=1 -timeout 60m -v -run '^TestGrown$$' ./modules/store/...

.PHONY: lint
lint: $(GOLANGCI) ## look for what is wrong, in the wrong room, or jars
	$(GOLANGCI) run
	cd examples/connector-acme && $(CURDIR)/$(GOLANGCI) run

.PHONY: fmt
fmt: $(GOLANGCI) ## format the code and group the imports
	$(GOLANGCI) fmt

.PHONY: docs
docs: ## draw the pages that come from the code
	$(GO) test ./modules/payment ./modules/engine ./modules/standard -run 'Page$$' -update

.PHONY: oracles
oracles: ## let Stripe's mock and the PSPs' own libraries judge connector and simulator
	cd test/oracles && $(GO) test -count=1 ./...

.PHONY: conformance
conformance: ## hold every request against the PSPs' own descriptions, in PURSER_SHARED (../shared)
	PURSER_CONFORMANCE=1 $(GO) test -count=1 -timeout 30m -v ./test/conformance

# A module of its own: the validators and generators are heavier than the gateway.
.PHONY: openapi
openapi: ## hold the API against its own OpenAPI document, by others' tools
	cd test/openapi && $(GO) vet ./... && $(GO) test -count=1 ./...

.PHONY: verify
verify: test defects lint ## what must pass before a change goes in

$(GOLANGCI):
	@mkdir -p tools/bin
	GOBIN='$(CURDIR)/tools/bin' GOFLAGS= $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv tools/bin/golangci-lint $@
