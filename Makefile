PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests start a thousand processes. Without bytecode files, each of them compiles the package again: 0.2 s.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: FORCE demo picture notebooks lock audit test test-large test-kills test-floor test-syftbox test-flower browser-test tracking-test docs examples fuzz check format bench clean chaos docs-test image-lock service-test docs-check linkcheck

# One line for a Python that is too old, before it makes an environment.
SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11) and "syft-flwr needs Python 3.11 or later, but $(PYTHON) is " \
	+ sys.version.split()[0] + ". Name another one: make PYTHON=python3.12")
# Prints nothing for a Python that can stay in an environment: it works, is supported, and is the one that a person named.
NAMED := $(if $(filter file,$(origin PYTHON)),,$(shell $(PYTHON) -c 'import sys; print(*sys.version_info[:2])' 2>&1))
KEEPS := import sys; sys.exit(sys.version_info < (3, 11) or "$(NAMED)" not in ("", "%d %d" % sys.version_info[:2]))
stale = $(shell $(1)/bin/python -c '$(KEEPS)' >/dev/null 2>&1 || echo stale)
new_venv = $(PYTHON) -c '$(SUPPORTED)' && $(PYTHON) -m venv --clear $(1)

# One environment for everything; it is installed again when pyproject.toml changes, or for another Python. `LOCKED=1`, as in
# the hosted workflow, installs the packages of requirements.lock alone; a package with another hash ends the command.
LOCK := requirements.lock
ifdef LOCKED
STAMP := $(VENV)/.installed-locked
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# For the environments with more packages than the lock has.
EXACT := --constraints $(LOCK) --build-constraints $(LOCK)
$(STAMP): pyproject.toml $(LOCK) $(if $(call stale,$(VENV)),FORCE)
	@$(if $(call stale,$(VENV)),$(call new_venv,$(VENV)))
	$(PIP) --require-hashes --requirement $(LOCK)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
