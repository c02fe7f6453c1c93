/*
 * destination.c - the destination of the store, on disk (docs/adr/0010).
 *
 * The happy path: nothing changes but the mark, once a minute: a new number is recorded before it
 * is sent, and the number that an answer reports is recorded as the one in Convex.
 *
 * A doubt is a range of marks: what was confirmed under one of them is no longer believed.  The
 * next number to be sent lies above the range, so later confirmations are believed.  A second doubt
 * widens the first.
 *
 * What can go wrong: the record is damaged.  Then there is a new one, with another store id, and
 * everything is doubtful (format.c); or the store fails, and the round with it.
 *
 * Runs on the store thread only, inside a round, except outbox_change_destination.
 */

#include "outbox/destination.h"

#include "ground/hex.h"
#include "outbox/outbox.h"
#include "outbox/round_inside.h"
#include "store/format.h"
#include "store/store.h"

#include <sys/random.h>

static void copy(char *to, size_t size, struct slice from)
{
    size_t len = from.len < size ? from.len : size - 1;

    memcpy(to, from.data, len);
    to[len] = '\0';
}

static void show_doubt(const struct round *r, const struct doubt *doubt,
                       struct destination_known *known)
{
    known->has_doubt = r->has_doubt;
    if (!r->has_doubt)
        return;
    known->is_swept = doubt->is_swept;
    known->doubt_from = doubt->from;
    known->doubt_to = doubt->to;
    known->doubt_since_us = doubt->since_us;
    copy(known->doubt_why, sizeof known->doubt_why, doubt->why);
}

static void show(const struct round *r, const struct destination *d, const struct doubt *doubt,
                 struct destination_known *known)
{
    *known = (struct destination_known){.functions = d->functions,
                                        .mark = d->mark,
                                        .wanted = d->mark_wanted,
                                        .raised_at_us = d->raised_at_us};
    copy(known->sink, sizeof known->sink, d->sink);
    copy(known->address, sizeof known->address, d->address);
    copy(known->deployment, sizeof known->deployment, d->deployment);
    hex_put(d->store_id, sizeof d->store_id, known->store_id);
    show_doubt(r, doubt, known);
}

/* The recorded doubt; its texts borrow ${value}. */
static enum err read_doubt(struct round *r, struct buf *value, struct doubt *doubt)
{
    struct slice found;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_META, slice_str("doubt"), &found));

    *doubt = (struct doubt){.why = slice_str(""), .tail = slice_str("")};
    r->has_doubt = e == ERR_OK;
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    buf_slice(value, found);
    if (record_get_doubt(buf_view(value), doubt, &fault) != ERR_OK)
        *doubt = (struct doubt){.to = UINT64_MAX,
                                .why = slice_str("the record of what is doubtful was damaged"),
                                .tail = slice_str("")};
    return ERR_OK;
}

enum err destination_read(struct round *r, struct destination_known *known)
{
    struct destination d;
    struct doubt doubt;
    struct buf value = {0}, doubt_value = {0};
    enum err e = round_check(r, format_destination(r->store, &value, &d, NULL));

    if (e == ERR_OK)
        e = read_doubt(r, &doubt_value, &doubt);
    if (e == ERR_OK)
        show(r, &d, &doubt, known);
    buf_free(&value);
    buf_free(&doubt_value);
    return e;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A number above all that were used, by a random step, so that two copies of one store do not use
 * the same. */
static void raise_mark(const struct round *r, const struct destination_change *c,
                       struct destination *d)
{
    uint8_t chance = 0;

    if (d->mark_wanted > 0)
        PRE(getrandom(&chance, sizeof chance, 0) == sizeof chance);
    d->mark_wanted = larger(d->mark_wanted, c->above) + 1 + chance;
    d->raised_at_us = r->now_us;
}

static void change_doubt(struct round *r, const struct destination_change *c,
                         const struct destination *d, struct doubt *doubt)
{
    if (c->what & DESTINATION_BELIEVE)
        r->has_doubt = false;
    if ((c->what & DESTINATION_SWEPT) && r->has_doubt && doubt->to == c->to)
        doubt->is_swept = true;
    if (!(c->what & DESTINATION_DOUBT))
        return;
    doubt->from = r->has_doubt && doubt->from < c->from ? doubt->from : c->from;
    doubt->to = larger(d->mark_wanted, c->above);
    doubt->since_us = r->now_us;
    doubt->why = slice_str(c->why);
    doubt->is_swept = false;
    r->has_doubt = true;
}

static void change(struct round *r, const struct destination_change *c, struct destination *d,
                   struct doubt *doubt)
{
    change_doubt(r, c, d, doubt);
    if (c->what & DESTINATION_SINK)
        d->sink = slice_str(c->sink);
    if (c->what & DESTINATION_PEER) {
        d->address = slice_str(c->address);
        d->deployment = slice_str(c->deployment);
        d->functions = c->functions;
    }
    if (c->what & DESTINATION_MARK)
        d->mark = c->mark;
    if (c->what & DESTINATION_NEW_ID) {
        format_new_store_id(d->store_id);
        d->mark = 0;
    }
    if (c->what & (DESTINATION_RAISE | DESTINATION_DOUBT))
        raise_mark(r, c, d);
}

static enum err save_doubt(struct round *r, const struct doubt *doubt)
{
    r->body.len = 0;
    if (!r->has_doubt) {
        enum err e = store_del(r->store, STORE_META, slice_str("doubt"));
        return round_wrote(r, e == ERR_NOT_FOUND ? ERR_OK : e);
    }
    record_put_doubt(&r->body, doubt);
    return round_wrote(r, store_put(r->store, STORE_META, slice_str("doubt"), buf_view(&r->body)));
}

enum err destination_change(struct round *r, const struct destination_change *c)
{
    struct destination d;
    struct doubt doubt;
    struct buf value = {0}, doubt_value = {0};
    enum err e = round_check(r, format_destination(r->store, &value, &d, NULL));

    if (e == ERR_OK)
        e = read_doubt(r, &doubt_value, &doubt);
    if (e == ERR_OK) {
        change(r, c, &d, &doubt);
        e = round_wrote(r, format_put_destination(r->store, &d));
    }
    if (e == ERR_OK)
        e = save_doubt(r, &doubt);
    if (e == ERR_OK) {
        r->doubt = doubt;
        r->has_new_destination = r->tally.brought_work = true;
        show(r, &d, &doubt, &r->destination);
    }
    buf_free(&value);
    buf_free(&doubt_value);
    return e;
}

/* ---- from outside ---------------------------------------------------------------- */

struct redirection {
    struct intent intent; /* first: the outbox hands this back */
    struct destination_change change;
};

static enum err redirect(struct intent *i, struct round *r)
{
    return destination_change(r, &((struct redirection *)i)->change);
}

static void redirected(struct intent *i, enum err e, const char *why)
{
    (void)e;
    (void)why;
    free(i);
}

void outbox_change_destination(struct outbox *o, const struct destination_change *c)
{
    struct redirection *d = base_alloc(sizeof *d);

    d->intent = (struct intent){.apply = redirect, .settled = redirected, .cost_bytes = sizeof *d};
    d->change = *c;
    if (outbox_submit(o, &d->intent, 1, sizeof *d) != ERR_OK)
        free(d);
}
