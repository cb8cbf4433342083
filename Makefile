PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-floor fuzz check format bench clean chaos

# One environment for everything; made anew when what it is made from changes.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[gdrive]" --group dev
	touch $@

# On a copy, so that the example in this checkout stays as it is. The private tables lie here because the patients are
# those of a public data set; in real life each is at its own hospital.
DEMO := .demo/diabetes
demo: $(STAMP)
	rm -rf .demo
	mkdir .demo
	cp -R examples/diabetes $(DEMO)
	$(BIN)/syft-flwr bootstrap $(DEMO) -a ds@research.org -d do1@hospital-a.org -d do2@hospital-b.org
	$(BIN)/syft-flwr run $(DEMO) -m $(DEMO)/data/hospital_a/private -m $(DEMO)/data/hospital_b/private \
		--output-dir .demo/output --log-dir .demo/logs
	cd $(DEMO) && "$(CURDIR)/$(BIN)/python" -m diabetes_prediction.results "$(CURDIR)/.demo/output"

# Server and data owners killed 200 times at random, and once at every named step; ten minutes.
chaos: $(STAMP)
	CHAOS_KILLS=$${CHAOS_KILLS:-200} $(BIN)/pytest tests/chaos

# Ten minutes; the figures count only if nothing else runs on the machine.
bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Most tests wait for processes; three at a time is what two cores bear.
TEST_PROCESSES ?= 3
test: $(STAMP)
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal

# The oldest releases that pyproject.toml allows.
test-floor: $(STAMP)
	test -x .venv-floor/bin/python || $(PYTHON) -m venv .venv-floor
	$(BIN)/uv pip install --quiet --resolution lowest-direct --python .venv-floor/bin/python --editable ".[gdrive]" --group dev
	.venv-floor/bin/python -m pytest tests/unit tests/contract tests/checkpoints tests/conformance tests/faults/resume

# Each reader of what others wrote, one after the other, for so many seconds; what is found lies in .fuzz/.
FUZZ_SECONDS ?= 60
fuzz: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group fuzz
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) .venv-floor .demo .fuzz
