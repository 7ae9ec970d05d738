# Two commands: `make run` shows it working, `make test` makes sure.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION := $(shell sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
READY := $(VENV)/.ready

.PHONY: run test setup lock bench

run: setup
	$(VENV)/bin/vae run

test: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
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

bench: setup
	$(VENV)/bin/python -m tests.benchmarks
