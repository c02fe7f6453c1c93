# make            build the C node, Erlang and Elixir
# make test       every test; installs what it needs; last line "N passed, N failed"
# make demo       the main job, end to end, on this machine (SINK=file: without Node; LOG=postgres; SERVE=1: a live page)
# make bench      every row of docs/BENCH.md, in under ten minutes (ROW=name: one group of rows)
# make neighbours  what one bad neighbour costs all others: p50 and p99 while each fault lasts (SAMPLES=2000 RUNS=3)
# make subscriber  how old a change is at the POST and at a ConvexClient, quiet and at 500 updates/s (SECONDS=30)
# make cost       the bytes of an update at Convex by part, functions of 0.1 and of today (RUN_ID=text)
# make sim        delivery's judgement against scripts on a clock of their own (SEEDS=10000, FROM=seed)
# make soak       steady load, a restart every 20 s; memory, descriptors and losses (MINUTES=30)
# make upgrade    from 0.1.1 (built beside) and back, kills in the middle (KILLS=n); last line "N passed, N failed"
# make scale      a rebuild that is killed in the middle, resumed and audited (ENTITIES=20000)
# make systemd    the package under a real systemd, in a container; root, debootstrap (TREE=dir: a tree to copy)
# make guides-runtime   the application this is made for, in small, under kill -9 (RUNS=1000 WORKERS=200)
# make guides     the pages of docs/guides, step by step, each by its script, where no network is (GUIDE=installation: one)
# make runtime-shape   the shape of the real runtime over a PostgreSQL: RUNS=1000 of each form
# make torture    the promise under fire: CYCLES=20 kills among other faults; SEED=n repeats a run, FORM=one (SAN as below)
# make mutants    small changes of the code, each against its tests: COUNT=400 SEED=1 (ONLY=c_src/outbox)
# make otherside  wiped, restored, swapped under DOCUMENTS=50000: how soon it is said, and right again
# make check      folder plan, links, format, clang-tidy (SAN=address|undefined|thread: the unit tests with it as well)
# make reproducible   the same sources, built in two folders, give the same bytes
# make power      a recorded trace of writes and syncs, the power cut in it at random (IMAGES=600 SEED=1)
# make fuzz-store stores damaged in every way: checked, started, delivered, repaired (MUTANTS=3000 FROM=1)
# make fuzz       every decoder and door under libFuzzer, 60 s each (SECONDS=n, ONLY="term door")
# make fuzz-live  the sanitized program under mutated traffic, with restarts (MINUTES=30, SEED=n; SAN=thread: races)
# make install    program, unit, configuration, man pages, completion (DESTDIR= PREFIX=/usr/local SYSCONFDIR=/etc)
# make kinds      write priv/convex/kinds.ts anew, after a change of priv/kinds.ini
# make setup      only install what is missing (Debian packages, npm modules of test/convex)
# make hooks      check plan, links and format before each commit
# make compile_commands.json   for clangd
# make clean      remove all that was built
#
# V=1 shows the commands; OTP_ROOT=/path uses another Erlang/OTP; BUILD=dir another build folder.

VERSION := $(shell sed -n 's/.*{vsn, *"\(.*\)"}.*/\1/p' src/convex_sidecar.app.src)
SAN     ?=
BUILD   ?= build$(if $(SAN),/$(SAN))
PROGRAM := $(if $(SAN),$(BUILD)/convex_sidecar,priv/convex_sidecar)
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

ifdef OTP_ROOT
export PATH := $(OTP_ROOT)/bin:$(PATH)
endif
# For another machine: CC, AR, PKG_CONFIG and EI (the folder of its erl_interface) are its own (CONTRIBUTING.md).
PKG_CONFIG ?= pkg-config
# With PATH spelled out: make 4.3 exports to recipes, not to $(shell).
ifndef EI
EI      := $(shell PATH='$(PATH)' erl -noshell -eval 'io:put_chars(code:lib_dir(erl_interface)), halt().' 2>/dev/null)
endif
EI_DIRS := $(wildcard $(EI) $(EI)/../../usr)
PKGS    := lmdb libcurl jansson libmicrohttpd libcrypto inih libseccomp
# Its headers alone: what writes msgpack is inline.  msgpack-c is called msgpack before its version 6.
MSGPACK := $(shell $(PKG_CONFIG) --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)

