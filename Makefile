# Every target makes .venv by itself; `make PYTHON=python3.12 test` chooses the interpreter.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help quickstart test test-slow lint format clean

help:
	@echo "make quickstart   transfer learning in two minutes, without network"
	@echo "make test         the default tests"
	@echo "make test-slow    the long ones: real models on real data"
	@echo "make lint         ruff and mypy (make format repairs what ruff can)"

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "hf_tl needs Python 3.11 or newer; name one with make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[vision,excel,demo,dev]'
	@touch $@

quickstart: $(READY)
	$(BIN)/hf-tl quickstart

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
