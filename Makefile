# The commands of this project: `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
export PYTHON VENV

BIN := $(VENV)/bin

.DEFAULT_GOAL := demo
.PHONY: demo stack stack-stop check test test-systemd chaos cluster drops lock site dev help

demo: site ## Run the product on this machine with Python alone: SQLite, in-process broker (the default)
	@exec ops/demo.sh $(or $(PORT),8000)

stack: site ## Run it like production: nginx, gunicorn, two Daphne nodes, RabbitMQ, PostgreSQL, all supervised
	@ops/install-test-deps stack
	@exec $(BIN)/python -m ops.stack start --port $(or $(PORT),8080)

stack-stop: ## End the stack and every process of it; its data stay in run/
	@exec $(firstword $(wildcard $(BIN)/python) $(PYTHON)) -m ops.stack stop

check: dev ## Format, lint, types, import rules, missing migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	DEMO=1 DATABASE_URL=sqlite://:memory: $(BIN)/python manage.py makemigrations --check --dry-run

# Left to `make chaos`: what tests/services plays on real parts as well, and the longest.
NOT_IN_TEST := alarm|exchange|rights|all AMQP|half-open, publishers|readers|gone|stalled|256|networks cut

# Installing waits for the network. Then side by side, because most of their time is waiting, and each a process of
# its own, because Playwright's sync API and asyncio tests cannot share one. Services' tests have the shortest deadlines:
# the others stand back behind them. Chaos counts seconds, and is alone.
test: ## Everything, on real parts; installs what is missing with apt
	@ops/install-test-deps & installing=$$!; \
	$(MAKE) --no-print-directory dev; made=$$?; \
	wait $$installing && exit $$made
	$(BIN)/python -m ops.side_by_side --at-once 3 \
		'services=$(BIN)/pytest tests/services -m "not alone" -n 2 --dist worksteal' \
		'stack=nice -n 5 $(BIN)/pytest tests/stack' \
		'browser=nice -n 5 $(BIN)/pytest tests/browser' \
		'check=nice -n 5 $(MAKE) --no-print-directory check' \
		'unit=nice -n 5 $(BIN)/pytest tests/unit'
	$(BIN)/python -m ops.side_by_side 'alone=$(BIN)/pytest tests/services -m alone'
	$(BIN)/python -m tests.chaos --quick --without '$(NOT_IN_TEST)'

# Its machine has Debian's own ports: a network of its own keeps them from ours. Order: each test builds on those before it.
test-systemd: dev ## As root: a Debian 12 of its own, installed, killed, hung, upgraded and cleared under its systemd
	ops/install-test-deps systemd
	tests/systemd/prepare
	unshare --net sh -c 'ip link set lo up && exec $(BIN)/pytest -p no:randomly -x tests/systemd $(ARGS)'

chaos: dev ## Break every part of a running site and count what each tab applied; QUICK=1: every fault once
	ops/install-test-deps
	$(BIN)/python -m tests.chaos $(if $(QUICK),--quick) --only '$(ONLY)'

cluster: dev ## Kill, freeze and part the hosts of a RabbitMQ cluster of three under that site
	ops/install-test-deps
	$(BIN)/python -m tests.chaos.cluster --only '$(ONLY)'

drops: dev ## Ours, Channels and python-socketio while networks are cut for 2 s; SECS=300
	ops/install-test-deps drops
	ops/venv.sh run/bench-venv requirements/bench.lock $(PYTHON)
	$(BIN)/python -m bench.drops --secs $(or $(SECS),300)

bench: dev ## Ours beside what people would pick instead: CPU, memory, latency; QUICK=1: within 5 minutes
	ops/install-test-deps bench
	ops/venv.sh run/bench-venv requirements/bench.lock $(PYTHON)
	$(BIN)/python -m bench.peers $(if $(QUICK),--quick) $(ARGS)

lock: ## Resolve requirements/*.lock anew from pyproject.toml
	@exec ops/lock.sh

site: ## Only build the environment that the product runs in
	@ops/venv.sh $(VENV) requirements/site.lock $(PYTHON)

dev: ## Only build the environment for development
	@ops/venv.sh $(VENV) requirements/dev.lock $(PYTHON)

help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo 'Variables:'
	@echo '  PORT=8000      where `make` listens (8080 for `make stack`)'
	@echo '  PYTHON=python3 the Python (3.11 or newer) that builds the environment'
	@echo '  VENV=.venv     the environment'
	@echo '  AMQP_URL=      for `make`: use this RabbitMQ instead of the in-process broker'
	@echo 'Every setting of the README may stand before the command: REALTIME_TOKEN_LIFE_SECS=60 make stack'
