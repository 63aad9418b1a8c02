# The only task runner. CI runs nothing but these.
PYTHON := .venv/bin/python
BENCH ?=
# The Python module and the JavaScript package, as the tests and a user's script find them.
MODULE := python/panpipe/_panpipe.abi3.so
RUST := $(shell find crates python/src bench conformance -name '*.rs' -o -name Cargo.toml 2>/dev/null) Cargo.toml Cargo.lock
TYPESCRIPT := $(shell find javascript/src -name '*.ts' 2>/dev/null)

.PHONY: help
help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

.PHONY: tools
tools: # Says what is missing or too old before anything is built
	@./tools/check

.PHONY: build
build: tools target/release/panpipe $(MODULE) javascript/dist/index.js ## Builds the command, the Python module and the npm package

target/release/panpipe: $(RUST)
	cargo build --release --quiet --locked -p panpipe-cli -p panpipe-python
	@touch $@

$(MODULE): target/release/panpipe .venv/ready
	@cp target/release/lib_panpipe.so $@.new && mv $@.new $@

.venv/ready: python/requirements.txt
	@python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r python/requirements.txt
	@echo "$(CURDIR)/python" > $$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/panpipe.pth
	@touch $@

node_modules/ready: package.json package-lock.json javascript/package.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

javascript/dist/index.js: node_modules/ready $(TYPESCRIPT) javascript/tsconfig.json
	@npm run --silent --workspace javascript build
	@touch $@
