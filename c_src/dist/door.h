/* door.h - connections that have sent nothing yet, without a thread of their own. */

/* Private to dist/. */

#ifndef DOOR_H
#define DOOR_H

#include "ground/base.h"

#include <netinet/in.h>
#include <poll.h>

/* Connections at once, at most: a quarter of the highest number of descriptors. */
#define DOOR_PLACES 1024

struct door; /* opaque; one thread */

struct stranger {
    int fd;
    struct sockaddr_in address;
    int64_t since_ms;
    bool has_spoken; /* its first bytes are there */
};

/** door_new(patience_ms): Connections that stay silent for ${patience_ms} will be closed. */
struct door *door_new(int64_t patience_ms);
/** door_free(d): Closes the connections that are still there.  NULL is harmless. */
void door_free(struct door *d);

/** door_has_room(d): Whether one more connection fits: a slot is free, or a silent one can be
 * closed. */
bool door_has_room(const struct door *d);
/** door_yield(d): Close the connection that has been silent longest; false: none is silent. */
bool door_yield(struct door *d);
/** door_knock(d, fd, address, now_ms): Take the accepted socket ${fd}; after door_has_room. */
void door_knock(struct door *d, int fd, const struct sockaddr_in *address, int64_t now_ms);

/**
 * door_watch(d, p), door_look(d, p):
 * Fill ${p} (DOOR_PLACES) with what to poll for and return how many; after the poll, note which
 * ones have sent something.  No other door_ function may be called in between.
 */
size_t door_watch(const struct door *d, struct pollfd *p);
void door_look(struct door *d, const struct pollfd *p);

/** door_expire(d, now_ms): Close the connections that were silent for too long. */
void door_expire(struct door *d, int64_t now_ms);
/** door_due_ms(d): When door_expire has work; INT64_MAX: never. */
int64_t door_due_ms(const struct door *d);

/** door_waits(d): Whether a connection that has sent something waits to be taken. */
bool door_waits(const struct door *d);
/** door_take(d, s): Remove the first of those; its socket is the caller's. */
void door_take(struct door *d, struct stranger *s);

#endif
