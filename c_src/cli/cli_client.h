/* cli_client.h - calls to a running sidecar, over the socket in its store's folder. */

/* Private to cli/. */

#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

struct cli_client; /* opaque: a connection; one thread's */

/**
 * cli_client_open(store_dir, timeout_ms, client, fault):
 * Connect to the sidecar whose store is ${store_dir}.  ERR_NOT_FOUND: no such store, or no sidecar
 * runs there; ERR_NOT_OWNED: it is another user's; others as of cli_client_call.
 */
enum err cli_client_open(const char *store_dir, int64_t timeout_ms, struct cli_client **client,
                         struct fault *fault) MUST_CHECK;
/** cli_client_close(c): Disconnect; calls under way are forgotten.  NULL is harmless. */
void cli_client_close(struct cli_client *c);

/**
 * cli_client_send(c, request, timeout_ms, ticket, fault):
 * Begin a call with ${request} (an encoded term without version byte); ${ticket}, from 1, is what
 * its answer comes with.  Any number may be under way.
 */
enum err cli_client_send(struct cli_client *c, struct slice request, int64_t timeout_ms,
                         unsigned *ticket, struct fault *fault) MUST_CHECK;

/** cli_client_is_ready(c, wait_ms): Whether something came, or the connection ended, within
 * ${wait_ms}; a signal ends the wait. */
bool cli_client_is_ready(struct cli_client *c, int64_t wait_ms);

/* What a call is answered with: any number of parts, then the reply. */
struct cli_answer {
    unsigned ticket;
    bool is_part; /* more will come for this call */
    term term;    /* checked */
};

/**
 * cli_client_receive(c, timeout_ms, message, answer, fault):
 * Wait for a part or the reply of any call under way; ${answer} borrows ${message} (the caller
 * frees it).  After any error the connection cannot be used any more.
 */
enum err cli_client_receive(struct cli_client *c, int64_t timeout_ms, struct buf *message,
                            struct cli_answer *answer, struct fault *fault) MUST_CHECK;

/**
 * cli_client_call(store_dir, request, timeout_ms, message, answer, fault):
 * Connect, call with ${request}, disconnect.  On ERR_OK ${answer} is the reply, a checked term
 * that borrows ${message} (empty before; the caller frees it).  ERR_CLOSED: the connection was
 * refused or ended; ERR_BUSY: no answer in time; ERR_INVALID: the other side does not speak the
 * protocol.  ${fault}->why says what to do about it.
 */
enum err cli_client_call(const char *store_dir, struct slice request, int64_t timeout_ms,
                         struct buf *message, term *answer, struct fault *fault) MUST_CHECK;

#endif
