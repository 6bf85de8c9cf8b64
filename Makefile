# `make` lists the commands, README.md explains them. They run in .venv.

PYTHON ?= python3
PORT ?= 8000
API_PORT ?= 8001
MINUTES ?= 10

BIN := .venv/bin
INSTALLED := .venv/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Tools that the project itself does not need: the newest version, in a temporary folder for one command.
with = tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && $(PYTHON) -m venv "$$tools" && \
	"$$tools/bin/pip" install --quiet $(1) && "$$tools/bin/$(1)"

.DEFAULT_GOAL := help
.PHONY: help install run test lint bench storm soak fuzz matrix mutate audit lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

install: $(INSTALLED)  ## .venv with all that the site, the tests and the benchmarks need

# The stamp is written last: an interrupted installation starts again, and so does one with a changed lock.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This needs Python 3.11 or newer, and '$(PYTHON)' is not: $$($(PYTHON) --version 2>&1)." \
			"Name another one: make install PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@touch $@

# Neither Django nor honcho reads a developer's .env here. honcho stops the servers also when the terminal is closed: its
# output goes through a pipe that stays open to the end, and the shell that gets the signals only waits.
run: SHELL := bash
run: export ENV_FILE := /dev/null
run: export DEBUG := true
run: export API_BASE_URL = http://127.0.0.1:$(API_PORT)
run: export API_DIALECT := token-pair
run: export API_TRACE := true
run: export DATABASE_URL := sqlite:///db.sqlite3
run: export API_PORT := $(API_PORT)
run: export SITE_PORT = $(PORT)
run: export PYTHONUNBUFFERED := 1
run: install  ## the site and the demo API; Ctrl-C stops both
	@$(BIN)/python manage.py prepare_demo --port $(PORT) --api-port $(API_PORT)
	@trap : INT; trap 'kill $$honcho' HUP TERM; \
	(trap '' HUP; exec $(BIN)/honcho --env /dev/null start) > >(trap '' HUP INT TERM; exec tee /dev/null) & honcho=$$!; \
	while wait $$honcho; status=$$?; kill -0 $$honcho 2>/dev/null; do :; done; \
	case $$status in 130 | 143) exit 0 ;; *) exit $$status ;; esac

test: install  ## all tests that can run here
	@command -v chromium >/dev/null || \
		echo "No Chromium, so no browser tests here. To install it: apt-get install chromium"
	@command -v firefox-esr >/dev/null || \
		echo "No Firefox, so no browser tests in it here. To install it: apt-get install firefox-esr"
	@command -v certutil >/dev/null || \
		echo "No certutil, so no tests of device binding in a browser here. To install it: apt-get install libnss3-tools"
	@PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"; \
	{ command -v initdb && command -v postgres; } >/dev/null || \
		echo "No PostgreSQL server, so no tests against one here. To install it: apt-get install postgresql"
	@PATH="$$PATH:/usr/sbin"; command -v nginx >/dev/null || \
		echo "No nginx, so no tests of the production recipe here. To install it: apt-get install nginx"
	@PATH="$$PATH:/usr/sbin"; \
	missing=$$(for server in haproxy caddy apache2 varnishd; do command -v $$server >/dev/null || echo $${server%d}; done); \
	test -z "$$missing" || \
		echo "No" $$missing"," "so no tests of their recipes here. To install them: apt-get install" $$missing
	@command -v prometheus >/dev/null || \
		echo "No Prometheus, so no test of the alerts here. To install it:" \
			"apt-get install --no-install-recommends prometheus"
	@PATH="$$PATH:/usr/sbin"; command -v pgbouncer >/dev/null || \
		echo "No PgBouncer, so no test behind one here. To install it: apt-get install pgbouncer"
	@{ command -v node && command -v npm; } >/dev/null || \
		echo "No node with npm, so no tests with oidc-provider and Vite here. To install it: apt-get install nodejs npm"
	$(BIN)/pytest -n 4 --dist worksteal --cov --cov-branch --cov-fail-under=95
	@# Four at a time, because most of them wait for browsers and processes, and without coverage, which slows them down.
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m large

lint: install  ## formatting, linting, types, import rules, missing migrations, Django's deployment checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy config accounts protected tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings
	@echo "$(BIN)/python manage.py check --deploy --fail-level WARNING"
	@env -i PATH="$$PATH" ENV_FILE=/dev/null DEBUG=false ALLOWED_HOSTS=example.com API_BASE_URL=https://api.example.com \
	SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))')" \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

bench: install  ## the benchmarks: ratios, measured in one run
	$(BIN)/python -m tests.benchmarks $(ARGS)

storm: install  ## tabs, workers, hosts and faults against a strict API
	$(BIN)/python -m tests.load.storm $(ARGS)

fuzz: install  ## the fuzz tests for MINUTES=10, with other examples than make test
	$(BIN)/python -m tests.fuzz $(MINUTES)

soak: install  ## random users, faults and replaced workers for 10 minutes (ARGS="--minutes 1")
	$(BIN)/python -m tests.load.soak $(ARGS)

matrix:  ## the quick tests on each supported Python and Django, in .nox
	@$(call with,nox) --session matrix -- $(ARGS)

mutate:  ## mutation tests of the code that protects sessions: changes that no test notices
	@$(call with,nox) --session mutate -- $(ARGS)

# --strict: without it, a package that the service does not know would pass.
audit:  ## known vulnerabilities of the packages in requirements.lock
	@$(call with,pip-audit) --strict --progress-spinner off --disable-pip --require-hashes \
		--requirement requirements.lock $(ARGS)

lock:  ## requirements.lock from pyproject.toml; make lock UPGRADE=1 takes the newest versions
	@$(call with,uv) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
		--group production --group telemetry --group test --group lint --group run $(if $(UPGRADE),--upgrade) \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml

clean:  ## delete .venv, caches and coverage, but not the database
	rm -rf .venv .nox mutants .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
