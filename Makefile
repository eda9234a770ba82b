# Kedge. `make help` lists what there is; README.md needs two of these: run and test.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# FIPS backend: boring (BoringCrypto, the release default) or native (the Go
# Cryptographic Module). They exclude each other; see docs/fips.md.
FIPS ?= boring
GO   ?= go

export GOTOOLCHAIN := local
export GOFLAGS := -mod=readonly -buildvcs=auto
ifeq ($(FIPS),boring)
export GOEXPERIMENT := boringcrypto
export CGO_ENABLED := 1
unexport GOFIPS140
else ifeq ($(FIPS),native)
export GOFIPS140 := v1.0.0
unexport GOEXPERIMENT
else
$(error FIPS must be boring or native, not "$(FIPS)")
endif
export EXPECT_FIPS := $(FIPS)

CACHE  ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kedge
DIR    ?= kedge-dev
LISTEN ?= 127.0.0.1:8443
PKG    ?= ./...
FUZZTIME ?= 10s
ROTATIONS ?= 20

.PHONY: help run test check build agent upstream e2e rotations bench bench-roots tools proto artefact race lint vuln fuzz fmt tidy-check upstream-check proto-check prerequisites clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

prerequisites:
	@command -v $(GO) >/dev/null || { echo "missing: Go 1.26 (https://go.dev/dl)"; exit 1; }
	@[[ "$$($(GO) env GOVERSION)" == go1.26.* ]] || { echo "missing: Go 1.26; this is $$($(GO) env GOVERSION)"; exit 1; }
	@[[ "$(FIPS)" == native ]] || command -v $${CC:-gcc} >/dev/null || { echo "missing: a C compiler for BoringCrypto (Debian: apt-get install gcc)"; exit 1; }

build: prerequisites ## Build bin/ca (FIPS=boring or native)
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ca ./cmd/ca
	@echo "built bin/ca with the $(FIPS) backend, $$(du -m bin/ca | cut -f1) MB"

agent: prerequisites ## Build bin/ca-agent, which serves workloads their certificates
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ca-agent ./cmd/ca-agent
	@echo "built bin/ca-agent with the $(FIPS) backend, $$(du -m bin/ca-agent | cut -f1) MB"

upstream: prerequisites ## Build bin/ca-upstream, the bridge to HSMs, cloud keys and step-ca
	@mkdir -p bin
	cd cmd/ca-upstream && $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/ca-upstream .
	@echo "built bin/ca-upstream with the $(FIPS) backend, $$(du -m bin/ca-upstream | cut -f1) MB"

run: build ## Start a working CA on loopback and print the next command
	@exec bin/ca dev --dir "$(DIR)" --listen "$(LISTEN)"

test: prerequisites ## Run the tests (PKG=./ca/... for some)
	@GO="$(GO)" test/tools/gotest $(PKG)

race: prerequisites ## Run the tests with the race detector
	@GO="$(GO)" test/tools/gotest -race $(PKG)

artefact: prerequisites ## Prove on the built binary that it is in FIPS mode
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ca ./cmd/ca
	$(GO) build -trimpath -o bin/ca.unstripped ./cmd/ca
	KEDGE_BIN=$(CURDIR)/bin/ca KEDGE_BIN_UNSTRIPPED=$(CURDIR)/bin/ca.unstripped $(GO) test -count=1 ./test/artefact/...

e2e: build ## Run the end-to-end suites with real clients
	KEDGE_BIN=$(CURDIR)/bin/ca test/e2e/run

rotations: prerequisites ## Rotate ROTATIONS times under faults, with handshakes after each event
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	KEDGE_ROTATIONS=$(ROTATIONS) $(GO) test -count=1 -timeout 24h -v -run '^TestHandshakesThrough' ./rotation/rotationtest >"$$log" 2>&1 || { tail -100 "$$log"; bad=1; }; \
	sed -n 's/^.*figure: //p' "$$log"; [[ -z "$${bad:-}" ]]

bench: build ## Print the benchmark table with its floors
	$(GO) build -o bin/bench ./test/bench
	KEDGE_BIN=$(CURDIR)/bin/ca taskset -c 1 bin/bench

bench-roots: build ## Print what an outage of Vault does to issuance, and what a key there costs
	$(GO) build -o bin/bench ./test/bench
	KEDGE_VAULT_BIN=$$(test/tools/server vault) KEDGE_BIN=$(CURDIR)/bin/ca taskset -c 1 bin/bench -roots -rounds 8 -seconds 4

fmt: ## Fail on code that gofmt would change
	@bad="$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)"; [[ -z "$$bad" ]] || { echo "gofmt: $$bad"; exit 1; }

lint: tools ## go vet and golangci-lint
	$(GO) vet ./...
	"$(CACHE)/golangci-lint" run

vuln: tools ## govulncheck; skipped by name when the database cannot be reached
	@out="$$("$(CACHE)/govulncheck" ./... 2>&1)" && echo "$$out" | tail -3 || { \
		if grep -qE 'vuln.go.dev|fetching vulnerabilities' <<<"$$out"; then echo "SKIPPED govulncheck: the vulnerability database cannot be reached"; \
		else echo "$$out"; exit 1; fi; }

fuzz: prerequisites ## Fuzz every target for FUZZTIME
	@$(GO) list ./... | while read -r p; do \
		d=$$($(GO) list -f '{{.Dir}}' $$p); \
		{ grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$d/*_test.go 2>/dev/null || true; } | sed 's/func //' | while read -r f; do \
			echo "fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p </dev/null | tail -2; done; done

tools: ## Build the pinned developer tools into the cache
	@test/tools/build "$(CACHE)"

proto: tools ## Generate code from the protocol buffers
	test/tools/proto/generate.sh

proto-check: proto
	@git diff --exit-code -- api/kedge || { echo "generated code is not up to date: commit the result of make proto"; exit 1; }

tidy-check:
	@$(GO) mod tidy -diff
	@cd cmd/ca-upstream && $(GO) mod tidy -diff

# The module of ca-upstream has its own tests; those that need SoftHSM2 or step-ca
# skip by name without them.
upstream-check: upstream tools
	cd cmd/ca-upstream && $(GO) vet ./... && "$(CACHE)/golangci-lint" run && GO="$(GO)" ../../test/tools/gotest ./...

check: fmt tidy-check lint build ## The whole local gate, both FIPS backends
	$(MAKE) test FIPS=boring
	$(MAKE) race FIPS=boring
	$(MAKE) test FIPS=native
	$(MAKE) artefact FIPS=boring
	$(MAKE) artefact FIPS=native
	$(MAKE) upstream-check FIPS=boring
	$(MAKE) proto-check
	$(MAKE) vuln
	$(MAKE) fuzz
	@echo "check passed"

clean: ## Remove what was built here
	rm -rf bin "$(DIR)"
