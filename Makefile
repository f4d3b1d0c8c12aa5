# Every target sets itself up: the virtual environment is made from constraints.txt when it is missing or older.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.made-from-constraints
FEED ?=
CANDIDATE ?=

.PHONY: demo test test-fast check bench bench-safety up clean help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

$(STAMP): constraints.txt pyproject.toml
	@echo "Setting up .venv from constraints.txt (about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit("Graygate needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>&1 | grep -v 'is ignored' || true
	@echo "Compiling the signal kernels (about half a minute, once)"
	@$(BIN)/python -m engine.strategy.warm
	@$(BIN)/python -c 'from engine.adapters.live.levels import LevelReader; LevelReader()'
	@$(BIN)/python -c 'import graygate, prefect' && touch $(STAMP)

demo: $(STAMP) ## a whole three-stage rollout in minutes; FEED=folder plays a recording, CANDIDATE=file tries another candidate
	@$(BIN)/graygate rehearse --approve auto $(if $(FEED),--feed $(FEED)) $(if $(CANDIDATE),--candidate $(CANDIDATE))

test: $(STAMP) ## all tests
	@$(BIN)/python -m pytest -n auto -m "not prefect and not slow"
	@$(BIN)/python -m pytest -m "prefect or slow"

test-fast: $(STAMP) ## the tests that need no Prefect server, in seconds
	@$(BIN)/python -m pytest -n auto -m "not prefect and not slow"

check: $(STAMP) ## format, lint, types, architecture
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP) ## measurements, one JSON line each; about three quarters of an hour, most of it the soak
	@$(BIN)/python -m benchmarks.market_calibration
	@$(BIN)/python -m benchmarks.rehearsal_outcomes --count 5
	@$(BIN)/python -m benchmarks.signal_quality
	@$(BIN)/python -m benchmarks.strategy_throughput
	@$(BIN)/python -m benchmarks.live_latency
	@$(BIN)/python -m benchmarks.param_update
	@$(BIN)/python -m benchmarks.quiet_cost
	@$(BIN)/python -m benchmarks.soak

bench-safety: $(STAMP) ## measurements of the safety core with small counts; each takes --count, the full ones take hours
	@$(BIN)/python -m benchmarks.rollback --count 100
	@$(BIN)/python -m benchmarks.crash_matrix --count 200
	@$(BIN)/python -m benchmarks.dead_man --count 20 --restarts 5
	@$(BIN)/python -m benchmarks.simulate --count 500
	@$(BIN)/python -m benchmarks.partial
	@$(BIN)/python -m benchmarks.interleave --count 1000
	@$(BIN)/python -m benchmarks.journal_fuzz --count 10000
	@$(BIN)/python -m benchmarks.power_loss --count 20
	@$(BIN)/python -m benchmarks.clocks --count 100
	@$(BIN)/python -m benchmarks.mutants

up: $(STAMP) ## a rehearsal that asks you at each stage, in the terminal and in the Prefect page
	@$(BIN)/graygate rehearse --approve ask $(if $(FEED),--feed $(FEED))

clean: ## remove what was generated
	@rm -rf .venv var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
