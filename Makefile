# make env            .venv with the tested versions, and the C++ kernels
# make demo           interpolates the bundled clip
# make test           all tests; make test-fast: those for daily work
# make lint           ruff check, ruff format
# make static-report  registers, spills and occupancy of every kernel, without a GPU;
#                     fails where one is worse than recorded (RECORD=1 records it,
#                     ARCH="86 89" takes these GPUs only)
# make compile-oldest compiles every kernel with the oldest supported Triton for three
#                     architectures; fails on a spill
# make gpu            tests, sanitizer, benchmarks, tuning, counters and report on a GPU
#                     (PART=1, 2 or 3: a third in 540 s; MINUTES=n, STEPS="names", FOLDER=results)
# make gpu-dry-run    its steps on a CPU at toy size
# make report         tables and charts of the recorded benchmarks
# make sanitize       the C++ kernels under AddressSanitizer and UBSan
# make clean          removes what was built; rm -r .venv removes the environment
#
# PYTHON=python3.12 make env   uses another Python than python3
# CUDA=all make env            builds the CUDA kernels for every GPU; CUDA=off for none

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/lift-installed
BUILT := $(VENV)/lift-built
JOBS ?= 2
CUDA ?= auto

# The oldest supported Triton, beside the newest: register use depends on the version.
OLDEST := $(shell sed -n 's/^ *"triton>=\([0-9.]*\).*/\1/p' pyproject.toml)
OLDEST_FLAGS := --triton $(OLDEST) --arch 80 --arch 89 --arch 100
OLDEST_TRITON := build/triton-$(OLDEST)

.PHONY: env demo test test-fast lint sanitize static-report compile-oldest report
.PHONY: gpu gpu-dry-run clean
.DELETE_ON_ERROR:

env: $(BUILT)

$(STAMP): setup.py pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "lift: error: $(PYTHON) was not found; install Python 3.10 or newer, or name one:" \
	    "make env PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "lift: error: $$($(PYTHON) -V 2>&1) is too old; LIFT needs 3.10 or newer:" \
	    "make env PYTHON=/path/to/python3" >&2; exit 1; }
	@$(RUN) -c '' 2>/dev/null || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "lift: error: this Python cannot create environments; install its venv module" \
	    "(Debian and Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	@$(RUN) -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip
	LIFT_EXTENSION=off $(RUN) -m pip install --disable-pip-version-check \
	  --constraint constraints.txt --editable ".[test]"
	@touch $@

$(BUILT): $(STAMP) $(shell find csrc -type f) $(wildcard kernels/extension/*.py)
	@if $(RUN) -m lift.kernels.extension --install-nvcc --cuda $(CUDA); then touch $@; \
	  else echo "lift: warning: the C++ kernels are not built;" \
	    "LIFT works without them, slower on a CPU; make env tries again" >&2; fi

demo: env
	$(RUN) -m lift demo

test: env
	$(RUN) -m pytest -n $(JOBS) --dist worksteal --benchmark-disable

test-fast: env
	$(RUN) -m pytest -n $(JOBS) --dist worksteal --benchmark-disable -m "not slow"

lint: env
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check --quiet .

static-report: env
	$(RUN) -m benchmarks.static.report $(if $(RECORD),--record) $(addprefix --arch ,$(ARCH))

$(OLDEST_TRITON)/lift-installed: $(STAMP)
	rm -rf $(OLDEST_TRITON)
	timeout 600 $(RUN) -m pip install --disable-pip-version-check --no-deps \
	  --target $(OLDEST_TRITON) "triton==$(OLDEST)"
	@touch $@

compile-oldest: env $(OLDEST_TRITON)/lift-installed
	PYTHONPATH=$(CURDIR)/$(OLDEST_TRITON) $(RUN) -m benchmarks.static.compile $(OLDEST_FLAGS)

report: env
	$(RUN) -m benchmarks.report.build

# Uses the machine's Python where there is no .venv, so that it works without a network.
gpu:
	benchmarks/gpu.sh $(PART) $(if $(MINUTES),--minutes $(MINUTES)) \
	  $(if $(STEPS),--steps "$(STEPS)") $(FOLDER)

gpu-dry-run: env
	benchmarks/gpu.sh --dry-run $(FOLDER)

# A second build of the C++ kernels in a copy of the sources, and their tests.
sanitize: env
	rm -rf build/sanitize && mkdir -p build/sanitize
	cp -r setup.py pyproject.toml lift kernels csrc tests benchmarks build/sanitize
	rm -f build/sanitize/kernels/_C*
	cd build/sanitize && LIFT_BUILD_DIR= \
	  CXX="c++ -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	  $(CURDIR)/$(RUN) -m lift.kernels.extension
	cd build/sanitize && OMP_NUM_THREADS=1 ASAN_OPTIONS=detect_leaks=0 \
	  LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
	  $(CURDIR)/$(RUN) -m pytest -p no:cacheprovider -k cpp \
	  $(addprefix tests/kernels/test_,warp_blend_cpp.py warp_blend_parity.py \
	  grid_sample_parity.py correlation_parity.py lucas_kanade_parity.py)

clean:
	rm -rf build dist *.egg-info kernels/_C.* kernels/_cuda.* $(BUILT)
	rm -rf .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