else
$(STAMP): pyproject.toml $(if $(call stale,$(VENV)),FORCE)
	@$(if $(call stale,$(VENV)),$(call new_venv,$(VENV)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[gdrive]" --group dev
	touch $@
endif

# Adds the packages of a group. First without a network: uv asks the index also if all of them are installed. The package
# itself is named again, so that a group changes no release that it needs.
add_group = $(BIN)/uv pip install --quiet --python $(BIN)/python $(EXACT) --editable ".[gdrive]" --group $(1)
with_group = @$(call add_group,$(1)) --offline 2>/dev/null || $(call add_group,$(1))

# Writes requirements.lock again, with the newest packages that pyproject.toml allows, for all systems and Pythons.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --extra gdrive --group locked --universal --python-version 3.11 --generate-hashes \
		--upgrade --no-header --no-annotate --quiet --output-file $(LOCK)
	$(IMAGE_LOCK)

# The packages of the image alone, each as in requirements.lock.
IMAGE_LOCK = $(BIN)/uv pip compile pyproject.toml --extra gdrive --group image --constraints $(LOCK) --universal \
	--python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --output-file requirements-image.lock
image-lock: $(STAMP)
	$(IMAGE_LOCK)

# Asks PyPI for known weaknesses of the locked packages; needs its JSON API.
audit: $(STAMP)
	$(if $(LOCKED),,$(BIN)/uv pip install --quiet --python $(BIN)/python --group audit)
	$(BIN)/pip-audit --requirement $(LOCK) --require-hashes --disable-pip --strict

# On a copy, so that the example in this checkout does not change. The repository has the private tables because the
# patients are those of a public data set. In real use, each hospital keeps its own.
DEMO := .demo/diabetes
demo: $(STAMP)
	rm -rf .demo
	mkdir .demo
	cp -R examples/diabetes $(DEMO)
	$(BIN)/syft-flwr bootstrap $(DEMO) -a ds@research.org -d do1@hospital-a.org -d do2@hospital-b.org
	$(BIN)/syft-flwr run $(DEMO) -m $(DEMO)/data/hospital_a/private -m $(DEMO)/data/hospital_b/private \
		--output-dir .demo/output --log-dir .demo/logs --report .demo/report.html
	cd $(DEMO) && "$(CURDIR)/$(BIN)/python" -m diabetes_prediction.results "$(CURDIR)/.demo/output"
	@echo "report: $(CURDIR)/.demo/report.html"

# Draws the picture of the README from the report of the demo, with the programs that `make browser-test` needs.
picture: demo
	$(call with_group,browser)
	$(BIN)/python docs/picture.py .demo/report.html docs/report.png

# Executes the notebooks of the example, and stores them with their outputs; takes a minute.
notebooks: $(STAMP)
	$(BIN)/python docs/notebooks.py

# Kills the server and the data owners 200 times at random, and once at every named step; takes ten minutes.
chaos: $(STAMP)
	CHAOS_KILLS=$${CHAOS_KILLS:-200} $(BIN)/pytest tests/chaos

# Takes 15 minutes. The figures are valid only if no other program runs on the machine. SYFT_FLWR_TEST_SYFTBOX names the
# folder of real SyftBox programs; `make test-syftbox` installs the store for them. Without it, an emulator replaces them.
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

# Large models, hostile envelopes of the largest size, floods of files, whole local runs, their network calls, the notebooks, and
# the examples that need no more packages.
LARGE := tests/e2e/test_connections.py tests/e2e/test_large.py tests/e2e/test_large_report.py tests/e2e/test_notebooks.py \
	$(wildcard tests/e2e/test_simulation*.py) tests/e2e/test_status.py tests/faults/floods tests/faults/test_resumed_random.py \
	tests/fuzz/test_largest.py tests/examples
# Most tests wait for processes, so two cores can run four at a time. Their files are in memory, if the machine has enough.
TEST_PROCESSES ?= 4
# Each of these has a target of its own.
APART := browser chaos docs service site tracking
test: $(STAMP)
	TMPDIR=$$($(BIN)/python tests/kits/memory_folder.py) $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal \
		$(addprefix --ignore=tests/,$(APART)) $(addprefix --ignore=,$(LARGE))

# Executes each code block of the quickstart and of the how-to pages, with a new Python environment for each page, and shows
# that the program for this can fail.
docs-test: $(STAMP)
	$(BIN)/pytest tests/docs -n 3 --dist worksteal

# Takes five minutes.
test-large: $(STAMP)
	$(BIN)/pytest $(LARGE) -n 2 --dist worksteal

# Kills each participant once at every named step, and a few times at random; takes two minutes.
test-kills: $(STAMP)
	$(BIN)/pytest tests/chaos -n 3 --dist worksteal

# Shows pages in a headless Chromium; takes a minute. The browser and its driver are programs of the system. The first run
# downloads axe-core, which checks the pages, into the environment.
PROGRAMS := import sys; sys.path[:0] = ["tests/browser", "tests/kits"]; \
	from browserkit.chromium import missing_programs; missing = missing_programs(); \
	sys.exit(f"This machine has no {missing}. On Debian: apt-get install chromium chromium-driver" if missing else 0)
browser-test: docs
	$(call with_group,browser)
	@$(BIN)/python -c '$(PROGRAMS)'
	$(BIN)/pytest tests/browser

# Builds the site in docs/_build/html. A warning is an error. Each build begins without files of an earlier one.
docs: $(STAMP)
	$(call with_group,docs)
	rm -rf docs/_build
	$(BIN)/sphinx-build --quiet --builder html --conf-dir docs --doctree-dir docs/_build/doctrees --jobs auto \
		--fail-on-warning --keep-going --nitpicky . docs/_build/html
	@echo "site: $(CURDIR)/docs/_build/html/docs/index.html"

# Over a real systemd user manager, and over a container engine if this machine has one. Takes four minutes, with an engine six.
service-test: $(STAMP)
	$(call with_group,lint-image)
	$(BIN)/pytest tests/service -n 2 --dist loadfile

# Builds the site, and checks its links, its navigation and its entries.
docs-check: docs
	$(BIN)/pytest tests/site

# Opens each external address of the documents; needs a network.
linkcheck: $(STAMP)
	$(call with_group,docs)
	$(BIN)/sphinx-build --quiet --builder linkcheck --conf-dir docs --doctree-dir docs/_build/doctrees . docs/_build/linkcheck

# The oldest releases that pyproject.toml allows.
test-floor: $(STAMP)
	@$(if $(call stale,.venv-floor),$(call new_venv,.venv-floor))
	$(BIN)/uv pip install --quiet --resolution lowest-direct --python .venv-floor/bin/python --editable ".[gdrive]" --group dev
	.venv-floor/bin/python -m pytest -n $(TEST_PROCESSES) --dist worksteal tests/unit tests/contract tests/checkpoints tests/conformance tests/faults/resume

# Over real SyftBox programs, which are not part of this project: SYFT_FLWR_TEST_SYFTBOX names the folder with the
# programs `server` and `syftbox`. The store is installed here.
test-syftbox: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group syftbox
	$(BIN)/pytest tests/real -n 2 --dist worksteal

# Over TensorBoard's reader and a real MLflow server, which the tests start. The packages (1 GB) get an environment of their
# own. Takes two minutes.
tracking-test: $(STAMP)
	@$(if $(call stale,.venv-tracking),$(call new_venv,.venv-tracking))
	$(BIN)/uv pip install --quiet --python .venv-tracking/bin/python $(EXACT) --editable ".[gdrive]" --group dev --group tracking
	.venv-tracking/bin/python -m pytest tests/tracking

# Runs each example, in an environment of its own: PyTorch from PyPI needs 5 GB on Linux. `UV_TORCH_BACKEND=cpu` installs
# PyTorch from its own package index instead, without the code for GPUs, which needs less than 1 GB.
examples: $(STAMP)
	@$(if $(call stale,.venv-examples),$(call new_venv,.venv-examples))
	$(BIN)/uv pip install --quiet --python .venv-examples/bin/python $(EXACT) --editable ".[gdrive]" --group dev --group examples
	.venv-examples/bin/python -c "import pandas, torch, xgboost"
	.venv-examples/bin/python -m pytest tests/examples -n 2 --dist worksteal

# Flower's own examples and tests, which are not part of this project: SYFT_FLWR_TEST_FLOWER names a checkout of Flower's
# repository. The packages of the examples (6 GB) get an environment of their own.
test-flower: $(STAMP)
	@$(if $(call stale,.venv-flower),$(call new_venv,.venv-flower))
	$(BIN)/uv pip install --quiet --python .venv-flower/bin/python --editable . --group flower
	.venv-flower/bin/python -m pytest tests/flower -n 2 --dist worksteal

# Fuzzes each reader of foreign data for this many seconds; findings are stored in .fuzz/.
FUZZ_SECONDS ?= 60
fuzz: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --group fuzz
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) .venv-floor .venv-flower .venv-tracking .venv-examples .demo .fuzz docs/_build
