/* courier.h - fills calls with pending documents, takes the answers, settles the documents. */

/* Private to delivery/. */

#ifndef COURIER_H
#define COURIER_H

#include "delivery/pace.h"
#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

/*
 * Invariants, whenever no function of this room is running:
 *   1. Every pending record with a number <= the scan cursor is known here, in exactly one place:
 *      a call, the agenda, a group, the suspects, or the unsettled.
 *   2. So at most one call holds a document: a document has one pending record, and a version that
 *      takes the place of a pending one keeps its number.
 *   3. Agenda and unsettled together stop growing by the scan at COURIER_KNOWN_MAX.
 */
#define COURIER_KNOWN_MAX 65536

struct courier;      /* opaque */
struct courier_call; /* opaque: a call that is loaded or under way */

struct courier_options {
    int64_t min_interval_us;     /* between two writes of one document */
    struct pace_options backoff; /* of single documents that failed while their call did not */
    uint64_t seed;               /* of the jitter */
};

/* What came of a call; borrowed. */
struct courier_report {
    const struct verdict *verdict; /* of the call; the first STOP among its documents, if any */
    bool trial;
    const char *all_refused_why; /* so many in a row that it is not their fault; NULL: no */
    int64_t sent_us, took_us;
};

typedef void courier_reported(void *arg, const struct courier_report *r);

/** courier_open(o, sink, options, reported, arg): ${sink} and ${o} are borrowed. */
struct courier *courier_open(struct outbox *o, struct sink *sink,
                             const struct courier_options *options, courier_reported *reported,
                             void *arg);
/** courier_close(c): PRE: nothing is in flight.  What is not settled stays pending in the outbox.
 */
void courier_close(struct courier *c);

/**
 * courier_load(c, now_us, max, trial):
 * A call with what is due, at most ${max} documents, to be given to courier_send; NULL: nothing is.
 */
struct courier_call *courier_load(struct courier *c, int64_t now_us, size_t max, bool trial);
/** courier_send(call): E2 -> E3.  ${call} is taken; the report may come from inside. */
void courier_send(struct courier_call *call);

/**
 * courier_collect(c, now_us): See which settlements are on disk, and what came meanwhile for their
 * documents.  Whether any was.
 */
bool courier_collect(struct courier *c, int64_t now_us);
/** courier_release(c): Let go of the view of the outbox; before every wait. */
void courier_release(struct courier *c);

/** courier_stopped(c, now_us): Delivery stopped: nothing is proven any more; suspects are freed. */
void courier_stopped(struct courier *c, int64_t now_us);

unsigned courier_in_flight(const struct courier *c);
/** courier_due_us(c): When the next known document is due; INT64_MAX: none is waiting. */
int64_t courier_due_us(const struct courier *c);
/** courier_has_unsettled(c): Whether verdicts wait for the disk. */
bool courier_has_unsettled(const struct courier *c);
/** courier_is_idle(c): Whether no pending document at all is known here. */
bool courier_is_idle(const struct courier *c);

#endif
