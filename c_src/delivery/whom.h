/* whom.h - what the identity that the other side reports means. */

/* Private to delivery/. */

#ifndef WHOM_H
#define WHOM_H

#include "ground/base.h"
#include "outbox/outbox.h"
#include "sink/sink.h"

enum whom {
    WHOM_UNKNOWN,  /* no answer yet */
    WHOM_SAME,     /* the same as before, as we left it */
    WHOM_FIRST,    /* the first one that says who it is */
    WHOM_RESTORED, /* the same, with a lower mark than ours */
    WHOM_CLEARED,  /* the same, without our mark */
    WHOM_OTHER,    /* another deployment, or the same created again */
    WHOM_MOVED,    /* another address, which reports no identity */
    WHOM_AHEAD /* a higher mark than we ever asked for: ours is not the only store of this name */
};

/** whom_judge(known, peer, address): Who answers at ${address}, given what the store knows. */
enum whom whom_judge(const struct destination_known *known, const struct sink_peer *peer,
                     const char *address);

/** whom_is_new(w): Whether delivery.on_new_destination is about it. */
bool whom_is_new(enum whom w);

/** whom_change(w, known, peer, address, c): What is to be recorded of it; false: nothing. */
bool whom_change(enum whom w, const struct destination_known *known, const struct sink_peer *peer,
                 const char *address, struct destination_change *c);

/** whom_text(w): Its word in logs; static storage. */
const char *whom_text(enum whom w);

#endif
