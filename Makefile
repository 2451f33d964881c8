# make run     checks, times and places every implementation, and writes a report
# make test    the whole test suite
# `make` alone prints the list.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `make gpu` runs, and where it leaves the results; PACK=folder also gets a summary and one archive of each part.
PART ?= check
RESULTS ?= gpu-results
INSTALLED := $(VENV)/.installed
# A folder whose entry `mohge` is this one: lets type checkers and an uninstalled Python find the package.
LINKS := .cache/import

.DEFAULT_GOAL := help
.PHONY: help run test lint format gpu pictures clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

run: $(INSTALLED) ## check, time and place every implementation on this machine; writes runs/<time>-run/report.html
	$(BIN)/mohge run

test: $(INSTALLED) ## run the test suite (no GPU needed)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(INSTALLED) $(LINKS)/mohge ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(INSTALLED) ## let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gpu: $(LINKS)/mohge ## PART=check, grid, tune, trust, sanitize or place on a GPU, each under 10 minutes; DRY=1 prints the plan
	PYTHONPATH="$(CURDIR)/$(LINKS)" $(PYTHON) -m mohge.bench.batch $(PART) --out "$(RESULTS)" \
		$(if $(PACK),--pack "$(PACK)") $(if $(DRY),--dry) $(if $(ONLY),--only "$(ONLY)")

pictures: $(INSTALLED) ## make the README's tables and pictures from its committed runs (needs Chromium)
	$(BIN)/python -m mohge.bench.report.readme

clean: ## remove the environment and everything generated, but not runs/
	rm -rf $(VENV) .cache build dist *.egg-info .pytest_cache bench/suite/.pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "mohge needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) --version); try make PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(LINKS)/mohge:
	@mkdir -p $(LINKS)
	@ln -sfn "$(CURDIR)" $@
