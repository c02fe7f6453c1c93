/*
 * spacing.c - when a document was last written, for as long as that matters.
 *
 * A hash table (uthash) of document ids, each with the time before which it must not be written
 * again.  The interval is the same for all in a table (each kind has its own), so entries in order
 * of insertion are also in order of expiry; uthash keeps that order, and every use drops expired
 * entries at the front.
 *
 * Ids are kept as 64-bit hashes (FNV-1a).  Two ids that share one are spaced
 * like a single document: later than they could be, never wrong.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/spacing.h"

#define uthash_fatal(msg) base_broken(msg, __FILE__, __LINE__)
#include <uthash.h>

struct entry {
    uint64_t id_hash; /* the key */
    int64_t due_us;
    struct entry *next_spare;
    UT_hash_handle hh;
};

struct spacing {
    int64_t interval_us; /* fixed after new */
    struct entry *entries;
    struct entry *spare; /* for reuse: as many as there ever were at once */
};

struct spacing *spacing_new(int64_t interval_us)
{
    struct spacing *s = base_alloc(sizeof *s);

    PRE(interval_us >= 0);
    s->interval_us = interval_us;
    return s;
}

static void drop(struct spacing *s, struct entry *e)
{
    HASH_DEL(s->entries, e);
    e->next_spare = s->spare;
    s->spare = e;
}

void spacing_free(struct spacing *s)
{
    if (s == NULL)
        return;
    while (s->entries != NULL)
        drop(s, s->entries);
    while (s->spare != NULL) {
        struct entry *next = s->spare->next_spare;
        free(s->spare);
        s->spare = next;
    }
    free(s);
}

static uint64_t hash_id(struct slice id)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < id.len; i++)
        h = (h ^ id.data[i]) * 0x100000001b3u;
    return h;
}

/* The table's hash function: the key is a hash already. */
static unsigned fold(uint64_t id_hash)
{
    return (unsigned)(id_hash ^ (id_hash >> 32));
}

static struct entry *find(struct spacing *s, uint64_t id_hash)
{
    struct entry *e;

    HASH_FIND_BYHASHVALUE(hh, s->entries, &id_hash, sizeof id_hash, fold(id_hash), e);
    return e;
}

static void add(struct spacing *s, uint64_t id_hash, int64_t due_us)
{
    struct entry *e = s->spare;

    if (e != NULL)
        s->spare = e->next_spare;
    else
        e = base_alloc(sizeof *e);
    e->id_hash = id_hash;
    e->due_us = due_us;
    HASH_ADD_BYHASHVALUE(hh, s->entries, id_hash, sizeof e->id_hash, fold(id_hash), e);
}

static void expire(struct spacing *s, int64_t now_us)
{
    while (s->entries != NULL && s->entries->due_us <= now_us)
        drop(s, s->entries);
}

int64_t spacing_due_us(struct spacing *s, struct slice id, int64_t now_us)
{
    expire(s, now_us);
    struct entry *e = find(s, hash_id(id));
    return e != NULL ? e->due_us : now_us;
}

void spacing_wrote(struct spacing *s, struct slice id, int64_t now_us)
{
    if (s->interval_us == 0)
        return;
    expire(s, now_us);
    uint64_t id_hash = hash_id(id);
    struct entry *e = find(s, id_hash);
    if (e != NULL)
        drop(s, e);
    else if (spacing_count(s) >= SPACING_MAX)
        drop(s, s->entries);
    add(s, id_hash, now_us + s->interval_us);
}

size_t spacing_count(const struct spacing *s)
{
    return HASH_COUNT(s->entries);
}
