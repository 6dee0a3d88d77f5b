# Each target sets up .venv first. What is already there is not touched, so a second call starts at once.
#
# The set-up has three stages, each with a stamp in .venv that is removed before the stage begins and written when it
# has ended, so that whatever was interrupted is done again.

LOGDIR      ?= runs/digits
# The test bits/dim is lowest after 25 to 30 epochs: soon after, 1500 digits are learned by heart. `sample` takes the best.
TRAIN_FLAGS ?= --n_levels 2 --depth 16 --width 128 --n_bits_x 4 --flow_coupling 1 --learntop --ycond --weight_y 0.05 \
	--anchor_size 8 --n_train 1500 --epochs_warmup 2 --polyak_epochs 5 --polyak --memory store \
	--epochs_full_valid 5 --epochs_full_sample 10 --epochs 30 --resume
PYTEST_FLAGS ?= -n 2 --dist worksteal
BENCH       ?= $(wildcard tests/benchmarks/bench_*.py)
PYTHON      ?=
HOROVOD     ?= yes
MATRIX      ?=

PIP := .venv/bin/python -m pip install --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help env train test matrix lint bench clean distclean
.NOTPARALLEL:
.SUFFIXES:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12        the Python that .venv is made of (3.10, 3.11 or 3.12; without Horovod also 3.13)"
	@echo "  HOROVOD=no               leave Horovod out: no C++ compiler needed, one process only"
	@echo "  LOGDIR, TRAIN_FLAGS      where 'make train' writes, and flags for train.py"
	@echo "  PYTEST_FLAGS             flags for pytest, such as -m 'not slow'"
	@echo "  MATRIX                   arguments of nox, such as --list or \"-s 'tests(2.16.2)' -- -m 'not slow'\""
	@echo "  BENCH                    the scripts of tests/benchmarks that 'make bench' runs"

train: env  ## Train on the digits that come with the project, and draw samples into $(LOGDIR)/samples.png
	.venv/bin/python train.py --problem digits --logdir $(LOGDIR) $(TRAIN_FLAGS)
	.venv/bin/python -m glow_tf sample $(LOGDIR) --weights best --n 100 --columns 10 --temperature 0.7 --scale 6 \
		--out $(LOGDIR)/samples.png

test: lint  ## Check style and types, then run the tests
	.venv/bin/python -m pytest $(PYTEST_FLAGS)

matrix: .venv/.project  ## Run the tests on TensorFlow 2.16 to 2.21, each in an environment of its own
	.venv/bin/nox $(MATRIX)

lint: env  ## Check style and types
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/zizmor --offline --no-progress --quiet --strict-collection .github

bench: env  ## Run the benchmarks
	$(if $(strip $(BENCH)),,$(error tests/benchmarks has no bench_*.py to run))
	@set -e; for script in $(BENCH); do echo "$$script"; .venv/bin/python "$$script"; done

clean:  ## Remove caches and build products
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -not -path './.git/*' -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv and .nox too; runs/ stays
	rm -rf .venv .nox

env: .venv/.project $(if $(filter no,$(HOROVOD)),,.venv/.horovod)  ## Only set up .venv

# ---- What the machine must have, asked before anything is downloaded. -----------------------------------------------

# The first Python that can be used; if there is none, the first that comes nearest. Each is run, because a name on
# PATH may be a pyenv shim with nothing behind it.
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.10 $(if $(filter no,$(HOROVOD)),python3.13) python3)
NEWEST  := $(if $(filter no,$(HOROVOD)),13,12)
PROBE   := import sys, importlib.util as u; v = sys.version_info[:2]; print("%d.%d" % v, \
	"unsupported" if not (3, 10) <= v <= (3, $(NEWEST)) else "usable" if u.find_spec("ensurepip") else "bare")
find_python = $(shell for p in $(PYTHONS); do r=$$("$$p" -c '$(PROBE)' 2>/dev/null) && echo "$$p $$r"; done | \
	awk '$$3 == "usable" && !u { u = $$0 } $$3 == "bare" && !b { b = $$0 } !x { x = $$0 } \
	     END { print u ? u : b ? b : x }')

need_python = $(eval found := $(find_python))$(eval verdict := $(word 3,$(found)))$(strip \
	$(if $(verdict),,$(error $(if $(PYTHON),PYTHON=$(PYTHON) does not run,no Python found): $(get_python)))\
	$(if $(filter unsupported,$(verdict)),$(error $(word 1,$(found)) is Python $(word 2,$(found)), \
	which $(if $(filter no,$(HOROVOD)),has no pinned TensorFlow,Horovod does not build on): $(get_python)))\
	$(if $(filter bare,$(verdict)),$(error $(word 1,$(found)) cannot make virtual environments: install python3-venv \
	(Debian, Ubuntu: apt-get install python$(word 2,$(found))-venv))))
