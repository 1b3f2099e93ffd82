# Everything a fresh machine needs is a Python >= 3.9, make and a package index. uv lives in .uv/,
# what it installs in .venv/; nothing outside this folder changes.
.DEFAULT_GOAL := help
.PHONY: help dev test chaos check gen lock bench bench-full bench-smoke fmt clean release-contracts setup images
.DELETE_ON_ERROR:

UV_VERSION := 0.13.9
BOOTSTRAP ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
PYTHON := $(BIN)/python
MEMBERS := proto platform services/gateway services/user_creation services/welcome_email services/data_warehouse services/crm
# The names under which the members are built; the lock leaves them out.
PACKAGES := acme-contracts seaway gateway user-creation welcome-email data-warehouse crm
# Each of these is an image; `platform` alone is the monitor's.
DEPLOYED := platform $(filter services/%,$(MEMBERS))
DOCKER ?= docker
IMAGES ?= seaway
TAG ?= dev
BUILD := build
DIST := dist
# Files of tests that run at once, if all of them do. Most wait for a broker or a process.
AT_ONCE ?= 3
# In the order of tests/conftest.py: of its own accord xdist begins with the files of most tests,
# and ends with those of one that takes minutes.
BY_FILE := --dist loadfile --no-loadscope-reorder
# Of the platform's branches, in percent: fewer fail the whole of `make test`, and no part of it.
COVERED := 95
READY := .venv/.ready

help: ## show what you can do here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: $(READY) ## start everything: broker, services; Ctrl-C stops it
	@exec $(BIN)/seaway dev $(ARGS)

test: $(READY) ## run all tests (ARGS='-k watch' for some)
	@$(BIN)/pytest --cov --cov-report=term-missing:skip-covered $(if $(ARGS),,--cov-fail-under=$(COVERED) -n $(AT_ONCE) $(BY_FILE)) $(ARGS)

# Two at a time: of three on two cores the kill loop has too little left to answer in time.
chaos: $(READY) ## every fault in full size, an hour or so (SEAWAY_SEED=n repeats it, SEAWAY_CHAOS=long takes hours)
	@SEAWAY_CHAOS=$${SEAWAY_CHAOS:-full} $(BIN)/pytest $(if $(findstring tests/,$(ARGS)),,tests/chaos) --durations=0 --durations-min=5 $(if $(ARGS),,-n 2 $(BY_FILE)) $(ARGS)

check: $(READY) ## format, lint, types, layers, contracts, generated code, lock
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PYTHON) proto/generate.py --check
	$(PYTHON) services/gateway/web/build.py --check
	$(PYTHON) deploy/observability/generate.py --check
	cd proto && ../$(BIN)/buf lint contracts.binpb --path acme --path seaway
	cd proto && ../$(BIN)/buf breaking contracts.binpb --against released.binpb --path acme --path seaway

gen: $(READY) ## regenerate everything that is made from the .proto files
	$(PYTHON) proto/generate.py

.PHONY: page
page: $(READY) ## build the sign-up page anew; needs Node 20 or newer
	$(PYTHON) services/gateway/web/build.py

.PHONY: dashboards
dashboards: $(READY) ## write dashboards, alerts and the handbook's tables of metrics anew
	$(PYTHON) deploy/observability/generate.py

release-contracts: $(READY) ## what is in the .proto files now is what later changes must not break
	cp proto/contracts.binpb proto/released.binpb

fmt: $(READY) ## format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

BENCH := PYTHONPATH=tests/support $(PYTHON) tests/bench

bench: $(READY) ## speed beside what people would write instead: the headline, in 20 minutes
	@$(BENCH) headline $(ARGS)

bench-full: $(READY) ## … and everything, in two hours
	@$(BENCH) full $(ARGS)

bench-smoke: $(READY) ## … and only whether it works, in two minutes
	@$(BENCH) smoke $(ARGS)

# Versions and hashes, no addresses. What is in an image is a part of what is tested here.
COMPILE = $(UV) pip compile -q --universal --generate-hashes --no-header --no-annotate \
  --python-version 3.12 $(PACKAGES:%=--no-emit-package %)

lock: $(UV) ## renew requirements.lock and, from it, each image's own (ARGS=--upgrade: newer versions)
	$(COMPILE) pyproject.toml $(MEMBERS:%=%/pyproject.toml) --all-extras --group dev --group bench $(ARGS) -o requirements.lock
	@set -e; for member in $(DEPLOYED); do \
	  $(COMPILE) -c requirements.lock $$member/pyproject.toml -o $$member/requirements.lock; done
	$(COMPILE) -c requirements.lock --group build -o deploy/images/build.lock

# For each image: its member, what is started in it, and its name.
EACH_IMAGE = set -e; for member in $(DEPLOYED); do \
  service=$${member\#services/}; module=$$service; \
  case $$member in platform) service=monitor; module=seaway.monitor;; esac; \
  name=$$(echo $$service | tr _ -)

