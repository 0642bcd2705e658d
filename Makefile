# Each target does the set-up it needs by itself, and does it once: .venv/.ready is newer than the pins.
#
#   make mesh     six servers with the world's airports, on this machine, until Ctrl-C   (ARGS=... goes to the command)
#                 ARGS=--tour breaks them in twelve ways, explains each, and fails unless every step held
#   make test     every check: format, lint, types, floors, tests, a sweep of simulation seeds (SEEDS=5 of each kind)
#   make planted  what takes too long for `make test`: every bug that is planted on purpose is found by a sweep and made
#                 small, anew, every mistake in the store noticed, every single bit of a small store flipped, every branch
#                 of log, recovery and tables taken
#   make check    format, lint, types and floors only
#   make bench    ours and its peers, measured in turn
#   make clean    removes what was built and installed; ./mesh, which is data, stays

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
PACKAGES := identity transport store routing replication node simulations
CODE := $(wildcard $(PACKAGES) bangpath.py tests benchmarks examples)
SEEDS ?= 5

# The first of these that is there and new enough; set PYTHON to choose.
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	$$each -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$each && break; done)

.PHONY: mesh test planted check bench clean setup

mesh: $(READY)
	@$(BIN)/bangpath mesh $(ARGS)

test: check
	@$(BIN)/pytest -q -n 2 --dist worksteal -m "not sweep" $(ARGS)
	@$(BIN)/bangpath simulate tests/scenarios/first-mesh.txt --seeds $(SEEDS) --stop-after 1
	@$(BIN)/bangpath simulate --seeds $(SEEDS) --twice --stop-after 1

planted: $(READY)
	@$(BIN)/pytest -q -n 2 --dist worksteal -m sweep $(ARGS)

check: $(READY)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo 'make: run $(BIN)/ruff format $(CODE)'; exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_floors.py

bench: $(BENCH_READY)
	@for area in transport store routing simulator; do $(BIN)/python -m benchmarks $$area $(ARGS) || exit 1; done

setup: $(READY)

$(READY): requirements.txt pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo 'make: no Python 3.11 to 3.13 with venv and pip found; set PYTHON=/path/to/python'; exit 1; fi
	@echo 'set-up: installing into $(VENV)'; begun=$$(date +%s); set -e; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); }; \
	$(INSTALL) --requirement requirements.txt; \
	$(INSTALL) --no-deps --no-build-isolation --editable .; \
	touch $(READY); \
	echo "set-up, downloads included: $$(( $$(date +%s) - begun )) s"

$(BENCH_READY): $(READY) requirements-bench.txt
	@$(INSTALL) --requirement requirements-bench.txt
	@touch $(BENCH_READY)

clean:
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
