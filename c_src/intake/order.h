/* order.h - an operator's word that needs the store: an intent of the outbox that ends with an
 * answer. */

/* Private to intake/. */

#ifndef ORDER_H
#define ORDER_H

#include "dist/dist.h"
#include "ground/base.h"
#include "ground/buf.h"
#include "outbox/outbox.h"

struct kind;
struct kinds;
struct order;

/* What all orders share; borrowed by each. */
struct order_context {
    struct outbox *outbox;
    const struct kinds *kinds;
    struct dist_session *answers; /* the store thread's */
};

/* The work inside a round: the answer is its error, or else what it has put into answer. */
typedef enum err order_work(struct order *d, struct round *r);

/* One word under way. */
struct order {
    struct intent intent; /* first: the outbox hands this back */
    const struct order_context *context;
    struct caller *caller;
    order_work *work;
    char *id; /* the document, or where a portion begins */
    size_t id_len;
    const struct kind *kind;
    size_t next_kind; /* of clear all */
    uint64_t count;   /* documents done so far */
    uint64_t refused; /* and those that were refused, of many */
    int64_t wait_ms;
    struct slice newer;            /* of clear, while it is read: the time of newer_us */
    int64_t newer_us;              /* of clear: when what it removes was removed; 0: now */
    bool all, again;               /* again: another portion is to follow */
    bool dry_run;                  /* of clear: only count */
    void (*then)(struct order *d); /* after the commit, on the store thread, instead of the answer:
                                      order_finish is up to it; NULL: answer */
    void *own;                     /* of its maker: heap, freed with the order */
    struct fault fault;
    struct buf answer;
};

/** order_new(c, caller, work): Takes ${caller}; order_submit or order_refuse takes the order. */
struct order *order_new(const struct order_context *c, struct caller *caller, order_work *work);

/** order_id(d), order_set_id(d, id): The document; ${id} is copied. */
struct slice order_id(const struct order *d);
void order_set_id(struct order *d, struct slice id);

/**
 * order_submit(d, session):
 * Have the work done; the answer follows after the commit, or in ${session} when it is refused.
 */
void order_submit(struct order *d, struct dist_session *session);
/** order_finish(d, session): Send the answer; takes the order.  Any thread. */
void order_finish(struct order *d, struct dist_session *session);
/** order_refuse(d, session, e, why): Answer with the error ${e} instead. */
void order_refuse(struct order *d, struct dist_session *session, enum err e, const char *why);

#endif
