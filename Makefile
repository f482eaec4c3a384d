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

# The detector gets an environment of its own, because its pins do not fit ours. A failed installation is said, and
# the demo goes on with the keypoints that come with it.
demo: setup
	@$(BIN)/hmralign setup-detector || echo "The detector could not be installed; the demo goes on without it."
	$(BIN)/hmralign demo --out runs/demo

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

test: lint
	$(BIN)/python -m pytest

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .ruff_cache
