/*
 * doubtful.c - how many confirmed documents may no longer be in Convex.
 *
 * The happy path: there is no doubt, and nothing to do.  When a doubt begins (destination.c), all
 * checkpoints are walked once, a portion a round, and counted; from then on each one that is
 * confirmed again is subtracted.  So the count stays exact without further walks.  A document that
 * its event log can restore has a fold; the first few of the others are named.
 *
 * When a walk has found none, the doubt is over.  While some are left, the walk is repeated now and
 * then, so that documents confirmed meanwhile are no longer named.
 *
 * What can go wrong: the round fails; what its portion found is dropped, and the portion is walked
 * again.
 *
 * Runs on the store thread only.
 */

#include "outbox/doubtful.h"

#include "outbox/destination.h"
#include "outbox/round_inside.h"
#include "store/store.h"

#define PORTION  1000     /* checkpoints read in one round */
#define PAUSE_US 5000     /* between two portions */
#define AGAIN_US 30000000 /* between two walks */

struct walk {
    uint64_t at; /* documents up to this number have been walked */
    struct doubtful_count count;
};

struct doubtful {
    uint64_t from, to; /* the doubt that is walked */
    bool has_doubt;
    struct walk now, next; /* next: of this round */
    bool has_next;
    struct doubtful_count shown; /* of the last whole walk, or of this one */
    int64_t due_us;
};

struct doubtful *doubtful_new(void)
{
    struct doubtful *d = base_alloc(sizeof *d);

    d->due_us = INT64_MAX;
    return d;
}

void doubtful_free(struct doubtful *d)
{
    free(d);
}

int64_t doubtful_due_us(const struct doubtful *d)
{
    return d->due_us;
}

const struct doubtful_count *doubtful_get(const struct doubtful *d)
{
    return &d->shown;
}

bool doubtful_is(const struct round *r, const struct checkpoint_record *c)
{
    uint64_t mark = c->cp.delivered_mark;

    return r->has_doubt && c->cp.has_delivered && mark >= r->doubt.from && mark <= r->doubt.to;
}

/* ---- the walk -------------------------------------------------------------------- */

static void count_one(struct doubtful_count *n, const struct checkpoint_record *c)
{
    if (c->cp.fold.len > 0) {
        n->logged++;
        return;
    }
    n->unlogged++;
    if (n->id_count < DOUBTFUL_IDS)
        snprintf(n->ids[n->id_count++], DOUBTFUL_ID_BYTES, "%.*s",
                 c->id.len < DOUBTFUL_ID_BYTES ? (int)c->id.len : DOUBTFUL_ID_BYTES - 1,
                 (const char *)c->id.data);
}

/* Count the next checkpoint after ${w}->at.  ERR_NOT_FOUND: there is none. */
static enum err look_at_next(struct round *r, struct walk *w)
{
    struct slice key, value;
    struct checkpoint_record c;
    struct fault fault;
    enum err e = store_seek(r->store, STORE_CHECKPOINTS, slice_of(&w->at, sizeof w->at), w->at > 0,
                            &key, &value);

    if (e != ERR_OK)
        return round_check(r, e);
    PRE(key.len == sizeof w->at);
    memcpy(&w->at, key.data, sizeof w->at);
    /* a damaged one is handled when it is needed */
    if (record_get_checkpoint(key, value, &c, &fault) == ERR_OK && doubtful_is(r, &c))
        count_one(&w->count, &c);
    return ERR_OK;
}

static bool is_another(const struct doubtful *d, const struct round *r)
{
    return r->has_doubt != d->has_doubt || r->doubt.from != d->from || r->doubt.to != d->to;
}

enum err doubtful_walk(struct doubtful *d, struct round *r)
{
    const struct destination_change believe = {.what = DESTINATION_BELIEVE};
    enum err e = ERR_OK;

    if (!r->has_doubt || is_another(d, r))
        return ERR_OK;
    d->next = d->now;
    d->has_next = true;
    if (d->next.count.is_whole && r->tally.mended_logged + r->tally.mended_unlogged == 0)
        d->next = (struct walk){0};
    for (int i = 0; i < PORTION && e == ERR_OK; i++)
        e = look_at_next(r, &d->next);
    if (e == ERR_NOT_FOUND) {
        d->next.count.is_whole = true;
        d->next.at = UINT64_MAX;
        e = ERR_OK;
        if (d->next.count.logged + d->next.count.unlogged == 0)
            e = destination_change(r, &believe);
    }
    return e;
}

/* ---- what is confirmed ------------------------------------------------------------- */

void doubtful_note(struct round *r, const struct checkpoint_record *c, bool was)
{
    if (!was || doubtful_is(r, c) || c->cp.document > r->doubtful_at)
        return;
    if (c->cp.fold.len > 0)
        r->tally.mended_logged++;
    else
        r->tally.mended_unlogged++;
}

static void take_off(uint64_t *from, uint64_t count)
{
    *from -= count < *from ? count : *from;
}

static void begin(struct doubtful *d, const struct round *r, int64_t mono_us)
{
    d->has_doubt = r->has_doubt;
    d->from = r->doubt.from;
    d->to = r->doubt.to;
    d->now = (struct walk){0};
    d->shown = (struct doubtful_count){.is_whole = !r->has_doubt};
    d->due_us = r->has_doubt ? mono_us : INT64_MAX;
}

bool doubtful_end_round(struct doubtful *d, struct round *r, int64_t mono_us)
{
    const bool is_mended = r->tally.mended_logged + r->tally.mended_unlogged > 0;
    const bool has_next = d->has_next;

    d->has_next = false;
    if (is_another(d, r)) {
        begin(d, r, mono_us);
        r->doubtful_at = 0;
        return true;
    }
    if (has_next) {
        d->now = d->next;
        r->doubtful_at = d->now.at;
        d->due_us = mono_us + (d->now.count.is_whole ? AGAIN_US : PAUSE_US);
    }
    if (is_mended) { /* from what was counted before this round */
        take_off(&d->now.count.logged, r->tally.mended_logged);
        take_off(&d->now.count.unlogged, r->tally.mended_unlogged);
    }
    if (d->now.count.is_whole || !d->shown.is_whole)
        d->shown = d->now.count;
    if (is_mended && d->now.count.is_whole && d->now.count.logged + d->now.count.unlogged == 0)
        d->due_us = mono_us; /* none is left: let a walk confirm it */
    return is_mended || has_next;
}
