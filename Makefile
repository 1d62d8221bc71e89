# One word for each job; `make help` lists them. Everything is installed into .venv, nothing outside it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench docs clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/'

demo: $(VENV)/.installed-all  ## install what the command needs, then run the demonstration
	$(BIN)/wholepage demo

test: check  ## style, types and floors, then every test
	$(BIN)/python -m pytest

check: $(VENV)/.installed  ## style (ruff), types (mypy strict), floors (import-linter)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed  ## measure speed, and compare with peers
	$(BIN)/python benchmarks/page_head_throughput.py
	$(BIN)/python benchmarks/compare_all.py

docs: $(VENV)/.installed  ## build the documentation into site/, warnings are errors
	$(BIN)/mkdocs build --strict

clean:  ## remove the environment, caches and builds
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter is looked at before anything is written, so that a wrong one leaves no half-made environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "wholepage: got $$($(PYTHON) --version 2>/dev/null || echo "no '$(PYTHON)'"); allowed: Python 3.11 or newer;" \
	       "run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps are made anew when pyproject.toml changes. `dev` holds all of `all`, so it sets both.
$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet -e '.[all]'
	@touch $@

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(PIP) install --quiet -e '.[dev]'
	@touch $(VENV)/.installed-all $@
