/*
 * reader.c - what is committed, as the delivery side reads it.
 *
 * The happy path: a view of the pending documents is taken at the first look, stays as
 * it is until it is released, and the next look sees what is committed then.  Documents
 * are borrowed from the store's map: nothing is copied.
 *
 * What can go wrong: the store has no view to give (it is broken, and being opened
 * again): there is nothing pending then, for a while.  A record is damaged: it is
 * stepped over.  Both are logged, at most once a second.
 *
 * A reader belongs to one thread at a time; that need not be the store's.
 */

#include "outbox/reader.h"

#include "ground/log.h"
#include "store/record.h"
#include "store/store.h"

#define LOG_PERIOD_MS 1000

struct outbox_reader {
    struct store_view *view;
    int64_t damaged_logged_us, failed_logged_us; /* log_limited's memory */
};

struct outbox_reader *reader_new(struct store *s)
{
    struct outbox_reader *r = base_alloc(sizeof *r);

    r->view = store_view_open(s, STORE_PENDING);
    return r;
}

void outbox_reader_close(struct outbox_reader *r)
{
    if (r == NULL)
        return;
    store_view_close(r->view);
    free(r);
}

void outbox_release(struct outbox_reader *r)
{
    store_view_release(r->view);
}

/* Whether there is a value that can be read.  When not, say so, unless there is none. */
static bool read_pending(struct outbox_reader *r, enum err e, struct slice key, struct slice value,
                         struct pending *p)
{
    struct fault fault;

    if (e == ERR_STORE && log_limited(&r->failed_logged_us, LOG_PERIOD_MS))
        log_event(LOG_ERROR, "outbox.view_failed", "%s", "");
    if (e != ERR_OK)
        return false;
    if (record_get_pending(key, value, p, &fault) == ERR_OK)
        return true;
    if (log_limited(&r->damaged_logged_us, LOG_PERIOD_MS))
        log_event(LOG_ERROR, "outbox.record_damaged", "key=%s why=\"%s\"", fault.path, fault.why);
    return false;
}

bool outbox_next(struct outbox_reader *r, uint64_t after, struct pending *p)
{
    struct slice key, value;

    for (;;) {
        enum err e = store_view_seek(r->view, slice_of(&after, sizeof after), true, &key, &value);
        if (read_pending(r, e, key, value, p))
            return true;
        if (e != ERR_OK)
            return false;
        memcpy(&after, key.data, sizeof after); /* step over a damaged one */
    }
}

/* By halving: a number is too large when nothing is pending after it. */
uint64_t outbox_last(struct outbox_reader *r)
{
    struct slice key, value;
    uint64_t low = 0, high = UINT64_MAX, no = 0;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        enum err e = store_view_seek(r->view, slice_of(&middle, sizeof middle), true, &key, &value);
        if (e != ERR_OK) {
            high = middle;
            continue;
        }
        memcpy(&no, key.data, sizeof no);
        low = no;
    }
    return no;
}

enum err outbox_get(struct outbox_reader *r, uint64_t no, struct pending *p)
{
    struct slice key = slice_of(&no, sizeof no), value;
    enum err e = store_view_get(r->view, key, &value);

    if (read_pending(r, e, key, value, p))
        return ERR_OK;
    return e == ERR_STORE ? ERR_STORE : ERR_NOT_FOUND; /* a damaged one is as good as gone */
}
