# `make demo` and `make test` set up what they need in .venv; nothing else on the machine is touched.
# `make demo TASK=derain` (or deblur, denoise) shows another task than dehazing.
#
# A torch without CUDA saves gigabytes: take the index of CPU wheels that pytorch.org's selector shows for pip and run
#   make demo PIP_EXTRA_INDEX_URL=<that index>

PYTHON ?= python3
TASK ?= dehaze
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
READY := $(VENV)/.ready
DEMO := demo_$(TASK)_constyle_restormer

.PHONY: setup demo demo-again test test-all test-gpu lint types options benchmark benchmark-gpu docs docs-serve clean

setup: $(READY)

# BasicSR has no wheel and asks for torch to be built: in isolation that would be downloaded a second time. On Python 3.13
# its setup.py needs help.
$(READY): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; choose one: make PYTHON=python3.11 …"; exit 1; }
	@echo "Setting up $(VENV): torch, BasicSR and this package, with the versions of constraints.txt"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy cython setuptools wheel
	$(PIP) torchvision
	PYTHONPATH=$(CURDIR)/.ci/python313 $(PIP) --no-build-isolation basicsr
	$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/basicsr prepare sample $(TASK)
	$(BIN)/basicsr train -opt options/$(DEMO).yml --auto_resume
	$(BIN)/basicsr test -opt options/test/$(DEMO).yml
	@echo "Input, restored and clean photographs side by side:"
	@ls results/$(DEMO)/visualization/*/*_comparison.png

demo-again:
	rm -rf experiments/$(DEMO) tb_logger/$(DEMO)
	$(MAKE) demo

# A file's tests share what they prepared, so files are what the processes deal out; most tests start processes of their
# own, so each takes one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test: $(READY)
	$(PYTEST)

test-all: $(READY)
	$(PYTEST) -m ''

test-gpu: $(READY)
	$(BIN)/python -m pytest -m '' tests/test_device.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python options/generate.py --check

types: $(READY)
	$(BIN)/mypy

options: $(READY)
	$(BIN)/python options/generate.py
	$(BIN)/python -m website.options

benchmark: $(READY)
	$(BIN)/python -m benchmarks.peers

benchmark-gpu: $(READY)
	$(BIN)/python -m benchmarks.gpu

# mkdocs is run as a module, so that it finds the folder website/.
docs: $(READY)
	$(BIN)/python -m mkdocs build --strict

docs-serve: $(READY)
	$(BIN)/python -m mkdocs serve

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
