# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

CLUSTER_TOOL := e2e/cluster/cluster
# The cluster of `make test` and `make e2e`; `make demo` has one of its own, so that neither disturbs the other.
TEST_CLUSTER := e2etest

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20

.PHONY: demo
demo: ## from nothing to a running mesh that shifts traffic; CLUSTER=current uses the cluster of KUBECONFIG
	@$(CLUSTER_TOOL) need
	@e2e/demo

.PHONY: down
down: ## removes the clusters of demo, test and events
	@$(CLUSTER_TOOL) down
	@NAME=$(TEST_CLUSTER) $(CLUSTER_TOOL) down
	@NAME=docs $(CLUSTER_TOOL) down
	@NAME=events $(CLUSTER_TOOL) down

.PHONY: test
test: lint unit charts e2e ## the full test suite: lints, unit and property tests, charts, end to end

.PHONY: tools
tools: ## what the checks need and Debian or Rust do not bring
	@hack/install-tools

.PHONY: lint
lint: tools ## format, clippy, purity of the core, words, links, pages made from tests, licences and banned crates
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	hack/check-purity
	hack/check-attacks
	hack/check-faults
	hack/check-events
	hack/check-attack-campaign
	hack/check-conformance
	hack/check-health
	hack/check-words
	hack/check-links
	hack/check-dependencies

.PHONY: unit
# Three tests for each of two processors: most of them wait for a timer or a peer.
unit: ## unit, property and integration tests; no cluster
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-6} cargo test --workspace --locked

.PHONY: advisories
advisories: ## known vulnerabilities of dependencies; fetches the RustSec database
	ADVISORIES=1 hack/check-dependencies

.PHONY: fuzz
fuzz: ## fuzzes what reads bytes of others, each target for FUZZ_SECONDS (60); needs nightly Rust
	hack/fuzz

.PHONY: conformance
conformance: ## h2spec, the Autobahn test suite and slowhttptest against whole proxies; TOOLS="h2spec" chooses
	hack/conformance

.PHONY: charts
charts: tools ## Helm charts and kustomize: golden files, schemas, hardening rules
	hack/check-charts

.PHONY: admission
admission: ## what a real API server refuses to the operator's account and to pods of the mesh
	@$(CLUSTER_TOOL) need
	hack/check-admission

.PHONY: e2e
e2e: ## end to end on a real cluster; CLUSTER=current uses the cluster of KUBECONFIG, KEEP=1 leaves it running
	@e2e/run $(TEST_CLUSTER)

.PHONY: progressive-delivery
progressive-delivery: ## traffic that the code of Flagger and Argo Rollouts shifts, by every version of TrafficSplit that they write
	@TESTS=progressive_delivery e2e/run $(TEST_CLUSTER)

.PHONY: chaos
chaos: ## faults between the operator and a real API server; SEED=7, EXPERIMENTS="R1 R8", FULL=1 waits minutes for minutes
	@$(CLUSTER_TOOL) need
	@chaos/run $(EXPERIMENTS)

.PHONY: events
events: ## what is lost while pods, operators and nodes fail, with the mesh and without; SCENARIOS="node-power fail-fast", RATES="300 1000"
	@RATES="$(RATES)" events/run $(SCENARIOS)

.PHONY: attacks
attacks: ## what attacks cost a sidecar and an operator, and what their victims notice; ATTACKS="idle zero-window", FAMILIES="ipv4"
	@$(CLUSTER_TOOL) need
	@FAMILIES="$(FAMILIES)" attacks/run $(ATTACKS)

.PHONY: sim
sim: ## the workload connection on a simulated network and clock, by seeds: SEEDS=2000; SEED=7 repeats one
	@SEEDS=$(SEEDS) SEED=$(SEED) sim/run

.PHONY: bench-scale
bench-scale: ## what 2,000 proxies and 1,000 Services cost the operator, and how soon changes arrive; CURVE=1 for 100 to 10,000
	@$(CLUSTER_TOOL) need
	@bench/scale/run

.PHONY: bench-memory
bench-memory: ## a sidecar's memory with 10, 1,000 and 10,000 Services in the mesh, of which it calls 10
	@$(CLUSTER_TOOL) need
	@bench/memory/run

.PHONY: images
images: ## static release programs in dist/linux-amd64, images in dist/images
	images/build

.PHONY: cli
cli: ## the command line: dist/linux-amd64/smilax, and kubectl-smilax, a link to it by which kubectl finds it
	images/build cli

.PHONY: cluster-up
cluster-up: ## a real two-node Kubernetes on this machine; prints its kubeconfig
	$(CLUSTER_TOOL) up

.PHONY: cluster-down
cluster-down: ## ends it and removes everything of it
	$(CLUSTER_TOOL) down

.PHONY: cluster-status
cluster-status: ## health of every part of it
	$(CLUSTER_TOOL) status

.PHONY: cluster-load
cluster-load: images ## our images into every node of it
	$(CLUSTER_TOOL) load dist/images/*.tar
