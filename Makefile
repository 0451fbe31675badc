# Everything a developer or a newcomer starts: make, make demo, make test.

PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo
BIN    := $(VENV)/bin

.PHONY: help install check test bench demo
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## everything into .venv, in the versions of constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

check: install ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install ## the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

bench: install ## speed and memory of sens-rank, beside the usual ways to do its work
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python tests/bench/run.py

demo: install ## the main jobs on real handwritten digits: rank in both norms; clone with a denoiser of one's own
	@$(MAKE) --no-print-directory --file examples/digits.mk BIN=$(abspath $(BIN)) OUT=$(DEMO)
	@$(MAKE) --no-print-directory --file examples/digits-clones.mk BIN=$(abspath $(BIN)) OUT=$(DEMO) EPOCHS=30 MANY=100 FEW=8
