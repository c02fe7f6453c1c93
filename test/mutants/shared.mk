# The C code as one shared library, for `make mutants`: a changed file costs one compilation and one link.
#   all      the library, the programs of the unit tests beside it, the sidecar
#   library  the library alone
#   anew/FOLDER/X_test   build/shared/anew.X_test, of a test that includes the file it tests
#   commands two lines: how a file is compiled, and how the library is linked, both without -o
# The tests' fakes stand in front of what the library exports, as they do before members of an archive.
include Makefile
DIR := build/shared
SHARED := $(patsubst c_src/%.c,$(DIR)/%.o,$(filter-out c_src/main.c,$(SOURCES)))
LINKED = -L$(DIR) -lsidecar -Wl,-rpath,$(abspath $(DIR)) $(LIBS)
COMPILE = $(CALL) -w -O1 -fPIC
LINK = $(CC) -shared $(SHARED)
PROGRAMS := $(patsubst test/unit/%.c,$(DIR)/%,$(wildcard test/unit/*/*_test.c)) $(DIR)/sim $(DIR)/convex_sidecar
.DEFAULT_GOAL := library
.PHONY: library commands
library: $(DIR)/libsidecar.so
all: $(PROGRAMS)
$(DIR)/projection/kinds.o: $(BUILD)/projection/kinds.inc
$(DIR)/status/page.o: $(BUILD)/status/page.inc
$(DIR)/%.o: c_src/%.c
	@mkdir -p $(@D) && $(COMPILE) -MMD -MP -c -o $@ $<
$(DIR)/libsidecar.so: $(SHARED)
	@$(LINK) -o $@
commands: export COMMANDS = $(COMPILE)
commands: ; @printf '%s\n' "$$COMMANDS" '$(LINK)'
# The programs are the same whatever is in the library.
$(DIR)/%_test: test/unit/%_test.c | $(DIR)/libsidecar.so
	@mkdir -p $(@D) && $(CALL) -w -MMD -MP -Itest/unit -o $@ $< $(shell pkg-config --libs check) $(LINKED)
# Only the test that includes the file it tests has to be made anew with it.
anew/%: ; @$(CALL) -w -Itest/unit -o $(DIR)/anew.$(@F) test/unit/$*.c $(shell pkg-config --libs check) $(LINKED)
$(DIR)/sim: test/sim/main.c | $(DIR)/libsidecar.so
	@$(CALL) -w -MMD -MP -Itest/unit -o $@ $< $(LINKED)
# The sidecar as the BEAM's tests start it.
$(DIR)/convex_sidecar: c_src/main.c $(DIR)/libsidecar.so
	@$(CALL) -w -o $@ $< $(LINKED) && cp $@ priv/convex_sidecar
-include $(SHARED:.o=.d) $(addsuffix .d,$(PROGRAMS))
