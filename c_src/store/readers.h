/* readers.h - other processes that read the store, and so keep old pages from being reused. */

/* Private to store/. */

#ifndef STORE_READERS_H
#define STORE_READERS_H

#include "ground/base.h"

#include <lmdb.h>

struct readers {
    int64_t next_us, said_us;
    uint64_t txnid; /* the oldest one that was seen last time; 0: none */
};

/**
 * readers_look(r, env):
 * Once a second, after a commit: log (once a minute) a process that still reads a state of many
 * commits ago.  The writing thread.
 */
void readers_look(struct readers *r, MDB_env *env);

#endif