# BASE_IMAGE=python:3.12-slim-bookworm@sha256:… for a release; PIP_CONF=… if your index is not pip's own.
images: ## build the image of each service with docker (BASE_IMAGE=…@sha256:…, TAG=…)
	@$(EACH_IMAGE); image=$(IMAGES)/$$name:$(TAG); echo "$$image"; \
	  DOCKER_BUILDKIT=1 $(DOCKER) $(BUILD) -q $(BASE_IMAGE:%=--build-arg BASE_IMAGE=%) $(PIP_CONF:%=--secret id=pip,src=%) \
	    --build-arg SERVICE=$$service --build-arg MEMBER=$$member --build-arg MODULE=$$module \
	    --build-arg VERSION=$(TAG) --build-arg REVISION=$$(git rev-parse HEAD) -t $$image .; done

.PHONY: sbom charts
sbom: $(READY) ## write what each image holds of Python into dist/sbom, as CycloneDX
	@mkdir -p $(DIST)/sbom
	@$(EACH_IMAGE); echo "$(DIST)/sbom/$$name.cdx.json"; \
	  PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --no-validate --pyproject $$member/pyproject.toml --output-reproducible \
	    -o $(DIST)/sbom/$$name.cdx.json $$member/requirements.lock; done

# A chart knows the images of its own version only, so each of those within gets it, too.
charts: $(READY) ## pack the charts into dist/charts (TAG=…: whose images they install)
	@rm -rf $(DIST)/helm && mkdir -p $(DIST) && cp -a deploy/helm $(DIST)/helm
	@sed -i.before 's/^appVersion: .*/appVersion: $(TAG)/' $(DIST)/helm/*/Chart.yaml && rm $(DIST)/helm/*/*.before
	@for chart in service backbone seaway; do PYTHONPATH=tests/support $(PYTHON) tests/support/helm.py \
	  package $(DIST)/helm/$$chart --destination $(DIST)/charts || exit 1; done
	@rm -rf $(DIST)/helm

# STAND_INS=yes, on a Debian: images made of what is here, for where no registry can be reached.
# Otherwise the images of others are the official ones; each variable of compose.yaml is another.
ifdef STAND_INS
BASE_IMAGE := seaway-stand-in/python
PIP_CONF ?= $(firstword $(wildcard $(PIP_CONFIG_FILE) ~/.config/pip/pip.conf /etc/pip.conf))
export NATS_IMAGE := seaway-stand-in/nats
export POSTGRES_IMAGE := seaway-stand-in/postgres
export MAIL_IMAGE := seaway-stand-in/mail
export PROMETHEUS_IMAGE := seaway-stand-in/prometheus
images: stand-ins
endif

.PHONY: stand-ins test-containers
stand-ins: $(READY)
	@PYTHONPATH=deploy/images $(PYTHON) tests/containers/stand_ins.py $(DOCKER)

# Systems of a broker, a database and services, of which the first two are in containers then.
BESIDE := tests/system/test_killed.py tests/system/test_audit.py
# What is started is ended by the test that did; the reaper would be one more image to fetch.
test-containers: $(READY) images ## build the images, and sign up through them; needs docker (STAND_INS=yes: and no registry)
	@SEAWAY_TEST_CONTAINERS=yes TESTCONTAINERS_RYUK_DISABLED=true \
	  SEAWAY_IMAGES=$(IMAGES) SEAWAY_TAG=$(TAG) DOCKER=$(DOCKER) \
	  $(BIN)/pytest tests/containers tests/contract $(BESIDE) $(ARGS)

clean: ## remove what make made (data of `make dev` too)
	rm -rf .venv .uv .seaway .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*

setup: $(READY) ## install, and do nothing else

# The first line of the work: is there a Python that will do?
$(UV):
	@command -v $(BOOTSTRAP) >/dev/null || { echo "make: no '$(BOOTSTRAP)' found; install Python 3.12 or newer, or say which: make BOOTSTRAP=/path/to/python3"; exit 1; }
	@$(BOOTSTRAP) -m venv .uv || { echo "make: $$($(BOOTSTRAP) --version) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@.uv/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/pyvenv.cfg: .python-version | $(UV)
	@$(UV) python find -q --no-python-downloads '>=3.12' >/dev/null 2>&1 || { \
	  echo "make: Seaway needs Python 3.12 or newer, and found only:"; \
	  $(UV) python list --only-installed 2>/dev/null | awk '{print "  " $$1}' | sort -u; \
	  echo "Install one (python.org, pyenv, your system's packages), then run make again."; exit 1; }
	@rm -rf .venv && $(UV) venv -q --no-python-downloads --python '>=3.12' .venv

# pip sync removes the editable members each time, so both are one step. Ours are compiled, too: a
# machine may be told to keep nothing that it compiles, and each process would do it anew.
$(READY): requirements.lock pyproject.toml Makefile $(MEMBERS:%=%/pyproject.toml) .venv/pyvenv.cfg
	@echo "installing into .venv (about ten seconds the first time)"
	@$(UV) pip sync -q --compile-bytecode --require-hashes requirements.lock
	@$(UV) pip install -q --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	@$(PYTHON) -m compileall -q $(MEMBERS)
	@touch $@
