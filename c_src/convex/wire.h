/* wire.h - the sockets of HTTP connections: whether what arrives on one can be the answer to our
 * request. */

/* Private to convex/. */

#ifndef WIRE_H
#define WIRE_H

#include "ground/base.h"

#include <sys/socket.h>

struct wire;  /* one connection, from its socket to its close */
struct wires; /* all of one client; one thread */

struct wires *wires_new(void);
/** wires_free(all): NULL is harmless; every one must be closed. */
void wires_free(struct wires *all);

/** wire_open(all, type, protocol, to): A socket that will be connected to ${to}; -1: none. */
int wire_open(struct wires *all, int type, int protocol, const struct sockaddr *to);
/** wire_close(all, fd): As close(2). */
int wire_close(struct wires *all, int fd);

/**
 * wire_find(all, ip, local_port):
 * The connection to ${ip} (in digits) from our ${local_port}; NULL: there is none.  Valid until it
 * is closed.
 */
struct wire *wire_find(struct wires *all, const char *ip, int local_port);

/** wire_use(w): A request is about to leave on ${w}. */
void wire_use(struct wire *w);
/** wire_is_kept(w): Whether a request began to leave on ${w} before. */
bool wire_is_kept(const struct wire *w);

/** wire_shut(w): As shutdown(2), in both directions; its owner still closes it. */
void wire_shut(const struct wire *w);

/** wire_has_input(w): Whether ${w} holds unread bytes. */
bool wire_has_input(const struct wire *w);
/** wire_is_drained(w): Whether the other end acknowledged every byte that was written to ${w}. */
bool wire_is_drained(const struct wire *w);

#endif
