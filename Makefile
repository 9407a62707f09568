# `make demo` and `make test` are all one needs; both make the environment.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Idle OpenMP threads must sleep, not spin, or a shared machine crawls.
export OMP_WAIT_POLICY ?= PASSIVE
REQUIREMENTS := requirements/pinned.txt
INSTALL_FILES := setup.cfg setup.py pyproject.toml requirements/core.txt

.PHONY: help env demo demo-compare test test-slow lint imports doctor docs \
    clean

help:
	@echo 'make env           make .venv with the pinned packages'
	@echo 'make demo          make toy data, train, test, show the results'
	@echo 'make demo-compare  train all six toy models and compare them'
	@echo 'make test          run the tests;  make test-slow  the slow ones'
	@echo 'make lint          check style and layers of imports'
	@echo 'make doctor        check the installation and say how to fix it'
	@echo 'make docs          build the site into build/docs'

# The stamps hold hashes: the packages are installed again when the pinned set
# changes, our own package when its setup changes or the checkout has moved.
env:
	@set -e; \
	want=$$(sha256sum $(REQUIREMENTS) | cut -c1-16); \
	ours="$$(cat $(INSTALL_FILES) | sha256sum | cut -c1-16) $(CURDIR)"; \
	test -x $(RUN) || $(PYTHON) -c 'import sys; \
	    sys.exit(sys.version_info[:2] != (3, 11) and "the pinned packages \
	are a set for Python 3.11; name one: make env PYTHON=python3.11")'; \
	test -x $(RUN) || $(PYTHON) -m venv $(VENV); \
	if [ "$$(cat $(VENV)/.pinned 2>/dev/null)" != "$$want" ]; then \
	    echo 'installing the pinned packages (about 3 minutes, 5 GB)'; \
	    $(RUN) -m pip install --quiet --disable-pip-version-check \
	        -r $(REQUIREMENTS); \
	    echo "$$want" > $(VENV)/.pinned; \
	    rm -f $(VENV)/.ours; \
	fi; \
	if [ "$$(cat $(VENV)/.ours 2>/dev/null)" != "$$ours" ]; then \
	    $(RUN) -m pip install --quiet --disable-pip-version-check \
	        --no-deps --no-build-isolation -e .; \
	    echo "$$ours" > $(VENV)/.ours; \
	fi

demo: env
	$(RUN) tools/demo.py

demo-compare: env
	$(RUN) tools/demo.py --compare

# Two tests at a time, of one thread each, on two cores or more.
test: env
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile

test-slow: env
	$(RUN) -m pytest -m slow

lint: env imports
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

imports: env
	$(VENV)/bin/lint-imports

doctor:
	@if [ -x $(RUN) ]; then $(RUN) tools/doctor.py; \
	else $(PYTHON) tools/doctor.py; fi

# The pins are a constraint: building the pages changes no other package.
docs: env
	@$(RUN) -c 'import furo, myst_parser, sphinx' 2>/dev/null || \
	    $(RUN) -m pip install --quiet --disable-pip-version-check \
	        -c $(REQUIREMENTS) -r requirements/docs.txt
	$(RUN) -m sphinx -W --keep-going -q -b html docs build/docs
	@echo 'open build/docs/index.html'

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache \
	    .import_linter_cache ca2st_mm/.mim
