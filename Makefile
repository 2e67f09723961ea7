# `make` alone lists the targets. Works with GNU make 3.81 (macOS) and later.
SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
SEED := 1
COUNT := 500
CASES :=
SCALE := 1
DOCS :=
ENVIRONMENT := .venv/.synced

.DEFAULT_GOAL := help
.PHONY: help environment demo up test bench celery crash docs faults fuzz lint lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

environment: $(ENVIRONMENT) ## create .venv from requirements-dev.lock

demo: $(ENVIRONMENT) ## send about 200 synthetic DSARs through the whole stack; a few minutes
	@$(BIN)/python -m include.stack demo

up: $(ENVIRONMENT) ## run the stack in the foreground, UI on 127.0.0.1:8080; Ctrl-C ends it
	@$(BIN)/python -m include.stack up

test: lint ## lint and all tests
	$(BIN)/python -m pytest

bench: $(ENVIRONMENT) ## CASES= SCALE=1: compare the performance with the best possible; 45 minutes
	$(BIN)/python -m tests.bench --scale $(SCALE) $(if $(DOCS),--docs) $(CASES)

crash: $(ENVIRONMENT) ## SEED=1 COUNT=500: kill a run at every step, then at COUNT pairs of steps; 30 minutes
	SEED=$(SEED) COUNT=$(COUNT) $(BIN)/python -m pytest -s tests/crash/every_step.py

celery: $(ENVIRONMENT) ## shards on the Celery executor; kills a worker and a triggerer; 4 to 6 minutes
	$(BIN)/python -m pytest tests/e2e/celery_executor.py

faults: $(ENVIRONMENT) ## kill parts of the stack during a run; 15 minutes
	$(BIN)/python -m pytest tests/e2e/test_stack_faults.py tests/e2e/stack_faults.py

fuzz: $(ENVIRONMENT) ## property tests with many new random examples; 30 minutes
	HYPOTHESIS_PROFILE=fuzz DSAR_MODEL_EXAMPLES=$(COUNT) $(BIN)/python -m pytest tests/model $$(grep -lr hypothesis tests/unit)

lint: $(ENVIRONMENT) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict include plugins dags

docs: $(ENVIRONMENT) ## write the generated tables of docs/
	$(BIN)/python docs/generate.py

lock: $(BIN)/uv ## compile both lock files from requirements.txt and requirements-dev.txt
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --universal --generate-hashes \
		--python-version 3.11 --quiet requirements.txt -o requirements.lock
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --universal --generate-hashes \
		--python-version 3.11 --quiet -c requirements.lock requirements-dev.txt -o requirements-dev.lock

clean: ## remove the environment and all local state: .venv, .dsar, caches
	rm -rf .venv .dsar .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an interrupted installation is repeated. Bytecode is compiled now, because
# otherwise each task process may compile its libraries again.
$(ENVIRONMENT): requirements-dev.lock pyproject.toml $(BIN)/uv
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements-dev.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed, and $(PYTHON) is not: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
		echo "$(PYTHON) lacks the venv module: install python3-venv (Debian, Ubuntu)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
