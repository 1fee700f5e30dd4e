# Pawl: every task of a clone. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup sdks demo up test lint versions bench schemas lock clean

ARGS ?=
PYTHON ?=
UV_VERSION := 0.13.9
UV_MINIMUM := 0.8.0

# Images often set this. Without byte code every process compiles anew what it imports: seconds of CPU for torch and what
# trains on it.
unexport PYTHONDONTWRITEBYTECODE

# A uv that is already installed is used where it is new enough; otherwise a pinned one goes into .uv/ of this clone.
UV := $(shell v=$$(uv --version 2>/dev/null | cut -d ' ' -f 2); \
	test -n "$$v" && printf '%s\n' $(UV_MINIMUM) "$$v" | sort -V -C && echo uv || echo .uv/bin/uv)
BIN := .venv/bin
INSTALLED := .venv/.installed
SDKS := tests/sdks/.installed

# The first interpreter that runs and has the right version: a shim on the PATH may stand for a version that is absent.
FIND_PYTHON = python=; for p in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; \
	then python=$$p; break; fi; done; \
	test -n "$$python" || { printf '%s\n' \
	'Pawl needs Python 3.11, 3.12 or 3.13, and none works here (tried: $(or $(PYTHON),python3.13 python3.12 python3.11 python3)).' \
	'Install one (Debian and Ubuntu: python3 with python3-venv; macOS: brew install python@3.12; with uv: uv python install 3.12)' \
	'or name it: make setup PYTHON=/path/to/python' >&2; exit 1; }

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Create .venv with exactly what requirements.lock names (again only when the lock or pyproject changed)

demo: setup ## Close the loop once on a real model, with a synthetic crowd (options: make demo ARGS="--seed 2 --json out.json")
	@$(BIN)/pawl demo $(ARGS)

up: setup ## Run Kafka and all services on this machine until Ctrl-C (options: make up ARGS="--data DIR")
	@$(BIN)/pawl up $(ARGS)

sdks: $(SDKS) ## Install the clients that tests drive (OpenAI's for JavaScript, LangChain, litellm, llm), apart from .venv

# Tiny models only wait for further threads, and what waits there turns in circles.
test: export OMP_NUM_THREADS := 1
test: setup sdks ## Run every test (some of them: make test ARGS="tests/unit -k canary")
	@$(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder $(ARGS)

lint: setup ## Check style, types and import directions
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy services shared streams benchmarks
	@$(BIN)/lint-imports

# For tests, CI installs one Python alone: this asks the index whether every locked package has a wheel for the others.
versions: setup ## Check that what is locked can be installed on every Python that Pawl runs on
	@for version in 3.11 3.12 3.13; do \
	$(UV) pip install --quiet --dry-run --python $(BIN)/python --target .cache/none --python-version $$version \
	--no-deps --only-binary :all: --require-hashes -r requirements.lock || exit 1; \
	echo "Python $$version: every locked package has a wheel for it"; done

bench: setup ## Run every benchmark in its quick form and compare with the targets
	@$(BIN)/python -m benchmarks.harness $(ARGS)

schemas: setup ## Write docs/asyncapi.yaml, docs/openapi.json and docs/settings.md anew from the code
	@$(BIN)/python -m pawl_shared.asyncapi > docs/asyncapi.yaml.new && mv docs/asyncapi.yaml.new docs/asyncapi.yaml
	@$(BIN)/python -m pawl_inference.openapi docs/openapi.json
	@$(BIN)/python docs/generate_settings.py docs/settings.md

lock: | $(filter .uv/%,$(UV)) ## Resolve all dependencies anew into requirements.lock
	@$(UV) pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements.lock --quiet
	@cd tests/sdks && $(UV:.uv/%=../../.uv/%) pip compile requirements.in --universal --generate-hashes --no-emit-index-url --python-version 3.11 -o requirements.lock --quiet

clean: ## Remove what make made: .venv, .uv, caches, demo-out (data of `pawl up` stays)
	rm -rf .venv .uv tests/sdks/.venv tests/sdks/.installed tests/sdks/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .cache dist demo-out
	find services shared streams tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.uv/bin/uv:
	@$(FIND_PYTHON); \
	echo "No uv of version $(UV_MINIMUM) or later here: installing uv $(UV_VERSION) into .uv/"; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$$python cannot create environments: install its venv module (Debian and Ubuntu: apt install python3-venv), or uv" >&2; exit 1; }; \
	start=$$(date +%s); rm -rf .uv && "$$python" -m venv .uv && \
	.uv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: uv==$(UV_VERSION) && \
	echo "uv downloaded and installed in $$(($$(date +%s) - start)) s"

# The build backend comes at the version (and hash) that the lock names, like everything else.
$(INSTALLED): pyproject.toml requirements.lock | $(filter .uv/%,$(UV))
	@$(FIND_PYTHON); start=$$(date +%s); \
	{ $(BIN)/python -c '' 2>/dev/null || $(UV) venv --quiet --clear --python "$$python" .venv; } && \
	$(UV) pip install --python $(BIN)/python --require-hashes --no-deps -r requirements.lock && \
	$(UV) pip install --python $(BIN)/python --no-deps --build-constraints requirements.lock -e . && \
	touch $@ && echo "Packages ready in $$(($$(date +%s) - start)) s (downloads included)"

# Clients of apps, in an environment of their own: they must not decide which versions Pawl runs with. Node.js comes from
# the lock too; npm checks its package against npm-shrinkwrap.json, and runs nothing of it.
$(SDKS): $(INSTALLED) tests/sdks/requirements.lock tests/sdks/npm-shrinkwrap.json
	@start=$$(date +%s); cd tests/sdks && uv=$(UV:.uv/%=../../.uv/%) && \
	{ .venv/bin/python -c '' 2>/dev/null || $$uv venv --quiet --clear --python ../../$(BIN)/python .venv; } && \
	$$uv pip install --quiet --python .venv/bin/python --require-hashes --no-deps -r requirements.lock && \
	PATH="$$PWD/.venv/bin:$$PATH" npm ci --silent --ignore-scripts --no-audit --no-fund && \
	touch .installed && echo "Clients for the tests ready in $$(($$(date +%s) - start)) s (downloads included)"
