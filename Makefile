# Every command of this repository; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
PYTHON_IN_VENV := $(BIN)/python
# How many test processes; the tests are built for two cores.
JOBS ?= 2
# Further arguments for pytest, the benchmark or the simulator.
ARGS ?=

.PHONY: help
help: ## List every command
	@awk 'BEGIN {FS = ":.*## "} \
		/^[a-z-]+:.*## / {printf "  \033[1mmake %-13s\033[0m %s\n", $$1, $$2}' Makefile

# ---------------------------------------------------------------- setting up

.venv/.shop: requirements/shop.txt requirements/build.txt pyproject.toml
	@tools/setup.sh $$([ -e .venv/.dev ] && echo dev || echo shop)

.venv/.dev: requirements/dev.txt requirements/build.txt pyproject.toml
	@tools/setup.sh dev

.PHONY: setup
setup: .venv/.dev ## Create .venv with everything pinned; a second run is instant

.PHONY: demo
demo: .venv/.shop ## Watch orders being placed, refused, crashed and recovered
	@$(PYTHON_IN_VENV) -m trypact_shop.demo $(ARGS)

# ---------------------------------------------------------------- proving

.PHONY: test
test: .venv/.dev ## Run every test (installs PostgreSQL where it may)
	@tools/servers.sh
	@$(BIN)/pytest -n $(JOBS) $(ARGS)

.PHONY: test-unit
test-unit: .venv/.dev ## Run the fast tests only: no server, no process
	@$(BIN)/pytest tests/unit tests/scenarios tests/tidy $(ARGS)

.PHONY: lint
lint: .venv/.dev ## Format, lint, types, layers, wire contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	cd proto && ../$(BIN)/buf lint

.PHONY: verify
verify: .venv/.dev ## Prove that generated files are fresh
	$(PYTHON_IN_VENV) tools/stubs.py --check
	$(PYTHON_IN_VENV) tools/diagrams.py --check
	$(PYTHON_IN_VENV) tools/reference.py --check
	$(PYTHON_IN_VENV) tools/command_reference.py --check
	$(PYTHON_IN_VENV) tools/sdk_reference.py --check
	$(PYTHON_IN_VENV) tools/protocol_reference.py --check
	$(PYTHON_IN_VENV) tools/requirements.py --check

.PHONY: model
model: .venv/.dev ## Explore every history of the protocol with 4 branches
	@$(PYTHON_IN_VENV) -m tests.model --branches 4 $(ARGS)

.PHONY: sim
sim: .venv/.dev ## Replay one simulated history: make sim SEED=17
	@$(PYTHON_IN_VENV) -m tests.sim $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: bench
bench: .venv/.dev ## Measure this machine; ARGS=--quick for a first look
	@tools/servers.sh
	@$(PYTHON_IN_VENV) -m tests.bench $(ARGS)

.PHONY: soak
soak: .venv/.dev ## Load a coordinator for ten minutes and watch its memory
	@tools/servers.sh
	@$(PYTHON_IN_VENV) -m tests.bench --cases soak --soak-seconds 600 $(ARGS)

.PHONY: ci
ci: ## Everything that CI runs
	@.ci/run

# ---------------------------------------------------------------- generating

.PHONY: format
format: .venv/.dev ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: stubs
stubs: .venv/.dev ## Generate the Python stubs from proto/
	$(PYTHON_IN_VENV) tools/stubs.py

.PHONY: docs
docs: .venv/.dev ## Generate the diagrams and reference pages from the code
	$(PYTHON_IN_VENV) tools/diagrams.py
	$(PYTHON_IN_VENV) tools/reference.py
	$(PYTHON_IN_VENV) tools/command_reference.py
	$(PYTHON_IN_VENV) tools/sdk_reference.py
	$(PYTHON_IN_VENV) tools/protocol_reference.py

.PHONY: requirements
requirements: .venv/.dev ## Pin the newest versions of what we depend on
	$(PYTHON_IN_VENV) tools/requirements.py

.PHONY: clean
clean: ## Remove everything that can be made again, .venv too
	rm -rf .venv build dist .trypact .hypothesis .*_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
