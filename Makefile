# SPDX-License-Identifier: Apache-2.0
# A thin front of meson and the scripts in tools/, guest/ and tests/. What compiles, and how,
# stands in the meson.build files.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all

## PREFIX: where `make install` puts things, and what the configuration names them by
PREFIX ?= /opt/kata
## DESTDIR: put in front of every installed path, for packages
DESTDIR ?=
## FUZZ_SECONDS: how long `make fuzz` runs each target
FUZZ_SECONDS ?= 60
## CMD: what `make lab` runs; without one it gives a shell
CMD ?=
## FORMS: which forms `make lab-full` runs: those whose title holds this ("Debian 13")
FORMS ?=
## FILES: which tests of them: files and rows whose names hold one of these words; "rest": what has no result
FILES ?=

HOST := build/host
AGENT := build/agent
OWNER := tools/as-owner

.PHONY: all build configured prefix guest guest-image guest-extras guest-kernel run check lint fuzz bench lab lab-full install uninstall clean help

## all: build the programs into build/bin and build/libexec (as an ordinary user)
all:
	@tools/packages check build
	@$(OWNER) $(MAKE) build

# Without the look at the packages, and as whoever calls it.
build: configured
	@ninja -C $(HOST)
ifneq ($(wildcard src/agent/meson.build),)
	@ninja -C $(AGENT)
endif
	@tools/stage build

# The prefix is in the manual pages; the programs find their files by their own place.
prefix: configured
	@meson configure $(HOST) -Dprefix="$(PREFIX)"
	@meson configure $(AGENT) -Dprefix="$(PREFIX)"

configured:
	@tools/configure $(HOST) --prefix="$(PREFIX)"
	@CC=musl-gcc tools/configure $(AGENT) --prefix="$(PREFIX)" -Dparts=agent --buildtype=minsize

## guest: prepare kernel, initrd and the busybox image in build/guest
guest: all
	@tools/packages check build run
	@$(OWNER) guest/prepare --agent build/agent/kata-agent

## guest-image: make a root file system image of the guest (`image = …` in place of an initrd)
guest-image: all
	@tools/packages check build image
	@$(OWNER) guest/mkimage --agent build/agent/kata-agent --out build/guest/image

## guest-extras: pack a shell and tools for the guest itself (the debug console needs them)
guest-extras:
	@tools/packages check build
	@$(OWNER) guest/mkinitrd --extras --out build/guest/extras

## guest-kernel: build the tuned guest kernel (10 minutes, once), used from then on
guest-kernel:
	@tools/packages install build run kernel
	@$(OWNER) guest/build-kernel
	@$(MAKE) guest

## run: install what is missing, build, and run a container in a virtual machine
run:
	@tools/run

## check: install what is missing, and run every test
check:
	@tools/packages install build run check
	@tests/run

## lint: the checks of the sources alone
lint:
	@tools/packages check build check
	@tests/run --suite lint

## fuzz: run every fuzz target for FUZZ_SECONDS
fuzz:
	@tools/packages check build check
	@$(OWNER) tools/fuzz $(FUZZ_SECONDS)

## bench: print start-up times, sizes and throughput, of `kata` and under containerd (as root)
bench: guest
	@tools/packages check build run bench
	@tools/as-root tests/bench/bench.py
	@tools/as-root tests/bench/containerd.py

## lab: run CMD, or a shell, where KVM works: a virtual machine on any host (tests/lab)
lab: export LAB_CMD = $(value CMD)
lab:
	@tools/packages check run lab
	@tools/as-root tests/lab/lab -c "$$LAB_CMD"

## lab-full: every VM test in the laboratory, in each of its forms
lab-full: export LAB_FORMS = $(value FORMS)
lab-full: export LAB_FILES = $(value FILES)
lab-full:
	@tools/packages install build run check lab lab-full
	@tests/run --suite lab-full

## install: install below PREFIX
install:
	@tools/packages check build run
	@$(OWNER) $(MAKE) prefix guest PREFIX="$(PREFIX)"
	@tools/install install --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

## uninstall: remove what `make install` put there, and nothing else
uninstall:
	@tools/install uninstall --prefix "$(PREFIX)" --destdir "$(DESTDIR)"

## clean: remove what was built; the cache of kernels outside the tree stays
clean:
	rm -rf build

## help: this list
help:
	@sed -n 's/^## //p' Makefile | awk -F ': ' '{ printf "  %-14s %s\n", $$1, $$2 }'
