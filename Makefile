# One file of commands. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help serve test lint types bench clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit (sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

serve: $(STAMP)  ## install, then serve examples/hello at http://127.0.0.1:5000
	@$(BIN)/python examples/hello/serve.py

# A file of tests for each core at a time. On a machine that others use too, a test that times something may fail once:
# what failed is run again, by itself.
test: $(STAMP)  ## install, then run every test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile || { \
		echo 'Once more, only what failed. A test that passes now depends on the machine: mend it.'; \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

lint: $(STAMP)  ## style and formatting
	$(BIN)/ruff check src tests examples benchmarks
	$(BIN)/ruff format --check src tests examples benchmarks

types: $(STAMP)  ## static types
	$(BIN)/mypy

bench: $(STAMP)  ## requests per second against peers; writes benchmarks/RESULTS.md
	$(BIN)/python benchmarks/bench.py

clean:  ## remove what the other targets made
	rm -rf $(VENV) .bench-venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
