/*
 * parcel.c - what delivery remembers of one pending document, and the containers for it.
 *
 * Two containers over one growing array: a plain list (a call's documents, a
 * group to be sent together), and the agenda, a binary heap by due time, in
 * which deferred documents and those to be sent again wait for their moment.
 * How many there may be is bounded by whoever pushes.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/parcel.h"

void parcels_push(struct parcels *ps, struct parcel p)
{
    if (ps->count == ps->cap) {
        ps->cap = ps->cap > 0 ? 2 * ps->cap : 8;
        ps->items = base_realloc(ps->items, ps->cap * sizeof *ps->items);
    }
    ps->items[ps->count++] = p;
}

void parcels_free(struct parcels *ps)
{
    free(ps->items);
    *ps = (struct parcels){0};
}

static bool is_before(const struct parcel *a, const struct parcel *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->no < b->no;
}

static void swap(struct parcel *a, struct parcel *b)
{
    struct parcel t = *a;

    *a = *b;
    *b = t;
}

void agenda_push(struct parcels *agenda, struct parcel p)
{
    parcels_push(agenda, p);
    for (size_t i = agenda->count - 1; i > 0;) {
        size_t parent = (i - 1) / 2;
        if (!is_before(&agenda->items[i], &agenda->items[parent]))
            break;
        swap(&agenda->items[i], &agenda->items[parent]);
        i = parent;
    }
}

struct parcel agenda_pop(struct parcels *agenda)
{
    PRE(agenda->count > 0);
    struct parcel *items = agenda->items, top = items[0];
    size_t count = --agenda->count;

    items[0] = items[count];
    for (size_t i = 0;;) {
        size_t first = i, left = 2 * i + 1;
        if (left < count && is_before(&items[left], &items[first]))
            first = left;
        if (left + 1 < count && is_before(&items[left + 1], &items[first]))
            first = left + 1;
        if (first == i)
            return top;
        swap(&items[i], &items[first]);
        i = first;
    }
}