ifeq ($(origin CC),default)
CC      := gcc
endif
WARN    := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes
CFLAGS  ?= -O2 -g
# gcc 12 and clang 16 have it; what is read before it was written reads as 0.
AUTO    := $(if $(SAN),,$(shell $(CC) -ftrivial-auto-var-init=zero -fsyntax-only -xc /dev/null 2>/dev/null && echo -ftrivial-auto-var-init=zero))
HARDEN  := $(if $(SAN),,-D_FORTIFY_SOURCE=3) $(AUTO) -fstack-protector-strong -fstack-clash-protection -fPIE \
           $(if $(filter x86_64-% i%86-%,$(shell $(CC) -dumpmachine 2>/dev/null)),-fcf-protection)
SANFLAG := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
CPPALL  := -D_GNU_SOURCE -DSIDECAR_VERSION='"$(VERSION)"' -Ic_src -I$(BUILD) \
           $(EI_DIRS:%=-isystem %/include) $(shell $(PKG_CONFIG) --cflags-only-I $(PKGS) $(MSGPACK) 2>/dev/null)
# Whatever the folder is called, the same bytes come of the same sources (tools/check-reproducible).
SAME    := '-ffile-prefix-map=$(CURDIR)=.'
CALL     = $(CC) -std=c11 $(SAME) $(CFLAGS) $(WARN) $(HARDEN) $(SANFLAG) $(CPPALL) -pthread
LIBS    := $(LDFLAGS) -pie -Wl,-z,relro,-z,now $(EI_DIRS:%=-L%/lib) -lei $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null) -lm

# What a reading thread makes, the store thread frees: mimalloc is made for that, glibc's arenas make them wait
# for each other.  `make MALLOC=` (and any SAN) does with the C library's.
MALLOC  ?= mimalloc
PROGRAM_LIBS := $(if $(SAN),,$(MALLOC:%=-Wl,--no-as-needed -l%)) $(LIBS)

