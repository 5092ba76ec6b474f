# Makefile - builds, tests and installs Penstock.  GNU make.
#
#   make                    build/penstock
#   make unit               unit tests (build/unit/test_*)
#   make check              everything a change must pass; check-all before a release
#   make asan | ubsan | tsan     unit, wire and cluster tests and the checker, sanitized (build-asan/ ...)
#   make CC=clang           the other compiler; objects are rebuilt when compiler or flags change
#   make SKIP='proxy/x.c proxy/net/%.c'   leaves these sources out of the library (a broken neighbour)
#   make V=1                shows the commands
#   make WERROR=1           warnings are errors
#
# Every .c file below base/ protocol/ router/ cache/ proxy/ belongs to the program; all of them but
# proxy/main.c are in libpenstock.a, which the unit tests and fuzz targets link.

VERSION := 0.1.0
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
PYTHON ?= python3
PREFIX ?= /usr
SYSCONFDIR ?= /etc
DESTDIR ?=
VARIANT ?=

# ---- variants --------------------------------------------------------------------------------------
OPT ?= -O2 -g
SAN_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_ubsan := -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_tsan := -fsanitize=thread -fno-omit-frame-pointer
SAN_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SAN_cover := --coverage
SAN_debug := -fno-omit-frame-pointer
ifneq ($(VARIANT),)
ifeq ($(filter $(VARIANT),asan ubsan tsan fuzz cover debug),)
$(error VARIANT must be one of: asan ubsan tsan fuzz cover debug)
endif
B := build-$(VARIANT)
SAN := $(SAN_$(VARIANT))
OPT := -O1 -g
DEFS := -DPENSTOCK_DEBUG
else
B := build
SAN :=
DEFS :=
# The program is linked as a whole: a tenth fewer instructions per transaction. Objects carry both forms,
# so that the many unit tests link quickly without. LTO=0 switches it off (clang has no such objects).
LTO ?= $(if $(findstring clang,$(CC)),0,1)
ifeq ($(LTO),1)
LTO_COMPILE := -flto=auto -ffat-lto-objects
LTO_LINK := -flto=auto
LTO_NONE := -fno-lto
endif
endif

# ---- flags -----------------------------------------------------------------------------------------
hash := \#
have = $(shell printf '$(hash)if !__has_include(<$(1)>)\n$(hash)error\n$(hash)endif\n' | \
	$(CC) -E -x c - >/dev/null 2>&1 && echo 1)
