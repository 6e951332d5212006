# Each target's comment after ## is its line in `make help`.

# For each fuzz function and each benchmark; a pattern of benchmark names; for each
# test of make soak; and more for go test, such as TESTFLAGS='-run TestX -count=10'.
FUZZTIME ?= 5s
BENCHTIME ?= 0.3s
BENCH ?= .
SOAK ?= 10m
TESTFLAGS ?=

# Packages tested at the same time. The tests that drive a browser share the
# processor with the others: with more than two they wait for each other.
PARALLEL ?= 2

# What the binaries of make dist say their version is.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Modules beside the library's own, so that nobody who uses it inherits what they need.
NESTED = $(wildcard internal/frameworks bench tools)

# The directories that have a benchmark.
BENCHED = $$(grep -rl --include='*_test.go' --exclude-dir=frameworks '^func Benchmark' . | xargs -n 1 dirname | sort -u)

# Debian puts nginx where not every user's PATH looks.
export PATH := $(PATH):/usr/sbin:/sbin

# Runs go test, and notes how long each test takes where tools/test.sh wants to know.
GOTEST = go run $(CURDIR)/tools/gotest/main.go

# go vet is one of make lint's, and so go test need not run it.
UNIT = -vet=off -p $(PARALLEL) -timeout 8m $(TESTFLAGS)

# For the nested modules. With its MessagePack, which no test uses, gin takes a minute
# more to compile: it alone knows this tag.
NESTED_TAGS = nomsgpack

# The packages that have tests. The others need not be built for the race detector:
# that of SQLite would take more than a minute.
TESTED = $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

# The targets share two cores as it is.
.NOTPARALLEL:

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: test
test: ## install what is missing, check and test everything, and print where the time went
	@tools/test.sh '$(MAKE)'

.PHONY: setup
setup: ## install what the tests need from Debian's packages, where that is possible
	@tools/setup.sh

# Programs are built without cgo, as make dist builds them, and lint and some tests
# take what was compiled for them: so make test does this before those begin.
.PHONY: programs
programs: ## compile the programs, for the steps of make test that share what was compiled
	@echo '== go build'
	@CGO_ENABLED=0 go build ./...

.PHONY: lint
lint: ## gofmt, go mod tidy, go vet for three systems, staticcheck: all of them only report
	@echo '== gofmt'
	@unformatted=$$(gofmt -l .) && { [ -z "$$unformatted" ] || { echo "run make fmt:"; echo "$$unformatted"; exit 1; }; }
	@for dir in . $(NESTED); do echo "== go mod tidy: $$dir"; (cd $$dir && go mod tidy -diff) || exit 1; done
	@tools/lint.sh $(NESTED_TAGS) $(NESTED)

.PHONY: unit
unit: ## the tests of the module, with the race detector
	@echo '== go test'
	@race=$$(tools/race.sh) && packages=$(TESTED) && $(GOTEST) $$race $(UNIT) $$packages

.PHONY: frameworks
frameworks: ## the tests of the nested modules, with the race detector
	@race=$$(tools/race.sh) && for dir in $(NESTED); do \
		echo "== go test: $$dir"; \
		(cd $$dir && packages=$(TESTED) && $(GOTEST) $$race -tags $(NESTED_TAGS) $(UNIT) $$packages) || exit 1; \
	done

.PHONY: fuzz
fuzz: ## each fuzz function for FUZZTIME (5s)
	@echo '== fuzz'
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: ## the guarantees of the hub, tested for SOAK (10m) each, with new seeds and more clients
	@race=$$(tools/race.sh) && go test $$race -timeout 0 -count=1 -v ./internal/soak -soak $(SOAK)

.PHONY: bench
bench: ## each benchmark for BENCHTIME (0.3s), with allocations; BENCH selects by name
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) $(BENCHED)

.PHONY: bench-peers
bench-peers: ## tidings serve beside its peers, five runs in 20 minutes: see bench/README.md
	@bench/peers.sh

.PHONY: bench-fanout
bench-fanout: ## what the fan-out has to reach, and whether it does, five runs in 20 minutes
	@bench/fanout.sh

.PHONY: api
api: ## write api.txt anew, after a change to the public packages
	go test ./internal/house -run '^TestAPI$$' -count=1 -update

.PHONY: fmt
fmt: ## gofmt the tree
	gofmt -w .

.PHONY: dist
dist: ## static binaries of cmd/tidings for Linux, macOS and Windows, in dist/
	@rm -rf dist && mkdir dist
	@for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/} suffix=; \
		[ $$os = windows ] && suffix=.exe; \
		echo "dist/tidings-$$os-$$arch$$suffix"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' \
			-o "dist/tidings-$$os-$$arch$$suffix" ./cmd/tidings || exit 1; \
	done
	@cd dist && { command -v sha256sum >/dev/null && sha256sum tidings-* || shasum -a 256 tidings-*; } >SHA256SUMS

.PHONY: clean
clean: ## remove what make dist wrote
	rm -rf dist
