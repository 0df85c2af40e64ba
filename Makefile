# SPDX-License-Identifier: MIT
#
# all check lint fuzz install uninstall clean
#
#   make            builds ./btgate
#   make bench      the gateway beside other relays, on this machine
#   make bench-radio  the same over Bluetooth, in the virtual radio
#   make check      builds and runs the unit tests
#   make SAN=1 ...  the same under ASan, UBSan and LSan, in a directory of its own
#   make V=1        shows the commands
#   make WERROR=1   warnings are errors (CI)

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
SYSCONFDIR ?= /etc
EXAMPLEDIR ?= $(PREFIX)/share/doc/btgate/examples
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
COMPLETIONDIR ?= $(PREFIX)/share/bash-completion/completions
UDEVRULESDIR ?= $(PREFIX)/lib/udev/rules.d
DESTDIR ?=

PKG_CONFIG ?= pkg-config
PACKAGES := bluez libevent_core libevent_extra inih jansson libsystemd openssl
VERSION := $(shell cat VERSION)

CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wwrite-strings -Wvla -Wformat=2 -Wundef \
	-Wno-unused-parameter
ALL_CPPFLAGS = -D_GNU_SOURCE -DBTGATE_VERSION='"$(VERSION)"' -Igateway \
	$(shell $(PKG_CONFIG) --cflags $(PACKAGES)) $(CPPFLAGS)
HARDENING := -fstack-protector-strong -fPIE
ALL_CFLAGS = -std=gnu11 -pthread $(WARNINGS) $(HARDENING) $(CFLAGS) -MMD -MP
ALL_LDFLAGS = -pie -Wl,-z,relro,-z,now $(LDFLAGS)
LIBS = $(shell $(PKG_CONFIG) --libs $(PACKAGES))

ifdef WERROR
ALL_CFLAGS += -Werror
endif

BUILD := build
PROGRAM := btgate
ifdef SAN
# A build of its own beside the plain one: both are tested in one run.
BUILD := build-san
PROGRAM := build-san/btgate
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer
ALL_CFLAGS += $(SANITIZERS)
ALL_LDFLAGS += $(SANITIZERS)
else
# _FORTIFY_SOURCE hides from ASan what it is there to see.
ALL_CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif

