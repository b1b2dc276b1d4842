# `make` builds the tool, `make check` tests it, `make help` lists the rest.

TARGET ?= $(shell uname -m)-unknown-linux-musl
export TARGET

# What scripts/setup installs, for everything that is started from here.
tools := $(CURDIR)/target/tools
export PATH := $(tools)/bin:$(PATH)
export CARGO_ZIGBUILD_ZIG_PATH := $(tools)/ziglang/zig
export CARGO_ZIGBUILD_CACHE_DIR := $(CURDIR)/target/tools-cache
# Two checkouts that share zig's cache drive each other's libc out of it, which then is compiled at every link.
export ZIG_GLOBAL_CACHE_DIR := $(CURDIR)/target/tools-cache/zig

output := $(or $(CARGO_TARGET_DIR),target)/$(TARGET)
sources := $(shell find src -type f) $(wildcard build.rs) Cargo.toml Cargo.lock
# Those that are read into others are checked with them.
shell_scripts = $(shell find scripts .ci -type f | xargs awk 'FNR == 1 && /^.!.*(\/sh|bash)$$/ { print FILENAME }')

.NOTPARALLEL:
.PHONY: all setup check-fast check check-long lint docs unit hosts long odd-root elsewhere test reproducible example fmt \
	bench bundle size help clean

all: dist/offshoot ## build the tool as one static binary (default)
	@ls -l dist/offshoot | awk '{ printf "%s is ready, %.1f MiB; try: dist/offshoot run -w \"local[1-3]\" -- uname -a\n", $$NF, $$5 / 1048576 }'

# Moved into place, since a copy of it may be running.
dist/offshoot: $(sources) | setup
	scripts/release-build --bin offshoot
	mkdir -p dist
	cp $(output)/release/offshoot dist/.offshoot.new
	mv -f dist/.offshoot.new dist/offshoot

setup: ## install what building takes: the musl target, and zig in target/tools
	@scripts/setup

check-fast: lint docs unit example ## what takes neither root nor other machines: minutes

check: check-fast hosts ## what a change has to pass: that, and the trials on real ssh hosts

check-long: check long elsewhere size reproducible odd-root ## all that CI checks: other processors, kills by the hundred

unit: setup ## the tests that need no hosts, and the examples in the documentation
	cargo-zigbuild test --locked --target $(TARGET) --lib --bins --examples --test calls
	cargo-zigbuild test --locked --target $(TARGET) --doc

hosts: setup ## the trials on hosts, of what takes no longer than minutes; this machine is as before
	OFS_LEVEL=check scripts/as-before scripts/test --test hosts

long: setup ## the trials on hosts of other processors, and all the kills
	OFS_LEVEL=long scripts/as-before scripts/test --test hosts

odd-root: setup ## some of the trials over a small system with odd settings, instead of this one
	scripts/odd-root

lint: setup ## formatting, clippy, and shellcheck if it is there
	cargo fmt --check
	cargo-zigbuild clippy --locked --all-targets --target $(TARGET) -- -D warnings
	cargo-zigbuild clippy --locked --no-default-features --target $(TARGET) -- -D warnings
	@if command -v shellcheck >/dev/null; then set -x; shellcheck -x -a -S warning $(shell_scripts); fi

docs: setup ## the documentation, without warnings
	RUSTDOCFLAGS='-D warnings' cargo-zigbuild doc --locked --no-deps --target $(TARGET)

elsewhere: setup ## build for FreeBSD and macOS, which nothing here can run
	scripts/elsewhere

test: setup ## all tests, among the hosts, which live as long as they run; ARGS go to cargo test
	scripts/test $(ARGS)

reproducible: setup ## build in another place, and see that the same comes out
	scripts/reproducible

example: setup ## run the examples
	cargo-zigbuild run --quiet --locked --target $(TARGET) --example disk_usage -- src
	cargo-zigbuild run --quiet --locked --target $(TARGET) --example ping_pong
	cargo-zigbuild run --quiet --locked --target $(TARGET) --example select_loop

bundle: setup ## build dist/offshoot with the images of all TARGETS in it
	scripts/bundle

fmt: ## format the sources
	cargo fmt

bench: dist/offshoot ## measure beside Mitogen, execnet and OpenSSH; takes minutes; ARGS are groups
	scripts/bench $(ARGS)

size: setup ## what an image weighs as it travels, against its budget, and whose code it is
	scripts/size

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 13

clean: ## remove all that was built, and end test hosts that are still up
	[ ! -e target/hosts/world ] || scripts/hosts down
	rm -rf dist
	cargo clean
