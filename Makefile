# Commands for developers. They need Python 3.11 or newer, make and git; all other packages are locked.

.DEFAULT_GOAL := help
.PHONY: help run test screenshots test-docker fuzz lint lint-api load bench chaos controls lock clean

ONSALE := .venv/bin/onsale
# One more than a small machine has cores, because a quarter of the time tests only wait.
PYTEST_PROCESSES ?= 3

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

run: ## Start everything, with an embedded PostgreSQL and Valkey: http://127.0.0.1:8000/
	@ops/install runtime
	@# Python answers Ctrl-C during its start with a traceback. So env blocks SIGINT, if it can, until our code runs.
	@env --block-signal=INT true 2>/dev/null && set -- env --block-signal=INT; exec "$$@" $(ONSALE) up --end-with-parent

test: ## Run the tests
	@ops/install dev
	.venv/bin/python -m pytest -n $(PYTEST_PROCESSES) $(ARGS)

screenshots: ## Write pictures of the pages in their states to SCREENSHOTS, by default screenshots/; needs a Chromium
	@ops/install dev
	.venv/bin/python -m pytest tests/browser/screenshots.py $(ARGS)

test-docker: ## Test the image and docker-compose.yml; needs a Docker daemon
	@docker compose version >/dev/null 2>&1 && docker version >/dev/null 2>&1 \
		|| { echo "make test-docker: no Docker daemon answers, or docker compose is not installed" >&2; exit 1; }
	@ops/install dev
	.venv/bin/python -m pytest --timeout 1200 tests/docker/deployment.py $(ARGS)

fuzz: ## Send 24,000 requests generated from the OpenAPI document and check the answers; CASES=n: n per role
	@ops/install dev
	FUZZ_CASES=$(or $(CASES),6000) .venv/bin/python -m pytest tests/contract/fuzzing/test_schema_fuzzing.py $(ARGS)

lint: ## Check style, types, imports and security
	@ops/install dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict api worker domain ops loadtests migrations
	.venv/bin/lint-imports
	.venv/bin/bandit --quiet --recursive --configfile pyproject.toml api worker domain ops loadtests migrations

lint-api: ## Check the OpenAPI document, and compile a TypeScript client generated from it; needs Node.js
	@ops/install dev
	@ops/lint-api

load: ## Run the load scenarios and check the books afterwards
	@ops/install dev
	.venv/bin/python -m loadtests.sales $(ARGS)

bench: ## Measure the speed, compared with a bare Litestar and a baseline; ARGS=--all: also growth and rush
	@ops/install dev
	.venv/bin/python -m loadtests.bench $(ARGS)

chaos: ## Inject faults into a stack for 40 minutes, and check every promise
	@ops/install dev
	$(ONSALE) chaos --seeds 20 --seconds 45 --recovery $(ARGS)

controls: ## Remove one protection at a time, and show that a check of the chaos runs fails
	@ops/install dev
	$(ONSALE) controls $(ARGS)

lock: ## Update the locked packages to pyproject.toml; UPGRADE=--upgrade: also to newer versions
	@ops/install dev
	ops/lock $(UPGRADE)

clean: ## Remove generated files; data in .data stays
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.data/*' -prune -exec rm -rf {} +
