# make setup       the environment in .venv
# make ablations   the study of the variants; ARGS="--seeds 0 1 2" is passed on
# make ui          MLflow's page of all studies
# make test        lint, types and the tests; make test-all adds the slow ones
# make cluster-test   clusters of namespaces and processes on this machine, as root; nothing leaves it
# make mutants     plants small faults one at a time and names those that no test notices
# make soak        kills workers and drivers at random times, KILLS (100) of each, and compares the figures; SEED=7 again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
KILLS ?= 100
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randrange(10**6))')

# A network with loopback only, and processes that end with the command.
ALONE := unshare --net --pid --fork --mount-proc --kill-child sh -c 'ip link set lo up && exec "$$@"' sh

.PHONY: setup ablations ui lint test test-all cluster-test mutants soak clean

setup: $(VENV)/.done

# Made anew when what it is made from changes; the mark is written last, so that a broken install is not taken for one.
$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

ablations: setup
	$(BIN)/python -m orchestrator.run ablations $(ARGS)

ui: setup
	$(BIN)/python -m orchestrator.run ui $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -m "not slow and not cluster" $(ARGS)

test-all: lint
	$(BIN)/python -m pytest -m "not cluster" $(ARGS)

cluster-test: setup
	@[ "$$(id -u)" = 0 ] || { echo "make cluster-test makes namespaces and must be run by root" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,cluster]"
	$(ALONE) $(BIN)/python -m pytest -m cluster -s $(ARGS)

mutants: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,mutants]"
	$(BIN)/python benchmarks/mutants.py $(ARGS)

soak: setup
	ABLATION_SOAK_KILLS=$(KILLS) ABLATION_SOAK_SEED=$(SEED) $(BIN)/python -m pytest tests/orchestrator/test_faults.py -k killed -s --timeout 14400

clean:
	rm -rf $(VENV) *.egg-info
