/*
 * search.c - which document of a call that failed as a whole is the culprit, or was it the size?
 *
 * The happy path: there is nothing to search.
 *
 * What can go wrong, and the one thing done: a call of several documents was refused, or nobody
 * knows what came of it.  Its documents become a group; groups stand in one queue, and only the
 * first is searched.  Once something was accepted after the fault was heard, it is split, and the
 * halves are sent one after the other.  One that fails is a group again, at the front.  If both are
 * done it was the size.
 *
 * Pure: no clock, no I/O.  Delivery decides when to split and what to send.
 */

#include "delivery/search.h"

static struct group *group_new(struct search *s, struct entries *entries)
{
    struct group *g = base_alloc(sizeof *g);

    entries_move(&g->entries, entries);
    s->count += g->entries.count;
    return g;
}

static void push_front(struct search *s, struct group *g)
{
    g->next = s->first;
    s->first = g;
    if (s->last == NULL)
        s->last = g;
}

static struct group *pop(struct search *s)
{
    struct group *g = s->first;

    PRE(g != NULL);
    s->first = g->next;
    if (s->first == NULL)
        s->last = NULL;
    s->count -= g->entries.count;
    return g;
}

void search_add(struct search *s, struct entries *entries, uint64_t heard, int64_t now_us)
{
    struct group *g = group_new(s, entries);

    g->heard = heard;
    g->ask_us = now_us + SEARCH_FIRST_US;
    if (s->last != NULL)
        s->last->next = g;
    else
        s->first = g;
    s->last = g;
}

void search_again(struct search *s, struct entries *entries, uint64_t heard, int64_t now_us)
{
    struct group *g = group_new(s, entries);

    g->heard = heard;
    g->ask_us = now_us + SEARCH_FIRST_US;
    push_front(s, g);
}

void search_put_back(struct search *s, struct entries *entries, uint64_t whole)
{
    if (entries->count == 0)
        return;
    struct group *g = group_new(s, entries);
    g->is_half = true;
    g->whole = whole;
    push_front(s, g);
}

void search_split(struct search *s)
{
    struct group *g = pop(s);
    size_t first = g->entries.count / 2;
    struct entries half = {0};
    uint64_t whole = ++s->wholes;

    PRE(g->entries.count >= 2);
    while (half.count < first)
        entries_append(&half, entries_pop(&g->entries));
    search_put_back(s, &g->entries, whole);
    search_put_back(s, &half, whole);
    free(g);
}

bool search_brother_first(struct search *s)
{
    struct group *g = s->first, *brother = g->next;

    if (brother == NULL || !brother->is_half)
        return false;
    g->next = brother->next;
    brother->next = g;
    s->first = brother;
    if (s->last == brother)
        s->last = g;
    return true;
}

uint64_t search_take(struct search *s, struct entries *entries)
{
    struct group *g = pop(s);
    uint64_t whole = g->whole;

    entries_move(entries, &g->entries);
    free(g);
    return whole;
}

struct entry *search_take_one(struct search *s)
{
    PRE(s->first != NULL);
    struct entry *e = entries_pop(&s->first->entries);

    s->count--;
    if (s->first->entries.count == 0)
        free(pop(s));
    return e;
}

bool search_done(struct search *s, uint64_t whole, size_t documents, size_t bytes)
{
    bool both = whole != 0 && whole == s->done;

    if (!both || documents > s->done_documents)
        s->done_documents = documents;
    if (!both || bytes > s->done_bytes)
        s->done_bytes = bytes;
    s->done = both ? 0 : whole;
    return both;
}

void search_end(struct search *s, struct entries *entries)
{
    while (s->first != NULL)
        (void)search_take(s, entries);
    s->done = s->call = 0;
}
