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
# One more than a small machine has cores: tests wait a good part of their time. Each has servers of its own.
TEST_PROCESSES ?= 3

# A home that cannot be written (a service account, some containers) has no place for caches.
CACHES := $(shell test -w "$$HOME" || echo none)
ifeq ($(CACHES),none)
export UV_CACHE_DIR := $(CURDIR)/.tools/cache/uv
export PIP_CACHE_DIR := $(CURDIR)/.tools/cache/pip
export npm_config_cache := $(CURDIR)/.tools/cache/npm
endif

.PHONY: help
help: ## Show this list
	@echo "Switchboard: two commands to begin with are 'make demo' and 'make test'."
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "Options of a command go into ARGS, for example: make demo ARGS=--keep"

.PHONY: setup
setup: $(STAMP) ## Install everything from the lock file into .venv (fetches uv when needed)
	@echo "Ready. Next: make demo"

.PHONY: demo
demo: $(STAMP) ## Run a whole campaign on this machine, with nothing but Python installed
	@$(MAKE) web ARGS= || echo "==> the pages could not be built: the demo goes on without them"
	@$(BIN)/switchboard demo $(ARGS)

.PHONY: test
test: $(STAMP) ## Run every check: lint, types, layers, drift, unit and integration tests
	@$(MAKE) -j2 lint types drift web-test web ARGS=
	@echo "==> unit and integration tests (PostgreSQL and Valkey are started from wheels)"
	@# Compiled once, not by each process: rewriting the assertions of all tests takes as long as collecting them.
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m "not faults" $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check style, format and the layers between packages
	@echo "==> style (ruff check)"
	@$(BIN)/ruff check .
	@echo "==> format (ruff format)"
	@$(BIN)/ruff format --check .
	@echo "==> layers (import-linter)"
	@$(BIN)/lint-imports
	@echo "==> queries outside a tenant (.ci/tenants.py)"
	@$(BIN)/python .ci/tenants.py

.PHONY: workflows
workflows: $(STAMP) ## Check the workflows of hosted continuous integration (needs `make parts`)
	@echo "==> workflows (actionlint)"
	@$(BIN)/python .ci/workflows.py

.PHONY: format
format: $(STAMP) ## Rewrite the code in the project's format and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(STAMP) ## Check types (mypy, strict)
	@echo "==> types (mypy --strict)"
	@$(BIN)/mypy images operator kubectl-plugin services tests

.PHONY: unit
unit: $(STAMP) ## Run the unit tests alone
	@$(BIN)/pytest tests/unit $(ARGS)

.PHONY: integration
integration: $(STAMP) ## Run the integration tests alone
	@$(BIN)/pytest tests/integration $(ARGS)

ATTACKS = tests/security $(filter-out tests/security/%,$(sort $(shell grep -oE 'tests/[a-z_/]+\.py' SECURITY.md)))

.PHONY: security
security: $(STAMP) ## Run the attacks of SECURITY.md alone, wherever their tests stand
	@$(BIN)/pytest $(ATTACKS) $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure, and write docs/benchmarks.md
	@PYTHONPATH=tests $(BIN)/python tests/bench/main.py $(ARGS)

# The pages for people. Node comes from this machine, or from the wheel in uv.lock.
WEB := services/api/web
WEB_MODULES := $(WEB)/node_modules/.package-lock.json
WEB_BUILT := services/api/src/switchboard_api/web_dist/index.html
WEB_SOURCES := $(shell find $(WEB)/src -type f) $(WEB)/index.html $(WEB)/vite.config.ts
NODE := $(CURDIR)/.ci/node

.PHONY: web
web: $(WEB_BUILT) ## Build the pages for people (fetches Node where this machine has none)

.PHONY: web-test
web-test: $(WEB_MODULES) ## Check the pages: lint, format, types, tests
	@echo "==> pages: style and format (eslint, prettier)"
	@cd $(WEB) && $(NODE) npm run --silent lint
	@echo "==> pages: types (tsc)"
	@cd $(WEB) && $(NODE) npm run --silent types
	@echo "==> pages: tests (vitest)"
	@cd $(WEB) && $(NODE) npm run --silent test

.PHONY: web-dev
web-dev: $(WEB_MODULES) ## Serve the pages anew after each change (SWITCHBOARD_URL=… for the api behind them)
	@cd $(WEB) && $(NODE) npm run --silent dev

.PHONY: browser
browser: web ## Prove the pages in a real headless Chromium, in front of the real services
	@PYTHONPATH=tests $(BIN)/python -m browser.chromium
	@$(BIN)/pytest tests/browser $(ARGS)

.PHONY: screenshots
screenshots: ## Write docs/images anew, from the same tests
	@$(MAKE) browser ARGS="--update-screenshots $(ARGS)"

$(WEB_BUILT): $(WEB_MODULES) $(WEB_SOURCES)
	@echo "==> building the pages"
	@cd $(WEB) && $(NODE) npm run --silent build -- --logLevel warn

$(WEB_MODULES): $(WEB)/package-lock.json $(WEB)/package.json | $(STAMP)
	@echo "==> installing the locked packages of the pages"
	@cd $(WEB) && $(NODE) npm ci --loglevel=error
	@touch $@

.PHONY: generated
generated: $(STAMP) $(WEB_MODULES) ## Write what is generated: docs/openapi.json, the CRD, its reference, the charts' values
	@$(BIN)/switchboard openapi --output docs/openapi.json
	@cd $(WEB) && $(NODE) npm run --silent schema
	@$(BIN)/python -m switchboard_operator.crd
	@$(BIN)/python -m switchboard_operator.reference
	@PYTHONPATH=tests $(BIN)/python -m charts generate

