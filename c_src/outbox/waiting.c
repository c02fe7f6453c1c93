/*
 * waiting.c - intents held until a document, or everything, is delivered.
 *
 * The happy path: an intent whose version is committed waits here under the
 * arrival number of its document; the settlement of that number finds it in a
 * hash table and settles it.  An intent that waits for everything (flush) is kept
 * in a list of its own and is checked once a round.
 *
 * What can go wrong: the delivery takes too long.  Each intent has a deadline; the
 * earliest is remembered, and when it has come (at most every 20 ms) one walk over
 * all of them settles those whose time is over.  A caller may leave before: the
 * same walk settles its intent and so frees its place.  There are at most
 * WAITING_MAX.
 *
 * Runs on the store thread only, except waiting_gone.  None of this is on disk: after a crash
 * callers get no answer, but what was kept stays kept.
 */

#include "outbox/waiting.h"

#include <stdatomic.h>

/* Running out of memory is a crash (base.h). */
#define uthash_malloc(bytes) base_alloc(bytes)
#include <uthash.h>

#define SWEEP_PERIOD_US 20000

/* Those who wait for one arrival number, in the order they came. */
struct line {
    uint64_t no;
    struct intent *first, *last;
    UT_hash_handle hh;
};

struct waiting {
    struct line *lines; /* uthash by no */
    struct line flushes;
    size_t count;
    int64_t due_us;       /* no deadline is earlier */
    int64_t swept_us;     /* the last walk */
    atomic_bool has_gone; /* any thread: callers may have left since the last walk */
};

struct waiting *waiting_new(void)
{
    struct waiting *w = base_alloc(sizeof *w);

    w->due_us = INT64_MAX;
    return w;
}

void waiting_free(struct waiting *w)
{
    if (w == NULL)
        return;
    PRE(w->count == 0);
    free(w);
}

size_t waiting_count(const struct waiting *w)
{
    return w->count;
}

bool waiting_for_one(const struct waiting *w)
{
    return w->lines != NULL;
}

static void push(struct line *l, struct intent *i)
{
    i->held_next = NULL;
    if (l->last != NULL)
        l->last->held_next = i;
    else
        l->first = i;
    l->last = i;
}

/*
 * Remove from ${l} those that ${pick} selects, and settle them.  All are removed before the first
 * is settled: settled may submit again, or free its intent.
 */
static void settle_picked(struct waiting *w, struct line *l,
                          bool (*pick)(const struct intent *, const void *), const void *arg,
                          enum err e, const char *why)
{
    struct intent *i = l->first;
    struct line picked = {0};

    l->first = l->last = NULL;
    for (struct intent *next; i != NULL; i = next) {
        next = i->held_next;
        push(pick(i, arg) ? &picked : l, i);
    }
    for (struct intent *next, *p = picked.first; p != NULL; p = next) {
        next = p->held_next;
        w->count--;
        p->settled(p, e, why);
    }
}

static void drop_if_empty(struct waiting *w, struct line *l)
{
    if (l->first != NULL)
        return;
    HASH_DEL(w->lines, l);
    free(l);
}

static struct line *find_line(struct waiting *w, uint64_t no)
{
    struct line *l;

    HASH_FIND(hh, w->lines, &no, sizeof no, l);
    return l;
}

static void add_line(struct waiting *w, struct line *l)
{
    HASH_ADD(hh, w->lines, no, sizeof l->no, l);
}

static bool is_gone(const struct intent *i)
{
    return i->is_gone != NULL && i->is_gone(i);
}

void waiting_gone(struct waiting *w)
{
    w->has_gone = true;
}

void waiting_hold(struct waiting *w, struct intent *intent)
{
    struct line *l = &w->flushes;

    PRE(intent->held_no != 0 && w->count < WAITING_MAX);
    if (intent->held_front == 0)
        l = find_line(w, intent->held_no);
    if (l == NULL) {
        l = base_alloc(sizeof *l);
        l->no = intent->held_no;
        add_line(w, l);
    }
    push(l, intent);
    w->count++;
    if (is_gone(intent))
        waiting_gone(w);
    if (intent->held_until_us < w->due_us)
        w->due_us = intent->held_until_us;
}

static bool is_answered(const struct intent *i, const void *revision)
{
    return i->held_revision <= *(const uint64_t *)revision;
}

void waiting_answer(struct waiting *w, uint64_t no, uint64_t revision, enum err e, const char *why)
{
    struct line *l = find_line(w, no);

    if (l == NULL)
        return;
    settle_picked(w, l, is_answered, &revision, e, why);
    drop_if_empty(w, l);
}

void waiting_mark(struct waiting *w, bool (*is_through)(void *arg, struct intent *), void *arg)
{
    for (struct intent *i = w->flushes.first; i != NULL; i = i->held_next)
        i->applied = is_through(arg, i) ? ERR_OK : ERR_BUSY;
}

static bool is_marked(const struct intent *i, const void *unused)
{
    (void)unused;
    return i->applied == ERR_OK;
}

void waiting_release(struct waiting *w)
{
    settle_picked(w, &w->flushes, is_marked, NULL, ERR_OK, "");
}

int64_t waiting_due_us(const struct waiting *w)
{
    int64_t earliest = w->swept_us + SWEEP_PERIOD_US;

    return w->has_gone || w->due_us < earliest ? earliest : w->due_us;
}

static bool is_over(const struct intent *i, const void *now_us)
{
    return i->held_until_us <= *(const int64_t *)now_us || is_gone(i);
}

static int64_t earliest_of(const struct line *l, int64_t due_us)
{
    for (const struct intent *i = l->first; i != NULL; i = i->held_next)
        if (i->held_until_us < due_us)
            due_us = i->held_until_us;
    return due_us;
}

void waiting_expire(struct waiting *w, int64_t now_us)
{
    struct line *l, *next;

    if (now_us < waiting_due_us(w))
        return;
    w->swept_us = now_us;
    w->has_gone = false;
    settle_picked(w, &w->flushes, is_over, &now_us, ERR_SINK, "timeout");
    w->due_us = earliest_of(&w->flushes, INT64_MAX);
    HASH_ITER(hh, w->lines, l, next)
    {
        settle_picked(w, l, is_over, &now_us, ERR_SINK, "timeout");
        w->due_us = earliest_of(l, w->due_us);
        drop_if_empty(w, l);
    }
}

static bool is_any(const struct intent *i, const void *unused)
{
    (void)unused;
    return i != NULL;
}

void waiting_drain(struct waiting *w)
{
    struct line *l, *next;

    settle_picked(w, &w->flushes, is_any, NULL, ERR_DRAINING, "");
    HASH_ITER(hh, w->lines, l, next)
    {
        settle_picked(w, l, is_any, NULL, ERR_DRAINING, "");
        drop_if_empty(w, l);
    }
    w->due_us = INT64_MAX;
}
