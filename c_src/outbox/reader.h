/* reader.h - what is committed, as the delivery side reads it. */

/* Private to outbox/. */

#ifndef READER_H
#define READER_H

#include "ground/base.h"
#include "store/kept.h"

struct damage;
struct store;
struct outbox_reader; /* opaque: a view of the committed state; one thread at a time */

void outbox_reader_close(struct outbox_reader *r);
/** outbox_next(r, after, p): The pending version that arrived next after number ${after}, if any.
 */
bool outbox_next(struct outbox_reader *r, uint64_t after, struct pending *p);
/** outbox_next_no(r, after, p): The one with the next number after ${after}: the bulk lane's first.
 */
bool outbox_next_no(struct outbox_reader *r, uint64_t after, struct pending *p);
/** outbox_last(r): The largest number that is pending; 0: none. */
uint64_t outbox_last(struct outbox_reader *r);
/**
 * outbox_get(r, no, p):
 * The pending version with number ${no}.  ERR_NOT_FOUND: it is no longer pending.  ERR_STORE:
 * the store cannot be read now (it is being opened again); try again later.
 */
enum err outbox_get(struct outbox_reader *r, uint64_t no, struct pending *p) MUST_CHECK;
/** outbox_release(r): Release the view; the next read sees what is committed by then. */
void outbox_release(struct outbox_reader *r);

/** reader_new(s, damage): For outbox_reader_open: a reader of the pending documents of ${s}, which
 * reports what it cannot read to ${damage}; both are borrowed. */
struct outbox_reader *reader_new(struct store *s, struct damage *damage);

#endif
