# Plumbline. `make help` lists the targets.

BUILD ?= build
CC ?= cc
CFLAGS ?= -O2 -g
SANITIZE ?=
FUZZ_SECONDS ?= 60
CHAOS_ROUNDS ?= 200
JOBS ?= $(shell nproc)
# `make V=1` shows whole command lines.
say = $(if $(V),,@echo '  $(CC) $@'; )

PACKAGES := libpq libmicrohttpd gnutls jansson yaml-0.1 zlib libcurl libxxhash rdkafka
WERROR ?= $(if $(CI),-Werror)
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wcast-qual -Wundef -Wvla \
            -Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough $(WERROR)
# pkg-config is asked once, and only when something is compiled.
PACKAGE_CFLAGS = $(eval \
    PACKAGE_CFLAGS := $$(shell pkg-config --cflags $(PACKAGES)))$(PACKAGE_CFLAGS)
PACKAGE_LIBS = $(eval PACKAGE_LIBS := $$(shell pkg-config --libs $(PACKAGES)))$(PACKAGE_LIBS)
CHECK_LIBS = $(eval CHECK_LIBS := $$(shell pkg-config --libs check))$(CHECK_LIBS)
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -Iinclude -I. -pthread -fno-omit-frame-pointer \
             $(WARNINGS) $(SANITIZE) $(CFLAGS) $(PACKAGE_CFLAGS)
ALL_LDFLAGS = -pthread -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
LIBS = $(PACKAGE_LIBS) -lm

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all
TSAN := -fsanitize=thread
# CI builds the sanitized tests with clang, so that both compilers see every line under -Werror.
ASAN_CC ?= $(if $(CI),clang,$(CC))

