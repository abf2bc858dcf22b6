# Each target makes its own environment in .venv; all it needs is Python 3.11 or newer.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
TRITONCLIENT := tritonclient==2.73.0

.PHONY: demo test test-slow lint bench faults clean

demo: $(VENV)/.bedside
	$(BIN)/hypnostream demo --out demo-report

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/hypnostream bench

# What is promised when something breaks, and what is seen; five minutes.
faults: $(VENV)/.dev
	$(BIN)/python -m benchmarks.faults

# What a bedside needs: no torch.
$(VENV)/.bedside: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

# What training and the tests need. Torch comes first and pinned: otherwise pip brings gigabytes of CUDA.
$(VENV)/.dev: $(VENV)/.bedside pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[train,web,dev]"
# For Triton's schema alone; what it needs does not fit what onnx needs.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TRITONCLIENT)
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache demo-report
