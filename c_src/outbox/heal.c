/*
 * heal.c - dead letters are retried automatically.
 *
 * The happy path: there are none.  Otherwise they are walked in portions, in the order of their
 * documents, and each that is due is put as a new version (round_heal.c), which is sent alone, in
 * the bulk lane.  After a walk that found no work, the next one is due with the next letter.
 *
 * A letter is due
 *   by the clock    a minute after it died, then 10 minutes, an hour, six, a day
 *   at once         when other functions, or another deployment, answer than those it died under
 *   one step early  when its kind, or the endpoint, has recovered since: at once the first time.
 *                   So an endpoint that keeps failing and recovering does not cause a retry each
 *                   time.
 *
 * What can go wrong: many are due at once.  At most HEALING_MAX of them are pending at a
 * time.  Where the functions that answer are not ours (round_heals), nothing is retried.
 *
 * Runs on the store thread, except heal_hear_...
 */

#include "outbox/heal.h"

#include "outbox/round.h"
#include "outbox/round_inside.h"
#include "store/store.h"

#include <utlist.h>

#define WALK_MAX    1000 /* letters read in one round */
#define HEALING_MAX 64
#define EVERY_US    1000000  /* between two portions */
#define REST_MAX_US 60000000 /* since the wall clock, by which letters are due, may be set */

struct well {
    struct well *next;
    int64_t wall_us;
    size_t kind_len; /* 0: the endpoint */
    char kind[];
};

struct heal {
    /* under the lock of the outbox */
    struct round_peer peer_news;
    struct well *well_news;
    bool has_news;
    /* the store thread's */
    struct well *wells; /* one per kind, and the endpoint; as bounded as delivery's kinds */
    uint64_t at;        /* letters up to this document's have been walked */
    int64_t soonest_us; /* of those, when the next one is due (wall clock) */
    int64_t healing;    /* healing versions that are pending */
    bool has_letters, is_able, is_through, has_walked;
    int64_t due_us;
};

struct heal *heal_new(void)
{
    struct heal *h = base_alloc(sizeof *h);

    h->soonest_us = INT64_MAX;
    return h;
}

static void free_wells(struct well *wells)
{
    struct well *w, *next;

    LL_FOREACH_SAFE(wells, w, next)
    {
        free(w);
    }
}

void heal_free(struct heal *h)
{
    if (h == NULL)
        return;
    free_wells(h->well_news);
    free_wells(h->wells);
    free(h);
}

/* ---- news ------------------------------------------------------------------------ */

void heal_hear_peer(struct heal *h, unsigned functions, const char *deployment)
{
    h->peer_news.functions = functions;
    snprintf(h->peer_news.deployment, sizeof h->peer_news.deployment, "%s", deployment);
    h->has_news = true;
}

static void set_well(struct well **wells, struct slice kind, int64_t wall_us)
{
    struct well *w;

    LL_FOREACH(*wells, w)
    {
        if (slice_eq(slice_of(w->kind, w->kind_len), kind))
            break;
    }
    if (w == NULL) {
        w = base_alloc(sizeof *w + kind.len);
        w->kind_len = kind.len;
        if (kind.len > 0)
            memcpy(w->kind, kind.data, kind.len);
        LL_PREPEND(*wells, w);
    }
    w->wall_us = wall_us;
}

void heal_hear_well(struct heal *h, struct slice kind, int64_t wall_us)
{
    set_well(&h->well_news, kind, wall_us);
    h->has_news = true;
}

/* Restart the walk, at once. */
static void begin_anew(struct heal *h)
{
    h->at = 0;
    h->soonest_us = INT64_MAX;
    h->is_through = false;
    h->due_us = 0;
}

void heal_take_news(struct heal *h, struct round *r)
{
    struct well *w;

    if (!h->has_news)
        return;
    h->has_news = false;
    r->peer = h->peer_news;
    h->is_able = round_heals(r);
    LL_FOREACH(h->well_news, w)
    {
        set_well(&h->wells, slice_of(w->kind, w->kind_len), w->wall_us);
    }
    free_wells(h->well_news);
    h->well_news = NULL;
    begin_anew(h);
}

