# Everything a developer or CI runs. It needs make, Python 3.11+ and a package index.

PYTHON ?= $(shell sh scripts/find-python --at-least 3.11 || echo python3)
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
STAMP  := $(VENV)/.set-up
# Other versions that `make test-all` tests where they are installed.
OTHERS := 3.12 3.13
TREE   ?=
MODEL  ?=
ARGS   ?=

# An activated virtualenv or a pytest option of the caller's shell must not change what runs here.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTEST_ADDOPTS

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-sqlite test-all check lint types layers docs test-others bench chaos generations format surface clean \
        $(addprefix test-,$(OTHERS))

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z.-]*:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Make .venv with all that is needed (once, and when the lock file changed)

$(STAMP): pyproject.toml uv.lock scripts/set-up
	@sh scripts/set-up $(PYTHON) $(VENV)
	@touch $@

# The default model is pulled once into the user's cache (1.1 GB). MODEL=local/smollm2-135m is a
# small one, MODEL=none asks none.
demo: setup  ## Review a source tree: make demo [TREE=path] [MODEL=name|none]
	@$(BIN)/flock demo $(if $(TREE),"$(TREE)") \
	  $(if $(filter none,$(MODEL)),--no-model,$(if $(MODEL),--model "$(MODEL)")) $(ARGS)

test: setup  ## Run the tests: make test [ARGS="-k join"]
	@$(BIN)/python -m pytest $(ARGS)

# The tests include the docs' code blocks (tests/docs), which `make docs` runs alone.
check: lint types layers test test-sqlite  ## Run what CI runs: format, lint, types, layers, docs, tests

lint: setup
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check . ; echo "Run: make format" >&2; exit 1; }
	@$(BIN)/ruff check .

types: setup
	@$(BIN)/basedpyright

layers: setup
	@$(BIN)/lint-imports --no-logo --no-cache

docs: setup  ## Run every Python block of README, docs and docstrings
	@$(BIN)/python -m pytest -q tests/docs

# What boards do, on boards in files: about half a minute. Some tests hold in memory only, and say so.
test-sqlite: setup  ## Run the acceptance tests with boards in SQLite files
	@$(BIN)/python -m pytest -q tests/acceptance --store sqlite $(ARGS)

test-all: test test-others  ## Run the tests on each supported Python that is installed

test-others: $(addprefix test-,$(OTHERS))

# The tests on another Python, in an environment of its own, but for those that wait for a model.
$(addprefix test-,$(OTHERS)): test-%: setup
	@python=$$(sh scripts/find-python $*) || { echo "Python $* is not installed: skipped."; exit 0; }; \
	echo "Tests on $$($$python --version):"; \
	UV_PROJECT_ENVIRONMENT=$(VENV)-$* $(UV) sync --quiet --frozen --all-extras --no-default-groups \
	  --group test --no-python-downloads --python "$$python" \
	&& $(VENV)-$*/bin/python -m pytest -q -p no:cacheprovider -m "not local_model" $(ARGS)

bench: setup  ## Measure: make bench [ARGS=...], prints a table and writes bench.json
	@$(BIN)/python -m benchmarks $(ARGS)

# Processes are killed at random moments, and before and after each of their commits, on two boards.
chaos: setup  ## Kill boards at any moment and look for what is lost: make chaos [ARGS="--seed 7"]
	@$(BIN)/python -m benchmarks.chaos $(ARGS)
	@$(BIN)/python -m benchmarks.chaos --points $(ARGS)
	@$(BIN)/python -m benchmarks.chaos --board steering $(ARGS)
	@$(BIN)/python -m benchmarks.chaos --board steering --points $(ARGS)

generations: setup  ## Ask SmolLM2 200 times under 20 schemas: make generations [ARGS=...]
	@$(BIN)/python -m benchmarks.generations $(ARGS)

format: setup  ## Format the code and apply safe fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

surface: setup  ## Accept the public surface as it is now (review the diff of the snapshot)
	@$(BIN)/python -m tests.unit.test_public_surface

clean:  ## Remove environments and caches
	rm -rf $(VENV) $(addprefix $(VENV)-,$(OTHERS)) dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
