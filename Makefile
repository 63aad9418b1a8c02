# The only task runner. CI runs nothing but these.
PYTHON := .venv/bin/python
BENCH ?=
FUZZ_SECONDS ?= 60
# The Python module and the Node addon, as the tests and a user's script find them.
MODULE := python/panpipe/_panpipe.abi3.so
ADDON := javascript/native/panpipe.node
# The module for browsers, where the pages of the examples ask for it.
PAGES := examples/chat/page/panpipe.js examples/game/page/panpipe.js
RIVALS := bench/rivals/target/release/panpipe-rivals
RUST := $(shell find crates python/src javascript/native bench/src bench/measure conformance examples/game -name '*.rs' -o -name Cargo.toml 2>/dev/null) Cargo.toml Cargo.lock
TYPESCRIPT := $(shell find javascript/src -name '*.ts' 2>/dev/null)

.PHONY: help
help: ## Lists the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

.PHONY: tools
tools: # Says what is missing or too old before anything is built
	@./tools/check

.PHONY: build
build: tools target/release/panpipe $(MODULE) javascript/dist/index.js $(ADDON) $(PAGES) ## Builds the command, the Python module, the npm packages and the examples

target/release/panpipe: $(RUST)
	cargo build --release --quiet --locked -p panpipe-cli -p panpipe-python -p panpipe-native -p panpipe-game
	@touch $@

$(MODULE): target/release/panpipe .venv/ready
	@cp target/release/lib_panpipe.so $@.new && mv $@.new $@

$(ADDON): target/release/panpipe
	@cp target/release/libpanpipe_native.so $@.new && mv $@.new $@

.venv/ready: python/requirements.txt
	@python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r python/requirements.txt
	@echo "$(CURDIR)/python" > $$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/panpipe.pth
	@touch $@

node_modules/ready: package.json package-lock.json javascript/package.json javascript/native/package.json
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

javascript/dist/index.js: node_modules/ready $(TYPESCRIPT) javascript/tsconfig.json javascript/tsconfig.browser.json javascript/bundle.mjs
	@npm run --silent --workspace panpipe build
	@touch $@

$(PAGES): javascript/dist/index.js
	@cp javascript/dist/panpipe.js $@

.PHONY: demo
demo: build ## Runs the founding example for real, and the same over each address and framing
	@$(PYTHON) demo/demo.py

.PHONY: test
test: build test-tools ## Runs every test of every language
	cargo test --quiet --locked --workspace --exclude panpipe-bench
	cd python && ../$(PYTHON) -m pytest --quiet
	cd python && ../$(PYTHON) -m mypy.stubtest panpipe._panpipe
	npm test --silent --workspace panpipe --workspace @panpipe/native
	./tools/fuzz 3

.PHONY: test-tools
test-tools: tools # Gets what only the tests need: plain peers
	@./tools/peers

.PHONY: bench
bench: build $(RIVALS) .venv-bench/ready bench/rivals/node_modules/ready ## Compares with others; BENCH='--quick --only TEXT' for a part
	cargo run --release --quiet --locked -p panpipe-bench -- $(BENCH)

# What panpipe is compared with; nothing else needs it.
$(RIVALS): $(shell find bench/rivals/src bench/measure -name '*.rs') bench/rivals/Cargo.toml bench/rivals/Cargo.lock
	@command -v c++ >/dev/null || { echo "make bench needs a C++ compiler, for libzmq (on Debian: apt-get install g++)" >&2; exit 1; }
	CARGO_TARGET_DIR=bench/rivals/target cargo build --release --quiet --locked --manifest-path bench/rivals/Cargo.toml
	@touch $@

.venv-bench/ready: bench/rivals/requirements.txt
	@python3 -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r bench/rivals/requirements.txt
	@touch $@

bench/rivals/node_modules/ready: bench/rivals/package.json bench/rivals/package-lock.json
	@npm ci --prefix bench/rivals --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: fuzz
fuzz: tools ## Fuzzes every decoder and session, FUZZ_SECONDS each
	@./tools/fuzz $(FUZZ_SECONDS)

.PHONY: lint
lint: tools .venv/ready node_modules/ready ## Checks format, lints and types in every language
	cargo fmt --check
	cargo fmt --check --manifest-path bench/rivals/Cargo.toml
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --locked --workspace --no-deps
	.venv/bin/ruff check --quiet --config python/pyproject.toml python demo bench conformance examples
	.venv/bin/ruff format --check --quiet --config python/pyproject.toml python demo bench conformance examples
	cd python && ../.venv/bin/mypy --no-error-summary
	npx tsc --project javascript --noEmit
	npx tsc --project javascript/tsconfig.browser.json --emitDeclarationOnly false --noEmit
	npx tsc --noEmit --strict --types node javascript/native/index.d.ts

.PHONY: format
format: .venv/ready ## Formats Rust and Python
	cargo fmt
	cargo fmt --manifest-path bench/rivals/Cargo.toml
	.venv/bin/ruff check --quiet --fix --config python/pyproject.toml python demo bench conformance examples
	.venv/bin/ruff format --quiet --config python/pyproject.toml python demo bench conformance examples

.PHONY: docs
docs: build ## Writes the tables of docs/methods.md anew, from the registries
	@./tools/methods > docs/methods.md

.PHONY: clean
clean: ## Removes everything that was built
	cargo clean
	rm -rf .venv .venv-bench node_modules bench/rivals/target bench/rivals/node_modules javascript/dist python/panpipe/*.so $(ADDON) $(PAGES)
