/* dist.h - the C node: a hidden member of the BEAM cluster that answers calls to one name. */

#ifndef DIST_H
#define DIST_H

#include "ground/base.h"
#include "term/term.h"

struct dist;   /* opaque */
struct caller; /* opaque: whoever waits for one answer; may outlive its connection */

/*
 * Opaque: answers of one thread that are sent together, with one system call per connection.  Each
 * connection has one for its reading thread: answers given in it inside the handler's functions are
 * sent after gathered.  dist_session_new makes one for another thread.
 */
struct dist_session;

struct dist_options {
    const char *node; /* "convex_sidecar@127.0.0.1" */
    const char *cookie;
    const char *listen_address;  /* IPv4; NULL: what the node's host resolves to if that is
                                    loopback, else 127.0.0.1 */
    int port;                    /* to listen on; 0: any */
    bool is_unpublished;         /* not registered with epmd: peers know the port */
    const char *registered_name; /* "convex_sidecar" */
    const char *allow_nodes;  /* blank-separated node names or "*@host" patterns; NULL or "": all */
    size_t max_message_bytes; /* a larger message is drained and answered with an error */
    size_t max_unsent_bytes;  /* of answers that a peer has not read; with more than that, the
                                 next answer ends its connection */
    unsigned max_peers;
};

/*
 * What dist hands over, on the reading thread of a connection.  Handlers never wait.
 * call    a gen_server:call to the registered name: ${caller} is taken and answered exactly once,
 *         by dist_reply, from any thread, at any time.  ${request} borrows the read buffer until
 *         the handler returns.
 * cast    a gen_server:cast to the registered name.
 * gathered  all messages of one read have been handed over: the time to submit them.
 * left    the connection has ended: its callers are gone (dist_caller_is_gone).  NULL: not
 *         wanted.
 * ${session} is the connection's, for answers given inside these functions.
 */
struct dist_handler {
    void *arg;
    void (*call)(void *arg, struct dist_session *session, struct caller *caller, term request);
    void (*cast)(void *arg, struct dist_session *session, term request);
    void (*gathered)(void *arg, struct dist_session *session);
    void (*left)(void *arg);
};

/**
 * dist_open(options, handler, d, fault):
 * Listen, register with epmd (started beforehand by whoever runs the BEAM), accept BEAM nodes.
 * ERR_INVALID: a bad name or address; ERR_SYSTEM: no epmd, name taken, cannot listen; ${fault}
 * says which.  If epmd ends later, the name is registered again once it is back.
 */
enum err dist_open(const struct dist_options *options, const struct dist_handler *handler,
                   struct dist **d, struct fault *fault) MUST_CHECK;

/** dist_close(d): Unregister, end all connections and threads.  Answers to callers still open
 * are dropped.  NULL is harmless. */
void dist_close(struct dist *d);

int dist_port(const struct dist *d);
/** dist_is_published(d): Whether epmd has the name at present. */
bool dist_is_published(const struct dist *d);

/* A BEAM node that is connected; borrowed by the function it is shown to. */
struct dist_peer {
    const char *node, *address;
    int64_t since_us; /* wall clock */
    uint64_t calls;   /* calls and casts that were handed over */
};

/** dist_each_peer(d, show, arg): Call ${show} for each; it must not call dist.  Any thread. */
void dist_each_peer(struct dist *d, void (*show)(void *arg, const struct dist_peer *peer),
                    void *arg);

/**
 * dist_reply(caller, session, answer):
 * Send {Tag, ${answer}} (an encoded term without version byte) to the alias in the tag, or to the
 * pid where the tag has none: with ${session}, the calling thread's, when that is sent; NULL: at
 * once.  ${caller} is taken; its connection may be gone.  Any thread; never waits: what the socket
 * does not take is queued.
 */
void dist_reply(struct caller *caller, struct dist_session *session, struct slice answer);

/**
 * dist_part(caller, part):
 * Send ${part} of an answer with more to come; dist_reply ends it.  False: send no more parts, as
 * the connection is gone or the caller is in a BEAM, which takes one answer.  ${caller} stays the
 * handler's.  Any thread; never waits: a caller that does not read loses its connection.
 */
bool dist_part(struct caller *caller, struct slice part);

/** dist_caller_is_gone(caller): Whether its connection has ended, so that nobody gets the answer;
 * dist_reply must be called all the same.  Any thread. */
bool dist_caller_is_gone(const struct caller *caller);

/** dist_caller_unsent(caller): Bytes that wait for the caller's connection to take them.  Any
 * thread.
 */
size_t dist_caller_unsent(const struct caller *caller);

/** dist_session_gathered(s): A pointer for the handler's own use, kept from one call to the next;
 * NULL at first, and again when gathered returns. */
void **dist_session_gathered(struct dist_session *s);

/** dist_session_new(): A session for one thread that is not dist's. */
struct dist_session *dist_session_new(void);
/** dist_session_send(s): Send the answers given in it; may serve as outbox_options.after_settled.
 */
void dist_session_send(void *s);
/** dist_session_free(s): After dist_session_send.  NULL is harmless. */
void dist_session_free(struct dist_session *s);

#endif
