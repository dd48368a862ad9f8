# The short commands over CMake; `make help` lists them. Where make itself is missing: scripts/setup.sh, scripts/demo.sh, scripts/test.sh.
BUILD ?= build
ASAN_BUILD ?= build-asan
CLANG_BUILD ?= build-clang
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
DESTDIR ?=
# Passed to every configuration, for example CMAKE_ARGS=-DCMAKE_PREFIX_PATH=/opt/ggml
CMAKE_ARGS ?=
# 1: builds that run on every CPU of this architecture, in directories of their own; their ggml is built once more, which takes some time
PORTABLE ?=
ifeq ($(PORTABLE),1)
override BUILD := $(BUILD)-portable
override ASAN_BUILD := $(ASAN_BUILD)-portable
override CMAKE_ARGS += -DINFOFLOW_PORTABLE=ON
endif
# Passed to ctest, for example CTEST_ARGS="-R score"
CTEST_ARGS ?=

.PHONY: all setup test bench lint abi format demo install uninstall clean help
.DEFAULT_GOAL := all

all: $(BUILD)/build.ninja ## Build the command (build/infoflow) and the libraries
	cmake --build $(BUILD) --parallel $(JOBS)

$(BUILD)/build.ninja:
	cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Release -DINFOFLOW_TESTS=OFF $(CMAKE_ARGS)

$(ASAN_BUILD)/build.ninja:
	cmake -S . -B $(ASAN_BUILD) -G Ninja -DINFOFLOW_SANITIZE=ON -DINFOFLOW_TESTS=ON -DINFOFLOW_RELEASE_BUILD=$(abspath $(BUILD)) $(CMAKE_ARGS)

$(CLANG_BUILD)/build.ninja:
	cmake -S . -B $(CLANG_BUILD) -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
	    -DINFOFLOW_TESTS=ON $(CMAKE_ARGS)

setup: ## Install the Debian packages that are missing for building and testing
	scripts/setup.sh test

test: all $(ASAN_BUILD)/build.ninja ## Run all tests, under AddressSanitizer, UBSan and LeakSanitizer where our code runs
	cmake --build $(ASAN_BUILD) --parallel $(JOBS)
	ctest --test-dir $(ASAN_BUILD) --output-on-failure --parallel $(JOBS) $(CTEST_ARGS)

bench: all ## Measure speed and memory against libllama (MODEL=..., BENCH_ARGS="-c 2048,8192 --json")
	BUILD=$(BUILD) scripts/bench.sh $(BENCH_ARGS)

lint: $(CLANG_BUILD)/build.ninja ## clang-format, clang-tidy, and a build with clang; every warning is an error
	scripts/lint.sh $(CLANG_BUILD) $(JOBS)

abi: ## Compare exported names and layouts with packaging/libinfoflow.abi (libabigail); scripts/abi.sh --update writes it anew
	scripts/abi.sh

format: ## Rewrite the sources as clang-format wants them
	find src include tests examples \( -name '*.[ch]' -o -name '*.cpp' \) -exec clang-format -i {} +

demo: all ## Prefill the example documents, ask about them, and compare the time to first token with full prefill
	BUILD=$(BUILD) scripts/demo.sh

install: all ## Install the command, man pages, completions, header and libraries (PREFIX=/usr/local, DESTDIR=)
	DESTDIR=$(DESTDIR) cmake --install $(BUILD) --prefix $(abspath $(PREFIX))

uninstall: ## Remove what make install installed (the same PREFIX and DESTDIR)
	scripts/uninstall.sh $(DESTDIR)$(abspath $(PREFIX))

clean: ## Delete the builds (models, stores and the build of ggml are kept in ~/.cache/infoflow)
	rm -rf $(BUILD) $(ASAN_BUILD) $(CLANG_BUILD)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
