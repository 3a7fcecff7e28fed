# Two commands: `make book` and `make test`. Both set up .venv first; a second run finds it ready.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BOOK := $(VENV)/.book
READY := $(VENV)/.installed
PROFILE ?= mini
JOBS ?=
FRESH ?=

# One thread a process: tiny models run many times slower when threads compete for few cores.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
# Only what is imported is compiled, by the first process that does; pip would compile all of every package.
export PIP_NO_COMPILE ?= 1
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help book test test-metrics lint train pair lock look clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# The lock is installed by two processes; whatever of it does not fit a machine is left to the line that resolves.
$(BOOK): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed, $(PYTHON) is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.11 ...")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: python3-venv)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	-grep == constraints.txt | sort -r | xargs -P 2 -n 10 $(BIN)/python -m pip install --quiet --no-deps
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[book]'
	@touch $@

$(READY): $(BOOK)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[book,dev]'
	@touch $@

book: $(BOOK)  ## execute the notebooks and build the site, warnings are errors (PROFILE=smoke|mini|colab|paper, JOBS=N, FRESH=1)
	$(BIN)/tada book --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS)) $(if $(FRESH),--fresh)

lint: $(READY)  ## ruff, mypy and import-linter only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## ruff, mypy and pytest
	$(BIN)/pytest -n 2

# The optional metric packages, beside what .venv has, by the very lines that the errors of tada.metrics give.
METRICS := _build/metrics
$(METRICS)/.installed: $(READY) tada/metrics/packages.py
	$(BIN)/python -m venv --clear $(METRICS)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib")); print("$(CURDIR)")' > "$$($(METRICS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/book.pth"
	$(METRICS)/bin/python -c 'from tada.metrics.packages import INSTALL_HINTS; print("\n".join(INSTALL_HINTS.values()))' | PATH="$(CURDIR)/$(METRICS)/bin:$$PATH" PIP_QUIET=1 PIP_CONSTRAINT=constraints.txt sh -e
	@touch $@

test-metrics: $(METRICS)/.installed  ## test laion-clap, MuQ-MuLan and Audiobox on random weights, without a hub
	HF_HUB_OFFLINE=1 TADA_TEST_METRICS=1 $(METRICS)/bin/python -m pytest tests/metrics

train: $(BOOK)  ## train a mini, an ear or the probe anew, or go on with it (NAME=stable-audio|ace-step|audioldm2|musicgen|clap|second|probe)
	$(BIN)/python -m training $(NAME)

pair: $(BOOK)  ## write notebooks/*.ipynb from notebooks/*.py
	$(BIN)/tada pair

look: $(READY)  ## photograph the built site in headless Chromium and check it (needs chromium and chromedriver)
	$(BIN)/python ci/look.py

lock: $(READY)  ## write constraints.txt from a fresh environment with the newest versions the bounds allow
	rm -rf _build/lock && $(PYTHON) -m venv _build/lock
	_build/lock/bin/python -m pip install --quiet --constraint ci/hold.txt torch
	_build/lock/bin/python -m pip install --quiet --constraint ci/hold.txt '.[book,dev]'
	echo '# The lock: exactly what `make` installs, Python 3.11. Renew it with `make lock`.' > _build/lock.txt
	_build/lock/bin/python -m pip freeze | grep -v '^tada' | sed 's/+cpu$$//' >> _build/lock.txt
	mv _build/lock.txt constraints.txt && rm -rf _build/lock

clean:  ## remove what the build made; .venv stays
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache
