/* peer.h - which deployment is on the other side, and when it is asked again. */

/* Private to delivery/. */

#ifndef PEER_H
#define PEER_H

#include "delivery/whom.h"
#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

struct peer {
    /* fixed after init; borrowed */
    struct outbox *outbox;
    struct sink *sink;
    const char *address; /* of the destination; "": it cannot change */
    int64_t mark_us;     /* between two marks */
    bool stops;          /* at a new destination, until it is adopted */

    uint64_t contradictions; /* of the outbox, as far as they were heard */
    int64_t due_us;          /* not before: a minute after the last question */
    bool is_wanted, is_out;
    struct sink_peer told; /* to the outbox */

    struct destination_known known;
    uint64_t revision, judged;        /* of known; of what the sink has learnt */
    bool is_changing;                 /* the store is to record something: what is known is old */
    int64_t again_us;                 /* when it is sent once more */
    int64_t insist_us;                /* when a raise that was missed is asked for once more */
    uint64_t raised_at;               /* the ordinal at the last raise */
    enum whom held;                   /* WHOM_UNKNOWN: not */
    bool is_adopted;                  /* an operator adopted what was held */
    struct destination_change change; /* under way */
};

/* What delivery knows in a step. */
struct peer_step {
    bool is_open;     /* a question may be asked */
    uint64_t ordinal; /* the last one given */
    int64_t now_us, wall_us;
};

/** peer_init(p, o, sink, address, mark_us, stops): Nothing is wanted. */
void peer_init(struct peer *p, struct outbox *o, struct sink *sink, const char *address,
               int64_t mark_us, bool stops);
/** peer_ask(p): Something happened that the same deployment, as we left it, would not do. */
void peer_ask(struct peer *p);
/**
 * peer_step(p, step):
 * Judge what the other side has said of itself, have the store record it, raise the mark; hear what
 * the outbox found, and ask (SINK_ATTACH), if it is time.
 */
void peer_step(struct peer *p, const struct peer_step *step);
/** peer_next_us(p): When a question or a change that waits is due; INT64_MAX: none waits. */
int64_t peer_next_us(const struct peer *p);

/** peer_holds(p): Whether nothing may be sent before an operator has adopted the destination. */
bool peer_holds(const struct peer *p);
/** peer_why(p): The reason for the hold. */
const char *peer_why(const struct peer *p);
/** peer_adopt(p): An operator adopts the destination. */
void peer_adopt(struct peer *p);
/** peer_functions(p): Which functions answer: struct sink_peer. */
int peer_functions(const struct peer *p);
/** peer_mark(p): What is confirmed by a call that is sent now has at least this number. */
uint64_t peer_mark(const struct peer *p);

#endif
