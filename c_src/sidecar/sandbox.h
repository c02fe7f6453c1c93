/* sandbox.h - what the process gives up for good: privileges, system calls, files. */

#ifndef SANDBOX_H
#define SANDBOX_H

#include "ground/base.h"

struct config;

/**
 * sandbox_enter(c, fault):
 * Give up what the program never needs, as far as the kernel allows, unless ${c} has [process]
 * sandbox = off; sandbox_text says what is in force.  Creates the store's directory first, which
 * must exist by then.  ERR_STORE: that failed, ${fault} says why.  Once, before any thread;
 * whatever executes another program or opens other files has to be done before.
 */
enum err sandbox_enter(const struct config *c, struct fault *fault) MUST_CHECK;

/** sandbox_text(): What is in force, "no_new_privs no_capabilities seccomp landlock=7"; "off". */
const char *sandbox_text(void);

#endif
