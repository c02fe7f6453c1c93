/*
 * entry.c - what delivery remembers of one pending document, and the containers for it.
 *
 * Entries come from slabs and go back to a list of spare ones, so nothing is allocated for a
 * document unless more are held at once than ever before.  Their table is an array of buckets by
 * the low bits of the document's number: numbers are given in order, so neighbours in time are in
 * different buckets.  The caller bounds their number.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/entry.h"
#include "outbox/outbox.h"

#define BUCKETS      65536u
#define SLAB_ENTRIES 256

struct slab {
    struct slab *next;
    struct entry entries[SLAB_ENTRIES];
};

struct known {
    struct entry **buckets;
    struct entry *spare; /* through next */
    struct slab *slabs;
    size_t count;
};

bool entry_follow(struct entry *e)
{
    uint64_t to = e->then_no;

    if (to == 0 && e->no < LANE_LIVE)
        to = e->no | LANE_LIVE; /* it keeps its place in the order of arrival */
    if (to == 0)
        return false;
    e->no = to;
    e->then_no = 0;
    return true;
}

/* ---- lists -------------------------------------------------------------------- */

void entries_append(struct entries *l, struct entry *e)
{
    e->prev = l->last;
    e->next = NULL;
    if (l->last != NULL)
        l->last->next = e;
    else
        l->first = e;
    l->last = e;
    l->count++;
}

void entries_remove(struct entries *l, struct entry *e)
{
    PRE(l->count > 0);
    if (e->prev != NULL)
        e->prev->next = e->next;
    else
        l->first = e->next;
    if (e->next != NULL)
        e->next->prev = e->prev;
    else
        l->last = e->prev;
    e->prev = e->next = NULL;
    l->count--;
}

struct entry *entries_pop(struct entries *l)
{
    struct entry *e = l->first;

    if (e != NULL)
        entries_remove(l, e);
    return e;
}

void entries_move(struct entries *to, struct entries *from)
{
    if (from->first == NULL)
        return;
    from->first->prev = to->last;
    if (to->last != NULL)
        to->last->next = from->first;
    else
        to->first = from->first;
    to->last = from->last;
    to->count += from->count;
    *from = (struct entries){0};
}

/* ---- the agenda --------------------------------------------------------------- */

static bool is_before(const struct entry *a, const struct entry *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->no < b->no;
}

static void swap(struct entry **a, struct entry **b)
{
    struct entry *t = *a;

    *a = *b;
    *b = t;
}

void agenda_push(struct agenda *a, struct entry *e)
{
    if (a->count == a->cap) {
        a->cap = a->cap > 0 ? 2 * a->cap : 64;
        a->items = base_realloc(a->items, a->cap * sizeof(void *));
    }
    a->items[a->count++] = e;
    for (size_t i = a->count - 1; i > 0;) {
        size_t parent = (i - 1) / 2;
        if (!is_before(a->items[i], a->items[parent]))
            break;
        swap(&a->items[i], &a->items[parent]);
        i = parent;
    }
}

struct entry *agenda_pop(struct agenda *a)
{
    PRE(a->count > 0);
    struct entry **items = a->items, *top = items[0];
    size_t count = --a->count;

    items[0] = items[count];
    for (size_t i = 0;;) {
        size_t first = i, left = 2 * i + 1;
        if (left < count && is_before(items[left], items[first]))
            first = left;
        if (left + 1 < count && is_before(items[left + 1], items[first]))
            first = left + 1;
        if (first == i)
            return top;
        swap(&items[i], &items[first]);
        i = first;
    }
}

void agenda_free(struct agenda *a)
{
    free(a->items);
    *a = (struct agenda){0};
}

/* ---- all of them -------------------------------------------------------------- */

struct known *known_new(void)
{
    struct known *k = base_alloc(sizeof *k);

    k->buckets = base_alloc(BUCKETS * sizeof(void *));
    return k;
}

void known_free(struct known *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = k->buckets[i]; e != NULL; e = e->next_known)
            free(e->why);
    while (k->slabs != NULL) {
        struct slab *next = k->slabs->next;
        free(k->slabs);
        k->slabs = next;
    }
    free(k->buckets);
    free(k);
}

size_t known_count(const struct known *k)
{
    return k->count;
}

static struct entry **bucket(const struct known *k, uint64_t document)
{
    return &k->buckets[document % BUCKETS];
}

struct entry *known_find(const struct known *k, uint64_t document)
{
    struct entry *e = *bucket(k, document);

    while (e != NULL && e->document != document)
        e = e->next_known;
    return e;
}

static void add_slab(struct known *k)
{
    struct slab *slab = base_alloc(sizeof *slab);

    slab->next = k->slabs;
    k->slabs = slab;
    for (size_t i = 0; i < SLAB_ENTRIES; i++) {
        slab->entries[i].next = k->spare;
        k->spare = &slab->entries[i];
    }
}

struct entry *known_add(struct known *k, uint64_t document, uint64_t no)
{
    if (k->spare == NULL)
        add_slab(k);
    struct entry *e = k->spare;
    k->spare = e->next;
    *e = (struct entry){.document = document, .no = no, .next_known = *bucket(k, document)};
    *bucket(k, document) = e;
    k->count++;
    return e;
}

void known_drop(struct known *k, struct entry *e)
{
    struct entry **at = bucket(k, e->document);

    while (*at != e) {
        PRE(*at != NULL);
        at = &(*at)->next_known;
    }
    *at = e->next_known;
    free(e->why);
    e->why = NULL;
    e->next = k->spare;
    k->spare = e;
    k->count--;
}
