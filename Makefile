# What a developer does here. It needs a Python of 3.11 or newer, make and git; everything else is locked.

.DEFAULT_GOAL := help
.PHONY: help run test test-docker fuzz lint lint-api load bench chaos controls lock clean

ONSALE := .venv/bin/onsale
PYTEST_PROCESSES ?= 2

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

run: ## Start everything, with its own PostgreSQL and Valkey: http://127.0.0.1:8000/
	@ops/install runtime
	@# Python answers Ctrl-C with a traceback until our code runs: where env can hold it back, it waits until then.
	@env --block-signal=INT true 2>/dev/null && set -- env --block-signal=INT; exec "$$@" $(ONSALE) up --end-with-parent

test: ## Run the tests
	@ops/install dev
	.venv/bin/python -m pytest -n $(PYTEST_PROCESSES) $(ARGS)

test-docker: ## Build the image, start docker-compose.yml, scale, restart and book; needs a Docker daemon
	@docker compose version >/dev/null 2>&1 && docker version >/dev/null 2>&1 \
		|| { echo "make test-docker: no Docker daemon answers, or docker compose is not installed" >&2; exit 1; }
	@ops/install dev
	.venv/bin/python -m pytest --timeout 1200 tests/docker/deployment.py $(ARGS)

fuzz: ## Hold 24,000 requests made from the OpenAPI document against it; CASES=n for n of each role
	@ops/install dev
	FUZZ_CASES=$(or $(CASES),6000) .venv/bin/python -m pytest tests/contract/fuzzing/test_schema_fuzzing.py $(ARGS)

lint: ## Check style, types, who may import whom, and what is dangerous
	@ops/install dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict api worker domain ops loadtests migrations
	.venv/bin/lint-imports
	.venv/bin/bandit --quiet --recursive --configfile pyproject.toml api worker domain ops loadtests migrations

lint-api: ## Check the OpenAPI document, and compile a TypeScript client made from it; needs Node.js
	@ops/install dev
	@ops/lint-api

load: ## Run the load scenarios and verify the books afterwards
	@ops/install dev
	.venv/bin/python -m loadtests.sales $(ARGS)

bench: ## Measure how fast it is beside what it stands on; ARGS=--all with growth and rush
	@ops/install dev
	.venv/bin/python -m loadtests.bench $(ARGS)

chaos: ## Break a stack on purpose for 40 minutes, and check every promise
	@ops/install dev
	$(ONSALE) chaos --seeds 20 --seconds 45 --recovery $(ARGS)

controls: ## Take each protection away and show that the chaos checks notice
	@ops/install dev
	$(ONSALE) controls $(ARGS)

lock: ## Bring the locked packages up to date with pyproject.toml; UPGRADE=--upgrade for newer ones
	@ops/install dev
	ops/lock $(UPGRADE)

clean: ## Remove what can be made again; data in .data stays
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.data/*' -prune -exec rm -rf {} +