LIB_SOURCES := $(filter-out collector/main.c, \
                 $(wildcard base/*.c metrics/*.c atlas/*.c collector/*.c))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/gen/embedded.o
EMBEDDED := $(sort $(wildcard sql/*.sql)) $(wildcard openapi.yaml)

UNIT_SOURCES := $(wildcard $(foreach part,base metrics atlas collector,tests/$(part)/test_*.c))
# Fakes that only the unit tests link.
UNIT_HELPERS := $(filter-out $(UNIT_SOURCES),$(wildcard tests/collector/*.c))
IT_SOURCES := $(wildcard tests/integration/test_*.c)
# With a Kafka broker or Atlas's classes, which tools/fetch-jars fetches; skipped without them.
KAFKA_SOURCES := $(wildcard tests/kafka/test_*.c)
KAFKA_HELPERS := $(filter-out $(KAFKA_SOURCES),$(wildcard tests/kafka/*.c))
HARNESS_SOURCES := $(filter-out %/runner.c,$(wildcard tests/harness/*.c))
FUZZ_NAMES := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH_NAMES := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/bench_*.c))
BENCH_HELPERS := $(filter-out tests/bench/bench_%,$(wildcard tests/bench/*.c))
RUNNER := $(BUILD)/tests/harness/runner.o
CLOCK_SHIM := $(BUILD)/tests/clock.so
TEST_BINARIES := $(if $(UNIT_SOURCES),$(BUILD)/tests/unit) $(if $(IT_SOURCES),$(BUILD)/tests/it) \
                 $(if $(KAFKA_SOURCES),$(BUILD)/tests/kafka_it) $(FUZZ_NAMES:%=$(BUILD)/tests/%) \
                 $(CLOCK_SHIM)

all: $(BUILD)/plumbline ## build build/plumbline

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

install-deps: ## install what building and testing need (Debian 12, Ubuntu 24.04)
	@tools/install-deps

run: install-deps ## install what is missing, build, serve on 127.0.0.1:8190 (private Postgres)
	@$(MAKE) --no-print-directory -j$(JOBS) all
	@exec $(BUILD)/plumbline serve

$(BUILD)/plumbline: $(BUILD)/collector/main.o $(BUILD)/libplumbline.a
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libplumbline.a: $(LIB_OBJECTS) $(BUILD)/gen/names
	@rm -f $@ && ar rcs $@ $(LIB_OBJECTS)

$(BUILD)/%.o: %.c $(BUILD)/gen/flags
	@mkdir -p $(@D)
	$(say)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/gen/flags
	$(say)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Two notes on the build: what it was made with, and of which files; a change makes it anew.
$(BUILD)/gen/flags: FORCE
	@tools/write-if-changed $@ '$(CC) $(ALL_CFLAGS)'

$(BUILD)/gen/names: FORCE
	@tools/write-if-changed $@ \
	    '$(LIB_SOURCES) $(EMBEDDED) $(UNIT_SOURCES) $(IT_SOURCES) $(KAFKA_SOURCES)'

# What the binary carries: the migrations and openapi.yaml, as C arrays.
$(BUILD)/gen/embedded.c: tools/embed $(EMBEDDED) $(BUILD)/gen/names
	@tools/embed $(EMBEDDED) > $@.tmp && mv $@.tmp $@

# A test binary is every test_x.c with its x_suite(), collected into one table.
$(BUILD)/gen/unit_suites.c: tools/suites $(BUILD)/gen/names
	@tools/suites $(UNIT_SOURCES) > $@.tmp && mv $@.tmp $@

$(BUILD)/gen/it_suites.c: tools/suites $(BUILD)/gen/names
	@tools/suites $(IT_SOURCES) > $@.tmp && mv $@.tmp $@

$(BUILD)/gen/kafka_suites.c: tools/suites $(BUILD)/gen/names
	@tools/suites $(KAFKA_SOURCES) > $@.tmp && mv $@.tmp $@

$(BUILD)/libharness.a: $(HARNESS_SOURCES:%.c=$(BUILD)/%.o)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/unit: $(UNIT_SOURCES:%.c=$(BUILD)/%.o) $(UNIT_HELPERS:%.c=$(BUILD)/%.o) \
                     $(BUILD)/gen/unit_suites.o $(RUNNER) $(BUILD)/libharness.a \
                     $(BUILD)/libplumbline.a
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

$(BUILD)/tests/it: $(IT_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/gen/it_suites.o $(RUNNER) \
                   $(BUILD)/libharness.a $(BUILD)/libplumbline.a
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

# Stands in front of the daemon's libc; without the sanitizers, which the daemon has.
$(CLOCK_SHIM): tests/chaos/clock.c $(BUILD)/gen/flags
	@mkdir -p $(@D)
	$(say)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -O2 -g -fPIC -shared -o $@ $<

$(BUILD)/tests/kafka_it: $(KAFKA_SOURCES:%.c=$(BUILD)/%.o) $(KAFKA_HELPERS:%.c=$(BUILD)/%.o) \
                         $(BUILD)/gen/kafka_suites.o $(RUNNER) $(BUILD)/libharness.a \
                         $(BUILD)/libplumbline.a
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

# A fuzz target with a main() that runs the files of its regression folder, for every compiler.
$(BUILD)/tests/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o \
                       $(BUILD)/libharness.a $(BUILD)/libplumbline.a
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libharness.a $(BUILD)/libplumbline.a
	@mkdir -p $(@D)
	$(say)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

$(BUILD)/bench/%: $(BUILD)/tests/bench/%.o $(BENCH_HELPERS:%.c=$(BUILD)/%.o) \
                  $(BUILD)/libharness.a $(BUILD)/libplumbline.a
	@mkdir -p $(@D)
	$(say)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LIBS)

test-build: all $(TEST_BINARIES)
fuzz-build: $(FUZZ_NAMES:%=$(BUILD)/fuzz/%)
bench-build: all $(BENCH_NAMES:%=$(BUILD)/bench/%)

# Servers and clients of others for the tests; what can't be had is skipped there, by name.
fetch_foreign = @for jars in kafka atlas atlas-java; do tools/fetch-jars $$jars || true; done; \
                for pins in clients/python/requirements.txt tools/atlas-clients/*.txt; do \
                    tools/fetch-python $$pins || true; done

test: ## install what is missing, run every test: units, integration, both again under asan
	@tools/install-deps $(if $(CI),--dev)
	$(fetch_foreign)
	@$(MAKE) --no-print-directory -j$(JOBS) test-build
	@$(MAKE) --no-print-directory -j$(JOBS) test-build BUILD=$(BUILD)-asan CC=$(ASAN_CC) \
	    SANITIZE='$(ASAN)'
	@tools/test $(if $(CI),lint:$(BUILD)) python:$(BUILD) $(BUILD) short:$(BUILD)-asan

check: $(filter-out %/it %/kafka_it %.so,$(TEST_BINARIES)) ## unit tests, fuzz (SUITES="json row")
	@tools/test unit:$(BUILD)

it: all $(filter %/it %.so,$(TEST_BINARIES)) ## integration tests only (SUITES=harness)
	@tools/test it:$(BUILD)

python: all ## tests of the Python client (SUITES="sender process")
	@tools/fetch-python || true
	@tools/test python:$(BUILD)

asan: ## all tests under address and undefined-behaviour sanitizers
	$(fetch_foreign)
	@$(MAKE) --no-print-directory -j$(JOBS) test-build BUILD=$(BUILD)-asan SANITIZE='$(ASAN)'
	@tools/test $(BUILD)-asan

tsan: ## all tests under the thread sanitizer
	$(fetch_foreign)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)-tsan SANITIZE='$(TSAN)' \
	    $(BUILD)-tsan/tests/tsan/c11_threads.o
	@$(MAKE) --no-print-directory -j$(JOBS) test-build BUILD=$(BUILD)-tsan SANITIZE='$(TSAN)' \
	    LDFLAGS=$(BUILD)-tsan/tests/tsan/c11_threads.o
	@tools/test $(BUILD)-tsan

fuzz: ## every fuzz target for FUZZ_SECONDS (60), with clang
	@tools/install-deps --dev
	@$(MAKE) --no-print-directory -j$(JOBS) fuzz-build BUILD=$(BUILD)-fuzz CC=clang \
	    SANITIZE='-fsanitize=fuzzer-no-link $(ASAN)'
	@tools/fuzz $(BUILD)-fuzz $(FUZZ_SECONDS) $(FUZZ_NAMES)

chaos: all $(filter %/it %.so,$(TEST_BINARIES)) ## random faults for CHAOS_ROUNDS (200) rounds
	@tools/fetch-jars kafka || true
	@CHAOS_ROUNDS=$(CHAOS_ROUNDS) TEST_DAEMON=$(BUILD)/plumbline $(BUILD)/tests/it chaos

soak: all $(BUILD)/bench/bench_soak ## SOAK_SECONDS at SOAK_RATE: what grows
	@BENCH_ROWS=/dev/null TEST_DAEMON=$(BUILD)/plumbline $(BUILD)/bench/bench_soak

schemathesis: all ## requests made from openapi.yaml, every answer as documented
	@tools/schemathesis $(BUILD)

valgrind: $(BUILD)/tests/unit ## unit tests under valgrind (SUITES="json row")
	@tools/valgrind $(BUILD)

analyse: all ## clang-tidy, cppcheck, gcc -fanalyzer: clean, or with a written reason
	@tools/install-deps --analyse
	@tools/analyse

cover: ## line and branch coverage of all tests, and each place that never ran
	$(fetch_foreign)
	@rm -rf $(BUILD)-cover
	@$(MAKE) --no-print-directory -j$(JOBS) test-build BUILD=$(BUILD)-cover CFLAGS='-O0 -g' \
	    SANITIZE=--coverage
	@umask 0 && tools/test $(BUILD)-cover
	@tools/cover $(BUILD)-cover

lint: all ## house style, checked by tools
	@tools/lint $(BUILD)

bench: ## speed and memory beside psql and pgbench, as a table
	@tools/install-deps
	@$(MAKE) --no-print-directory -j$(JOBS) bench-build
	@BUILD=$(BUILD) tests/bench/run

bench-python: all ## what tracking costs a Python prediction, rows into a DataFrame
	@tools/fetch-python
	@TEST_DAEMON=$(BUILD)/plumbline PYTHONPATH=clients/python/src PYTHONDONTWRITEBYTECODE=1 \
	    "$$(tools/fetch-python --path)/bin/python" clients/python/bench/bench.py

kafka-it: all $(BUILD)/tests/kafka_it ## integration tests with a real Kafka broker
	@tools/fetch-jars kafka
	@tools/fetch-jars atlas || true
	@tools/test kafka:$(BUILD)

test-all: test lint asan tsan fuzz chaos schemathesis soak valgrind analyse ## all that can fail
	@TEST_LONG=1 $(MAKE) --no-print-directory kafka-it SUITES=kafka_chaos

clean: ## remove all that was built
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz $(BUILD)-cover

FORCE:
.PRECIOUS: $(BUILD)/%.o
.PHONY: FORCE all help install-deps run test-build fuzz-build bench-build test check it asan tsan \
        fuzz chaos soak schemathesis valgrind analyse \
        cover lint bench bench-python python kafka-it test-all clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
