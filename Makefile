# Everything a developer does here, by name. `make` alone lists it.
#
# Needed: GNU make and Python 3.11 to 3.14. uv is fetched into .tools/ when none of this minor version is on the PATH.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.switchboard-setup
MEMBERS := $(wildcard services/*/pyproject.toml operator/pyproject.toml kubectl-plugin/pyproject.toml)
ARGS ?=
# As many as the machine has cores, each with servers of its own.
TEST_PROCESSES ?= 2

# A home that cannot be written (a service account, some containers) has no place for caches.
CACHES := $(shell test -w "$$HOME" || echo none)
ifeq ($(CACHES),none)
export UV_CACHE_DIR := $(CURDIR)/.tools/cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.tools/cache/pip
endif

.PHONY: help
help: ## Show this list
	@echo "Switchboard: two commands to begin with are 'make demo' and 'make test'."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Options of a command go into ARGS, for example: make demo ARGS=--keep"

.PHONY: setup
setup: $(STAMP) ## Install everything from the lock file into .venv (fetches uv when needed)
	@echo "Ready. Next: make demo"

.PHONY: demo
demo: $(STAMP) ## Run a whole campaign on this machine, with nothing but Python installed
	@$(BIN)/switchboard demo $(ARGS)

.PHONY: test
test: lint types drift ## Run every check: lint, types, layers, drift, unit and integration tests
	@echo "==> unit and integration tests (PostgreSQL and Valkey are started from wheels)"
	@$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check style, format and the layers between packages
	@echo "==> style (ruff check)"
	@$(BIN)/ruff check .
	@echo "==> format (ruff format)"
	@$(BIN)/ruff format --check .
	@echo "==> layers (import-linter)"
	@$(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## Rewrite the code in the project's format and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(STAMP) ## Check types (mypy, strict)
	@echo "==> types (mypy --strict)"
	@$(BIN)/mypy operator kubectl-plugin services tests

.PHONY: unit
unit: $(STAMP) ## Run the unit tests alone
	@$(BIN)/pytest tests/unit $(ARGS)

.PHONY: integration
integration: $(STAMP) ## Run the integration tests alone
	@$(BIN)/pytest tests/integration $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure, and write docs/benchmarks.md
	@$(BIN)/python tests/bench/main.py $(ARGS)

.PHONY: generated
generated: $(STAMP) ## Write what is generated: docs/openapi.json and the custom resource definition
	@$(BIN)/switchboard openapi --output docs/openapi.json
	@$(BIN)/python -m switchboard_operator.crd

.PHONY: drift
drift: $(STAMP) ## Check that what is generated is what is committed
	@echo "==> drift of generated files"
	@$(BIN)/switchboard openapi --check --output docs/openapi.json
	@$(BIN)/python -m switchboard_operator.crd --check

.PHONY: clean
clean: ## Remove the environment, fetched tools and caches; data and settings stay
	rm -rf $(VENV) .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): uv.lock pyproject.toml $(MEMBERS)
	@.ci/setup $(UV_VERSION)
	@touch $@
