# make demo   install, train on the embedded digits, predict, write the report
# make test   install, lint, types, layers, tests
PYTHON ?= python3
# Processes for the tests; they compute with one thread each.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo

.PHONY: help install demo test lint types layers pytest clean

help:
	@sed -n 's/^# //p' Makefile | head -2

install: $(STAMP)

# Rebuilt when what is to be installed changes; the package itself is linked, so its code needs no stamp.
$(STAMP): pyproject.toml constraints.txt
	@echo "== install into $(VENV)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e ".[dev]"
	@touch $@

demo: install
	@rm -rf $(DEMO)
	@echo "== train on 1,797 handwritten digits, and score on those kept for the test"
	$(BIN)/linnaeus train digits --out $(DEMO)/run
	@echo "== write twelve test pictures as files, and name them"
	$(BIN)/python examples/test_pictures.py $(DEMO)/run $(DEMO)/pictures 12
	$(BIN)/linnaeus predict $(DEMO)/run $(DEMO)/pictures
	@echo "== done; open the report in a browser:"
	@echo "$(CURDIR)/$(DEMO)/run/report.html"

test: lint types layers pytest

lint: install
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	@echo "== types"
	$(BIN)/mypy

layers: install
	@echo "== layers"
	$(BIN)/lint-imports

pytest: install
	@echo "== tests"
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -m "not runtimes"
	@echo "== tests of the runtimes, which do not share a process with training"
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -m runtimes

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