HAVE_LDAP := $(and $(call have,ldap.h),$(call have,lber.h))
HAVE_PAM := $(call have,security/pam_appl.h)

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wundef -Wcast-qual -Wformat=2 -Wswitch-enum -Werror=implicit-function-declaration
ifneq ($(findstring clang,$(CC)),)
WARN += -Wthread-safety
endif
ifeq ($(WERROR),1)
WARN += -Werror
endif
DEFS += -D_GNU_SOURCE -DPENSTOCK_VERSION='"$(VERSION)"'
DEFS += $(if $(HAVE_LDAP),-DHAVE_LDAP=1) $(if $(HAVE_PAM),-DHAVE_PAM=1)
PQ_CFLAGS := $(patsubst -I%,-isystem %,$(shell pkg-config --cflags libpq 2>/dev/null))
ALL_CFLAGS = -std=c11 -I. $(PQ_CFLAGS) $(DEFS) $(OPT) $(SAN) $(WARN) -fno-strict-overflow -pthread $(CPPFLAGS) $(CFLAGS)
LIBS := -lev -lssl -lcrypto -linih -lpg_query -lmicrohttpd -lpq -lncursesw -ltinfo
LIBS += $(if $(HAVE_LDAP),-lldap -llber) $(if $(HAVE_PAM),-lpam) $(if $(wildcard cache/*.c),-lhiredis)
LIBS += -lm -lpthread -ldl

# ---- sources ---------------------------------------------------------------------------------------
FOLDERS := $(wildcard base protocol router cache proxy)
SRC := $(sort $(shell find $(FOLDERS) -name '*.c'))
MAIN_SRC := proxy/main.c
LIB_SRC := $(filter-out $(MAIN_SRC) $(SKIP),$(SRC))
UNIT_SRC := $(sort $(wildcard test/unit/test_*.c))
SUPPORT_SRC := $(sort $(wildcard test/unit/support/*.c))
FUZZ_SRC := $(sort $(wildcard test/fuzz/fuzz_*.c))

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
PAGE := $(B)/gen/http_page_html
LIB_OBJ := $(call obj,$(LIB_SRC)) $(PAGE).o
MAIN_OBJ := $(call obj,$(MAIN_SRC))
SUPPORT_OBJ := $(call obj,$(SUPPORT_SRC))
UNIT_BIN := $(patsubst test/unit/%.c,$(B)/unit/%,$(UNIT_SRC))
FUZZ_BIN := $(patsubst test/fuzz/%.c,$(B)/fuzz/%,$(FUZZ_SRC))
LIB := $(B)/libpenstock.a
SUPPORT_LIB := $(B)/libtestsupport.a

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n'
endif

.PHONY: all lib unit unit-build check check-integration check-all mutants soak bench bench-report demo \
	deps asan ubsan tsan lint tidy format format-check fuzz-build fuzz-smoke cover docs-check install \
	install-program uninstall deb rpm \
	clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/penstock
lib: $(LIB)

help:
	@sed -n '3,16s/^# \{0,1\}//p' Makefile

# ---- building --------------------------------------------------------------------------------------
# The stamp changes only when compiler or flags do; every object depends on it.
$(B)/flags: FORCE
	@mkdir -p $(B)
	@printf '%s\n' "$$($(CC) --version | head -n 1)" '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(LTO_COMPILE))' > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv $@.new $@; fi

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO_COMPILE) -MMD -MP -c $< -o $@

# The page of the HTTP port is a part of the program.
$(PAGE).c: proxy/http/page.html proxy/http/embed.sh
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q)sh proxy/http/embed.sh $(@F:.c=) < $< > $@

$(PAGE).o: $(PAGE).c $(B)/flags
	$(say) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO_COMPILE) -c $< -o $@

# The list of members is a prerequisite, so that a removed source leaves the archive too.
$(B)/members: FORCE
	@mkdir -p $(B)
	@printf '%s\n' $(LIB_OBJ) > $@.new
	@if cmp -s $@.new $@; then rm -f $@.new; else mv $@.new $@; fi

$(LIB): $(LIB_OBJ) $(B)/members
	$(say) AR $@
	$(Q)rm -f $@ && ar qcs $@ $(LIB_OBJ)

$(SUPPORT_LIB): $(SUPPORT_OBJ)
	@mkdir -p $(@D)
	$(say) AR $@
	$(Q)rm -f $@ && ar qcs $@ $(SUPPORT_OBJ)

$(B)/penstock: $(MAIN_OBJ) $(LIB_OBJ) $(B)/members
	$(say) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO_LINK) -rdynamic $(LDFLAGS) $(MAIN_OBJ) $(LIB_OBJ) $(LIBS) -o $@

# ---- unit tests ------------------------------------------------------------------------------------
$(B)/unit/%: $(B)/obj/test/unit/%.o $(SUPPORT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) $(LTO_NONE) $(LDFLAGS) $< $(SUPPORT_LIB) $(LIB) $(SUPPORT_LIB) -lcmocka $(LIBS) -o $@

unit-build: $(UNIT_BIN)

# Also leaves $(B)/unit/summary ("passed failed skipped") for test/run.py.
unit: $(UNIT_BIN)
	@test/unit/run.sh $(B)/unit $(UNIT_BIN)

# ---- sanitizers ------------------------------------------------------------------------------------
SAN_CHECKER_SECONDS ?= 30
asan ubsan tsan:
	$(MAKE) VARIANT=$@ all unit
	PENSTOCK_BIN=$(CURDIR)/build-$@/penstock PENSTOCK_VARIANT=$@ \
	ASAN_OPTIONS=detect_leaks=1:abort_on_error=1:$$ASAN_OPTIONS \
	UBSAN_OPTIONS=print_stacktrace=1:$$UBSAN_OPTIONS \
	TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:$$TSAN_OPTIONS \
	PENSTOCK_WORKERS=$${PENSTOCK_WORKERS:-$(if $(filter tsan,$@),4,2)} \
	CHECKER_SECONDS=$(SAN_CHECKER_SECONDS) $(PYTHON) test/run.py wire checker cluster

# ---- fuzzing ---------------------------------------------------------------------------------------
$(B)/fuzz/%: $(B)/obj/test/fuzz/%.o $(SUPPORT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer $(LDFLAGS) $< $(SUPPORT_LIB) $(LIB) $(LIBS) -o $@

ifeq ($(VARIANT),fuzz)
fuzz-build: $(FUZZ_BIN)
else
fuzz-build:
	$(MAKE) VARIANT=fuzz CC=clang fuzz-build
endif

FUZZ_SECONDS ?= 10
fuzz-smoke: fuzz-build
	@test/fuzz/run.sh build-fuzz/fuzz $(FUZZ_SECONDS) $(notdir $(FUZZ_SRC:.c=))

# ---- lint ------------------------------------------------------------------------------------------
C_FILES = $(sort $(shell find $(FOLDERS) test -name '*.[ch]' -not -path '*/build*'))
SH_FILES = $(sort $(shell find . -name '*.sh' -not -path './build*' -not -path './.git/*')) \
	$(wildcard .ci/run .githooks/pre-commit)

lint:
	$(PYTHON) test/lint/selftest.py
	$(PYTHON) test/lint/lint.py
	cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
		--suppressions-list=test/lint/cppcheck.txt -I. -D_GNU_SOURCE -D__GNUC__ -DHAVE_LDAP=1 -DHAVE_PAM=1 \
		--max-configs=2 -j 2 --template='{file}:{line}: {id}: {message}' $(SRC)
	shellcheck $(SH_FILES)
	@if command -v clang-tidy >/dev/null; then $(MAKE) --no-print-directory tidy; \
	else echo 'lint: clang-tidy is not installed, skipped'; fi

# Files whose text (or whose headers' text) has not changed since they were last clean are not run again;
# TIDY_ALL=1 runs all of them.
tidy:
	@test/lint/tidy.sh $(B)/tidy $(if $(TIDY_ALL),all,changed) $(SRC) -- \
		-std=c11 -I. $(PQ_CFLAGS) $(filter-out -DPENSTOCK_VERSION=%,$(DEFS)) -DPENSTOCK_VERSION='"0"' $(filter-out -Werror,$(WARN))

format:
	$(PYTHON) test/lint/rewrap.py $(C_FILES)
	clang-format -i $(C_FILES)

format-check:
	@clang-format --dry-run -Werror $(C_FILES)

# ---- suites: the scripts do the work ---------------------------------------------------------------
deps:
	test/support/deps.sh check

check:
	test/support/deps.sh check
	$(MAKE) WERROR=1 all unit-build
	WERROR=1 $(PYTHON) test/run.py check

check-integration: all
	$(PYTHON) test/run.py integration

check-all:
	test/support/deps.sh check-all
	$(MAKE) WERROR=1 all unit-build
	$(MAKE) lint format-check
	WERROR=1 $(PYTHON) test/run.py check-all
	$(MAKE) mutants
	$(MAKE) asan
	$(MAKE) tsan
	$(MAKE) fuzz-smoke

# Each safety rule is broken in a copy of the sources; the tests named in test/mutants/table.py must
# notice. M='name name' runs some of them.
mutants:
	$(PYTHON) test/mutants/run.py $(M)

soak:
	test/support/deps.sh soak
	$(MAKE) all
	$(PYTHON) test/run.py soak

demo:
	test/support/deps.sh demo
	$(MAKE) all
	$(PYTHON) test/demo.py

bench:
	test/support/deps.sh bench
	$(MAKE) all
	$(PYTHON) test/bench/bench.py

docs-check: all
	$(PYTHON) test/run.py docs

cover:
	$(MAKE) VARIANT=cover all unit
	cd build-cover && find obj -name '*.gcda' -not -path 'obj/test/*' -exec gcov -n -o {} {} + 2>/dev/null | \
		awk '/^File/ {f=$$2} /^Lines/ {print $$0, f}' | grep -v /usr/ | sort -t: -k2 -n

# ---- installing ------------------------------------------------------------------------------------
# install-program: what every package has. install adds what belongs to the system it goes into; the
# recipes in packaging/ put these files where their distribution wants them.
install: install-program
	@for f in $(wildcard packaging/etc/*.ini packaging/etc/*.txt); do \
		t=$(DESTDIR)$(SYSCONFDIR)/penstock/$${f##*/}; \
		if [ -e "$$t" ]; then echo "kept $$t"; else install -D -m 0640 "$$f" "$$t"; fi; done
	@for f in $(wildcard packaging/systemd/*.service packaging/systemd/*.socket); do \
		install -D -m 0644 "$$f" "$(DESTDIR)$(PREFIX)/lib/systemd/system/$${f##*/}"; done
	install -D -m 0644 packaging/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/penstock.conf
	install -D -m 0644 packaging/systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/penstock.conf
	install -D -m 0644 packaging/etc/logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/penstock
	@for f in $(wildcard etc/*.ini); do \
		install -D -m 0644 "$$f" "$(DESTDIR)$(PREFIX)/share/doc/penstock/examples/$${f##*/}"; done
	install -D -m 0644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/penstock/copyright

install-program: all
	install -D -m 0755 $(B)/penstock $(DESTDIR)$(PREFIX)/bin/penstock
	@for f in $(wildcard docs/*.1 docs/*.5 docs/*.8); do \
		install -D -m 0644 "$$f" "$(DESTDIR)$(PREFIX)/share/man/man$${f##*.}/$${f##*/}"; done
	install -D -m 0644 packaging/completion/penstock.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/penstock

# Packages of what is in this folder, below build/deb and build/rpm.
deb:
	packaging/deb/build.sh $(VERSION) build/deb

rpm:
	packaging/rpm/build.sh $(VERSION) build/rpm

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/penstock

clean:
	rm -rf build build-asan build-ubsan build-tsan build-fuzz build-cover build-debug

FORCE:

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(SUPPORT_OBJ:.o=.d) \
	$(patsubst %.c,$(B)/obj/%.d,$(UNIT_SRC) $(FUZZ_SRC))
