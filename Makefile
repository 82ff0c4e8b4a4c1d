# The two commands of the README, and what they rest on. Everything else is `snakemake` itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo report test env lint lock
.DEFAULT_GOAL := demo

demo: env
	$(BIN)/snakemake --cores all --config scale=demo
	@$(BIN)/python workflow/scripts/where.py

report: env
	$(BIN)/snakemake --cores all -- results/report/index.html

test: env .venv/peers
	$(BIN)/python -m pytest -n auto --dist loadgroup

env: .venv/ready

.venv/ready: envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "robustloss needs Python 3.11 or newer: name one with make PYTHON=python3.12")'
	@echo "Setting up .venv from envs/requirements.txt: about three minutes and 6 GB, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.txt
	@touch $@

# Other attack libraries, which tests compare with.
.venv/peers: envs/peers.txt .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r envs/peers.txt
	@touch $@

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

# Pins both .in files anew (needs uv); the result installs with plain pip and names no registry.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
		--output-file envs/requirements.txt envs/requirements.in
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade \
		--no-deps --output-file envs/peers.txt envs/peers.in
