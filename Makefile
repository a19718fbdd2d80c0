# Bindery's commands. `make` alone lists them. Works from a fresh clone with Python 3.11 or newer and make.

VENV := .venv
BIN := $(VENV)/bin
# PYTHON=… names the interpreter for the virtual environment; without it the newest on PATH that will do is taken.
export PYTHON
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# Four workers suit two cores, since much of a test is waiting; a module stays on one, with what it has started.
# ARGS go to the command behind the target, as in `make unit ARGS="-k renewal"`.
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope --no-loadscope-reorder

# Where `install` puts things: PREFIX is where the code goes, DESTDIR stands for / in a package.
PREFIX ?= /opt/bindery
PLACES = --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

export PIP_ROOT_USER_ACTION := ignore
# Images and build machines often forbid it; then every process here would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run install upgrade uninstall test coverage proof lint types unit e2e bench format counterparts check-container migrations migrate setup-link clean

help: ## List these targets
	@echo "Bindery: make TARGET [ARGS=\"…\"]"
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

run: $(VENV)/ready-run ## Start the portal; makes all it needs the first time
	@[ "$$(id -u)" != 0 ] || echo "bindery: this is root. It works, but everything that is made in the data directory will be root's." \
	  "\`make install\` gives the portal a user of its own." >&2
	@exec $(BIN)/python manage.py up $(ARGS)

# The service may not come near a home, so it gets a Python and a virtual environment of its own.
install: ## As root: install Bindery as a systemd service, or upgrade it (DATA=./data takes along what `make run` made)
	@python=$$(OUTSIDE_HOMES=1 deploy/find_python.sh) && exec "$$python" -B deploy/install.py install $(PLACES) --data "$(DATA)"

upgrade: ## Put the version of this checkout (after git pull) in place of the one that runs; as root for a service
	@python=$$([ ! -e /etc/systemd/system/bindery.service ] || export OUTSIDE_HOMES=1; deploy/find_python.sh) && \
	  exec "$$python" -B deploy/upgrade.py --prefix "$(PREFIX)"

uninstall: ## As root: take the service away; data, settings and secrets stay
	@python=$$(OUTSIDE_HOMES=1 deploy/find_python.sh) && exec "$$python" -B deploy/install.py uninstall $(PLACES)

test: $(VENV)/ready-dev ## Lint, types, unit and end-to-end tests: all that continuous integration runs
	@$(MAKE) --no-print-directory counterparts
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(PYTEST) $(ARGS)

coverage: $(VENV)/ready-dev counterparts ## The unit and end-to-end tests under coverage, which doubles their time
	@COVERAGE_PROCESS_START=pyproject.toml $(PYTEST) $(ARGS)

proof: $(VENV)/ready-dev counterparts ## The long versions of the end-to-end tests
	@$(BIN)/python -m pytest -q -m proof -rP $(ARGS)

lint: $(VENV)/ready-dev ## Format and lint rules (ruff)
	@$(BIN)/ruff format --check --quiet . || { echo "Run \`make format\`." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .

types: $(VENV)/ready-dev ## Static types (mypy, strict)
	@$(BIN)/mypy --no-error-summary

unit: $(VENV)/ready-dev ## Unit tests only
	@$(PYTEST) --ignore=tests/e2e $(ARGS)

e2e: $(VENV)/ready-dev counterparts ## End-to-end tests only, against the real counterparts
	@$(PYTEST) tests/e2e $(ARGS)

bench: $(VENV)/ready-dev counterparts ## Measure hot swap, issuance, start and search; prints tables
	@for script in bench/[a-z]*.py; do $(BIN)/python -m "bench.$$(basename "$$script" .py)" $(ARGS) || exit 1; done

format: $(VENV)/ready-dev ## Rewrite the code in the project's format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

counterparts: $(VENV)/ready-dev ## Fetch what the end-to-end tests meet: pebble, Chromium, PostgreSQL, web servers, proxies
	@$(BIN)/python -m tests.harness.counterparts

check-container: $(VENV)/ready-dev ## Walk through the Dockerfile's steps in a clean directory, without a container engine
	@$(BIN)/python -m tests.harness.container $(ARGS)

migrations: $(VENV)/ready-dev ## Write migrations for changed models
	@BINDERY_HOME=$${BINDERY_HOME:-.cache/migrations} BINDERY_SECRET_KEY=x $(BIN)/python manage.py makemigrations $(ARGS)

migrate: $(VENV)/ready-run ## Bring the database up to date without starting the portal
	@$(BIN)/python manage.py migrate $(ARGS)

setup-link: $(VENV)/ready-run ## Print a new one-time link while there is no administrator
	@$(BIN)/python manage.py setup_link

clean: ## Remove the virtual environment, caches and artefacts; the data directory stays
	@rm -rf $(VENV) $(VENV)-next $(VENV)-before .cache artifacts static-root .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `unfinished` is left behind where packages were being installed when all ended: then nothing there can be relied on.
packages = touch $(VENV)/unfinished && $(PIP) install -r $(1); code=$$?; rm -f $(VENV)/unfinished; exit $$code

$(VENV)/ready-run: requirements.txt $(VENV)/made
	@echo "Installing Bindery's packages into $(VENV) …" >&2
	@$(call packages,requirements.txt)
	@touch $@

$(VENV)/ready-dev: requirements.txt requirements-dev.txt $(VENV)/made
	@echo "Installing Bindery's packages and the developer tools into $(VENV) …" >&2
	@$(call packages,requirements-dev.txt)
	@touch $@ $(VENV)/ready-run

# Looked at each time: an upgrade of the system may have taken its Python away.
$(VENV)/made: FORCE
	@if [ -e $@ ] && [ ! -e $(VENV)/unfinished ] && $(BIN)/python -c 'import pip' >/dev/null 2>&1; then exit 0; fi; \
	python=$$(deploy/find_python.sh) || exit 1; \
	"$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	echo "bindery: $$python could not make the virtual environment $(VENV); its message is above." >&2; exit 1

FORCE:
