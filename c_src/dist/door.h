/* door.h - who knocks: connections that have said nothing yet, without a thread of their own. */

/* Private to dist/. */

#ifndef DOOR_H
#define DOOR_H

#include "ground/base.h"

#include <netinet/in.h>
#include <poll.h>

/* Strangers at once, at most: a quarter of the descriptors that there may be. */
#define DOOR_PLACES 1024

struct door; /* opaque; one thread */

struct stranger {
    int fd;
    struct sockaddr_in address;
    int64_t since_ms;
    bool has_spoken; /* its first bytes are there */
};

/** door_new(patience_ms): A door at which nobody stands silent for longer than ${patience_ms}. */
struct door *door_new(int64_t patience_ms);
/** door_free(d): Closes the connections that are still there.  NULL is harmless. */
void door_free(struct door *d);

/** door_has_room(d): Whether one more may knock: a place is free, or somebody silent has one. */
bool door_has_room(const struct door *d);
/** door_yield(d): Close the connection that has been silent longest; false: nobody is silent. */
bool door_yield(struct door *d);
/** door_knock(d, fd, address, now_ms): Take the accepted socket ${fd}; after door_has_room. */
void door_knock(struct door *d, int fd, const struct sockaddr_in *address, int64_t now_ms);

/**
 * door_watch(d, p), door_look(d, p):
 * Fill ${p} (DOOR_PLACES) with what to poll for and return how many; after the poll, note who has
 * spoken.  In between nothing else of door may be called.
 */
size_t door_watch(const struct door *d, struct pollfd *p);
void door_look(struct door *d, const struct pollfd *p);

/** door_expire(d, now_ms): Close the connections that were silent for too long. */
void door_expire(struct door *d, int64_t now_ms);
/** door_due_ms(d): When door_expire has something to do; INT64_MAX: never. */
int64_t door_due_ms(const struct door *d);

/** door_waits(d): Whether somebody who has spoken is still here. */
bool door_waits(const struct door *d);
/** door_take(d, s): The one of them who came first leaves the door; its socket is the caller's. */
void door_take(struct door *d, struct stranger *s);

#endif
