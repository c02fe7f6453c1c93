/* pending_words.h - {pending, Opts}: what is kept and not delivered. */

/* Private to intake/. */

#ifndef PENDING_WORDS_H
#define PENDING_WORDS_H

#include "dist/dist.h"
#include "ground/base.h"
#include "term/term.h"

struct order_context;

/* What delivery says of a document that travels alone, or is searched for; texts are borrowed. */
struct pending_place {
    uint64_t document, no;
    const char *what, *why;
    int64_t next_us; /* wall clock; 0: it may be sent */
    unsigned attempts;
};

typedef void pending_listed(void *told_arg, const struct pending_place *places, size_t count);

/* Delivery is in another folder: sidecar.c connects it.  Calls ${listed} once, on any thread, or at
 * once.
 */
struct pending_wires {
    void *arg;
    void (*list)(void *arg, pending_listed *listed, void *told_arg);
};

/** pending_words_take(w, orders, session, caller, opts): Answer ${caller} (taken). */
void pending_words_take(const struct pending_wires *w, const struct order_context *orders,
                        struct dist_session *session, struct caller *caller, term opts);

#endif
