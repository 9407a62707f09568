# `make demo` and `make test` are all one needs; both make the environment.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Idle OpenMP threads must sleep, not spin, or a shared machine crawls.
export OMP_WAIT_POLICY ?= PASSIVE
REQUIREMENTS := requirements/pinned.txt
UV = $(VENV)/bin/uv
VERSION = $(shell sed -n "s/^__version__ = '\(.*\)'/\1/p" ca2st_mm/version.py)
INSTALL_FILES := setup.cfg setup.py pyproject.toml requirements/core.txt

.PHONY: help env demo demo-compare test test-slow test-install lint imports \
    doctor docs lock release clean

help:
	@echo 'make env           make .venv with the pinned packages'
	@echo 'make demo          make toy data, train, test, show the results'
	@echo 'make demo-compare  train all six toy models and compare them'
	@echo 'make test          run the tests;  make test-slow  the slow ones'
	@echo 'make lint          check style and layers of imports'
	@echo 'make doctor        check the installation and say how to fix it'
	@echo 'make docs          build the site into build/docs'
	@echo 'make test-install  install the wheel at the newest and the lowest'
	@echo '                   versions allowed and without extras, and use it'
	@echo '                   (6 GB each, 15 minutes)'
	@echo 'make lock          write requirements/pinned.txt anew; with'
	@echo '                   UPGRADE=--upgrade the newest versions'
	@echo 'make release       build and check wheel and sdist in dist/; with'
	@echo '                   PROJECT_URL=https://... links of the README work'

# The stamps hold hashes: the packages are installed again when the pinned set
# changes, our own package when its setup changes or the checkout has moved.
env:
	@set -e; \
	want=$$(sha256sum $(REQUIREMENTS) | cut -c1-16); \
	ours="$$(cat $(INSTALL_FILES) | sha256sum | cut -c1-16) $(CURDIR)"; \
	test -x $(RUN) || $(PYTHON) -c 'import sys; \
	    sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "Python 3.10 \
to 3.13 is needed; name one: make env PYTHON=python3.12")'; \
	test -x $(RUN) || $(PYTHON) -m venv $(VENV); \
	if [ "$$(cat $(VENV)/.pinned 2>/dev/null)" != "$$want" ]; then \
	    echo 'installing the pinned packages (about 3 minutes, 5 GB)'; \
	    $(RUN) -m pip install --quiet --disable-pip-version-check \
	        --no-deps -r $(REQUIREMENTS); \
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

# The pinned set is complete, for every Python and machine, so that pip needs
# not look at what MMAction2 asks for: decord, which ARM and macOS lack.
lock: env
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-build \
	    --no-annotate --custom-compile-command 'make lock' $(UPGRADE) \
	    --output-file $(REQUIREMENTS) $(addprefix requirements/,core.txt \
	    optional.txt export.txt web.txt experts.txt tests.txt build.txt)

test-install: env
	$(RUN) .ci/install.py --resolution highest
	$(RUN) .ci/install.py --resolution lowest-direct
	$(RUN) .ci/install.py --extras ''

# The wheel made from the sdist must be the one made from the source.
release: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct)
release: env
	rm -rf dist build/release
	grep -q '^## \[$(VERSION)\]' CHANGELOG.md
	$(RUN) -m build
	$(RUN) -m build --wheel --outdir build/release
	cmp dist/*.whl build/release/*.whl
	$(UV) tool run twine check --strict dist/*
	@echo 'now: git tag -a v$(VERSION) -m $(VERSION) && git push origin' \
	    'v$(VERSION), then upload dist/*'

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache \
	    .import_linter_cache ca2st_mm/.mim
