# Two commands do all the set-up: `make demo` shows the product, `make test` runs every test.
# Everything else is for daily work; `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
export PYTHONPATH := tools$(if $(PYTHONPATH),:$(PYTHONPATH))

NODES   ?= simulated
CLUSTER ?= local
K8S     ?= 1.36
ONCE    ?=
ARGS    ?=

.PHONY: help
help:  ## Show what can be made.
	@awk 'BEGIN {FS = ":.*##"} /^[a-z0-9-]+:.*##/ {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP)  ## Create .venv with the pinned dependencies and the taskrunner command.

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "taskrunner needs Python 3.11 or newer; this is $$($(PYTHON) -V). Set PYTHON=/path/to/python3.11."; exit 1; }
	@echo "setup: installing the pinned Python packages (usually under a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock:  ## Resolve the dependencies anew and write requirements/*.txt (with hashes).
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv==0.13.8
	@options="--quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate"; \
	$(VENV)-lock/bin/uv pip compile $$options pyproject.toml -o requirements/runtime.txt; \
	$(VENV)-lock/bin/uv pip compile $$options --group dev pyproject.toml -c requirements/runtime.txt -o requirements/dev.txt; \
	$(VENV)-lock/bin/uv pip compile $$options --group build -c requirements/dev.txt -o requirements/build.txt
	@rm -rf $(VENV)-lock

.PHONY: demo
demo: setup  ## Start a cluster and the operator, and watch a first task run (ONCE=1: stop after the first runs).
	@$(PY) -m demo $(if $(ONCE),--once)

.PHONY: test
test: setup  ## Set up everything and run every test (ARGS="-k name" to choose).
	@$(PY) -m testbed prepare
	@$(PY) -m pytest --cluster=$(CLUSTER) --k8s-version=$(K8S) $(ARGS)

.PHONY: test-unit
test-unit: setup  ## Run the tests that need no cluster (seconds).
	@$(PY) -m pytest -m "not cluster and not e2e and not slow" $(ARGS)

.PHONY: coverage
coverage: setup  ## Branch coverage of domain and engine by the tests that need no cluster.
	@$(PY) -m pytest -q -m "not cluster and not e2e and not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

.PHONY: verify
verify: setup  ## Check format, lint, types, import contracts and generated files; changes nothing.
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy operator tools tests bench
	@$(VENV)/bin/lint-imports --no-cache
	@$(PY) tools/generate.py --check

.PHONY: format
format: setup  ## Format the code and fix what the linter can fix.
	@$(VENV)/bin/ruff check --fix-only --quiet . && $(VENV)/bin/ruff format --quiet .

.PHONY: generate
generate: setup  ## Write the generated files anew: CRDs and reference pages.
	@$(PY) tools/generate.py

.PHONY: cluster
cluster: setup  ## Start a cluster and print its KUBECONFIG line (NODES=simulated|real, K8S=1.36|1.34).
	@$(PY) -m testbed up --nodes $(NODES) --version $(K8S)

.PHONY: cluster-down
cluster-down: setup  ## Stop the cluster that `make cluster` started.
	@$(PY) -m testbed down

.PHONY: run
run: setup  ## Install the CRDs and the fence, and run the operator against the current KUBECONFIG.
	@$(PY) -m install
	@$(VENV)/bin/taskrunner operator $(ARGS)

.PHONY: bench
bench: setup  ## Run the benchmarks and compare them with bench/limits.yaml.
	@$(PY) -m bench $(ARGS)

.PHONY: fence-attack
fence-attack: setup  ## Take shards over 1,000 times under fire from the holder before (about 15 minutes).
	@$(PY) -m fence_attack $(ARGS)

.PHONY: fuzz
fuzz: setup  ## Look ten minutes for input that the planning core cannot take.
	@PYTHONPATH=tests:$(PYTHONPATH) $(PY) -m fuzz $(ARGS)

.PHONY: chaos
chaos: setup  ## Break things for ten minutes while tasks run, and account for every slot.
	@$(PY) -m testbed prepare
	@PYTHONPATH=operator:$(PYTHONPATH) $(PY) -m chaos $(ARGS)

.PHONY: alerts
alerts: setup  ## Play the alert rules with promtool (built first: ten minutes of CPU, once per machine).
	@$(PY) -m testbed path promtool > /dev/null
	@$(PY) -m pytest -q tests/unit/test_monitoring.py

.PHONY: docs
docs: setup  ## Build the documentation as a site in build/site/html, and check its links.
	@$(PY) -m site_pages

.PHONY: clean
clean:  ## Remove the environment and what tests and builds left in the checkout.
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist build
