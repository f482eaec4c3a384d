# Two commands on a fresh machine with Python 3.10-3.12: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint format clean

setup: $(VENV)/.ok

$(VENV)/.ok: pyproject.toml
	@echo "Installing hmralign into $(VENV) (about 2 minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@

demo: setup
	@$(BIN)/hmralign setup-detector --quiet || echo "The detector could not be installed; the demo goes on without it."
	$(BIN)/hmralign demo --out runs/demo