SOURCES := $(wildcard gateway/*.c)
OBJECTS := $(SOURCES:gateway/%.c=$(BUILD)/%.o)
LIBRARY := $(BUILD)/libbtgate.a
# The longest first: they run side by side.
SLOW_CHECKS := tests/check_session_faults.c tests/check_session_pieces.c \
	tests/check_devices.c tests/check_endpoint.c tests/check_pair.c \
	tests/check_bluez.c tests/check_local.c
CHECKS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(SLOW_CHECKS) \
	$(filter-out $(SLOW_CHECKS),$(wildcard tests/check_*.c)))
# Suites whose tests need a process each, for what others left in their variables.
# Under sanitizers and valgrind, which begin and end slowly, the others do without.
FORKING_CHECKS := check_endpoint check_log check_loop check_remote
ONE_PROCESS = $(filter-out $(FORKING_CHECKS),$(notdir $(CHECKS)))
FUZZERS := $(patsubst tests/%.c,build-fuzz/%,$(wildcard tests/fuzz_*.c))
# What a fuzzer may link: text to structs, without libevent or BlueZ.
FUZZED := $(wildcard gateway/address*.c gateway/config*.c) gateway/error.c gateway/hash.c \
	gateway/json.c gateway/sdp_parse.c gateway/sdp_transaction.c \
	gateway/service_list.c gateway/text.c
# Seconds that `make fuzz` spends on each fuzzer.
FUZZ_SECONDS ?= 60

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))

.PHONY: all checks check valgrind lint layers fuzz fuzz-corpus bench \
	bench-radio install uninstall clean
all: $(PROGRAM)

$(PROGRAM): $(BUILD)/main.o $(LIBRARY)
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

$(LIBRARY): $(filter-out $(BUILD)/main.o,$(OBJECTS))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: gateway/%.c Makefile VERSION | $(BUILD)/tests
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/tests/%: tests/%.c $(LIBRARY) Makefile | $(BUILD)/tests
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(shell $(PKG_CONFIG) --cflags check) \
		$(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIBRARY) \
		$(shell $(PKG_CONFIG) --libs check) $(LIBS)

# Its memory runs out on demand.
$(BUILD)/tests/check_session_faults $(BUILD)/tests/check_hold_faults: \
	ALL_LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
$(BUILD)/tests/check_hold_faults: \
	ALL_LDFLAGS += -Wl,--wrap=epoll_ctl,--wrap=epoll_create1,--wrap=eventfd \
		-Wl,--wrap=_mark_point

# A machine without Bluetooth, or with adapters; a service's user.
$(BUILD)/tests/check_link_setup: ALL_LDFLAGS += -Wl,--wrap=calloc
$(BUILD)/tests/check_doctor: ALL_LDFLAGS += -Wl,--wrap=socket,--wrap=getpwnam \
	-Wl,--wrap=controllers_read

# In the terminal's background, when time is over, and without Bluetooth.
$(BUILD)/tests/check_pairing_asked: ALL_LDFLAGS += -Wl,--wrap=tcgetpgrp \
	-Wl,--wrap=loop_start_timer -Wl,--wrap=listener_open

$(BUILD)/tests build-fuzz:
	$(Q)mkdir -p $@

# What suites start, by the dozen: it begins slowly under sanitizers.
MOCKS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/mock_*.c))
$(MOCKS): private SANITIZERS :=

checks: $(CHECKS) $(MOCKS)

# Every suite runs, also after one failed; the last line sums up.
check: $(PROGRAM) $(CHECKS) $(MOCKS)
	$(Q)BTGATE=./$(PROGRAM) $(if $(SAN),ONE_PROCESS="$(ONE_PROCESS)") \
		tests/run-checks $(CHECKS)

# An error or a leak ends the test's process with a status that fails it.
valgrind: $(PROGRAM) $(CHECKS) $(MOCKS)
	$(Q)BTGATE=./$(PROGRAM) BTGATE_VALGRIND=1 CK_TIMEOUT_MULTIPLIER=10 \
		ONE_PROCESS="$(ONE_PROCESS)" WRAPPER="valgrind --quiet --vgdb=no \
		--error-exitcode=99 --leak-check=full \
		--errors-for-leak-kinds=definite \
		--suppressions=tests/valgrind.supp" tests/run-checks $(CHECKS)

# What the benchmark puts on a relay, and the relay that it measures against.
$(BUILD)/bench/%: tests/bench/%.c Makefile | $(BUILD)/bench
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIBS)

$(BUILD)/bench:
	$(Q)mkdir -p $@

# ROUNDS and ONLY as in tests/bench/bench.py --help.
bench:
	$(Q)scripts/setup bench
	$(Q)$(MAKE) --no-print-directory $(PROGRAM) $(BUILD)/bench/load $(BUILD)/bench/relay
	$(Q)BTGATE=./$(PROGRAM) LOAD=$(BUILD)/bench/load RELAY=$(BUILD)/bench/relay \
		tests/bench/bench.py $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(ONLY),--only $(ONLY)) --output $(BUILD)/bench/results.json

# Results go to $(BUILD)/bench/radio/results.json.
bench-radio:
	$(Q)scripts/setup build radio
	$(Q)$(MAKE) --no-print-directory $(PROGRAM) $(BUILD)/bench/load
	$(Q)scripts/virtual-radio run -n 16 -c 2 -t 7200 -o $(BUILD)/bench/radio \
		--env BTGATE=$(CURDIR)/$(PROGRAM) \
		--env LOAD=$(CURDIR)/$(BUILD)/bench/load tests/bench/radio \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(ONLY),--only $(ONLY))

lint: layers
	$(Q)cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 \
		--enable=warning,performance,portability -D_GNU_SOURCE \
		-D'BTGATE_VERSION=""' --suppress=missingIncludeSystem \
		-Igateway gateway tests/*.c
	$(Q)clang-format --dry-run --Werror gateway/*.[ch] tests/*.[ch] \
		scripts/radio/*.c
	$(Q)shellcheck $$(grep -rlE '^#!/bin/(ba)?sh|^# shellcheck shell' \
		scripts tests .ci)

layers:
	$(Q)scripts/check-layers

fuzz: $(FUZZERS)
	$(Q)for fuzzer in $(FUZZERS); do \
		name=$${fuzzer##*/fuzz_}; mkdir -p build-fuzz/corpus-$$name; \
		$$fuzzer -max_total_time=$(FUZZ_SECONDS) -max_len=8192 \
			-artifact_prefix=build-fuzz/ -print_final_stats=1 \
			build-fuzz/corpus-$$name tests/seeds/$$name || exit 1; \
	done

