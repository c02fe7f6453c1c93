/*
 * verdicts.c - verdicts on their way to disk, and when they are worth a round.
 *
 * The happy path: delivery queues verdicts.  Nothing can be lost while they wait: after a crash,
 * documents that Convex has already are only sent again.  So many are written at once, which costs
 * little more than one, since documents that are delivered together lie on the same pages.
 * They wait up to 100 ms to be batched, but not
 *   when one says that a document was refused, or failed: 10 ms
 *   while somebody waits until nothing is pending, or the store is filling up: until all that is
 *   pending has its verdict
 *   while somebody waits for a document: not at all
 *   for more than VERDICTS_MANY, which bounds them
 *   once another version of such a document is kept: that one is sent only when the verdict is on
 *   disk, and its page is written anyway (verdicts_has)
 *
 * Nothing can go wrong here.  Under the outbox's lock, except verdicts_has, which reads a bit that
 * several documents may share.
 */

#include "outbox/verdicts.h"

#include "store/kept.h"

#include <stdatomic.h>

#define LINGER_US     100000
#define LINGER_BAD_US 10000 /* for verdicts that people look for */
#define VERDICTS_MANY 4096
#define BITS          65536 /* documents share them, by number */

struct verdicts {
    struct settlement *first, *last;
    size_t count;     /* of verdicts, since the last take */
    size_t many;      /* this many are due at once */
    int64_t since_us; /* when the first was queued */
    int64_t bad_us;   /* when a bad one is due */
    uint64_t given, done;
    atomic_uint_least64_t bits[BITS / 64];
};

struct verdicts *verdicts_new(void)
{
    struct verdicts *v = base_alloc(sizeof *v);

    verdicts_want(v, VERDICTS_NOBODY, 0);
    v->bad_us = INT64_MAX;
    return v;
}

static void mark(struct verdicts *v, uint64_t document)
{
    size_t i = document % BITS;

    atomic_fetch_or_explicit(&v->bits[i / 64], UINT64_C(1) << i % 64, memory_order_relaxed);
}

bool verdicts_has(const struct verdicts *v, uint64_t document)
{
    size_t i = document % BITS;

    return atomic_load_explicit(&v->bits[i / 64], memory_order_relaxed) >> i % 64 & 1;
}

bool verdicts_add(struct verdicts *v, struct settlement *first, int64_t now_us, int64_t wall_us,
                  uint64_t *ticket)
{
    struct settlement *last = first;
    size_t had = v->count;
    bool is_first = v->first == NULL, is_bad = false;

    for (struct settlement *s = first; s != NULL; last = s, s = s->next) {
        is_bad = is_bad || s->dead || s->later;
        mark(v, s->document);
        s->answered_us = wall_us;
        v->count++;
    }
    if (is_first)
        v->since_us = now_us;
    *(is_first ? &v->first : &v->last->next) = first;
    v->last = last;
    *ticket = ++v->given;
    bool is_worse = is_bad && v->bad_us == INT64_MAX;
    if (is_worse)
        v->bad_us = now_us + LINGER_BAD_US;
    return is_first || is_worse || (had < v->many && v->count >= v->many);
}

void verdicts_want(struct verdicts *v, enum verdicts_wanted wanted, uint64_t pending)
{
    v->many = wanted == VERDICTS_EACH                             ? 1
              : wanted == VERDICTS_ALL && pending < VERDICTS_MANY ? (size_t)pending
                                                                  : VERDICTS_MANY;
}

int64_t verdicts_due_us(const struct verdicts *v)
{
    int64_t at_us = v->since_us + LINGER_US;

    if (v->first == NULL)
        return INT64_MAX;
    return v->count >= v->many ? 0 : at_us < v->bad_us ? at_us : v->bad_us;
}

struct verdicts_taken verdicts_take(struct verdicts *v)
{
    struct verdicts_taken t = {.first = v->first, .last = v->last, .ticket = v->given};

    v->first = v->last = NULL;
    v->count = 0;
    v->bad_us = INT64_MAX;
    for (size_t i = 0; i < BITS / 64; i++)
        atomic_store_explicit(&v->bits[i], 0, memory_order_relaxed);
    return t;
}

void verdicts_drop(struct verdicts *v)
{
    struct verdicts_taken t = verdicts_take(v);

    for (struct settlement *s = t.first, *next; s != NULL; s = next) {
        next = s->next;
        settlement_free(s);
    }
}

void verdicts_free(struct verdicts *v)
{
    if (v == NULL)
        return;
    verdicts_drop(v);
    free(v);
}

void verdicts_give_back(struct verdicts *v, const struct verdicts_taken *t)
{
    if (t->first == NULL)
        return;
    t->last->next = v->first;
    if (v->first == NULL)
        v->last = t->last;
    v->first = t->first;
    v->since_us = 0; /* they are due as soon as the store is tried again */
    for (struct settlement *s = v->first; s != NULL; s = s->next)
        mark(v, s->document);
}

void verdicts_done(struct verdicts *v, const struct verdicts_taken *t)
{
    if (t->ticket != 0)
        v->done = t->ticket;
}

bool verdicts_is_done(const struct verdicts *v, uint64_t ticket)
{
    return ticket <= v->done;
}
