# Two commands do everything, installation included: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test test-all check format lock clean

quickstart: .venv/installed
	$(BIN)/rescale quickstart

test: check
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: check
	$(BIN)/python -m pytest -n 2

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra timm --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --no-header -q -o requirements.txt

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rescale needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check uv
	$(BIN)/uv pip install -q -p $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install -q -p $(BIN)/python --no-deps -e .
	touch .venv/installed

clean:
	rm -rf .venv quickstart
