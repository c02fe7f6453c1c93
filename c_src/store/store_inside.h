/* store_inside.h - an open store, for its writing half (store.c) and its reading half
 * (store_view.c).
 */

/* Private to store/. */

#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include "store/readers.h"
#include "store/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

struct store {
    /* fixed after open */
    char *dir;
    unsigned format;       /* whose tables it has */
    unsigned flags;        /* of mdb_env_open */
    int lock_fd;           /* -1: of a copy, which its owner holds */
    unsigned newer;        /* the format, if a newer sidecar made it */
    atomic_bool is_marked; /* as damaged, for the next start; nothing is written any more */
    /* the writing thread's */
    MDB_txn *txn;
    MDB_cursor *cursors[STORE_TABLE_COUNT]; /* of txn, opened when needed */
    struct readers readers;
    char why[256];
    /* changed by the writing thread, under lock, while no view is active */
    MDB_env *env;   /* NULL: broken, to be opened again */
    bool is_broken; /* to be closed as soon as no view is active; no view becomes active */
    MDB_dbi dbi[STORE_TABLE_COUNT];
    size_t map_bytes;
    /* under lock */
    pthread_mutex_t lock;
    struct store_view *views;
    size_t active; /* views between first use and release */
};

struct store_view {
    struct store *store;
    enum store_table table;
    struct store_view *prev, *next; /* under store->lock */
    /* the reading thread's; the store's while not active */
    MDB_txn *txn;
    MDB_cursor *cursor;
    bool active;
};

static inline MDB_val store_val(struct slice s)
{
    return (MDB_val){.mv_size = s.len, .mv_data = (void *)s.data};
}

static inline struct slice store_slice(MDB_val v)
{
    return slice_of(v.mv_data, v.mv_size);
}

/** store_is_damage(rc): Whether LMDB's error ${rc} means that the file is damaged. */
bool store_is_damage(int rc);

/**
 * store_cursor_seek(cursor, is_numbered, key, behind, found, value):
 * Move to the first key at or (${behind}) after ${key}; an empty one is before all others.
 * MDB_CORRUPTED: what LMDB finds cannot come there.
 */
int store_cursor_seek(MDB_cursor *cursor, bool is_numbered, struct slice key, bool behind,
                      struct slice *found, struct slice *value);
/** store_cursor_give(is_numbered, key, behind, k, v, found, value): The same for ${k} and ${v},
 * where a cursor is already. */
int store_cursor_give(bool is_numbered, struct slice key, bool behind, MDB_val k, MDB_val v,
                      struct slice *found, struct slice *value);

/** store_view_forget(v): End its transaction, under lock; the view is not active. */
void store_view_forget(struct store_view *v);

#endif
