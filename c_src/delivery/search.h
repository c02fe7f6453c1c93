/* search.h - which document of a call that failed as a whole is the culprit, or was it the size? */

/* Private to delivery/. */

#ifndef SEARCH_H
#define SEARCH_H

#include "delivery/entry.h"

/* How long a group waits for traffic to prove the endpoint before a call is made for it ...
 */
#define SEARCH_FIRST_US 100000
#define SEARCH_WAIT_US  1000000 /* ... and between two such calls */

/* Documents whose call failed, or that are half of those. */
struct group {
    struct group *next;
    struct entries entries;
    uint64_t heard; /* the last ordinal given when that was heard */
    uint64_t whole; /* of a half: which whole it is of; 0: none */
    bool is_half;   /* to be sent as it is; else it waits for an acceptance after `heard` */
    int64_t ask_us; /* when a call is made for it */
};

/* Zero-initialised is empty. */
struct search {
    struct group *first, *last;
    size_t count;                      /* documents */
    uint64_t call;                     /* the ordinal of the half under way; 0: none */
    uint64_t wholes;                   /* numbers given */
    uint64_t done;                     /* of the whole whose first half was done last */
    size_t done_documents, done_bytes; /* of that half */
};

/** search_add(s, entries, heard, now_us): A call has failed: ${entries} (taken) queue up. */
void search_add(struct search *s, struct entries *entries, uint64_t heard, int64_t now_us);
/** search_again(s, entries, heard, now_us): A half has failed: it goes to the front. */
void search_again(struct search *s, struct entries *entries, uint64_t heard, int64_t now_us);
/** search_put_back(s, entries, whole): Put back a half that was not sent, or only in part. */
void search_put_back(struct search *s, struct entries *entries, uint64_t whole);
/** search_split(s): PRE: the first group is of two or more.  Its halves take its place. */
void search_split(struct search *s);
/** search_brother_first(s): The first waits; the half after it, if there is one, goes first.
 * Whether there is. */
bool search_brother_first(struct search *s);
/** search_take(s, entries): Take out the first group; its documents are moved to ${entries}.
 * Returns the whole that it is a half of. */
uint64_t search_take(struct search *s, struct entries *entries);
/** search_take_one(s): Take one document out of the first group. */
struct entry *search_take_one(struct search *s);
/**
 * search_done(s, whole, documents, bytes):
 * A half of ${whole} was done.  True: both were, though the whole had failed: so it was the size,
 * and done_documents and done_bytes are those of the larger half.
 */
bool search_done(struct search *s, uint64_t whole, size_t documents, size_t bytes);
/** search_end(s, entries): Give all documents back. */
void search_end(struct search *s, struct entries *entries);

#endif