SOURCES := $(sort $(wildcard c_src/*.c c_src/*/*.c))
OBJECTS := $(SOURCES:c_src/%.c=$(BUILD)/%.o)
TESTS   := $(patsubst test/unit/%.c,$(BUILD)/%,$(wildcard test/unit/*/*_test.c))

.PHONY: all c install erl kinds setup clean help hooks compile_commands.json unit-programs fuzz-programs bench-programs torture-program
.PHONY: test demo check plan format unit tidy fuzz fuzz-store fuzz-live power torture sim soak systemd scale bench neighbours subscriber cost mutants upgrade runtime-shape otherside guides guides-runtime reproducible
all: c erl
c: $(PROGRAM)
erl: c
	$(Q)ERL_FLAGS="$(ERL_FLAGS)" MIX_ENV=$(or $(MIX_ENV),prod) mix compile

$(PROGRAM): $(OBJECTS)
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D) && $(CALL) -o $@.new $^ $(PROGRAM_LIBS) && mv -f $@.new $@
# Which OTP's ei, whose allocator and which compiler it is built with: other ones build anew.
WITH    := $(EI) $(MALLOC) $(CC)
$(shell mkdir -p $(BUILD) && echo '$(WITH)' | cmp -s - $(BUILD)/ei || echo '$(WITH)' >$(BUILD)/ei)
# What is missing is named before the first compilation, all of it at once.
$(BUILD)/needs: tools/needs $(BUILD)/ei
	$(Q)CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' CPPFLAGS='$(filter -I% -isystem /%,$(CPPALL))' LDFLAGS='$(filter -L%,$(LIBS))' MALLOC='$(MALLOC)' tools/needs && touch $@
$(BUILD)/%.o: c_src/%.c Makefile src/convex_sidecar.app.src $(BUILD)/ei | $(BUILD)/needs
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CALL) -MMD -MP -c -o $@ $<
# The kinds of priv/kinds.ini: for C at each build, for TypeScript when `make kinds` is run (types.mjs compares).
$(BUILD)/projection/kinds.o: $(BUILD)/projection/kinds.inc
$(BUILD)/projection/kinds.inc: priv/kinds.ini tools/kinds.awk
	$(Q)mkdir -p $(@D) && awk -v to=c -f tools/kinds.awk $< >$@.new && mv -f $@.new $@
# The status page, as text for C.
PAGE := $(addprefix c_src/status/page.,html css js)
$(BUILD)/status/page.o: $(BUILD)/status/page.inc
$(BUILD)/status/page.inc: $(PAGE) tools/page.awk
	$(Q)mkdir -p $(@D) && LC_ALL=C awk -f tools/page.awk $(PAGE) >$@.new && mv -f $@.new $@
kinds:
	$(Q)awk -v to=ts -f tools/kinds.awk priv/kinds.ini >priv/convex/kinds.ts.new && mv -f priv/convex/kinds.ts.new priv/convex/kinds.ts
$(BUILD)/sidecar.a: $(filter-out $(BUILD)/main.o,$(OBJECTS))
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(BUILD)/%_test: test/unit/%_test.c test/unit/test.h $(wildcard test/unit/*/fake_*.c test/sim/*.[ch]) $(BUILD)/sidecar.a
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CALL) -Itest/unit -Wno-conversion -MMD -MP -o $@ $< $(BUILD)/sidecar.a $(shell $(PKG_CONFIG) --libs check) $(LIBS)
# Delivery against scripts: make sim SEEDS=10000 FROM=1
$(BUILD)/sim: test/sim/main.c $(wildcard test/sim/*.[ch] test/unit/*/fake_*.c) $(BUILD)/sidecar.a
	$(call say,CC,$<)
	$(Q)$(CALL) -Itest/unit -Wno-conversion -MMD -MP -o $@ $< $(BUILD)/sidecar.a $(LIBS)
sim: $(BUILD)/sim
	$(Q)$(BUILD)/sim $(or $(SEEDS),10000) $(FROM)
# Damage of every kind: make fuzz-store MUTANTS=3000 FROM=1 (SAN=address as well)
$(BUILD)/fuzz_store: $(wildcard test/damage/*.[ch] test/unit/store/*.h test/unit/outbox/*.h) $(BUILD)/sidecar.a
	$(call say,CC,$@)
	$(Q)$(CALL) -Itest/unit -Itest/damage -Wno-conversion -o $@ test/damage/fuzz_store.c test/damage/mutate.c $(BUILD)/sidecar.a $(LIBS)
fuzz-store: $(BUILD)/fuzz_store $(PROGRAM)
	$(Q)ASAN_OPTIONS=exitcode=77:detect_leaks=0 $(BUILD)/fuzz_store $(PROGRAM) $(or $(MUTANTS),3000) $(FROM)
# Power cuts: make power IMAGES=600 SEED=1
$(BUILD)/power: $(wildcard test/power/*.[ch] test/damage/plain_check.h test/unit/store/*.h test/unit/outbox/*.h) $(BUILD)/sidecar.a
	$(call say,CC,$@)
	$(Q)$(CALL) -U_FORTIFY_SOURCE -Itest/unit -Itest/damage -Itest/power -Wno-conversion -o $@ test/power/power.c test/power/trace.c $(BUILD)/sidecar.a $(LIBS)
power: $(BUILD)/power
	$(Q)$(BUILD)/power $(or $(IMAGES),600) $(SEED)
$(BUILD)/dist_node: test/node/dist_node.c $(BUILD)/sidecar.a
	$(call say,CC,$<)
	$(Q)$(CALL) -MMD -MP -o $@ $< $(BUILD)/sidecar.a $(LIBS)
# The sidecar of the torture: everything but the clock, which jumps.
TORTURE := $(BUILD)/torture/convex_sidecar
$(BUILD)/torture/clock.o: test/torture/clock_jumping.c c_src/ground/clock.h c_src/ground/base.h Makefile
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CALL) -c -o $@ $<
$(TORTURE): $(filter-out $(BUILD)/ground/clock.o,$(OBJECTS)) $(BUILD)/torture/clock.o
	$(call say,LD,$@)
	$(Q)$(CALL) -o $@ $^ $(PROGRAM_LIBS)
$(BUILD)/bench/%: test/bench/%.c $(BUILD)/sidecar.a
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D) && $(CALL) -o $@ $< $(BUILD)/sidecar.a $(LIBS)
$(BUILD):
	$(Q)mkdir -p $@
-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d)

# The unit and the configuration as they are used together: the unit's head says which lines of sidecar.ini that is.
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DOCDIR     ?= $(PREFIX)/share/doc/convex-sidecar
MANDIR     ?= $(PREFIX)/share/man
install: c
	$(Q)install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/convex_sidecar
	$(Q)install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/convex_sidecar $(DESTDIR)$(DOCDIR)
	$(Q)sed -e 's,/usr/bin,$(PREFIX)/bin,; s,/usr/share/doc/convex-sidecar,$(DOCDIR),; s,/etc/,$(SYSCONFDIR)/,' priv/convex_sidecar.service >$(DESTDIR)$(UNITDIR)/convex_sidecar.service
	$(Q)test -e $(DESTDIR)$(SYSCONFDIR)/convex_sidecar/sidecar.ini || tools/unit-config >$(DESTDIR)$(SYSCONFDIR)/convex_sidecar/sidecar.ini
	$(Q)install -m 644 README.md CHANGELOG.md docs/*.md priv/sidecar.ini priv/kinds.ini priv/monitoring/alerts.yaml priv/monitoring/grafana.json $(DESTDIR)$(DOCDIR)
	$(Q)for s in 1 5; do install -d $(DESTDIR)$(MANDIR)/man$$s && install -m 644 docs/man/*.$$s $(DESTDIR)$(MANDIR)/man$$s; done
	$(Q)install -D -m 644 priv/convex_sidecar.bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/convex_sidecar

help:
	$(Q)sed -n '1,/^$$/s/^# //p' Makefile
setup:
	$(Q)tools/setup
test: ; $(Q)tools/setup && exec tools/run-tests
demo: ; $(Q)tools/setup $(if $(filter file,$(SINK)),--no-node) $(if $(filter postgres,$(LOG)),,--no-postgres) && $(MAKE) -s all MIX_ENV=prod && exec demo/run $(SINK)

torture-program: $(TORTURE)
runtime-shape: ; $(Q)tools/setup && $(MAKE) -s all torture-program MIX_ENV=test && \
	ERL_EPMD_PORT=$$(tools/free-port) SHAPE_RUNS=$(or $(RUNS),1000) MIX_ENV=test mix test test/runtime_shape_test.exs
guides-runtime: ; $(Q)tools/setup && $(MAKE) -s all MIX_ENV=test && exec test/guides/runtime/run
torture: ; $(Q)tools/setup && $(MAKE) -s all torture-program MIX_ENV=test && TORTURE_PROGRAM="$(or $(TORTURE_PROGRAM),$(TORTURE))" exec test/torture/run

bench-programs: $(patsubst test/bench/%.c,$(BUILD)/bench/%,$(wildcard test/bench/*.c))
bench: ; $(Q)tools/setup && $(MAKE) -s all bench-programs build/0.1.1/priv/convex_sidecar MIX_ENV=prod && exec test/bench/run $(ROW)
# What one bad neighbour costs all others (docs/BENCH.md), against the Convex stand-in.
neighbours: ; $(Q)tools/setup && $(MAKE) -s all bench-programs MIX_ENV=prod && BENCH_SCRIPT=neighbours.exs exec tools/with-standin test/bench/run
# From an append in the VM to the POST, and to the change that a ConvexClient sees (SECONDS=30 each).
subscriber: ; $(Q)tools/setup && $(MAKE) -s all bench-programs MIX_ENV=prod && BENCH_SCRIPT=subscriber.exs exec tools/with-standin test/bench/run
# The bytes of an update at Convex by part, and the updates a second that a deployment can take.
cost: ; $(Q)tools/setup && exec tools/with-standin node test/convex/cost.mjs $(RUN_ID)
# The release one upgrades from, in a folder of its own.
OLD ?= f317d23
build/0.1.1/priv/convex_sidecar:
	$(Q)mkdir -p build/0.1.1 && git archive $(OLD) | tar -x -C build/0.1.1 && $(MAKE) -s -C build/0.1.1 all MIX_ENV=prod
# What test/bench/pages compares: the same program over both outboxes (0.1.1 had no folders).
upgrade-programs: build/0.1.1/priv/convex_sidecar
	$(Q)cd build/0.1.1 && mkdir -p shim/outbox shim/projection && \
	    echo '#include "../../c_src/outbox.h"' >shim/outbox/outbox.h && \
	    echo '#include "../../c_src/projection.h"' >shim/projection/projection.h && \
	    $(CC) -O2 -DFOLD=fold $(CPPALL) -Ishim -Ic_src -o pages_loop ../../test/bench/pages_loop.c \
	    $$(ls build/*.o | grep -v /main.o) $(LIBS) -pthread
upgrade: build/0.1.1/priv/convex_sidecar
	$(Q)tools/setup && $(MAKE) -s all build/bench/store_1 MIX_ENV=prod && exec test/upgrade/run
guides: ; $(Q)tools/setup && $(MAKE) -s c && exec test/guides/run $(GUIDE)
mutants: ; $(Q)tools/setup && exec test/mutants/boxed node test/mutants/run.mjs
systemd: ; $(Q)exec test/systemd/run $(TREE)
soak: ; $(Q)tools/setup && $(MAKE) -s all MIX_ENV=prod && MINUTES=$(or $(MINUTES),30) exec test/soak/run
scale: ; $(Q)tools/setup && $(MAKE) -s all MIX_ENV=prod && ENTITIES=$(or $(ENTITIES),20000) exec test/scale/rebuild
otherside: ; $(Q)tools/setup && $(MAKE) -s all MIX_ENV=prod && DOCUMENTS=$(or $(DOCUMENTS),50000) exec test/otherside/run

check:
	$(Q)tools/setup --check && $(MAKE) -s plan format $(if $(SAN),unit) tidy
reproducible: ; $(Q)tools/check-reproducible
plan:
	$(Q)tools/check-plan arrows && tools/check-links && tools/check-package && tools/check-monitoring
format:
	$(Q)clang-format-14 --dry-run --Werror c_src/*.c c_src/*/*.[ch] test/unit/*.h test/unit/*/*.[ch] test/sim/*.[ch] test/damage/*.[ch] test/power/*.[ch] && mix format --check-formatted && echo "format: ok"
unit-programs: $(TESTS)
unit: $(TESTS)
	$(Q)tools/run-unit $(TESTS)
tidy: compile_commands.json
	$(Q)for f in test/fuzz/*_fuzz.c; do $(CALL) -fsyntax-only $$f || exit 1; done && echo "fuzzers: ok"
	$(Q)tools/tidy $(SOURCES)
hooks:
	$(Q)git config core.hooksPath tools/hooks && echo "hooks: tools/hooks/pre-commit runs before each commit"
# Through the environment: the flags hold quotes of every sort.
# clang-tidy 14 refuses that flag.
compile_commands.json: export COMPILE = $(filter-out -ftrivial-auto-var-init=%,$(CALL))
compile_commands.json: export TEST_FLAGS = -Itest/unit -Wno-conversion
compile_commands.json: $(BUILD)/projection/kinds.inc $(BUILD)/status/page.inc
	$(Q)tools/compile-commands $(SOURCES) $(wildcard test/unit/*/*.c test/sim/*.c test/fuzz/*.c test/bench/*.c test/node/*.c) >$@

# Every decoder under libFuzzer; what it learned stays in build/fuzz/corpus.
FUZZERS := $(patsubst test/fuzz/%.c,$(BUILD)/%,$(wildcard test/fuzz/*_fuzz.c))
$(BUILD)/%_fuzz: test/fuzz/%_fuzz.c $(BUILD)/sidecar.a
	$(call say,CC,$<)
	$(Q)$(CALL) -fsanitize=fuzzer -o $@ $< $(BUILD)/sidecar.a $(LIBS)
fuzz-programs: $(FUZZERS)
fuzz:
	$(Q)tools/setup --check
	$(Q)$(MAKE) -s fuzz-programs CC=clang-14 BUILD=build/fuzz SAN=address,undefined,fuzzer-no-link
	$(Q)test/fuzz/seeds.escript build/fuzz/seeds
	$(Q)tools/run-fuzz $(or $(SECONDS),60) $(if $(ONLY),$(ONLY:%=build/fuzz/%_fuzz),$(FUZZERS:$(BUILD)/%=build/fuzz/%))

# With SAN=thread it looks for races instead, among several nodes, operators and restarts.
comma := ,
LIVE := build/live$(SAN:%=-%)
fuzz-live:
	$(Q)$(MAKE) -s c SAN=$(if $(SAN),$(SAN),address$(comma)undefined) BUILD=$(LIVE)
	$(Q)LIVE_PROGRAM="$(CURDIR)/$(LIVE)/convex_sidecar" MINUTES=$(or $(MINUTES),30) exec test/fuzz/live

clean:
	rm -rf build _build priv/convex_sidecar compile_commands.json
