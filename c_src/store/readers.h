/* readers.h - other processes that read the store, and hold its old pages from being used again. */

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
 * Once a second, after a commit: log a process that reads what stood many commits ago and does not
 * move on, once a minute.  The writing thread.
 */
void readers_look(struct readers *r, MDB_env *env);

#endif
