/* tap.h - the events in documents' lives, reported as they happen to whoever has a tap open. */

#ifndef TAP_H
#define TAP_H

#include "ground/base.h"

#define TAP_EVENT_LIST(X)                                                                          \
    X(TAP_KEPT, "kept")           /* on disk, and will be sent */                                  \
    X(TAP_SKIPPED, "skipped")     /* nothing to send: why */                                       \
    X(TAP_NOT_KEPT, "not_kept")   /* the caller got an error: why */                               \
    X(TAP_SENT, "sent")           /* in a call to the sink */                                      \
    X(TAP_CONFIRMED, "confirmed") /* the sink has it */                                            \
    X(TAP_AGAIN, "again")         /* not written, and sent again: why */                           \
    X(TAP_UNKNOWN, "unknown")     /* written or not, and sent again: why */                        \
    X(TAP_REFUSED,                                                                                 \
      "refused") /* is sent once more, perhaps alone, unless it becomes a dead letter: why */      \
    X(TAP_DEAD, "dead") /* became a dead letter: why */

enum tap_event {
#define X(name, text) name,
    TAP_EVENT_LIST(X)
#undef X
        TAP_EVENT_COUNT
};

enum { TAP_COUNT = 4, TAP_RECORDS = 1024, TAP_ID_BYTES = 512, TAP_WHY_BYTES = 160 };

struct tap_record {
    int64_t at_us; /* wall clock */
    enum tap_event event;
    int64_t seq;
    char kind[64], id[TAP_ID_BYTES], why[TAP_WHY_BYTES]; /* terminated; longer ones are cut */
};

/** tap_text(e): Its word; static storage. */
const char *tap_text(enum tap_event e);

/** tap_is_open(): Whether any tap is open; costs a read.  Any thread. */
bool tap_is_open(void);

/**
 * tap_tell(event, kind, id, seq, why):
 * Report an event to the open taps and wait for none of them: a tap that is full drops the record
 * and counts it.  ${why} may be NULL.  Any thread; does nothing when no tap is open.
 */
void tap_tell(enum tap_event event, struct slice kind, struct slice id, int64_t seq,
              const char *why);

struct tap; /* opaque */

/** tap_open(kind, id): Watch the documents of ${kind} with that ${id}; empty: all.  NULL: TAP_COUNT
 * taps are open already. */
struct tap *tap_open(struct slice kind, struct slice id);
/** tap_take(t, records, max, dropped): Take the oldest records, at most ${max}, and return how
 * many; ${dropped}: how many were dropped since the tap was opened. */
size_t tap_take(struct tap *t, struct tap_record *records, size_t max, uint64_t *dropped);
/** tap_close(t): NULL is harmless. */
void tap_close(struct tap *t);

#endif
