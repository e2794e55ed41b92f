# Everything from a clean clone: `make demo`, `make test`. `make help` lists the rest.
# Python is looked up as python3; another: make PYTHON=python3.12 test

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps

# What is compiled: an installation is stale when any of these is newer.
NATIVE := setup.py $(wildcard src/*.pyx src/*.pxi src/*.c src/*.h proto/segidx/v1/*.proto)
PACKAGING := pyproject.toml requirements.lock

# The variables of single targets.
SECONDS_EACH ?= 15
ROUNDS       ?= 8
IMAGES       ?= 40
TESTS        ?=
EFFORT       ?= 1
JOBS         ?= logical

# Pip takes these for what it installs and for what it builds with (grpcio-tools must not be newer than protobuf); one
# name is that of older pips, one that of newer ones.
export PIP_CONSTRAINT := requirements.lock
export PIP_BUILD_CONSTRAINT := requirements.lock
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test dev build lint format types floors proto-lint bench-smoke fuzz crash lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:.*  ## /\t/' | sort | awk -F '\t' '{printf "  %-12s %s\n", $$1, $$2}'

# --- environments ---

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "segidx needs Python 3.11 or later; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

# Native code and protocol are built in place, so that an editable install finds them.
$(STAMPS)/dev: $(STAMPS)/venv $(PACKAGING) $(NATIVE)
	$(BIN)/python -m pip install --quiet -e '.[dev,demo,bench]'
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

$(STAMPS)/demo: $(STAMPS)/venv $(PACKAGING) $(NATIVE)
	$(BIN)/python -m pip install --quiet -e '.[demo]'
	@touch $@

dev: $(STAMPS)/dev  ## an environment in .venv with everything, native code built

# --- what users do ---

# An environment for development serves the demo too.
demo: $(if $(wildcard $(STAMPS)/dev),$(STAMPS)/dev,$(STAMPS)/demo)  ## real shoppers: import, serve, count over gRPC, check with pandas
	$(BIN)/segidx demo

build: $(STAMPS)/dev  ## a wheel in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# --- what developers do ---

# A file's tests run in one process, so that they share what it has built for all of them.
test: $(STAMPS)/dev  ## the test suite (TESTS=tests/ingest for a part, EFFORT=10 for ten times the random tests, JOBS=1)
	SEGIDX_TEST_EFFORT=$(EFFORT) $(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadfile $(TESTS)

lint: $(STAMPS)/dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMPS)/dev  ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

types: $(STAMPS)/dev  ## mypy
	$(BIN)/mypy

floors: $(STAMPS)/dev  ## imports only go down
	$(BIN)/lint-imports

# buf comes from npm into build/, never into the sources.
proto-lint:  ## buf lint (skipped where there is no Node)
	@if ! command -v npx > /dev/null; then echo "proto-lint: skipped, there is no npx (Node) on this machine"; \
	else mkdir -p build/buf && \
	  npm install --silent --no-audit --no-fund --prefix build/buf @bufbuild/buf@1 && \
	  build/buf/node_modules/.bin/buf lint && echo "proto-lint: clean"; fi

bench-smoke: $(STAMPS)/dev  ## the benchmarks on small data: answers checked, times meaningless
	$(BIN)/python -m bench count --scale smoke --answers-only
	$(BIN)/python -m bench count --scale smoke --answers-only --overlay 50000
	$(BIN)/python -m bench events --scale smoke --answers-only
	$(BIN)/python -m bench load --scale smoke --answers-only
	$(BIN)/python -m bench asking --scale smoke --rounds 1
	$(BIN)/python -m bench single-add --scale smoke --rounds 1 --adds 10 --burst 50
	$(BIN)/python -m bench ingest --scale smoke --seconds 2 --rest-seconds 1 --clients 1,2

fuzz: $(STAMPS)/dev  ## decoders on damaged bytes, SECONDS_EACH=15 a test file
	@mkdir -p build
	@for file in tests/fuzz/test_*.py; do \
	  end=$$(( $$(date +%s) + $(SECONDS_EACH) )); runs=0; \
	  while [ $$runs -eq 0 ] || [ $$(date +%s) -lt $$end ]; do \
	    $(BIN)/python -m pytest -q -x -p no:cacheprovider $$file > build/fuzz.log 2>&1 || { cat build/fuzz.log; exit 1; }; \
	    runs=$$((runs + 1)); \
	  done; echo "fuzz: $$file passed $$runs times"; \
	done

crash: $(STAMPS)/dev  ## writers killed ROUNDS=8 times, IMAGES=40 power cuts, full and failing disks
	SEGIDX_CRASH_ROUNDS=$(ROUNDS) SEGIDX_CRASH_IMAGES=$(IMAGES) $(BIN)/python -m pytest -rP tests/crash

lock: $(STAMPS)/dev  ## requirements.lock: the versions that are installed from
	$(BIN)/pip-compile --quiet --all-extras --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-header --no-annotate --upgrade --output-file requirements.lock pyproject.toml
	@! grep -nE '://|^-|/' requirements.lock || { echo "requirements.lock names a path or a host" >&2; exit 1; }

clean:  ## remove what is built, not the environment
	rm -rf build dist segidx.egg-info demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f segidx/kernels/_*.so segidx/v1/*_pb2*.py segidx/v1/*_pb2*.pyi $(STAMPS)/dev $(STAMPS)/demo
	find segidx tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
