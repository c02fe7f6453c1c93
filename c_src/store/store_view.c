/*
 * store_view.c - views of the committed state, for threads that only read.
 *
 * The happy path: the first get or seek of a view begins a transaction of LMDB that reads in place,
 * without copies; until it is released the view shows the same state, without locks.  Released, it
 * keeps the transaction and its cursor, which are cheap to renew.
 *
 * What can go wrong:
 *   the environment is broken   ERR_STORE, until the writing thread has opened it again; the view
 *                               then begins a new transaction
 *   the file is damaged         as in store.c
 *
 * Any thread, a view one at a time.
 */

#include "store/store_inside.h"

void store_view_forget(struct store_view *v)
{
    if (v->cursor != NULL)
        mdb_cursor_close(v->cursor);
    mdb_txn_abort(v->txn);
    v->cursor = NULL;
    v->txn = NULL;
}

struct store_view *store_view_open(struct store *s, enum store_table t)
{
    struct store_view *v = base_alloc(sizeof *v);

    v->store = s;
    v->table = t;
    pthread_mutex_lock(&s->lock);
    v->next = s->views;
    if (v->next != NULL)
        v->next->prev = v;
    s->views = v;
    pthread_mutex_unlock(&s->lock);
    return v;
}

void store_view_close(struct store_view *v)
{
    if (v == NULL)
        return;
    store_view_release(v);
    struct store *s = v->store;
    pthread_mutex_lock(&s->lock);
    if (v->txn != NULL)
        store_view_forget(v);
    *(v->prev != NULL ? &v->prev->next : &s->views) = v->next;
    if (v->next != NULL)
        v->next->prev = v->prev;
    pthread_mutex_unlock(&s->lock);
    free(v);
}

void store_view_release(struct store_view *v)
{
    if (!v->active)
        return;
    mdb_txn_reset(v->txn);
    v->active = false;
    pthread_mutex_lock(&v->store->lock);
    v->store->active--;
    pthread_mutex_unlock(&v->store->lock);
}

/* Under lock.  Renew the transaction, or begin the first one. */
static int renew(struct store_view *v)
{
    struct store *s = v->store;
    int rc;

    if (s->env == NULL || s->is_broken)
        return MDB_PANIC;
    if (v->txn != NULL) {
        rc = mdb_txn_renew(v->txn);
        if (rc == 0)
            rc = mdb_cursor_renew(v->txn, v->cursor);
    } else {
        rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &v->txn);
        if (rc == 0)
            rc = mdb_cursor_open(v->txn, s->dbi[v->table], &v->cursor);
    }
    if (rc != 0 && v->txn != NULL)
        store_view_forget(v);
    return rc;
}

static int activate(struct store_view *v)
{
    if (v->active)
        return 0;
    pthread_mutex_lock(&v->store->lock);
    int rc = renew(v);
    if (rc == 0) {
        v->active = true;
        v->store->active++;
    }
    pthread_mutex_unlock(&v->store->lock);
    return rc;
}

static enum err view_answer(struct store_view *v, int rc)
{
    if (store_is_damage(rc))
        store_mark_damaged(v->store, mdb_strerror(rc));
    return rc == 0 ? ERR_OK : rc == MDB_NOTFOUND ? ERR_NOT_FOUND : ERR_STORE;
}

enum err store_view_get(struct store_view *v, struct slice key, struct slice *value)
{
    MDB_val k = store_val(key), found;

    PRE(key.len > 0 && key.len <= STORE_MAX_KEY);
    int rc = activate(v);
    if (rc == 0)
        rc = mdb_get(v->txn, v->store->dbi[v->table], &k, &found);
    if (rc == 0)
        *value = store_slice(found);
    return view_answer(v, rc);
}

enum err store_view_seek(struct store_view *v, struct slice key, bool behind, struct slice *found,
                         struct slice *value)
{
    bool is_numbered = store_table_is_numbered(v->table, v->store->format);
    MDB_val k, at;

    PRE(key.len <= STORE_MAX_KEY);
    int rc = activate(v);
    if (rc != 0)
        return view_answer(v, rc);
    /* The entry after the last one found: a step instead of a search. */
    if (behind && mdb_cursor_get(v->cursor, &k, &at, MDB_GET_CURRENT) == 0 &&
        slice_eq(store_slice(k), key)) {
        rc = mdb_cursor_get(v->cursor, &k, &at, MDB_NEXT);
        if (rc == 0)
            rc = store_cursor_give(is_numbered, key, behind, k, at, found, value);
        return view_answer(v, rc);
    }
    return view_answer(v, store_cursor_seek(v->cursor, is_numbered, key, behind, found, value));
}
