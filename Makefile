# Everything a developer or a newcomer starts: make, make demo, make test.

PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo
EXTRAS ?= dev
OUT    ?= gpu
BUDGET ?= 460
MINUTES ?= 60
BIN    := $(VENV)/bin

# On a terminal pip shows what it does.
pip_quiet := $(shell test -t 2 || echo --quiet)

.PHONY: help install check test torture lock bench bench-gpu demo guides
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## everything into .venv, in the versions of constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt lib/datarobust/sensitivity/native.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { printf 'datarobust needs Python 3.11 or later, and %s is %s: install one and run make install PYTHON=python3.12\n' '$(PYTHON)' "$$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@echo 'Installing into $(VENV). pip downloads 0.5 GB, or 3 GB where PyTorch comes with CUDA (see README.md); this takes minutes.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(pip_quiet) --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

check: install ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install ## the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

torture: install ## an hour of faults, kills and damage: is anything lost or wrong afterwards?
	$(BIN)/python tests/torture.py --minutes $(MINUTES)

lock: install ## lock.txt: the pinned packages with hashes, for this platform
	$(BIN)/python tests/dependencies.py lock > $@.txt

bench: install ## speed and memory of sens-rank, beside the usual ways to do its work
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python tests/bench/run.py

bench-gpu: ## what waits for a GPU, on one: OUT=, DATA=, WHEELS= are folders, BUDGET= seconds; fetches nothing
	$(if $(WHEELS),$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $(OUT)/site $(WHEELS)/*.whl)
	PYTHONPATH=lib:$(OUT)/site$(if $(PYTHONPATH),:$(PYTHONPATH)) $(or $(wildcard $(BIN)/python),$(PYTHON)) tests/bench/gpu.py --out $(OUT) \
	    --budget $(BUDGET) $(if $(DATA),--data $(DATA)) $(OPTIONS)

# Two commands run at a time: with TERM=dumb they show progress as lines, because two live bars would overlap.
demo: install ## everything on real handwritten digits, in a few minutes; ends with one page to open
	@TERM=dumb $(MAKE) --no-print-directory -j2 --file examples/demo.mk BIN=$(abspath $(BIN)) OUT=$(DEMO)

guides: install ## the guides to the commands, made again of their help
	@$(BIN)/python tests/manual.py examples/guides/commands
