/* link.h - one connection to a BEAM node: messages in, answers out; answering never waits. */

/* Private to dist/. */

#ifndef LINK_H
#define LINK_H

#include "ground/base.h"
#include "ground/buf.h"

struct link; /* opaque; counted: lives as long as somebody holds it */

#define CORK_LINKS 64

/*
 * Messages of one thread that are sent together, with one system call per link: a list of the links
 * that have such messages, each held until link_uncork.  All zero: none.
 */
struct cork {
    size_t count;
    struct link *links[CORK_LINKS]; /* further links send at once */
};

/* This much of a message that is too large is parsed before the rest is drained. */
#define LINK_HEAD_BYTES 4096

struct link_options {
    size_t max_message_bytes; /* a larger message is drained */
    size_t max_unsent_bytes;  /* a peer with more unread answers than that loses its connection */
};

/*
 * What a link hands over, on its reading thread.
 * message    one whole message without its length; ${bytes} borrows the read buffer.  False: it is
 *            malformed, the connection ends.
 * oversized  a message of ${size} bytes is being drained; ${head} is its beginning.
 * gathered   all messages of one read have been handed over.
 * What they send with the cork of link_run is sent together, after gathered.
 */
struct link_events {
    void *arg;
    bool (*message)(void *arg, struct slice bytes);
    void (*oversized)(void *arg, struct slice head, size_t size);
    void (*gathered)(void *arg);
};

/** link_new(fd, options): A link over the connected stream socket ${fd} (taken); held once.
 * NULL: no descriptor left (errno). */
struct link *link_new(int fd, const struct link_options *options);
/** link_hold(l): One holder more; returns ${l}. */
struct link *link_hold(struct link *l);
/** link_drop(l): One holder less; the last one frees it.  NULL is harmless. */
void link_drop(struct link *l);

/** link_is_waited_for(l): Whether anybody but its owner holds it: a call is under way. */
bool link_is_waited_for(const struct link *l);

/** link_is_gone(l): Whether the connection has ended, or is about to.  Any thread. */
bool link_is_gone(const struct link *l);

/** link_unsent(l): Bytes that the socket has not taken.  Any thread. */
size_t link_unsent(struct link *l);

/**
 * link_run(l, cork, events):
 * Read until the connection ends, then close it; returns why it ended (static text).  The calling
 * thread is the reading thread.  It answers ticks, and sends what other threads left unsent; after
 * each read it uncorks ${cork}, which is empty at the end.
 */
const char *link_run(struct link *l, struct cork *cork, const struct link_events *events);

/** link_shutdown(l, why): Have link_run end with ${why} (static text).  Any thread. */
void link_shutdown(struct link *l, const char *why);

/**
 * link_begin(l), link_end(l, cork):
 * One message to the peer: append its bytes (without length) to the buffer that link_begin
 * returns, then call link_end.  The link is locked in between.  NULL: the connection is gone, and
 * link_end must not be called.  With ${cork}, the calling thread's, the message is sent when that
 * is uncorked; NULL: at once.  Any thread; never waits: what the socket does not take is sent by
 * the reading thread.
 */
struct buf *link_begin(struct link *l) MUST_CHECK;
void link_end(struct link *l, struct cork *cork);

/** link_uncork(cork): Send what was held back; ${cork} is empty afterwards. */
void link_uncork(struct cork *cork);

#endif
