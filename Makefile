# Two commands on a fresh machine (Python 3.11 or newer, make):
#   make run    install, then train and simulate on the embedded ethanol data
#   make test   install, then lint, type-check and test
# Both may be repeated: what is installed or finished already is not done again.
# CPU-only torch wheels, where pip would choose CUDA ones: set PIP_EXTRA_INDEX_URL first.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint docs bench clean

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet
TORCH := 2.13.0
REPORT := runs/quickstart/report.html

# The first interpreter that is new enough; `make run PYTHON=/path/to/python` overrides it.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; \
	done)

# The published sets beside the checkout, where they are; tests that need them skip without.
ifndef CLEBSCH_DATA
ifneq ($(wildcard ../shared/data/README.md),)
export CLEBSCH_DATA := $(abspath ../shared/data)
endif
endif

help:
	@sed -n '2,5s/^# \{0,1\}//p' Makefile
	@echo "also: make lint, make docs (the manual in site/), make bench, make clean"

$(VENV)/.made-python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "clebsch needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; fi
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { \
		echo "Python's venv module does not work here; on Debian or Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; }
	@touch $@

$(VENV)/.made-torch: | $(VENV)/.made-python
	@echo "==> installing torch $(TORCH)"
	@$(INSTALL) "torch==$(TORCH)" || { \
		echo "==> torch $(TORCH) is not to be had here; installing the newest torch >= 2.6"; \
		$(INSTALL) "torch>=2.6"; }
	@touch $@

$(VENV)/.made-run: pyproject.toml | $(VENV)/.made-torch
	@echo "==> installing clebsch and what it runs on"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.made-test: pyproject.toml | $(VENV)/.made-run
	@echo "==> installing the test and lint tools"
	@$(INSTALL) -e ".[test,lint]"
	@touch $@

$(VENV)/.made-docs: pyproject.toml | $(VENV)/.made-run
	@echo "==> installing the documentation tools"
	@$(INSTALL) -e ".[docs]"
	@touch $@

$(VENV)/.made-bench: pyproject.toml | $(VENV)/.made-run
	@echo "==> installing the peers to measure against"
	@$(INSTALL) -e ".[bench,density]"
	@touch $@

run: $(VENV)/.made-run
	@echo "==> clebsch quickstart: training and molecular dynamics on the embedded ethanol data"
	@$(BIN)/clebsch quickstart --out runs/quickstart
	@echo "==> done; open $(REPORT)"

lint: $(VENV)/.made-test
	@echo "==> ruff: style"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { \
		echo "not formatted as above; $(BIN)/ruff format . mends it" >&2; exit 1; }
	@echo "==> mypy: types"
	@$(BIN)/mypy --no-error-summary
	@echo "==> import-linter: layers"
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }

# PYTEST takes more options: make test PYTEST='-m "not slow"'; two tests run at a time
test: lint
	@echo "==> pytest: CLEBSCH_DATA=$${CLEBSCH_DATA:-(unset: tests on published data skip)}"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=10 --cov --cov-report=term:skip-covered $(PYTEST)

docs: $(VENV)/.made-docs
	@echo "==> mkdocs: the manual"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "==> done; open site/index.html"

# BENCH takes options: make bench BENCH=--quick
bench: $(VENV)/.made-bench
	@for name in build operator model framework density; do \
		echo "==> clebsch bench $$name: results/bench/$$name.json"; \
		$(BIN)/clebsch bench $$name $(BENCH); done

clean:
	@echo "==> removing caches and built files; $(VENV) and runs/ stay"
	@rm -rf build dist site htmlcov .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
