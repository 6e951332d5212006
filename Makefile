# Each target's comment after ## is its line in `make help`.

# The time for each fuzz function, each benchmark and each test of make soak. BENCH is
# a pattern of benchmark names. An example is TESTFLAGS='-run TestX -count=10'.
FUZZTIME ?= 3s
BENCHTIME ?= 0.3s
BENCH ?= .
SOAK ?= 10m
TESTFLAGS ?=

# Packages tested at the same time. The browser tests share the processor with the
# others: with more than two packages at a time they wait for each other.
PARALLEL ?= 2

# The version that the binaries of make dist report.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

PLATFORMS = linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Modules beside the library's own. A user of the library does not inherit their dependencies.
NESTED = $(wildcard internal/frameworks bench tools)

# The directories with a benchmark.
BENCHED = $$(grep -rl --include='*_test.go' --exclude-dir=frameworks '^func Benchmark' . | xargs -n 1 dirname | sort -u)

# Debian puts the proxies into a directory that is not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

# Runs go test, and notes the time of each test for tools/test.sh.
GOTEST = go run $(CURDIR)/tools/gotest/main.go

# make lint runs go vet, so go test does not run it.
UNIT = -vet=off -p $(PARALLEL) -timeout 8m $(TESTFLAGS)

# The build tags of the nested modules. nomsgpack is for gin: it saves a minute of
# compiling MessagePack, which no test uses.
NESTED_TAGS = nomsgpack

# The packages with tests. The others are not built for the race detector: SQLite
# alone would take more than a minute.
TESTED = $$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...)

# Two cores have no room for more than one target.
.NOTPARALLEL:

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: test
test: ## install missing programs, check and test everything, and print where the time went
	@tools/test.sh '$(MAKE)'

.PHONY: setup
setup: ## install the programs that the tests need from Debian's packages, if possible
	@tools/setup.sh

# make dist also builds the programs without cgo. lint and some tests reuse these
# compiled packages, so make test runs this first.
.PHONY: programs
programs: ## compile the programs, so that the other steps of make test can reuse the packages
	@echo '== go build'
	@CGO_ENABLED=0 go build ./...
	@cd tools && CGO_ENABLED=0 go tool -n nats-server >/dev/null # package natstest runs it

.PHONY: lint
lint: ## gofmt, go mod tidy, go vet for three systems, staticcheck; changes no file
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

.PHONY: power
power: ## 1,000 losses of power of the embedded log, without the race detector, which has fewer
	@echo '== power'
	@CGO_ENABLED=0 $(GOTEST) $(UNIT) -run '^TestPowerLoss$$' ./eventlog/segmentlog

.PHONY: fuzz
fuzz: ## each fuzz function for FUZZTIME (3s)
	@echo '== fuzz'
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: soak
soak: ## test each guarantee of the hub and of its log for SOAK (10m), with new seeds and more clients
	@tools/setup.sh soak
	@race=$$(tools/race.sh) && go test $$race -p 1 -timeout 0 -count=1 -v ./internal/soak ./internal/jepsen -soak $(SOAK)
	@CGO_ENABLED=0 go test -timeout 0 -count=1 -run '^Test(PowerLoss|Kill)$$' ./eventlog/segmentlog -soak $(SOAK)

.PHONY: bench
bench: ## each benchmark for BENCHTIME (0.3s), with allocations; BENCH selects by name
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) $(BENCHED)

.PHONY: bench-peers
bench-peers: ## tidings serve beside its peers, five runs in 20 minutes: see bench/README.md
	@bench/peers.sh

.PHONY: bench-clients
bench-clients: ## the Go client beside go-sse, r3labs and LaunchDarkly's: events a second and allocations
	cd bench && go test -run '^$$' -bench Clients -benchmem ./clients

.PHONY: bench-fanout
bench-fanout: ## the performance targets of tidings serve, and whether it reaches them: five runs in 20 minutes
	@bench/fanout.sh

.PHONY: bench-publish
bench-publish: ## what publishing to tidings serve costs, beside an earlier build and yardsticks: see bench/README.md
	@bench/publish.sh

# More flags of bench/attacks, as in ATTACKS='-a keys,pin -tries 1 -v'.
ATTACKS ?=

.PHONY: attacks
attacks: ## attack tidings serve in a hundred ways, and judge what that does to others: a table, after 25 minutes
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT INT TERM && \
		CGO_ENABLED=0 go build -o "$$dir/tidings" ./cmd/tidings && \
		(cd bench && CGO_ENABLED=0 go build -o "$$dir/attacks" ./attacks) && \
		TMPDIR="$$dir" "$$dir/attacks" -bin "$$dir/tidings" $(ATTACKS)

.PHONY: api
api: ## rewrite api.txt, after a change to the public packages
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
clean: ## remove the binaries of make dist
	rm -rf dist
