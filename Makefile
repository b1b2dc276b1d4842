# `make` builds the tool, `make check` tests it, `make help` lists the rest.

TARGET ?= $(shell uname -m)-unknown-linux-musl
export TARGET
# rustup installs the toolchain of rust-toolchain.toml, and its target, even where it is set to ask first.
export RUSTUP_AUTO_INSTALL = 1

# Scripts that others read in are checked together with those.
shell_scripts = $(shell find scripts .ci -type f | xargs awk 'FNR == 1 && /^.!.*(\/sh|bash)$$/ { print FILENAME }')

.NOTPARALLEL:
.PHONY: all check-fast check check-long lint advisories docs unit soak hosts long own own-openssl nodeset odd-root elsewhere test reproducible \
	installed msrv example fmt \
	bench bundle size release packaged offline help clean

all: dist/offshoot ## build the tool as one static binary (default)
	@ls -l dist/offshoot | awk '{ printf "%s is ready, %.1f MiB; try: dist/offshoot run -w \"local[1-3]\" -- uname -a\n", $$NF, $$5 / 1048576 }'

# Always run: cargo decides whether there is anything to do.
.PHONY: dist/offshoot
dist/offshoot:
	cargo xtask bundle dist/offshoot $(TARGET)

check-fast: lint advisories docs unit example ## lint, documentation, and the tests that need no root and no hosts (minutes)

check: check-fast hosts ## check-fast, and the tests on real ssh hosts; every change must pass it

check-long: check long own nodeset elsewhere size reproducible installed offline odd-root ## that, and other processors, kills by the hundred, builds in two places

unit: ## the tests that need no hosts, and the examples in the documentation
	cargo test --locked --target $(TARGET) --workspace --features offshoot/files --lib --bins --examples --test calls --test counts --test programs --test layers --test hostile --test namespace --test documentation --test transcripts --test mistakes
	cargo test --locked --target $(TARGET) --features files --doc

soak: ## the attacks of a hostile child, OFS_ROUNDS times as long (default 100), 100 times as many faults of links, and the fuzzers, OFS_FUZZ seconds each (default 3600)
	OFS_ROUNDS=$${OFS_ROUNDS:-100} cargo test --locked --target $(TARGET) --features files --test hostile -- --test-threads 1 $(ARGS)
	OFS_ROUNDS=$$(($${OFS_ROUNDS:-100} * 100)) cargo test --locked --target $(TARGET) --features files --test hosts -- ' faults of links'
	cargo xtask fuzz $${OFS_FUZZ:-3600}

hosts: ## the tests on hosts that take minutes; checks that this machine is as before
	OFS_LEVEL=check scripts/as-before scripts/test --test hosts

nodeset: ## compare host expressions with those of ClusterShell, which comes from PyPI
	cargo test --locked --target $(TARGET) --features files --test transcripts --no-run
	scripts/compare-nodeset --seed 1 --rounds 200 target/$(TARGET)/debug/offshoot

long: ## the tests on hosts of other processors, and all kills
	OFS_LEVEL=long scripts/as-before scripts/test --test hosts

own: ## make, build and run packages by `cargo offshoot` (minutes); ARGS go to the test
	cargo xtask zig
	cargo test --locked --target $(TARGET) --features files --test own -- $(ARGS)

own-openssl: ## the same for a program with OpenSSL, which takes minutes to compile
	$(MAKE) own ARGS='--ignored --exact with_c::a_program_with_openssl_in_it_is_built_for_two_processors'

odd-root: ## some tests on hosts over a small system with odd settings
	scripts/odd-root

lint: ## check formatting and lock files, run clippy, and shellcheck if it is installed
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo update --quiet --workspace --locked --manifest-path fuzz/Cargo.toml
	cargo update --quiet --workspace --locked --manifest-path tests/mistakes/Cargo.toml
	cargo clippy --locked --workspace --all-targets --features files --target $(TARGET) -- -D warnings
	cargo clippy --locked --no-default-features --target $(TARGET) -- -D warnings
	cargo clippy --locked --no-default-features --features files --target $(TARGET) -- -D warnings
	@if command -v shellcheck >/dev/null; then set -x; shellcheck -x -a -S warning $(shell_scripts); fi

advisories: ## look for known faults, licences and sources of the dependencies
	cargo xtask advisories

docs: ## build the API documentation; a warning is an error
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --features files --target $(TARGET)

elsewhere: ## build for FreeBSD and macOS; the result is not run
	cargo xtask elsewhere

test: ## start the hosts, run all tests among them, end the hosts; ARGS go to cargo test
	scripts/test $(ARGS)

reproducible: ## build in two directories and compare the bytes
	cargo xtask reproducible

release: ## make all that is published of this version, in dist/release
	cargo xtask release

packaged: release ## install and remove the package of dist/release in a small Debian
	scripts/packaged dist/release/offshoot_*_amd64.deb

offline: ## build from the published package without a network
	cargo xtask offline

installed: ## install the tool as `cargo install` does it, and see that it can send itself
	cargo xtask installed

msrv: ## check with the oldest toolchain that Cargo.toml allows, which rustup has to have
	cargo xtask msrv

example: ## run the examples
	@set -e; for file in examples/*.rs; do name=$$(basename $$file .rs); echo "example $$name:"; \
		cargo run --quiet --locked --target $(TARGET) --features files --example $$name; done

bundle: ## build dist/offshoot with the images of all TARGETS
	cargo xtask bundle dist/offshoot $(TARGETS)

fmt: ## format the sources
	cargo fmt

bench: dist/offshoot ## measure beside Mitogen, execnet and OpenSSH (minutes); ARGS are groups of figures
	scripts/bench --save target/bench.json $(ARGS)
	cargo run --quiet --package xtask --features plot -- plot target/bench.json target/bench.svg

size: ## print the sizes of images and bundle; fail above the budgets
	cargo xtask size

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 13

clean: ## remove everything that was built, and end test hosts that are up
	[ ! -e target/hosts/world ] || scripts/hosts down
	rm -rf dist
	cargo clean
