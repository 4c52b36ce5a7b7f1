# `make help` lists what there is. `make demo` and `make test` need nothing but Go, git and make.

VERSION ?= 0.1.0-dev
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0
# Everywhere the same flags, so that what was compiled once is compiled for all.
export GOFLAGS := $(filter-out -trimpath,$(GOFLAGS)) -trimpath

TOOL := hack/tool.sh
# Whatever its ending: programs embed pages, style sheets, schemas and more.
GO_SOURCES := $(shell find api client cmd controllers internal pack server -type f -not -name '*_test.go' -not -path '*/testdata/*') go.mod go.sum
LDFLAGS := -s -w -X packregistry.dev/server.Version=$(VERSION) -X main.version=$(VERSION)
# Every Go module of this repository.
MODULES := . $(patsubst %/go.mod,%,$(wildcard hack/cluster/go.mod hack/image/go.mod hack/cluster/components/kubernetes/go.mod hack/cluster/components/coredns/go.mod hack/cluster/components/pause/go.mod))

##@ Trying it
.PHONY: demo
demo: ## A cluster, the operator, a PackRegistry, a pack: the whole product in one go
	@hack/demo.sh --check
	@$(MAKE) --no-print-directory prepare build image $(if $(KUBECONFIG),,bin/cluster)
	@hack/demo.sh

.PHONY: demo-down
demo-down: cluster-down ## Stop the demo's cluster and remove every trace of it
	@rm -rf bin/demo

.PHONY: cluster-up
cluster-up: prepare bin/cluster ## Start the local Kubernetes
	@CLUSTER_COMPONENTS=$$($(TOOL) cluster) bin/cluster up --https-port $${HTTPS_PORT:-443}

.PHONY: cluster-down
cluster-down: bin/cluster ## Stop the local Kubernetes and remove every trace of it
	@CLUSTER_COMPONENTS=none bin/cluster down

##@ Building
.PHONY: build
build: bin/registry bin/operator bin/packctl ## Build the three programs into bin/
	@:

bin/registry bin/operator bin/packctl: bin/%: $(GO_SOURCES)
	@echo "building $*"
	@go build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