.PHONY: drift
drift: $(STAMP) $(WEB_MODULES) ## Check that what is generated is what is committed
	@echo "==> drift of generated files"
	@$(BIN)/switchboard openapi --check --output docs/openapi.json
	@cd $(WEB) && $(NODE) npm run --silent schema -- --check
	@$(BIN)/python -m switchboard_operator.crd --check
	@$(BIN)/python -m switchboard_operator.reference --check
	@PYTHONPATH=tests $(BIN)/python -m charts generate --check

# Tag and label of the images; the version in pyproject.toml unless given.
VERSION ?=

.PHONY: images
images: $(STAMP) web ## Build the container images, all or those in ARGS (VERSION=… for another tag)
	@set -e; engine=$$(PYTHONPATH=tests $(BIN)/python -m cluster docker); eval "$$engine"; \
	base=$${BASE_IMAGE:-$$(PYTHONPATH=tests $(BIN)/python -m cluster base-image)}; \
	$(BIN)/python -m images --base-image "$$base" $(if $(VERSION),--version $(VERSION)) $(ARGS)

.PHONY: charts
charts: $(STAMP) ## Check the charts: lint, unit tests, schemas, releases on a real API server
	@$(BIN)/mypy charts/switchboard/files/wait.py
	@$(BIN)/mypy charts/switchboard/files/place_call.py
	@PYTHONPATH=tests $(BIN)/python -m charts check
	@echo "==> releases on a real API server"
	@$(BIN)/pytest tests/charts $(ARGS)

.PHONY: parts
parts: $(STAMP) ## Build the programs that tests on Kubernetes need, or those of groups in ARGS
	@PYTHONPATH=tests $(BIN)/python -m cluster parts $(ARGS)

.PHONY: cluster
cluster: $(STAMP) ## Make sure that a Kubernetes of three nodes runs (kind)
	@PYTHONPATH=tests $(BIN)/python -m cluster up

.PHONY: cluster-down
cluster-down: $(STAMP) ## Delete that cluster; with ARGS=--all its Docker engine stops too
	@PYTHONPATH=tests $(BIN)/python -m cluster down $(ARGS)

E2E := $(BIN)/pytest tests/e2e --capture=no --verbose --durations=0 --durations-min=1
LOOK_AROUND := the cluster goes on: KUBECONFIG=.tools/cluster/kubeconfig kubectl get pods -A; make cluster-down ends it

.PHONY: audit
audit: $(STAMP) ## Ask the advisory databases about every locked package (needs the internet)
	@.ci/audit $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## Send 10,000 made-up requests as three roles of two businesses (ARGS="--seed=1 --requests=500")
	@PYTHONPATH=tests $(BIN)/python -m security.fuzz $(ARGS)

.PHONY: faults
faults: $(STAMP) ## Break everything at seeded moments: 3 x 10,000 calls, 10,000 bad creates, 200 kills, a flush, the operator
	@PYTHONPATH=tests $(BIN)/python -m faults $(ARGS)

.PHONY: windows
windows: $(STAMP) ## Stop real processes exactly in the hard windows, each by its name
	@$(BIN)/pytest tests/integration -m faults $(ARGS)

.PHONY: boundaries
boundaries: $(STAMP) ## Kill tasks at every single boundary of their slices, where make test takes a seeded choice (minutes)
	@SWITCHBOARD_EVERY_BOUNDARY=1 $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile tests/integration -k killed_at $(ARGS)

.PHONY: properties
properties: $(STAMP) ## Walk admission and slots through 1,000,000 random events, held against models (10 minutes)
	@PYTHONPATH=tests $(BIN)/python -m properties $(ARGS)

.PHONY: e2e-smoke
e2e-smoke: e2e-ready ## Prove the essentials on a real Kubernetes: install, gate, campaign, a migration that fails
	@$(E2E) -m smoke --calls 50 $(ARGS) || { echo "==> $(LOOK_AROUND)"; exit 1; }
	@echo "==> $(LOOK_AROUND)"

.PHONY: e2e
e2e: e2e-ready ## Prove everything on a real Kubernetes: upgrades, repairs, evictions, scaling, deletion
	@$(E2E) -m "not keda" $(ARGS) || { echo "==> $(LOOK_AROUND)"; exit 1; }
	@echo "==> $(LOOK_AROUND)"

.PHONY: e2e-keda
e2e-keda: e2e-ready ## Prove that a real KEDA scales a pool (the first time KEDA is built, which takes minutes)
	@$(MAKE) parts ARGS=keda
	@$(E2E) -m keda $(ARGS) || { echo "==> $(LOOK_AROUND)"; exit 1; }
	@echo "==> $(LOOK_AROUND)"

# What the proofs on Kubernetes stand on; quick where nothing has changed.
.PHONY: e2e-ready
e2e-ready: $(STAMP)
	@$(MAKE) parts images cluster ARGS=
	@PYTHONPATH=tests $(BIN)/python -m e2e.ready

.PHONY: clean
clean: ## Remove the environment, fetched tools and caches; data and settings stay
	rm -rf $(WEB)/node_modules $(dir $(WEB_BUILT))
	rm -rf $(VENV) .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find services tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): uv.lock pyproject.toml $(MEMBERS)
	@.ci/setup $(UV_VERSION)
	@touch $@
