# The two commands: `make demo` and `make test`; each makes .venv first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# ONNX Runtime: cuda where there is an NVIDIA driver; `make RUNTIME=cpu …` decides otherwise
RUNTIME ?= $(if $(shell command -v nvidia-smi),cuda,cpu)
EXTRAS := train,$(RUNTIME),dev,tensorboard
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# for the isolated environment in which pip builds the package, too
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help setup assets probes hosts demo test test-all lint format docs constraints clean

help:
	@echo "make demo      train, export, verify, generate and bench, in about three minutes on two CPU cores"
	@echo "make setup     create .venv and install gantool in it"
	@echo "make test      the test suite (8 minutes on two cores)"
	@echo "make test-all  the test suite with its slow matrices, in every host: installs Node, Chromium and CMake (apt, npm)"
	@echo "make assets    fetch onnxruntime-web for app kits, when there was no network at the setup"
	@echo "make docs      build the documentation site into site/; fails on a broken link"
	@echo "make lint      ruff check, ruff format --check, mypy"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "gantool needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing in .venv: about $(if $(filter cuda,$(RUNTIME)),6,1.5) GB, two to six minutes; pip says nothing meanwhile."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	-@$(BIN)/python hatch_build.py
	@touch $@

# pip runs it too, but shows nothing of it
assets: setup
	$(BIN)/python hatch_build.py

# what `make test-all` holds exported files against; everything but apt's packages goes to .hosts/
APT := $(if $(filter 0,$(shell id -u)),,sudo )apt-get
hosts: setup
	@for tool in node:nodejs npm:npm cmake:cmake g++:g++ chromium:chromium; do \
	  command -v $${tool%%:*} > /dev/null || missing="$$missing $${tool##*:}"; done; \
	  [ -z "$$missing" ] || { $(APT) update -qq && $(APT) install -y --no-install-recommends $$missing; }
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS),parquet,ray]'
	npm install --prefix .hosts --ignore-scripts --no-audit --no-fund onnxruntime-node@1.30.0 onnxruntime-web@1.30.0 typescript@5.9.3 express@5.3.0 p5@2.3.4

demo: setup
	rm -rf demo
	@echo "The training takes two minutes on any machine; on a slow one the digits are worse."
	$(BIN)/gantool train cgan --preset quick --minutes 2 --runs demo/runs
	$(BIN)/gantool export --runs demo/runs -o demo
	$(BIN)/gantool generate demo/generator.seeded.onnx -n 100 -o demo/digits.png
	$(BIN)/gantool bench demo/generator.seeded.onnx
	$(BIN)/python docs/embed.py demo/generator.seeded.onnx demo/embedded.png
	@echo
	@echo "Where everything is:"
	@echo "  demo/digits.png                 100 generated digits, a row of each: look at them"
	@echo "  demo/generator.seeded.onnx      seed, index, label -> uint8 images, for any program with ONNX Runtime"
	@echo "  demo/generator.onnx             latents, label -> float32 images"
	@echo "  demo/generator.torchscript.pt   the same for LibTorch"
	@echo "  demo/embedded.png               made by docs/embed.py, which loads no torch"
	@echo "  demo/runs/0001-cgan-digits/     the run: checkpoints, samples, metrics.jsonl, curves.png"

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: setup hosts
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the graphs that `gantool doctor` runs; they are part of the package
probes: setup
	$(BIN)/python tests/doctor/make_probes.py

docs: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS),docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir site
	@echo "Open site/index.html, or: $(BIN)/python -m mkdocs serve"

# uv resolves for all platforms and Python versions at once; torch's CUDA packages are Linux's only
constraints: setup
	$(BIN)/python -m pip install --quiet uv
	echo 'torch==2.13.0' > .venv/torch.txt
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --no-header --no-annotate \
	  --quiet --constraint .venv/torch.txt -o .venv/resolved.txt
	sed -E -e 's/^(torch==[0-9.]+).*/\1/' -e "s/^((nvidia|cuda|triton)[^ ]*) ;.*/\1 ; sys_platform == 'linux'/" \
	  .venv/resolved.txt | sort -u > .venv/pins.txt
	{ head -n 2 constraints.txt; cat .venv/pins.txt; } > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

clean:
	rm -rf .venv .hosts demo site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