int64_t heal_due_us(const struct heal *h)
{
    return h->has_letters && h->is_able ? h->due_us : INT64_MAX;
}

/* ---- which are due --------------------------------------------------------------- */

/* When the kind of ${d}, or the endpoint, last recovered; 0: never failed. */
static int64_t well_again_us(const struct heal *h, const struct dead_letter *d)
{
    int64_t last_us = 0;
    struct well *w;

    LL_FOREACH(h->wells, w)
    {
        bool is_its = w->kind_len == 0 || slice_eq(slice_of(w->kind, w->kind_len), d->kind);
        if (is_its && w->wall_us > last_us)
            last_us = w->wall_us;
    }
    return last_us;
}

static bool died_under_others(const struct round *r, const struct dead_letter *d)
{
    struct slice deployment = slice_str(r->peer.deployment);

    return (d->functions != 0 && d->functions != r->peer.functions) ||
           (d->deployment.len > 0 && deployment.len > 0 && !slice_eq(d->deployment, deployment));
}

static int64_t due_of(const struct heal *h, const struct round *r, const struct dead_letter *d)
{
    int64_t next_us = round_dead_next_us(r, d);

    if (died_under_others(r, d))
        return 0;
    if (well_again_us(h, d) <= d->died_at_us)
        return next_us;
    int64_t early_us = d->tries == 0 ? 0 : round_next_try_us(d->died_at_us, d->tries - 1);
    return early_us < next_us ? early_us : next_us;
}

/* ---- the walk -------------------------------------------------------------------- */

/* Put ${d} as a new version.  ERR_BUSY: not now, nor any letter after it. */
static enum err heal(struct round *r, const struct dead_letter *d)
{
    char id[STORE_MAX_KEY];
    struct slice copy = slice_of(id, d->id.len);

    PRE(d->id.len <= sizeof id);
    memcpy(id, d->id.data, d->id.len);
    enum err e = round_heal(r, d->document, copy);
    if (r->failed)
        return ERR_STORE;
    return e == ERR_FULL ? ERR_BUSY : ERR_OK; /* one that cannot be sent stays a dead letter */
}

static enum err look_at(struct heal *h, struct round *r, const struct dead_letter *d)
{
    uint64_t document = d->document;
    int64_t due_us = due_of(h, r, d);

    if (due_us > r->now_us) {
        h->soonest_us = due_us < h->soonest_us ? due_us : h->soonest_us;
    } else {
        enum err e = h->healing + r->tally.healing < HEALING_MAX ? heal(r, d) : ERR_BUSY;
        if (e != ERR_OK)
            return e;
    }
    h->at = document;
    return ERR_OK;
}

enum err heal_walk(struct heal *h, struct round *r)
{
    struct dead_letter d;

    h->has_walked = true;
    for (int i = 0; i < WALK_MAX; i++) {
        uint64_t document = h->at;
        enum err e = round_next_letter(r, &document, &d);
        if (e == ERR_OK)
            e = look_at(h, r, &d);
        if (e == ERR_BUSY)
            return ERR_OK;
        h->is_through = e == ERR_NOT_FOUND;
        if (e != ERR_OK)
            return h->is_through ? ERR_OK : e;
    }
    return ERR_OK;
}

void heal_end_round(struct heal *h, const struct round *r, uint64_t letters, int64_t mono_us)
{
    int64_t rest_us = h->soonest_us - r->now_us;

    h->healing += r->tally.healing;
    if (h->healing < 0) /* those from before the start were not counted */
        h->healing = 0;
    h->has_letters = letters > 0;
    if (r->tally.died > 0 && h->due_us > mono_us + round_next_try_us(0, 0))
        h->due_us = mono_us + round_next_try_us(0, 0);
    if (!h->has_walked)
        return;
    h->has_walked = false;
    if (h->is_through)
        begin_anew(h);
    else
        rest_us = EVERY_US;
    rest_us = rest_us < EVERY_US ? EVERY_US : rest_us < REST_MAX_US ? rest_us : REST_MAX_US;
    h->due_us = mono_us + rest_us;
}
