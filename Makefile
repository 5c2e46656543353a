# `make` lists what there is. Everything is installed into .venv; nothing else on the machine changes, but for
# Debian's python3-venv where Python comes without it.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help demo check torch test test-tensorflow lint types format overhead faults lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile

demo: $(VENV)/demo  ## install, and search the hyperparameters of a neural network on scikit-learn's digits
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/crayai run examples/digits/digits.toml --dir run/digits

check: lint types test  ## install, and pass all checks and tests

torch: $(VENV)/dev  ## install PyTorch, without which its example is not tested
	$(INSTALL) torch

test-tensorflow: $(VENV)/dev  ## test the example in Keras, with TensorFlow in a virtual environment of its own
	$(PYTHON) -m venv --system-site-packages $(VENV)/tensorflow
	$(VENV)/tensorflow/bin/python -m pip install --quiet --disable-pip-version-check tensorflow --editable '.[dev]'
	$(VENV)/tensorflow/bin/python -m pytest -q tests/test_training_examples.py -k keras

test: $(VENV)/dev  ## the tests alone; most of their time they wait, so three run at once
	$(BIN)/python -m pytest -q --numprocesses 3 --dist worksteal

lint: $(VENV)/dev  ## format and lint
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .

types: $(VENV)/dev  ## static types
	$(BIN)/mypy

format: $(VENV)/dev  ## write the format and the safe repairs
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

overhead: $(VENV)/dev  ## measure what the driver costs
	$(BIN)/python benchmarks/overhead.py

faults: $(VENV)/dev  ## write docs/faults.md from the tests
	$(BIN)/python tests/faults.py

lock: $(VENV)/dev  ## record the versions that were tested
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

clean:  ## remove what the targets made
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "installing Debian's python3-venv, which Python needs here"; \
	  apt-get update -qq && apt-get install -qq -y python3-venv && $(PYTHON) -m venv $(VENV); } || { \
	  echo "no virtual environment could be made: install Debian's python3-venv" >&2; exit 1; }

$(VENV)/demo: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(INSTALL) --editable '.[examples]'
	@touch $@

$(VENV)/dev: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	@touch $@
