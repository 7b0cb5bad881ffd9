# From a fresh clone `make demo` and `make test` need only Python 3.11+, make and git.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ROOMS := data_specs models tasks flows deploy benchmarks tests

# One numeric thread a process: the tests run as many processes as there are cores.
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check slow format map clean

help:
	@echo "make demo    run the whole cycle on the sample clip and write report.html"
	@echo "make test    check the code, then run every test but the slow ones"
	@echo "make check   formatting, lint, types, one-way rooms"
	@echo "make slow    the tests that take minutes"
	@echo "make format  mend formatting and what lint can mend"
	@echo "make map     rewrite the README's map from each file's first line"
	@echo "make clean   remove what was built, the virtual environment too"

demo: $(STAMP)
	$(BIN)/cleanplate demo

test: check
	$(THREADS) $(BIN)/python -m pytest -m "not slow" -n 2

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

slow: $(STAMP)
	$(THREADS) $(BIN)/python -m pytest -m slow

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

map: $(STAMP)
	$(BIN)/python tests/readme_map.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +

# A name on PATH is not yet a Python that runs (version managers leave shims), so each is asked.
FIND_PYTHON = for name in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	$$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$name; break; }; done

$(STAMP): pyproject.toml constraints.txt
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
		echo "cleanplate needs Python 3.11 or newer with its venv module; none was found on PATH" \
			"(name one with: make PYTHON=/path/to/python $(MAKECMDGOALS))." >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || $$python -m venv $(VENV)
	@echo "Installing cleanplate into $(VENV); the first time takes some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,perception]'
	@touch $@
