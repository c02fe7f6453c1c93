/* store.h - ordered tables on disk, changed a transaction at a time; LMDB is not seen from outside.
 */

#ifndef STORE_H
#define STORE_H

#include "ground/base.h"
#include "store/tables.h"

struct store;      /* opaque */
struct store_view; /* opaque: what is committed, seen through one table */

/**
 * store_open(dir, map_bytes, s, fault):
 * Open or make the store in ${dir} (made when absent, its parents too, mode 0700)
 * and hold it against other processes until store_close.  ${map_bytes} of
 * address space are reserved, not of disk; the reservation is doubled
 * before it is full.  ERR_STORE: ${fault}->why is the sentence for the operator.
 */
enum err store_open(const char *dir, uint64_t map_bytes, struct store **s,
                    struct fault *fault) MUST_CHECK;

/**
 * store_open_copy(dir, format, map_bytes, s, fault):
 * Make an empty store with the tables of ${format}, for one thread, in ${dir}, which exists, has no
 * store and is the caller's alone.  Its commits are on disk only after store_sync.
 */
enum err store_open_copy(const char *dir, unsigned format, uint64_t map_bytes, struct store **s,
                         struct fault *fault) MUST_CHECK;
enum err store_sync(struct store *s) MUST_CHECK;

/** store_mark_damaged(s, why): Let the next start copy what can be read (crash_mark.h); no further
 * transaction begins here, since it could damage more. */
void store_mark_damaged(struct store *s, const char *why);

/** store_close(s): After its views are closed.  An open transaction is aborted.  NULL is harmless.
 */
void store_close(struct store *s);

/**
 * store_begin(s), store_commit(s), store_abort(s):
 * One transaction at a time, all of it on one thread.  When a commit has
 * returned ERR_OK, it is on disk (fdatasync); ERR_STORE ends the transaction and leaves
 * what was committed before.  A store whose commit broke half-way is opened
 * again by a later store_begin.  store_abort without a transaction is harmless.
 */
enum err store_begin(struct store *s) MUST_CHECK;
enum err store_commit(struct store *s) MUST_CHECK;
void store_abort(struct store *s);

/*
 * Inside a transaction.  ERR_STORE: the transaction can only be aborted, store_why
 * tells the reason.  Values (and keys) found borrow the store until the next put,
 * append, del, commit or abort.
 */

/** store_get(s, t, key, value): ERR_NOT_FOUND: no such key. */
enum err store_get(struct store *s, enum store_table t, struct slice key,
                   struct slice *value) MUST_CHECK;
/**
 * store_seek(s, t, key, behind, found, value):
 * The first entry whose key is ${key} or greater; with ${behind}, greater.  An
 * empty ${key} is before all others.  ERR_NOT_FOUND: there is none.
 */
enum err store_seek(struct store *s, enum store_table t, struct slice key, bool behind,
                    struct slice *found, struct slice *value) MUST_CHECK;
/** store_put(s, t, key, value): Insert or replace. */
enum err store_put(struct store *s, enum store_table t, struct slice key,
                   struct slice value) MUST_CHECK;
/** store_append(s, t, key, value): The same, for a key greater than all others: cheaper. */
enum err store_append(struct store *s, enum store_table t, struct slice key,
                      struct slice value) MUST_CHECK;
/** store_del(s, t, key): ERR_NOT_FOUND: no such key. */
enum err store_del(struct store *s, enum store_table t, struct slice key) MUST_CHECK;
/** store_count(s, t, count): The number of entries in the table. */
enum err store_count(struct store *s, enum store_table t, uint64_t *count) MUST_CHECK;

/** store_why(s): The last failure in words, for the thread that had it; "" when there was none. */
const char *store_why(const struct store *s);

/*
 * Views, for threads that only read.  A view belongs to one thread at a time; it
 * shows one committed state from its first use until store_view_release.  What it
 * finds borrows the map until then.  An active view keeps old pages from being
 * reused: release it before waiting for anything.
 */
struct store_view *store_view_open(struct store *s, enum store_table t);
void store_view_close(struct store_view *v);
void store_view_release(struct store_view *v);
enum err store_view_get(struct store_view *v, struct slice key, struct slice *value) MUST_CHECK;
/** store_view_seek(v, key, behind, found, value): As store_seek; continuing from the last key is
 * cheap.
 */
enum err store_view_seek(struct store_view *v, struct slice key, bool behind, struct slice *found,
                         struct slice *value) MUST_CHECK;

#endif
