/* delivery.h - one step of delivery: take what came, choose whose turn it is, send. */

/* Private to delivery/. */

#ifndef DELIVERY_H
#define DELIVERY_H

#include "delivery/dispatch.h"
#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

/*
 * Invariants, whenever no function of this module is running:
 *   1. Every pending document that a cursor has passed is known here, in exactly one place
 * (entry.h), or lies in the skipped range of a kind that is not served at present.
 *   2. At most one call holds a document.
 *   3. Trouble alone does not stop the scan: of a kind with DELIVERY_TROUBLED_MAX troubled
 * documents no more are taken.  The scan rests at DELIVERY_KNOWN_MAX.
 */
#define DELIVERY_KNOWN_MAX    65536
#define DELIVERY_TROUBLED_MAX 4096
#define DELIVERY_KINDS_MAX    256 /* one more stands for all others */

struct delivery; /* opaque; belongs to one thread */

/** delivery_open(o, sink, options, seed, now_us, wall_us): ${o} and ${sink} are borrowed. */
struct delivery *delivery_open(struct outbox *o, struct sink *sink,
                               const struct dispatch_options *options, uint64_t seed,
                               int64_t now_us, int64_t wall_us);
/** delivery_close(d): PRE: nothing is in flight.  What is not settled stays pending. */
void delivery_close(struct delivery *d);

/** delivery_step(d, now_us, wall_us): Whether there is more to do at once. */
bool delivery_step(struct delivery *d, int64_t now_us, int64_t wall_us);
/** delivery_next_us(d, now_us): When the next step is due, if nothing comes before; INT64_MAX:
 * never. */
int64_t delivery_next_us(const struct delivery *d, int64_t now_us);

/** delivery_pause(d, paused), delivery_end(d): Send nothing new; answers are taken. */
void delivery_pause(struct delivery *d, bool paused);
void delivery_end(struct delivery *d);
/** delivery_try_now(d, now_us): End every wait of the endpoint and of kinds, for an operator. */
void delivery_try_now(struct delivery *d, int64_t now_us);
/** delivery_reload(d): Have the sink read its keys and files again. */
void delivery_reload(struct delivery *d);

/** delivery_adopt(d): End the hold: an operator adopts the destination. */
void delivery_adopt(struct delivery *d);

unsigned delivery_in_flight(const struct delivery *d);
/** delivery_has_unsettled(d): Whether verdicts wait for the disk. */
bool delivery_has_unsettled(const struct delivery *d);
/** delivery_status(d, s): The state of delivery, apart from a pause. */
void delivery_status(const struct delivery *d, struct dispatch_status *s);
/** delivery_place(d, document, place): Where it is. */
void delivery_place(const struct delivery *d, uint64_t document, struct dispatch_place *place);
/** delivery_troubled(d, items, max): Up to ${max} of those that travel alone or are searched for;
 * how many. */
size_t delivery_troubled(const struct delivery *d, struct dispatch_troubled *items, size_t max);

#endif
