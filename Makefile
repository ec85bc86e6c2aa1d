# The commands that matter: make test-fast (every minute), make test (before a push), make clean.
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Hundreds of processes import the same files: let them share the compiled ones, whatever the caller's shell says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: test test-fast test-interrupt lint image unit molecule e2e dev release clean

# Tests with hosts mostly wait, so environments (two streams) and molecule run in parallel; each prints its output at its
# end. The other tests need both processors and include clusters with heartbeats: they run alone.
test: dev
	$(MAKE) --jobs=2 --output-sync=target lint image
	$(MAKE) unit
	$(MAKE) --jobs=2 --output-sync=target e2e molecule

# Tests that need no container and start no slow program (marks: pyproject.toml). Two per processor: many wait.
test-fast: dev
	$(PY) -m pytest -q -n $$(( $$(nproc) * 2 )) -m "not docker and not e2e and not slow"

# Creates .venv through the wrapper, as a user's first command does, then adds the test tools.
dev: .venv/dev-stamp
.venv/dev-stamp: requirements.txt requirements-dev.txt
	./pegasus-driver --version
	$(PY) -m pip install --quiet --requirement requirements-dev.txt
	touch $@

lint: dev
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	ansible-lint --profile production --offline --strict

# The containers' image. The first build takes a minute or two.
image: dev
	./pegasus-driver local image

unit: dev
	$(PY) -m pytest -n $$(( $$(nproc) * 2 )) -m "not e2e" --cov --cov-report=term

# The hosts are created once for all roles' scenarios. A single one: molecule test -s aerospike_server
molecule: dev
	molecule test --all

# Two environments in parallel, each with its own clone and local cloud.
e2e: dev
	$(PY) -m pytest -n 2 -m e2e tests/e2e

# Kills the driver at 25 moments of a setup (make test: 5). Prints each outcome and keeps it in .pegasus/.
# PEGASUS_INTERRUPT_SEED=... repeats a run.
test-interrupt: dev
	mkdir -p -m 0700 .pegasus
	PEGASUS_INTERRUPT_MOMENTS=25 PEGASUS_INTERRUPT_REPORT=$(CURDIR)/.pegasus/interrupt-report.txt \
		$(PY) -m pytest -s -m e2e tests/e2e/test_interrupt.py; \
		code=$$?; cat .pegasus/interrupt-report.txt; exit $$code

# Builds the collection's archive in dist/, if the version is the same in all files and has a section in CHANGELOG.md.
release: dev
	$(PY) .ci/release.py

clean:
	-./pegasus-driver local stop
	rm -rf .venv .cache .pegasus dist
