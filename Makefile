# From a fresh clone `make demo` and `make test` need only Python 3.11+, make and git.

VENV := .venv
BIN := $(VENV)/bin
# What `make demo` needs, and what the tests need besides.
CORE_STAMP := $(VENV)/.installed
STAMP := $(VENV)/.installed-dev
PACKAGES := data_specs models tasks flows deploy benchmarks tests
# The pages whose prose is checked.
PAGES := README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md deploy/README.md docs

# A clean environment without extras, for the two targets that prove that the core is enough.
CLEAN := .venv-core
CLEAN_STAMP := $(CLEAN)/.installed
# The tests that touch what an extra might be needed for; pytest lies beside the environment, not in it.
CORE_TESTS := tests/models/perception tests/models/training/losses/test_grounding.py tests/tasks/objectclear \
	tests/tasks/objectclear/test_seeing_work.py tests/flows/cli/test_main.py \
	tests/flows/cli/test_train_perception.py tests/flows/objectclear/test_compositing.py \
	tests/flows/cli/test_remove_command.py --ignore=tests/models/perception/test_convert.py --ignore=tests/tasks/objectclear/test_export_ober.py \
	--ignore=tests/tasks/objectclear/test_train_on_version.py

# Where torch and torchvision come from, such as https://download.pytorch.org/whl/cpu for those without CUDA.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# One numeric thread a process: the tests run as many processes as there are cores.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check slow benchmarks test-core test-wheel docs format map reference clean

help:
	@echo "make demo        run the whole cycle on the sample clip and write report.html"
	@echo "make test        check the code, then run every test but the slow ones"
	@echo "make check       formatting, lint, types, order of imports, declared packages, prose"
	@echo "make slow        the tests that take minutes"
	@echo "make benchmarks  run each benchmark with its defaults; print its seconds and ratio"
	@echo "make test-core   tests in an environment without extras"
	@echo "make test-wheel  build the wheel and use it there, away from this folder"
	@echo "make docs        build the pages into site/, strictly and offline"
	@echo "make format      repair formatting and what lint can repair"
	@echo "make map         write docs/development/code-map.md from each file's first line"
	@echo "make reference   write docs/reference/ from the code"
	@echo "make clean       remove what was built, the virtual environments too"
	@echo
	@echo "TORCH_INDEX=https://download.pytorch.org/whl/cpu installs torch without CUDA,"
	@echo "which is several GB less; it counts where nothing is installed yet (\`make clean\` first)."

demo: $(CORE_STAMP)
	$(BIN)/cleanplate demo

test: check
	$(THREADS) $(BIN)/python -m pytest -m "not slow" -n 2

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/deptry data_specs models tasks flows deploy
	$(BIN)/deptry tests benchmarks --ignore DEP002,DEP004
	$(BIN)/python tests/prose.py $(PAGES)
	$(BIN)/proselint --config .proselintrc.json check $(PAGES)

slow: $(STAMP)
	$(THREADS) $(BIN)/python -m pytest -m slow

# No thread limit: a benchmark sets its own. Nothing else should run beside.
walkthrough: $(STAMP)
	$(THREADS) $(BIN)/python -m pytest -m slow -s tests/walkthrough

benchmarks: $(STAMP)
	$(BIN)/python -m pytest -m slow -s tests/benchmarks/test_defaults.py

test-core: $(CLEAN_STAMP)
	rm -rf build
	$(CLEAN)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps .
	$(CLEAN)/bin/python $(PIP_INSTALL) --upgrade --target $(CLEAN)/test-tools pytest hypothesis
	PYTHONPATH=$(CLEAN)/test-tools $(THREADS) $(CLEAN)/bin/python -m pytest -m "not slow" $(CORE_TESTS)

test-wheel: $(CLEAN_STAMP) $(STAMP)
	rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(CLEAN)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps dist/*.whl
	CLEANPLATE_CLEAN=$(CLEAN) $(THREADS) $(BIN)/python -m pytest tests/deploy/test_installed.py

docs: $(STAMP)
	$(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

map: $(STAMP)
	$(BIN)/python tests/code_map.py

reference: $(STAMP)
	PYTHONPATH=. $(BIN)/python -m tests.reference

clean:
	rm -rf $(VENV) $(CLEAN) build dist *.egg-info site .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PACKAGES) -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on PATH is not yet a Python that runs (version managers leave shims), so each is asked.
FIND_PYTHON = for name in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$name; break; }; done

# Makes the virtual environment $(1), if it is not there.
define make_venv
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "cleanplate needs Python 3.11 or newer with its venv module; none was found on PATH" \
			"(name one with: make PYTHON=/path/to/python $(MAKECMDGOALS))." >&2; exit 1; \
	fi; \
	[ -x $(1)/bin/python ] || $$python -m venv $(1)
	@echo "Installing cleanplate into $(1); the first time takes some minutes."
endef

$(CORE_STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	@$(BIN)/python $(PIP_INSTALL) -e .
	@touch $@

$(STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(VENV))
	@$(BIN)/python $(PIP_INSTALL) -e '.[dev,docs,yolo]'
	@touch $(CORE_STAMP) $@

$(CLEAN_STAMP): pyproject.toml constraints.txt
	$(call make_venv,$(CLEAN))
	@$(CLEAN)/bin/python $(PIP_INSTALL) .
	@touch $@
