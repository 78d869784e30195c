# Two commands for people, one for the project; each sets up .venv by itself, and not again when nothing has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo test lint docs clean

demo: $(VENV)/.ready  ## distil the embedded digits teacher by SiD, and show it beside the teacher (two to three minutes)
	$(BIN)/bench run --method sid --teacher edm-digits
	$(BIN)/bench table --teacher edm-digits

test: $(VENV)/.ready  ## the tests, on two processes
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.ready  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready  ## the documentation as a site, in build/docs
	$(BIN)/mkdocs build --quiet

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

clean:  ## remove the environment
	rm -rf $(VENV)
