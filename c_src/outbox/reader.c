/*
 * reader.c - what is committed, as the delivery side reads it.
 *
 * The happy path: the first read takes a view of the pending documents, which does not change until
 * it is released; the next read then sees what is committed by that time.  Both lanes are read in
 * the order of arrival.  Documents are borrowed from the store's map: nothing is copied.
 *
 * What can go wrong: the store has no view to give (it is broken, and being opened again): then
 * nothing seems pending for a while; that is logged, at most once a second.  A record is damaged:
 * it is skipped, and reported to the store thread, which moves it.
 *
 * A reader belongs to one thread at a time, not necessarily the store thread.
 */

#include "outbox/reader.h"

#include "ground/log.h"
#include "outbox/damage.h"
#include "outbox/lanes.h"
#include "store/record.h"
#include "store/store.h"

#define LOG_PERIOD_MS 1000

struct outbox_reader {
    struct store_view *view;
    struct damage *damage;
    bool bulk_is_through;     /* of what the view shows */
    int64_t failed_logged_us; /* log_limited's memory */
};

struct outbox_reader *reader_new(struct store *s, struct damage *damage)
{
    struct outbox_reader *r = base_alloc(sizeof *r);

    r->view = store_view_open(s, STORE_PENDING);
    r->damage = damage;
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
    r->bulk_is_through = false;
}

/* Whether a value was found and can be read.  One that cannot be read is logged and reported. */
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
    damage_report(r->damage, STORE_PENDING, key);
    return false;
}

static enum err seek(void *view, struct slice key, bool behind, struct slice *found,
                     struct slice *value)
{
    return store_view_seek(view, key, behind, found, value);
}

bool outbox_next(struct outbox_reader *r, uint64_t after, struct pending *p)
{
    struct slice key, value;

    for (;;) {
        enum err e =
            lanes_next(seek, r->view, lane_arrival(after), true, &r->bulk_is_through, &key, &value);
        if (read_pending(r, e, key, value, p))
            return true;
        if (e != ERR_OK)
            return false;
        after = lanes_no(key); /* step over a damaged one */
    }
}

bool outbox_next_no(struct outbox_reader *r, uint64_t after, struct pending *p)
{
    struct slice key, value;

    for (;;) {
        enum err e = store_view_seek(r->view, slice_of(&after, sizeof after), true, &key, &value);
        if (read_pending(r, e, key, value, p))
            return true;
        if (e != ERR_OK)
            return false;
        after = lanes_no(key); /* step over a damaged one */
    }
}

/* Binary search: a number is too large when nothing is pending after it. */
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
    return e == ERR_STORE ? ERR_STORE : ERR_NOT_FOUND; /* a damaged one counts as gone */
}
