# Two commands: `make run` shows it working, `make test` makes sure; `make check` is its quick part.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
READY := $(VENV)/.ready

.PHONY: run test check style types tests setup lock bench chaos

run: setup
	$(VENV)/bin/vae run

test: style
	$(MAKE) --no-print-directory --jobs=2 types tests  # types take a core while servers start

check: style types
	$(VENV)/bin/pytest -m "not slow and not gpu"

style: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

types: setup
	$(VENV)/bin/mypy

tests: setup
	$(VENV)/bin/pytest

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed, this is " + sys.version if not (3, 11) <= sys.version_info[:2] <= (3, 13) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet uv==$(UV_VERSION)
	$(UV) pip sync --python $(VENV) --quiet --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --python $(VENV) --quiet --no-deps --editable .
	touch $(READY)

lock:
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --extra dev pyproject.toml --output-file requirements.lock

chaos: setup
	$(VENV)/bin/python -m tests.chaos

bench: setup
	$(VENV)/bin/python -m tests.benchmarks
