/*
 * ahead.c - a table of documents whose checkpoint is older than their pending version.
 *
 * The happy path: when a further version of a known document is kept, what the checkpoint would say
 * of it is put into the pending record, which is written anyway, at the end of its table.  The
 * checkpoint, which may be on any page, is left unchanged until the verdict.  Meanwhile this table
 * maps the document to the version.
 *
 * After a crash the table is rebuilt from the pending versions (round_ahead.c).
 *
 * Nothing can go wrong here.  Runs on the store thread only.
 */

#include "outbox/ahead.h"

/* Running out of memory is a crash (base.h). */
#define uthash_malloc(bytes) base_alloc(bytes)
#include <uthash.h>

struct place {
    uint64_t document, no;
    UT_hash_handle hh;
};

struct ahead {
    struct place *places; /* uthash by document, in the order they were added */
};

struct ahead *ahead_new(void)
{
    return base_alloc(sizeof(struct ahead));
}

void ahead_clear(struct ahead *a)
{
    struct place *p = a->places; /* they stay in a chain */

    HASH_CLEAR(hh, a->places);
    for (struct place *next; p != NULL; p = next) {
        next = p->hh.next;
        free(p);
    }
}

void ahead_free(struct ahead *a)
{
    if (a == NULL)
        return;
    ahead_clear(a);
    free(a);
}

static struct place *find(const struct ahead *a, uint64_t document)
{
    struct place *p;

    HASH_FIND(hh, a->places, &document, sizeof document, p);
    return p;
}

static void add(struct ahead *a, struct place *p)
{
    HASH_ADD(hh, a->places, document, sizeof p->document, p);
}

void ahead_add(struct ahead *a, uint64_t document, uint64_t no)
{
    struct place *p = base_alloc(sizeof *p);

    PRE(no != 0 && find(a, document) == NULL);
    p->document = document;
    p->no = no;
    add(a, p);
}

static void drop(struct ahead *a, struct place *p)
{
    HASH_DEL(a->places, p);
    free(p);
}

void ahead_drop(struct ahead *a, uint64_t document)
{
    struct place *p = find(a, document);

    if (p != NULL)
        drop(a, p);
}

void ahead_drop_oldest(struct ahead *a)
{
    PRE(a->places != NULL);
    drop(a, a->places);
}

uint64_t ahead_find(const struct ahead *a, uint64_t document)
{
    const struct place *p = find(a, document);

    return p != NULL ? p->no : 0;
}

size_t ahead_count(const struct ahead *a)
{
    return HASH_COUNT(a->places);
}

uint64_t ahead_oldest(const struct ahead *a)
{
    return a->places != NULL ? a->places->no : 0;
}
