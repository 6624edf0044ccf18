# `make` lists the targets. PYTHON=... chooses an interpreter, VENV=... another environment.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help book notebooks test lint check-launch benchmark serve clean clean-all

VENV ?= .venv
BIN := $(VENV)/bin
NEEDS := requirements.txt constraints.txt pyproject.toml

# The first interpreter that is new enough; without one, python3, so that the message can name its version.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; \
	done; echo python3)

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

book: $(VENV)/.book ## set up .venv if needed, then build and check the book
	$(BIN)/jupyter-book build book/ -W -n --keep-going
	$(BIN)/python tools/check_site.py book/_build/html book/_toc.yml
	@echo 'Open book/_build/html/index.html, or run "make serve" for the interactive figures.'

notebooks: $(VENV)/.test ## write the chapters as notebooks into notebooks/
	$(BIN)/python tools/notebooks.py

test: $(VENV)/.test ## set up .venv if needed, then run all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.test ## check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-launch: $(VENV)/.test ## run all notebooks as Colab and Binder do, in clean environments (long)
	$(BIN)/python tools/check_launch.py colab
	$(BIN)/python tools/check_launch.py binder

benchmark: $(VENV)/.book ## run every script in benchmarks/
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

serve: book ## build the book, then serve it at http://localhost:8000
	$(BIN)/python -m http.server --bind localhost --directory book/_build/html 8000

clean: ## delete the built book; executed notebooks stay cached
	rm -rf book/_build/html book/_build/.doctrees book/_build/jupyter_execute

clean-all: ## delete the built book, the notebook cache and .venv
	rm -rf book/_build $(VENV) cl_lib.egg-info

# The empty files .book and .test say that the environment is up to date with the requirements.
$(VENV)/.book: $(NEEDS) | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test: requirements-test.txt $(VENV)/.book
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-test.txt
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo 'This book needs Python 3.11 or newer; "$(PYTHON)" is' \
			"$$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo 'Install one, or name it: make book PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