get_python = install Python 3.10, 3.11 or 3.12 (Debian, Ubuntu: apt-get install python3 python3-venv) \
	or name one with PYTHON=/path/to/python$(if $(filter no,$(HOROVOD)),, (3.13 will do with HOROVOD=no))

# Make's own default for CXX is g++ whether or not there is one; a CXX that the user sets is kept.
CXX_FOUND = $(if $(filter default undefined,$(origin CXX)),$(firstword $(foreach \
	c,c++ g++ clang++,$(shell command -v $(c) 2>/dev/null))),$(CXX))
cxx_fails = $(shell echo 'int main() { return 0; }' | \
	$(CXX_FOUND) -include vector -x c++ -fsyntax-only - >/dev/null 2>&1 || echo yes)
need_cxx  = $(strip $(if $(filter no,$(HOROVOD)),,$(if $(CXX_FOUND),$(if $(cxx_fails),$(error \
	$(CXX_FOUND) does not compile C++: $(get_cxx))),$(error no C++ compiler found: $(get_cxx)))))
get_cxx   = install g++ (Debian, Ubuntu: apt-get install g++), which builds Horovod, or leave Horovod out with HOROVOD=no

# ---- 1. The packages of requirements.txt. The stamp is the copy of it that was installed. ---------------------------

# By content, not by date: a checkout that touches the file costs nothing.
ifneq ($(shell cmp -s requirements.txt .venv/.requirements && echo same),same)
.PHONY: .venv/.requirements
endif

# A .venv without the stamp is made anew: pip cannot be trusted to mend half a package.
.venv/.requirements:
	$(need_python)$(need_cxx)
	@[ -e $@ ] && .venv/bin/python -m pip --version >/dev/null || { \
	    echo "Setting up .venv with $(word 1,$(found)) (Python $(word 2,$(found)))"; \
	    $(word 1,$(found)) -m venv --clear .venv; }
	@rm -f $@
	$(PIP) -r requirements.txt
	@cp requirements.txt $@

# ---- 2. This project, so that its packages are found from any folder. -----------------------------------------------

.venv/.project: pyproject.toml .venv/.requirements
	@rm -f $@
	$(PIP) --quiet --no-deps --no-build-isolation -e .
	@touch $@

# ---- 3. Horovod, compiled against the TensorFlow of stage 1. The stamp says what was built, and how. ----------------

HOROVOD_PIN := $(shell sed -n 's/^. second step: *//p' requirements.txt)
HOROVOD_ENV := HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1 \
	$(if $(HOROVOD_WITH_MPI),,HOROVOD_WITHOUT_MPI=1) \
	$(if $(HOROVOD_GPU_OPERATIONS),HOROVOD_GPU_OPERATIONS=$(HOROVOD_GPU_OPERATIONS))
HOROVOD_KEY := $(HOROVOD_PIN) $(shell grep '^tensorflow==' requirements.txt) $(strip $(HOROVOD_ENV))

ifneq ($(shell cat .venv/.horovod 2>/dev/null),$(HOROVOD_KEY))
.PHONY: .venv/.horovod
endif

# --no-build-isolation, or the build does not see TensorFlow; --no-cache-dir, or pip takes the wheel it once built
# against another TensorFlow; MAKEFLAGS, because Horovod's build would take ours.
.venv/.horovod: .venv/.requirements
	$(need_cxx)
	@.venv/bin/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { \
	    echo "Horovod does not build in this .venv, of Python 3.13: add HOROVOD=no, or make distclean first"; exit 1; }
	@[ "$$(cat $@ 2>/dev/null)" != "$(HOROVOD_KEY)" ] || { touch $@; exit 0; }; rm -f $@; \
	echo "Building $(HOROVOD_PIN) against TensorFlow: this takes a few minutes"; \
	env -u MFLAGS -u MAKELEVEL MAKEFLAGS="-j$$(getconf _NPROCESSORS_ONLN)" CXX="$(CXX_FOUND)" \
	    PATH="$(CURDIR)/.venv/bin:$$PATH" $(HOROVOD_ENV) \
	    $(PIP) --no-deps --ignore-installed --no-build-isolation --no-cache-dir $(HOROVOD_PIN) && \
	TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python -c 'import horovod.tensorflow' && echo "$(HOROVOD_KEY)" > $@
