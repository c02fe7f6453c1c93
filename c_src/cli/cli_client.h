/* cli_client.h - gen_server:call from C: connect to a node, ask, take the answers, leave. */

/* Private to cli/. */

#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/* Whom to ask. */
struct cli_peer {
    const char *node; /* "convex_sidecar@127.0.0.1" */
    const char *cookie;
    const char *name; /* the registered name, "convex_sidecar" */
};

struct cli_client; /* opaque: a connection; one thread's */

#define CLI_CLIENT_CALLS 16 /* that may be under way at once */

/**
 * cli_client_open(peer, timeout_ms, client, fault):
 * Connect to ${peer}, which is borrowed until cli_client_close.  Errors as of cli_client_call.
 */
enum err cli_client_open(const struct cli_peer *peer, int64_t timeout_ms,
                         struct cli_client **client, struct fault *fault) MUST_CHECK;
/** cli_client_close(c): Leave; calls under way are forgotten.  NULL is harmless. */
void cli_client_close(struct cli_client *c);

/**
 * cli_client_send(c, request, timeout_ms, ticket, fault):
 * Begin a call with ${request} (an encoded term without version byte); ${ticket}, below
 * CLI_CLIENT_CALLS, is what its answer comes with.  PRE: fewer than that are under way.
 */
enum err cli_client_send(struct cli_client *c, struct slice request, int64_t timeout_ms,
                         unsigned *ticket, struct fault *fault) MUST_CHECK;

/**
 * cli_client_receive(c, timeout_ms, message, ticket, answer, fault):
 * Wait for an answer to any call under way: ${answer}, a checked term that borrows ${message}, and
 * the call's ${ticket}, which is free again.  After any error the connection is of no more use.
 */
enum err cli_client_receive(struct cli_client *c, int64_t timeout_ms, struct buf *message,
                            unsigned *ticket, term *answer, struct fault *fault) MUST_CHECK;

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
