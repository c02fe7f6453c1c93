/*
 * peer.c - when the other side is asked again who it is.
 *
 * The happy path: it is asked by the sink at the start, and by nobody after that.
 *
 * What can go wrong: the deployment is wiped, put back to an older state, or another one answers
 * under its name.  Answers show it: a document that was confirmed is inserted, something newer
 * stands than was ever sent, or the endpoint is well again after a time in which anything may have
 * been done to it (a key that was refused, and another that is accepted, is such a time).  Each of
 * them has the sink ask attach, at most once a minute; what the answer says is in sink_peer.
 *
 * Runs on the delivery thread only.
 */

#include "delivery/peer.h"

#define EVERY_US 60000000

void peer_init(struct peer *p, const struct outbox *o)
{
    *p = (struct peer){.contradictions = outbox_contradictions(o)};
}

void peer_ask(struct peer *p)
{
    p->is_wanted = true;
}

/* Without an answer it is asked again in a minute. */
static void told(void *arg, const struct verdict *verdict)
{
    struct peer *p = arg;

    p->is_out = false;
    if (verdict->kind != VERDICT_DONE && verdict->kind != VERDICT_NONE)
        p->is_wanted = true;
}

/* The dead letters of others are tried again. */
static void tell(struct peer *p, struct outbox *o, struct sink *sink)
{
    struct sink_peer now = {0};

    sink_peer(sink, &now);
    if (now.functions == p->told.functions && strcmp(now.deployment, p->told.deployment) == 0)
        return;
    p->told = now;
    outbox_peer(o, (unsigned)now.functions, now.deployment);
}

void peer_step(struct peer *p, struct outbox *o, struct sink *sink, bool is_open, int64_t now_us)
{
    uint64_t contradictions = outbox_contradictions(o);

    tell(p, o, sink);
    if (contradictions != p->contradictions)
        p->is_wanted = true;
    p->contradictions = contradictions;
    if (!p->is_wanted || p->is_out || !is_open || now_us < p->due_us)
        return;
    p->is_wanted = false;
    p->is_out = true;
    p->due_us = now_us + EVERY_US;
    sink->ops->ask(sink, SINK_ATTACH, slice_str(""), told, p);
}

int64_t peer_next_us(const struct peer *p)
{
    return p->is_wanted && !p->is_out ? p->due_us : INT64_MAX;
}
