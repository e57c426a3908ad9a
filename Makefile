# make help lists the targets. VENV and PYTHON may be set: make install PYTHON=python3.12

SHELL := /bin/bash
VENV ?= .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help install demo test lint docs oracles clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*##/ {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv with edge_vla and, where there is no ROS 2, ROS 2 from PyPI

$(STAMP): setup.py package.xml tools/install.sh
	@tools/install.sh "$(VENV)" "$(PYTHON)"
	@touch $@

demo: $(STAMP)  ## Fly three instructions over ROS 2 in the simulator; see out/demo/
	@$(BIN)/edge-vla demo $(ARGS)

test: $(STAMP)  ## Run every test: unit, property, golden, live ROS on loopback, linters
	@tools/test.sh $(BIN)/python $(ARGS)

lint: $(STAMP)  ## Check style alone
	@$(BIN)/ruff check . && echo 'style: clean'

docs: $(STAMP)  ## Write the documentation to doc/_build/index.html
	@$(BIN)/python -m sphinx -W -q -b html doc doc/_build
	@echo "open doc/_build/index.html"

oracles: $(STAMP)  ## Add PyTorch and transformers, so that tests against them no longer skip
	@echo 'Installing PyTorch and transformers (several GB where pip brings the CUDA build)'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[oracle]'

clean:  ## Remove what was built (not .venv, not out/)
	@rm -rf build dist install log doc/_build *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find edge_vla test -name __pycache__ -type d -exec rm -rf {} +
	@echo 'clean'
