/* talk.h - the messages of a BEAM node after the handshake. */

/* Private to dist/. */

#ifndef TALK_H
#define TALK_H

#include "dist/dist.h"
#include "dist/link.h"
#include "ground/base.h"

#include <stdatomic.h>

struct node;

struct talk_options {
    const struct node *node;
    const struct dist_handler *handler;
    const char *registered_name;
    size_t max_message_bytes;
    atomic_uint_fast64_t *calls; /* counts calls and casts handed over */
};

/**
 * talk_run(l, name, session, options):
 * Read what the node ${name} sends over ${l} until the connection ends, and hand it to the handler;
 * returns why it ended (static text).  The calling thread is the reading thread.
 */
const char *talk_run(struct link *l, const char *name, struct dist_session *session,
                     const struct talk_options *options);

#endif
