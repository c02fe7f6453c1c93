# The C code as one shared library, for `make mutants`.  A changed file is compiled and linked alone, as
# libmutant.so, which every program asks before libsidecar.so: what it defines stands in the place of the good one.
#   programs the two libraries, the programs of the unit tests, the sidecar and dist_node beside them
#   commands three lines: how a file of the code is compiled, how a program of a test, and what that is linked with
# The tests' fakes stand in front of both, as they do before members of an archive.
include Makefile
DIR := build/shared
SHARED := $(patsubst c_src/%.c,$(DIR)/%.o,$(filter-out c_src/main.c,$(SOURCES)))
comma := ,
# Wherever a program of the tree lies, and wherever the tree is copied to.
FOUND = -L$(DIR) -Wl,--no-as-needed -lmutant -lsidecar $(foreach to,/.. /../build/shared,-Wl$(comma)-rpath$(comma)'$$ORIGIN$(to)') -Wl,-rpath,'$$ORIGIN' $(LIBS)
COMPILE = $(CALL) -w -O1 -g0 -fPIC
PROGRAM_OF = $(CALL) -w -O0 -g0 -U_FORTIFY_SOURCE -Itest/unit
CHECK := $(shell pkg-config --libs check)
PROGRAMS := $(patsubst test/unit/%.c,$(DIR)/%,$(wildcard test/unit/*/*_test.c)) $(DIR)/sim $(DIR)/convex_sidecar $(DIR)/dist_node
.DEFAULT_GOAL := programs
.PHONY: programs commands
programs: $(PROGRAMS)
$(DIR)/projection/kinds.o: build/projection/kinds.inc
$(DIR)/status/page.o: build/status/page.inc
# -finstrument-functions: reached.c notes which functions a test enters.
$(DIR)/%.o: c_src/%.c
	@mkdir -p $(@D) && $(COMPILE) -g1 -finstrument-functions -MMD -MP -c -o $@ $<
$(DIR)/libsidecar.so: $(SHARED) test/mutants/reached.c
	@$(COMPILE) -shared -fuse-ld=gold -o $@ $^
$(DIR)/libmutant.so:
	@mkdir -p $(@D) && $(CC) -shared -o $@ -xc /dev/null
commands: ; @printf '%s\n' "$$COMPILE" "$$PROGRAM_OF" "$$FOUND"
commands: export COMPILE := $(COMPILE)
commands: export PROGRAM_OF := $(PROGRAM_OF)
commands: export FOUND := $(CHECK) $(FOUND)
# The programs are the same whatever is in the libraries.
$(PROGRAMS): | $(DIR)/libmutant.so $(DIR)/libsidecar.so
$(DIR)/%_test: test/unit/%_test.c
	@mkdir -p $(@D) && $(PROGRAM_OF) -MMD -MP -o $@ $< $(CHECK) $(FOUND)
$(DIR)/sim: test/sim/main.c
	@$(PROGRAM_OF) -MMD -MP -o $@ $< $(FOUND)
$(DIR)/dist_node: test/node/dist_node.c
	@$(PROGRAM_OF) -MMD -MP -o $@ $< $(FOUND)
# The sidecar as the BEAM's tests start it.
$(DIR)/convex_sidecar: c_src/main.c
	@$(PROGRAM_OF) -o $@ $< $(FOUND) && cp $@ priv/convex_sidecar
-include $(SHARED:.o=.d) $(addsuffix .d,$(PROGRAMS))
