# Everything runs in .venv, made here from Python and the package index alone. Paths are relative, so
# that a checkout may lie in a folder with a space in its name.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PYTEST := $(RUN) -m pytest
# Rooms whose every line and branch is covered by their own tests, and by nobody else's.
COVERED := tests/wire tests/protocol
# About half of the time that all tests take.
OUTSIDE := tests/pool tests/cli tests/exchange_live tests/secrets tests/test_logs.py tests/fuzz tests/testing

.PHONY: help demo test test-inside test-outside check docs format interop property fuzz fleet flood activity matrix typed proto clean

help:
	@echo "make demo      fifty accounts on the embedded exchange: log in, trade, lose connections, come back"
	@echo "make test      the whole test suite; wire and protocol must be covered completely"
	@echo "make check     lint, format, types, import direction, exports, documents"
	@echo "make docs      make the generated parts of the documents anew, then check every code block"
	@echo "make interop   the vendor's SDK against the embedded exchange, and its defects shown (its own venvs)"
	@echo "make fuzz      bad input for FUZZ_SECONDS (600): cases without sockets, and a siege over real ones"
	@echo "make property  the exchange in random play against a slow second opinion, for minutes"
	@echo "make fleet     what 1,000 accounts cost: time until all are up, memory, CPU while idle"
	@echo "make activity  ten minutes of house traders: whether the exchange's memory stays flat, and its CPU"
	@echo "make flood     the exchange's frames per second beside the pool's, for 1 and for 1,000 connections"
	@echo "make matrix    every Python that is promised and found here: suite, wheel, sdist, commands, types"
	@echo "make typed     mypy and pyright on a user's programs, against the installed package (part of matrix)"
	@echo "make proto     generate wire/schema again from the .proto files (its own venv)"
	@echo "make clean     remove the venvs and what tools left behind"

demo: $(VENV)/.installed-demo
	$(RUN) -m smarkets_pool demo

# Side by side, since each part alone keeps one core busy; what a part said comes whole at its end.
test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-inside test-outside

# What holds without a pool: the covered rooms, with their coverage, and everything else in its own time.
test-inside:
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest $(COVERED)
	$(RUN) -m coverage report
	$(PYTEST) $(addprefix --ignore=,$(COVERED) $(OUTSIDE))

# Pools, processes, and the exchange on a socket.
test-outside:
	$(PYTEST) $(OUTSIDE)

check: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) tests/typed/check.py --checkout
	$(PYTEST) tests/test_shape.py tests/documents --ignore=tests/documents/test_document_programs.py

# Some parts of the documents are made from the code: see docs/generate.py.
docs: $(VENV)/.installed-dev
	$(RUN) docs/generate.py
	$(PYTEST) -s tests/documents

format: $(VENV)/.installed-dev
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# --- the vendor's SDK ---------------------------------------------------------------------------
# It was made for protobuf 3.20 and, with TLS, a Python before 3.12. What it cannot do with newer ones is
# shown in a second venv. Without a Python that fits, what it would have shown is said to be missing.
INTEROP_PYTHON ?= $(or $(shell $(PYTHON) tests/interop/pythons.py below 3.12),$(PYTHON))
NEWER_PYTHON ?= $(or $(shell $(PYTHON) tests/interop/pythons.py from 3.12),$(PYTHON))
INTEROP_VENVS := .venv-interop .venv-interop-newer

interop: $(VENV)/.installed-demo $(INTEROP_VENVS:=/.installed)
	$(RUN) tests/interop/run.py $(INTEROP_VENVS:=/bin/python)

.venv-interop/.installed: tests/interop/requirements.txt
	"$(INTEROP_PYTHON)" -m venv --clear .venv-interop
	.venv-interop/bin/python -m pip install -q -r tests/interop/requirements.txt
	touch $@

.venv-interop-newer/.installed: tests/interop/requirements-newer.txt
	"$(NEWER_PYTHON)" -m venv --clear .venv-interop-newer
	.venv-interop-newer/bin/python -m pip install -q -r tests/interop/requirements-newer.txt
	touch $@

# --- bad input ----------------------------------------------------------------------------------
# What is found is written to .fuzz, with the command that plays it again. Without a wheel of atheris for this
# Python the cases come from a seed, and not from what earlier ones reached.
FUZZ_SECONDS ?= 600

fuzz: $(VENV)/.installed-dev .venv-fuzz/.installed
	$(RUN) -m tests.fuzz.run $(FUZZ_SECONDS) .venv-fuzz/bin/python

.venv-fuzz/.installed: tests/fuzz/requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-fuzz
	.venv-fuzz/bin/python -m pip install -q -e '.[all]' coverage
	-.venv-fuzz/bin/python -m pip install -q --only-binary :all: -r tests/fuzz/requirements.txt
	touch $@

# --- random play --------------------------------------------------------------------------------
# PROPERTY passes arguments on: make property PROPERTY='--seed 123 --rounds 1'.
property: $(VENV)/.installed-dev
	$(RUN) -m tests.exchange.property $(PROPERTY)

# --- figures ------------------------------------------------------------------------------------
fleet: $(VENV)/.installed-demo
	$(RUN) benchmarks/fleet.py

flood: $(VENV)/.installed-demo
	$(RUN) benchmarks/flood.py

activity: $(VENV)/.installed-demo
	$(RUN) benchmarks/activity.py

# --- every Python, and the package as it is installed ----------------------------------------------
# MATRIX passes arguments on: make matrix MATRIX='--python 3.12 --suite tests/wire'. It takes minutes per
# Python, so nothing calls it that has to be quick.
matrix:
	$(PYTHON) -m tests.matrix.run $(MATRIX)

typed:
	$(PYTHON) -m tests.matrix.run --only typed $(MATRIX)

# --- the schema ---------------------------------------------------------------------------------
SCHEMA := smarkets_pool/wire/schema

proto: .venv-proto/.installed
	.venv-proto/bin/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
		$(SCHEMA)/eto.proto $(SCHEMA)/seto.proto

# A newer generator's code does not load on protobuf 6: see docs/adr/0002-dependencies.md.
.venv-proto/.installed:
	$(PYTHON) -m venv .venv-proto
	.venv-proto/bin/python -m pip install -q grpcio-tools==1.72.2 'setuptools<81'
	touch $@

# --- the venv -----------------------------------------------------------------------------------
$(VENV)/.installed-demo: pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -e '.[all]'
	touch $@

$(VENV)/.installed-dev: pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -e '.[dev]'
	touch $@ $(VENV)/.installed-demo

clean:
	rm -rf .venv $(INTEROP_VENVS) .venv-fuzz .venv-matrix .venv-proto
	rm -rf .fuzz .coverage .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
