.DEFAULT_GOAL := help
SHELL := /bin/sh
# The first of these that is Python 3.11 or newer makes the environment.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Most tests wait for something most of the time, so that three run side by side on two processors.
WORKERS ?= 3
SIDE_BY_SIDE = $(PYTEST) --numprocesses $(WORKERS) --dist loadfile
# A test may take a machine that others keep busy for one that is broken: what failed beside them must pass alone.
ALONE = $(PYTEST) --last-failed --last-failed-no-failures none
AGAIN = { [ $$? = 1 ] && echo "What failed is run again, alone; what passes now is to be mended nevertheless:" && $(ALONE); }

.PHONY: help setup run up test test-compile test-long test-formats test-storage test-otlp test-fronts test-queue test-unit test-e2e eval-monitor bench bench-peers overload chaos soak rotation profile lint fmt protos check consul prometheus lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make .venv and install everything; returns at once when nothing changed
	@test -n "$(PYTHON)" || { echo "Penstock needs Python 3.11 or newer; found none (set PYTHON=...)" >&2; exit 1; }
	@$(PYTHON) tools/setup.py

run: setup ## Start everything, deploy two digit classifiers, classify real images; Ctrl-C stops it all
	@PENSTOCK_HOME="$${PENSTOCK_HOME:-$(CURDIR)/.penstock}" exec $(BIN)/penstock up -- $(BIN)/python examples/digits.py

up: setup ## Start the suite without the demo
	@PENSTOCK_HOME="$${PENSTOCK_HOME:-$(CURDIR)/.penstock}" exec $(BIN)/penstock up

test: setup consul prometheus ## Run all tests: unit, contract, integration, e2e; FRONT=grpcio: with that front of the gateway
	@$(if $(FRONT),export TEST_FRONT=$(FRONT);) $(SIDE_BY_SIDE) || $(AGAIN)

test-fronts: setup consul prometheus ## Run all tests twice: with each front of the gateway
	@for front in native grpcio; do export TEST_FRONT=$$front; $(SIDE_BY_SIDE) || $(AGAIN) || exit; done

test-queue: setup ## Let hypothesis try 500 sequences of events on the queue (QUEUE_EXAMPLES: so many)
	@QUEUE_EXAMPLES=$${QUEUE_EXAMPLES:-500} $(PYTEST) tests/integration/queue

test-long: setup ## Test what takes minutes: fleets, simulated and running, in which something or nothing goes wrong
	@$(PYTEST) -m long

test-rollouts: setup ## Roll identical and worse versions out 100 times each, on a simulated clock; ARGS=--help for more
	@$(BIN)/python -m tests.rollouts $(ARGS)

test-formats: setup ## Test the formats with heavy libraries, each in an environment of its own (FORMATS="litert openvino": some)
	@$(BIN)/python -m tools.formats $(FORMATS)

test-compile: setup ## Test the variants of models that a C++ compiler makes
	@$(PYTEST) -m compiler

test-storage: setup ## Test buckets of Google's with an emulator, in an environment of its own (S3's are in `make test`)
	@$(BIN)/python -m tools.formats gcs

test-otlp: setup ## Test OTLP with a collector of another make, in an environment of its own
	@$(BIN)/python -m tools.formats otlp

test-unit: setup ## Run the unit and contract tests
	@$(PYTEST) tests/unit tests/contract

test-e2e: setup consul prometheus ## Run the tests that start the whole suite
	@$(PYTEST) tests/e2e

eval-monitor: setup ## Judge the monitor on simulated faults, and render docs/detection.md; ARGS=--help for more
	@$(BIN)/python -m tests.evaluation --page $(ARGS)

bench: setup ## Measure requests/s, latency and CPU per request
	@$(BIN)/python -m benchmarks

bench-peers: setup ## Measure Penstock beside other servers, each installed in an environment of its own
	@$(BIN)/python -m benchmarks.peers

overload: setup ## Send three minutes of three times what the suite can do; ARGS=--help for more
	@$(BIN)/python -m benchmarks.overload $(ARGS)

chaos: setup ## Break one thing at a time under load, 20 times each, and render docs/reliability.md
	@$(BIN)/python -m tests.chaos --page $(if $(REPETITIONS),--repetitions $(REPETITIONS))

soak: setup ## Half an hour of mixed load and faults; memory, files and keys must come back to where they were
	@$(BIN)/python -m tests.chaos.soak $(if $(MINUTES),--minutes $(MINUTES))

rotation: setup ## Load and unload 50 models on a node with room for 10; nothing may be left of it
	@$(BIN)/python -m tests.chaos.rotation $(ARGS)

profile: setup ## Show where a request's time goes, stage by stage
	@$(BIN)/python -m benchmarks.profiling

lint: setup ## Check style, types, layers and generated code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m protos.generate --check
	@$(BIN)/python -m tools.render_configuration --check

fmt: setup ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

protos: setup ## Generate the API modules from protos/
	@$(BIN)/python -m protos.generate

check: lint test ## All that CI checks

consul: setup ## Fetch a Consul for the tests that need one, unless there is one on the PATH
	@$(BIN)/python -m tools.consul >/dev/null

prometheus: setup ## Fetch Prometheus and Alertmanager for the tests that need them, unless they are on the PATH
	@$(BIN)/python -m tools.prometheus >/dev/null

lock: setup ## Pin what pyproject.toml asks for, and keep what is pinned (UPGRADE=1: newer versions)
	@$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

clean: ## Remove caches and build output; .venv and .penstock stay
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
