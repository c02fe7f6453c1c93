/* tables.h - the tables of a store, for the modules that open it or read its file. */

/* Private to store/. */

#ifndef TABLES_H
#define TABLES_H

#include "ground/base.h"

/* The numbers of tables are in checksums and in quarantine: they never change. */
enum store_table {
    STORE_META,
    STORE_PENDING,
    STORE_CHECKPOINTS,
    STORE_DEAD,
    STORE_IDS,
    STORE_QUARANTINE
};
#define STORE_TABLE_COUNT 6
#define STORE_MAX_KEY     511 /* bytes; a longer key is a bug of the caller */

/** store_table_name(t): Its name in the file; static storage. */
static inline const char *store_table_name(enum store_table t)
{
    static const char *const names[STORE_TABLE_COUNT] = {"meta", "pending", "checkpoints",
                                                         "dead", "ids",     "quarantine"};

    return names[t];
}

/** store_table_count(format): The number of tables in a store of ${format}: the first of the enum.
 */
static inline int store_table_count(unsigned format)
{
    return format == 1 ? STORE_DEAD + 1 : STORE_TABLE_COUNT;
}

/** store_table_is_numbered(t, format): Whether its keys are uint64_t in this machine's byte order,
 * sorted by value; else they are bytes in byte order. */
static inline bool store_table_is_numbered(enum store_table t, unsigned format)
{
    return format == 1 ? t == STORE_PENDING : t != STORE_META && t != STORE_IDS;
}

#endif
