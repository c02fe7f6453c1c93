/* entry.h - what delivery remembers of one pending document, and the containers for it. */

/* Private to delivery/. */

#ifndef ENTRY_H
#define ENTRY_H

#include "delivery/trouble.h"
#include "ground/base.h"

struct settlement;

enum entry_mark { ENTRY_KIND, ENTRY_ENDPOINT, ENTRY_MARKS };

/*
 * An entry is a pending document.  It holds no version: that is read from the outbox each time it
 * is sent, so what goes is always the newest.  It is in one place at a time: a call, the agenda,
 * the troubled of its kind, a group of the search, or the unsettled.
 */
struct entry {
    struct entry *prev, *next;     /* in its list */
    struct entry *next_known;      /* in its bucket */
    struct settlement *settlement; /* while in a call: for its verdict, owned; else NULL */
    uint64_t document;             /* its number: what it is known by */
    uint64_t no, then_no; /* of its pending record; of another one seen meanwhile, 0: none */
    uint64_t revision;    /* of the version last sent; 0: none yet */
    int64_t due_us;       /* not to be sent before (monotonic) */
    struct trouble trouble;
    char *why;                   /* heap: the last thing said of it; NULL: nothing */
    uint32_t attempts;           /* times this version was sent */
    uint32_t marks[ENTRY_MARKS]; /* struct scope, mark */
    uint32_t place;              /* in the call whose answer is taken */
    uint16_t kind;               /* its slot */
};

/** entry_follow(e): Its record is gone: go on to that of a newer version, if one was seen or took
 * its place in the live lane.  False: there is none. */
bool entry_follow(struct entry *e);

/* A list through prev and next; zero-initialised is empty. */
struct entries {
    struct entry *first, *last;
    size_t count;
};

void entries_append(struct entries *l, struct entry *e);
void entries_remove(struct entries *l, struct entry *e);
/** entries_pop(l): Take out the first; NULL: there is none. */
struct entry *entries_pop(struct entries *l);
/** entries_move(to, from): Move all of ${from} to the end of ${to}. */
void entries_move(struct entries *to, struct entries *from);

/* A growing array, kept as a binary heap: the entry due first is items[0]; of those due at the same
 * time, the one that arrived first.  Zero-initialised is empty. */
struct agenda {
    struct entry **items;
    size_t count, cap;
};

void agenda_push(struct agenda *a, struct entry *e);
/** agenda_pop(a): Take out the entry due first; PRE: there is one. */
struct entry *agenda_pop(struct agenda *a);
/** agenda_free(a): The array only. */
void agenda_free(struct agenda *a);

/* All entries, by the number of their document. */
struct known; /* opaque */

struct known *known_new(void);
/** known_free(k): With all entries.  Settlements are the owner's to free. */
void known_free(struct known *k);
size_t known_count(const struct known *k);
struct entry *known_find(const struct known *k, uint64_t document);
/** known_add(k, document, no): PRE: it is not known. */
struct entry *known_add(struct known *k, uint64_t document, uint64_t no);
/** known_drop(k, e): Forget ${e}, which is in no list any more. */
void known_drop(struct known *k, struct entry *e);

#endif
