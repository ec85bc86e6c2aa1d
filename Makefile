# The three commands that matter: make test-fast (every minute), make test (before a push), make clean.
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Hundreds of processes import the same files: each takes what the first one has compiled, whatever the caller's shell says.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: test test-fast test-interrupt lint image unit molecule e2e dev clean

# The tests with hosts wait half of their time, so they run side by side, the environments' as two streams; each one's
# output comes whole, at its end. The others use both processors of a small machine, and clusters with heartbeats are
# among them: they run alone.
test: dev
	$(MAKE) --jobs=2 --output-sync=target lint image
	$(MAKE) unit
	$(MAKE) --jobs=2 --output-sync=target e2e molecule

# What needs no container and doesn't wait for programs (marks: pyproject.toml). Two tests on each processor: many wait.
test-fast: dev
	$(PY) -m pytest -q -n $$(( $$(nproc) * 2 )) -m "not docker and not e2e and not slow"

# Makes .venv through the wrapper, as a user's first command does, then adds the test tools.
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

# The containers' image, which takes a minute or two the first time.
image: dev
	./pegasus-driver local image

unit: dev
	$(PY) -m pytest -n $$(( $$(nproc) * 2 )) -m "not e2e" --cov --cov-report=term

# The hosts are made once; each role's scenario runs on them. One alone: molecule test -s aerospike_server
molecule: dev
	molecule test --all

# Two environments' lives at the same time, each in a clone and a local cloud of its own.
e2e: dev
	$(PY) -m pytest -n 2 -m e2e tests/e2e

# The driver killed at 25 moments of a setup (the suite takes 5); what came of each is printed, and kept in .pegasus/.
# PEGASUS_INTERRUPT_SEED=... repeats a run.
test-interrupt: dev
	mkdir -p -m 0700 .pegasus
	PEGASUS_INTERRUPT_MOMENTS=25 PEGASUS_INTERRUPT_REPORT=$(CURDIR)/.pegasus/interrupt-report.txt \
		$(PY) -m pytest -s -m e2e tests/e2e/test_interrupt.py; \
		code=$$?; cat .pegasus/interrupt-report.txt; exit $$code

clean:
	-./pegasus-driver local stop
	rm -rf .venv .cache .pegasus
