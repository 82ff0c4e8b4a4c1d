# The commands that README.md, REPRODUCING.md and docs name. Everything else is `snakemake` itself.
PYTHON ?= python3
BIN := .venv/bin
LIBRARY := PYTHONPATH=workflow $(BIN)/python -m robustloss
# PAPERS="chen2019 pang2020" as Snakemake takes it.
CHOSEN = $(if $(PAPERS),"papers=[$(shell echo $(PAPERS) | tr ' ' ',')]")

.PHONY: demo tables attacks publish pull report cost test benchmarks env lint lock verify
.DEFAULT_GOAL := demo

demo: env
	$(BIN)/snakemake --cores all --config scale=demo
	@echo "Everything to read, with the runs behind each number: open results/report/index.html"
	@echo "Each paper's page, tables and figures as files, and which runs they rest on: results/papers"

# The published results as they were: from a clone alone, neither data nor networks.
tables: env
	$(BIN)/snakemake --cores all --config published=true $(CHOSEN)
	@$(LIBRARY) agree

# The published networks attacked again, IMAGES of each attack's images (all if left out), and a comparison.
attacks: pull
	$(BIN)/snakemake --cores all --config published=true $(if $(IMAGES),images=$(IMAGES)) $(CHOSEN) -- attacks_again
	@$(LIBRARY) agree

pull: env
	$(LIBRARY) pull $(if $(PAPERS),--papers $(PAPERS))

# For whoever made the results, e.g. `make publish DATA=mnist` or `make publish REMOTE=storage PRIVATE=yes`.
publish: env
	$(LIBRARY) publish $(if $(PAPERS),--papers $(PAPERS)) $(if $(DATA),--data $(DATA)) $(if $(REMOTE),--remote $(REMOTE)) \
		$(if $(PRIVATE),--private)

report: env
	$(BIN)/snakemake --cores all -- results/report/index.html

# Jobs, hours and disk of each paper at each scale, before anyone commits to a run.
cost: env
	@$(LIBRARY) cost

test: env .venv/peers
	$(BIN)/python -m pytest -n auto --dist loadgroup

# Speed of attacks beside other libraries' and of training, with their tables in results/benchmarks; needs a quiet machine.
benchmarks: env .venv/peers
	$(BIN)/python tests/benchmarks/attacks.py
	$(BIN)/python tests/benchmarks/training.py

env: .venv/ready

.venv/ready: envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11, 4) else "robustloss needs Python 3.11.4 or newer: name one with make PYTHON=python3.12")'
	@echo "Setting up .venv from envs/requirements.txt: about three minutes and 6 GB, once."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/requirements.txt
	@touch $@

# Other attack libraries, which tests compare with. pip reads what it builds with from one variable, and from 25.3 on
# from the other.
.venv/peers: envs/peers.txt envs/peers-build.txt .venv/ready
	PIP_CONSTRAINT=envs/peers-build.txt PIP_BUILD_CONSTRAINT=envs/peers-build.txt $(BIN)/python -m pip install \
		--quiet --disable-pip-version-check --no-deps --require-hashes -r envs/peers.txt
	@touch $@

verify: env
	$(LIBRARY) verify

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
		--no-deps --build-constraint envs/peers-build.txt --output-file envs/peers.txt envs/peers.in
