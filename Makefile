# Everything needs only Python >= 3.11 and make; `make test` and `make demo` set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check docs soak clean

demo: .venv/ready
	$(BIN)/mmsearch demo mmsearch-demo

test: check
	$(BIN)/pytest -q -n 2

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# 1,000 kills and many flipped bytes: an hour on two cores. MMSEARCH_SOAK_KILLS sets another number.
soak: .venv/ready
	$(BIN)/pytest -q -s -m soak

docs: .venv/ready
	$(BIN)/python -m mmsearch.cli.reference > docs/cli.md

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $@

clean:
	rm -rf .venv build dist mmsearch-demo *.egg-info
