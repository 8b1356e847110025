# Proving Ground. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# How often random tests repeat; make soak raises it.
ROUNDS ?= 10
FUZZTIME ?= 10s
# Where the demo's fetcher, uptime service and SNARK coordinator listen.
FETCHER_PORT ?= 4000
UPTIME_PORT ?= 8080
COORDINATOR_PORT ?= 8302
GOLANGCI_LINT_VERSION := v2.12.2
LINT := .tools/golangci-lint-$(GOLANGCI_LINT_VERSION)

.PHONY: help build postgres test race lint fmt fuzz bench soak demo check verify signer-check kimchi test-nvml verify-units clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build every program into bin/
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/...

postgres: ## install the PostgreSQL server's binaries, which tests start themselves, where they are missing
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  { sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; $$sudo apt-get update -q && $$sudo apt-get install -y postgresql; }

test: postgres ## run all tests with the race detector; random repetitions cut down to ROUNDS (default 10)
	ROUNDS=$(ROUNDS) $(GO) test -race -timeout 18m ./...

race: test ## the same as test: the race detector is always on

lint: $(LINT) ## run the linters, import rules of the house included
	$(LINT) run ./...

$(LINT):
	@mkdir -p .tools
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv .tools/golangci-lint $(LINT)

fmt: $(LINT) ## lay out the code
	$(LINT) fmt ./...

fuzz: ## run each fuzz target for FUZZTIME (default 10s)
	@for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "== $$package $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

bench: ## run the benchmarks; docs/benchmarks.md says what they mean
	$(GO) test -run '^$$' -bench . -benchtime 1s -timeout 60m ./...

soak: ## run the random tests with their full numbers (about 20 minutes)
	ROUNDS=100 $(GO) test -race -count 1 -timeout 120m -v \
	  -run 'Killed|Random|ManyFaults|AfterEveryLine|RecordCannot|ThousandNodes|ManySubmitters|Flood|AsTheModel' \
	  ./cmd/orchestrator ./orchestrator ./cmd/fetcher ./cmd/uptime ./uptime/... ./snarkpool/...

demo: build postgres ## a whole experiment on a simulated network, its evidence in a private PostgreSQL; under two minutes
	FETCHER_PORT=$(FETCHER_PORT) UPTIME_PORT=$(UPTIME_PORT) COORDINATOR_PORT=$(COORDINATOR_PORT) scripts/demo.sh

verify: ## check that go.mod and the formatted code are as committed
	$(GO) mod tidy -diff
	$(GO) vet ./...
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }

verify-units: ## have systemd-analyze read the units that snarkpool renders; needs systemd 252 or newer
	@command -v systemd-analyze >/dev/null || { echo "systemd-analyze is missing: install systemd 252 or newer first"; exit 1; }
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && $(GO) build -o "$$dir/snarkpool" ./cmd/snarkpool && \
	  "$$dir/snarkpool" render systemd cmd/snarkpool/testdata/placement.json -out "$$dir/units" -binary "$$dir/snarkpool" -host bm3,role=prover && \
	  for unit in "$$dir"/units/*/snarkpool.service; do \
	    said=$$(systemd-analyze verify --man=no "$$unit" 2>&1) && [ -z "$$said" ] || { echo "$$unit: $$said"; exit 1; }; \
	  done

signer-check: ## compare our signatures with those of mina-signer, the official signer; needs Node.js 20 or newer, and npm
	cd internal/mina/signercheck && npm ci --ignore-scripts --no-audit --no-fund
	$(GO) test -tags signercheck -count 1 -v ./internal/mina/signercheck

kimchi: ## install the Kimchi worker (o1js) and test it, proofs included; needs Node.js 18.14 or newer, and npm
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 18 || (a === 18 && b >= 14) ? 0 : 1)' 2>/dev/null && \
	  command -v npm >/dev/null || { echo "the Kimchi worker needs Node.js 18.14 or newer, and npm: install them first"; exit 1; }
	@# not npm ci, which refuses a lock file without the native provers of other platforms; the locked versions and digests hold all the same
	cd snarkpool/worker/kimchi && npm install --no-save --ignore-scripts --no-audit --no-fund && npm test
	$(GO) test -tags kimchi -count 1 -timeout 15m -v ./snarkpool/worker/kimchi

test-nvml: ## test the reading of GPUs against NVIDIA's own mock servers, and the CUDA checker's source; needs gcc and g++, and no GPU
	CGO_ENABLED=1 $(GO) test -tags nvml -race ./snarkpool/gpu/...

check: verify lint test ## all that must be green

clean: ## remove what the other targets made
	rm -rf bin demo