bin/cluster: $(wildcard hack/cluster/*.go hack/cluster/go.* hack/cluster/bootstrap.yaml)
	@echo "building cluster"
	@go build -C hack/cluster -trimpath -o $(CURDIR)/$@ .

bin/bench: $(wildcard hack/bench/*.go) go.mod
	@go build -trimpath -o $@ ./hack/bench

bin/release: $(wildcard hack/release/*.go) go.mod go.sum
	@go build -o $@ ./hack/release

bin/image: $(wildcard hack/image/*.go hack/image/go.*)
	@echo "building image"
	@go build -C hack/image -trimpath -o $(CURDIR)/$@ .

.PHONY: image
image: bin/images/registry.tar bin/images/operator.tar ## Build both images into bin/images/, without a container engine
	@:

bin/images/%.tar: bin/image Dockerfile $(GO_SOURCES)
	@mkdir -p $(@D)
	@bin/image build --target $* --version '$(VERSION)' --tag packregistry.dev/$*:{digest} --output $@

.PHONY: chart
chart: ## Package the Helm chart into bin/
	@mkdir -p bin
	@$$($(TOOL) helm)/helm package charts/packregistry-operator --destination bin

.PHONY: generate
generate: ## Generate deep copies, the CRD, the roles, the schema of the registry's configuration, and packctl's documentation
	@gen=$$($(TOOL) controller-gen)/controller-gen; \
	rm -rf api/v1alpha1/applyconfiguration; \
	$$gen object paths=./api/...; \
	$$gen applyconfiguration paths=./api/...; \
	$$gen crd paths=./api/... output:crd:dir=config/crd; \
	go run ./hack/narrowcrd config/crd/packregistry.dev_packregistries.yaml; \
	$$gen rbac:roleName=packregistry-operator paths=./controllers/... output:rbac:dir=config/rbac
	@go run ./server/config/internal/schemagen server/config/config.go server/config/schema.json
	@cp config/crd/packregistry.dev_packregistries.yaml charts/packregistry-operator/files/crd.yaml
	@cp config/rbac/role.yaml charts/packregistry-operator/files/role.yaml
	@rm -rf docs/packctl; go run ./cmd/packctl docs docs/packctl >/dev/null

##@ Checking
.PHONY: test
test: prepare tools-ahead lint unit conformance e2e ## Everything that CI checks
	@hack/summary.sh bin/test/*.json

# Builds the tools that tests need while the linter, which needs few of them, runs. Whoever needs one earlier waits for it, and hears of
# failures.
.PHONY: tools-ahead
tools-ahead:
	@mkdir -p bin/test
	@(for tool in gotestsum cluster versitygw pebble distribution crane oras helm conformance traefik certmanager; do $(TOOL) $$tool; done) >bin/test/tools.log 2>&1 &

.PHONY: unit
unit: ## Unit tests, and those against real servers and clients (API server, S3, ACME), with the race detector
	@[ "$$(uname -s)" != Linux ] || hack/prepare.sh tests
	@for tool in cluster versitygw pebble distribution crane oras helm cyclonedx-gomod; do $(TOOL) $$tool >/dev/null; done
	@hack/axe.sh >/dev/null || echo "axe-core cannot be had; what needs it is skipped, and fails in CI" >&2
	@mkdir -p bin/test
	@export KUBEBUILDER_ASSETS=$$($(TOOL) cluster); \
	CGO_ENABLED=1 $$($(TOOL) gotestsum)/gotestsum --format pkgname --jsonfile bin/test/unit.json -- -race -timeout 20m -p 3 $$(go list ./... | grep -v /test/e2e)
	@$$($(TOOL) gotestsum)/gotestsum --format pkgname --jsonfile bin/test/norace.json -- -timeout 20m -run '^(TestEverySchedule|TestCAOverTheYears)$$' ./server/store ./controllers
	@cd hack/image && $$($(CURDIR)/$(TOOL) gotestsum)/gotestsum --format pkgname --jsonfile $(CURDIR)/bin/test/image.json -- -timeout 10m ./...

.PHONY: screenshots
screenshots: ## The pages in Chromium, as pictures in bin/screenshots and docs/images
	@[ "$$(uname -s)" != Linux ] || hack/prepare.sh tests
	@CI=1 go test -count=1 -timeout 10m -run '^TestScreenshots$$' ./test/ui
	@mkdir -p docs/images; cp bin/screenshots/pack-1280-light.png docs/images/pack.png

.PHONY: soak
soak: ## What make test does with seeds, for SOAK (30m) each: killed processes, interleavings, random walks, a flood, and a push of ten minutes
	@[ "$$(uname -s)" != Linux ] || hack/prepare.sh tests
	@for tool in cluster versitygw; do $(TOOL) $$tool >/dev/null; done
	@export KUBEBUILDER_ASSETS=$$($(TOOL) cluster) PACKREGISTRY_SOAK=$${SOAK:-30m}; \
	go test -count=1 -v -timeout 0 -run '^(TestKilledAtEveryCall|TestHistoriesOfProcesses)' ./cmd/registry; \
	go test -count=1 -v -timeout 0 -run '^TestEverySchedule' ./server/store; \
	go test -count=1 -v -timeout 0 -run Walk ./controllers; \
	go test -count=1 -v -timeout 0 ./test/flood ./test/slow

.PHONY: conformance
conformance: bin/registry ## The official OCI distribution conformance program against the registry
	@hack/conformance.sh

.PHONY: e2e
e2e: prepare build image bin/cluster ## The demo's path and more, on the local cluster
	@for tool in versitygw pebble traefik certmanager; do $(TOOL) $$tool >/dev/null; done
	@mkdir -p bin/test
	@export PACKREGISTRY_E2E=1; \
	$$($(TOOL) gotestsum)/gotestsum --format testname --jsonfile bin/test/e2e.json -- -count=1 -timeout 40m ./test/e2e

.PHONY: lint
lint: check-generated ## Formatting, vet, golangci-lint, chart, workflows, and generated files that are stale
	@$(TOOL) cluster >/dev/null # shows how far it is, which vet of the same code would not
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "run gofmt on: $$unformatted"; exit 1; }
	@for m in $(MODULES); do echo "vet $$m"; go -C $$m vet ./...; done
	@for s in $$(git ls-files '*.sh' .ci/run); do bash -n $$s; done
	@lint=$$($(TOOL) golangci-lint)/golangci-lint; \
	for m in . hack/cluster hack/image; do echo "golangci-lint $$m"; (cd $$m && $$lint run --config $(CURDIR)/.golangci.yml ./...); done
	@helm=$$($(TOOL) helm)/helm; $$helm lint --quiet charts/packregistry-operator; $$helm template x charts/packregistry-operator >/dev/null
	@$$($(TOOL) actionlint)/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@$$($(TOOL) cluster)/kubectl kustomize config/default >/dev/null

GENERATED := api config charts server/config/schema.json docs/packctl

.PHONY: check-generated
check-generated: generate
	@git diff --exit-code --stat -- $(GENERATED) && [ -z "$$(git ls-files --others --exclude-standard -- $(GENERATED))" ] || { echo "generated files are stale: run make generate and commit"; exit 1; }

.PHONY: bench
bench: bin/registry bin/bench ## The registry under load, beside a peer and beside what could not be beaten (BENCH='--only ...' for some of it)
	@hack/bench.sh $(BENCH)

.PHONY: bench-operator
bench-operator: bin/operator ## The operator on thousands of PackRegistries, with a real API server
	@go build -trimpath -o bin/bench-operator ./hack/bench-operator
	@bin/bench-operator --assets $$($(TOOL) cluster) $(BENCH)

.PHONY: bench-parts
bench-parts: ## Benchmarks of the server's parts
	@go test -run "^$$" -bench . -benchmem ./server/... ./pack/... ./cmd/registry

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (10s)
	@set -e; for p in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for f in $$(go test -list '^Fuzz' ./$$p | grep ^Fuzz); do \
	    go test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-10s} ./$$p; done; done

.PHONY: vuln
vuln: ## Known vulnerabilities of the dependencies (needs the Go vulnerability database)
	@$$($(TOOL) govulncheck)/govulncheck ./...

##@ Releasing
# Where the images of a release will be: IMAGES/registry and IMAGES/operator.
IMAGES ?= packregistry.dev
.PHONY: release
release: bin/release bin/image ## Make dist/ for VERSION=x.y.z from the last commit, twice, and compare (CLEAN=1: with empty caches the second time)
	@for os in linux darwin windows; do GOOS=$$os go list -deps ./cmd/... >/dev/null; done
	@kubectl=$$($(TOOL) cluster)/kubectl; sbom=$$($(TOOL) cyclonedx-gomod)/cyclonedx-gomod; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	for again in a b/in/another/folder; do \
	  mkdir -p $$work/$$again; git archive HEAD | tar -x -C $$work/$$again; \
	  echo "release: building $(VERSION) in $$work/$$again"; \
	  [ -z "$(CLEAN)" ] || [ $$again = a ] || export GOCACHE=$$work/cache; \
	  bin/release build --version '$(VERSION)' --repository '$(IMAGES)' --source $$work/$$again --output $$work/$${again%%/*}.dist \
	    --image-builder $(CURDIR)/bin/image --kubectl $$kubectl --cyclonedx-gomod $$sbom; \
	done; \
	bin/release compare $$work/a.dist $$work/b.dist; \
	rm -rf dist; mv $$work/a.dist dist
	@bin/release verify dist

.PHONY: release-verify
release-verify: bin/release ## Check that DIR (dist) holds a whole release, unchanged
	@bin/release verify $(or $(DIR),dist)

.PHONY: release-check-new
release-check-new: ## Fail if VERSION is released already: a release is never made again
	@hack/publish.sh check '$(VERSION)' '$(IMAGES)'

.PHONY: release-publish
release-publish: bin/release bin/image ## Push dist/'s images and files, sign them by digest, and check what was published (needs gh, cosign and logins)
	@hack/publish.sh publish '$(VERSION)' '$(IMAGES)'

##@ Other
.PHONY: prepare
prepare:
	@[ "$$(uname -s)" != Linux ] || hack/prepare.sh

.PHONY: clean
clean: ## Remove bin/; what is cached outside of the checkout stays
	@rm -rf bin dist

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile
