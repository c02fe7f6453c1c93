/* cli_client.h - one gen_server:call from C: connect to a node, ask, take the answer, leave. */

#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base.h"
#include "buf.h"
#include "term.h"

/* Whom to ask. */
struct cli_peer {
    const char *node; /* "convex_sidecar@127.0.0.1" */
    const char *cookie;
    const char *name; /* the registered name, "convex_sidecar" */
};

/**
 * cli_client_call(peer, request, timeout_ms, message, answer, fault):
 * Call {${peer}->name, ${peer}->node} with ${request} (an encoded term without version byte).
 * On ERR_OK ${answer} is what was replied, a checked term that borrows ${message} (empty before;
 * the caller frees it).  ERR_CLOSED: no connection, or it ended; ERR_NOT_FOUND: the call was ended
 * by the other side, as for an unknown name; ERR_BUSY: no answer in time; ERR_INVALID: the other
 * side does not speak the protocol.  ${fault}->why says what to do about it.
 */
enum err cli_client_call(const struct cli_peer *peer, struct slice request, int64_t timeout_ms,
                         struct buf *message, term *answer, struct fault *fault) MUST_CHECK;

#endif
