/* landlock.h - the files that this process may still reach. */

/* Private to sidecar/. */

#ifndef SIDECAR_LANDLOCK_H
#define SIDECAR_LANDLOCK_H

#include "ground/base.h"

struct config;

/**
 * landlock_enter(c):
 * From now on, for this thread and those it begins: the store's directory (which must be there) and
 * the folder of sink.file can be written; what names, certificates and secrets are read from can be
 * read; nothing else can be opened, and nothing run.  Returns the kernel's version of Landlock, 0:
 * it has none.  After no_new_privs.
 */
int landlock_enter(const struct config *c);

#endif
