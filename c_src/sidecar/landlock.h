/* landlock.h - the files that this process may still reach. */

/* Private to sidecar/. */

#ifndef SIDECAR_LANDLOCK_H
#define SIDECAR_LANDLOCK_H

#include "ground/base.h"

struct config;

/**
 * landlock_enter(c):
 * From now on, for this thread and those it starts: the store's directory (which must exist) and
 * the folder of sink.file can be written; the files that names, certificates and secrets come from
 * can be read; nothing else can be opened, and nothing can be executed.  Returns the kernel's
 * version of Landlock; 0: none.  After no_new_privs.
 */
int landlock_enter(const struct config *c);

#endif
