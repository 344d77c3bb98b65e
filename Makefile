# Every target sets up what it needs: a fresh machine needs Python 3.11+ and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format rules costs screenshots bench soak institutions-check institutions-push build deploy lock clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell scripts/find-python)
STAMP := $(VENV)/.installed
CODE := layers functions sandbox scripts tests benchmarks

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with all that demo and tests need

# The file names everything, so nothing is to be resolved: some versions of pip would look for newer ones.
$(STAMP): requirements-dev.txt
	@test -n "$(PYTHON)" || { scripts/find-python; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	$(BIN)/python -m pip check
	echo "$(CURDIR)/layers/patron_lifecycle" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/patron_lifecycle.pth"
	@touch $@

demo: $(STAMP) ## Show the deactivation and the purge of five libraries on local AWS with a simulated Alma
	$(BIN)/python -m sandbox demo

test: lint ## Lint, then run every test
	@scripts/find-chromium >/dev/null
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder --cov --cov-report=term --cov-fail-under=95

lint: $(STAMP) ## Check format, code, types and template.yaml
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/python -m scripts.lint_template

format: $(STAMP) ## Format the code and mend what can be mended
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

rules: $(STAMP) ## Write docs/rules.md anew, from the rules and guards in the code
	$(BIN)/python -m scripts.rules_page

costs: $(STAMP) ## Write the tables of docs/costs.md anew, from what was measured, prices and template.yaml
	$(BIN)/python -m benchmarks.aws_usage write

screenshots: $(STAMP) ## Take the pictures in docs/images anew, of a sandbox of their own
	@scripts/find-chromium >/dev/null
	$(BIN)/python -m scripts.screenshots

bench: $(STAMP) ## Measure, side by side in one run
	$(BIN)/python -m benchmarks

soak: $(STAMP) ## Play 200 institutions for six months with everything going wrong, under the eyes of a judge
	$(BIN)/python -m tests.soak

institutions-check: $(STAMP) ## Find the mistakes in FILE, or show what it comes to; with STACK also what it would change
	@test -n "$(FILE)" || { echo "Say which file: make $@ FILE=institutions.yaml" >&2; exit 1; }
	$(BIN)/python -m scripts.institutions check "$(FILE)" $(if $(STACK),--stack "$(STACK)")

institutions-push: $(STAMP) ## Register FILE with the deployed STACK: shows what would change, and asks unless YES=1
	@test -n "$(FILE)" && test -n "$(STACK)" || { \
		echo "Say which file and which stack: make $@ FILE=institutions.yaml STACK=alma-patron-lifecycle-dev" >&2; exit 1; }
	$(BIN)/python -m scripts.institutions push "$(FILE)" --stack "$(STACK)" $(if $(YES),--yes)

build: ## Build for AWS (needs the AWS SAM CLI)
	sam build

deploy: build ## Deploy to AWS (needs the AWS SAM CLI and credentials)
	sam deploy --guided

lock: ## Pin all dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--upgrade --group dev pyproject.toml -o requirements-dev.txt
	grep '==' requirements-dev.txt | sed 's/ \\$$//' > $(VENV)/constraints.txt
	uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
		-c $(VENV)/constraints.txt pyproject.toml -o layers/patron_lifecycle/requirements.txt

clean: ## Remove what was made
	rm -rf $(VENV) .sandbox .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