# The seeds once each, as tests.
fuzz-corpus: $(FUZZERS)
	$(Q)for fuzzer in $(FUZZERS); do \
		$$fuzzer -runs=0 tests/seeds/$${fuzzer##*/fuzz_} \
			2>build-fuzz/log || { cat build-fuzz/log; exit 1; }; \
	done

build-fuzz/%: tests/%.c $(FUZZED) Makefile | build-fuzz
	$(call say,FUZZ,$@)
	$(Q)clang $(ALL_CPPFLAGS) -U_FORTIFY_SOURCE -std=gnu11 -g -O1 \
		-fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -o $@ $< $(FUZZED) \
		$(shell $(PKG_CONFIG) --libs inih)

install: all
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(BINDIR)/btgate
	install -D -m 644 scripts/btgate.8 $(DESTDIR)$(MANDIR)/man8/btgate.8
	install -d $(DESTDIR)$(MANDIR)/man5
	sed 's,@EXAMPLEDIR@,$(EXAMPLEDIR),' scripts/btgate.conf.5 \
		>$(DESTDIR)$(MANDIR)/man5/btgate.conf.5
	chmod 644 $(DESTDIR)$(MANDIR)/man5/btgate.conf.5
	install -d $(DESTDIR)$(EXAMPLEDIR)
	install -m 644 conf/*.conf $(DESTDIR)$(EXAMPLEDIR)
	install -d $(DESTDIR)$(UNITDIR)
	sed 's,@BINDIR@,$(BINDIR),' scripts/system/btgate.service.in \
		>$(DESTDIR)$(UNITDIR)/btgate.service
	chmod 644 $(DESTDIR)$(UNITDIR)/btgate.service
	install -D -m 644 scripts/system/btgate.sysusers \
		$(DESTDIR)$(SYSUSERSDIR)/btgate.conf
	install -D -m 644 scripts/system/77-btgate-modemmanager.rules \
		$(DESTDIR)$(UDEVRULESDIR)/77-btgate-modemmanager.rules
	install -D -m 644 scripts/system/btgate.tmpfiles \
		$(DESTDIR)$(TMPFILESDIR)/btgate.conf
	install -D -m 644 scripts/system/btgate.bash-completion \
		$(DESTDIR)$(COMPLETIONDIR)/btgate
	@# A configuration that somebody made is never overwritten.
	test -e $(DESTDIR)$(SYSCONFDIR)/btgate/btgate.conf || \
		install -D -m 644 conf/btgate.conf \
			$(DESTDIR)$(SYSCONFDIR)/btgate/btgate.conf

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/btgate $(DESTDIR)$(MANDIR)/man8/btgate.8 \
		$(DESTDIR)$(MANDIR)/man5/btgate.conf.5 \
		$(DESTDIR)$(UNITDIR)/btgate.service \
		$(DESTDIR)$(SYSUSERSDIR)/btgate.conf \
		$(DESTDIR)$(TMPFILESDIR)/btgate.conf \
		$(DESTDIR)$(COMPLETIONDIR)/btgate \
		$(DESTDIR)$(UDEVRULESDIR)/77-btgate-modemmanager.rules
	rm -rf $(DESTDIR)$(EXAMPLEDIR)
	-rmdir $(DESTDIR)$(dir $(EXAMPLEDIR)) 2>/dev/null

clean:
	rm -rf build build-san build-fuzz btgate

-include $(wildcard $(BUILD)/*.d $(BUILD)/tests/*.d)
