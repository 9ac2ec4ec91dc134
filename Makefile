# make setup | run | test | lint | types | bench | crash | fuzz. Needs Python 3.11 or later and a package index; nothing else.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do "$$p" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo "$$p" && break; done)
VENV := .venv
BIN := $(VENV)/bin
# they measure, or kill at moments: nothing else may run beside them
ALONE := tests/crash $(addprefix tests/scenario/test_,hostile.py isolation.py rate.py)
.PHONY: setup run test lint types bench crash fuzz clean check
.DEFAULT_GOAL := help

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST)

$(VENV)/.stamp: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[codecs]" --group dev
	@touch $@

setup: $(VENV)/.stamp ## .venv with everything that a developer needs
run: setup ## the gateway with a demonstration series (ONCE=1 ends by itself with the verdict as its exit code)
	@$(BIN)/python -m router demo -c deploy/router.yaml $(if $(ONCE),--once)
test: setup ## every test; names what it skips for want of a program (ARGS=... for some, one after the other)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(addprefix --ignore=,$(ALONE))
	$(BIN)/python -m pytest $(ALONE)
else
	$(BIN)/python -m pytest $(ARGS)
endif
lint: setup ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: setup ## mypy --strict
	$(BIN)/mypy
bench: setup ## side by side with Orthanc, DCMTK and pynetdicom
	$(BIN)/python -m bench $(ARGS)
crash: setup ## power failures in a model, then 1,000 kills of a gateway under load (RUNS=n, SEEDS=n)
	$(BIN)/python -m tests.spool.crash_model --seeds $(or $(SEEDS),1000)
	$(BIN)/python -m tests.crash.kills --runs $(or $(RUNS),1000)
fuzz: setup ## bytes that nobody would send, for 3 minutes and every parser (TARGET=name, SECONDS=n)
	$(BIN)/python -m tests.fuzz $(or $(TARGET),all) --seconds $(or $(SECONDS),180)
check: lint types test ## what has to pass before a commit
clean: ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
