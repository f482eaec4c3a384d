# Two commands on a fresh machine with Python 3.10-3.12: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint format docs dist clean

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
	$(BIN)/ruff check --no-cache .
	$(BIN)/pyright

# Two processes, each with whole files of tests: what the tests of a file share is made once.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation site in build/site; SITE_URL and REPO_URL are set where it is published.
docs: setup
	$(BIN)/python -m pip install -q -e ".[docs]"
	$(BIN)/python -m mkdocs build --strict

# A wheel in dist/ whose README shows its pictures on a package index too. RAW_URL is where the repository's files are
# served as they are, such as https://HOST/OWNER/NAME/raw/v0.1.0; no address is known to the sources.
dist: setup
	@test -n "$(RAW_URL)" || { echo "RAW_URL is missing; expected where the repository's files are served"; exit 2; }
	rm -rf build/package && mkdir -p build/package
	cp -r pyproject.toml LICENSE NOTICE src build/package
	$(BIN)/python tools/absolute_links.py README.md "$(RAW_URL)" > build/package/README.md
	$(BIN)/python -m pip wheel -q --no-deps -w dist build/package

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .ruff_cache
