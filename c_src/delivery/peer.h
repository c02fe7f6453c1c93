/* peer.h - when the other side is asked again who it is. */

/* Private to delivery/. */

#ifndef PEER_H
#define PEER_H

#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

struct peer {
    uint64_t contradictions; /* of the outbox, as far as they were heard */
    int64_t due_us;          /* not before: a minute after the last question */
    bool is_wanted, is_out;
    struct sink_peer told; /* to the outbox */
};

/** peer_init(p, o): Nothing is wanted. */
void peer_init(struct peer *p, const struct outbox *o);
/** peer_ask(p): Something happened that the same deployment, as we left it, would not do. */
void peer_ask(struct peer *p);
/**
 * peer_step(p, o, sink, is_open, now_us):
 * Tell the outbox who answers; hear what it found, and ask (SINK_ATTACH), if it is time and
 * ${is_open}.
 */
void peer_step(struct peer *p, struct outbox *o, struct sink *sink, bool is_open, int64_t now_us);
/** peer_next_us(p): When a question that waits may go; INT64_MAX: none waits. */
int64_t peer_next_us(const struct peer *p);

#endif
