/* tables.h - the tables a store has, for those who open it and those who read its file. */

/* Private to store/. */

#ifndef TABLES_H
#define TABLES_H

#include "ground/base.h"

/* Keys are bytes in byte order, but in STORE_PENDING: a uint64_t of this machine, by value. */
enum store_table { STORE_META, STORE_PENDING, STORE_CHECKPOINTS, STORE_DEAD };
#define STORE_TABLE_COUNT 4
#define STORE_MAX_KEY     511 /* bytes; a longer key is a bug of the caller */

/** store_table_name(t): Its name in the file; static storage. */
static inline const char *store_table_name(enum store_table t)
{
    static const char *const names[STORE_TABLE_COUNT] = {"meta", "pending", "checkpoints", "dead"};

    return names[t];
}

#endif
