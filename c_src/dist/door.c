/*
 * door.c - connections that have sent nothing yet.
 *
 * The happy path: an accepted socket waits here, in one poll with all others, until its first bytes
 * are there (a BEAM sends them at once), and is then taken by whoever performs its handshake.
 *
 * What can go wrong: it stays silent.  It is closed when its time is over, or when a new connection
 * needs a slot and it has been silent longest.  So a silent peer costs a descriptor, never a
 * thread.
 *
 * The accept thread only.
 */

#include "dist/door.h"

#include "ground/log.h"
#include "ground/metrics.h"

#include <arpa/inet.h>
#include <sys/resource.h>
#include <unistd.h>

#define QUIET_MS 10000 /* between two log lines */

struct door {
    /* fixed */
    int64_t patience_ms;
    size_t places;
    /* the accept thread's */
    int64_t logged_us;
    size_t count, spoken;
    struct stranger strangers[DOOR_PLACES]; /* in the order they came */
};

struct door *door_new(int64_t patience_ms)
{
    struct door *d = base_alloc(sizeof *d);
    struct rlimit files;

    d->patience_ms = patience_ms;
    d->places = DOOR_PLACES;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 4 < DOOR_PLACES)
        d->places = (size_t)files.rlim_cur / 4;
    return d;
}

void door_free(struct door *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->count; i++)
        close(d->strangers[i].fd);
    free(d);
}

/* The index of the first one that has sent something, or has not; count: there is none. */
static size_t first_of(const struct door *d, bool has_spoken)
{
    size_t i = 0;

    while (i < d->count && d->strangers[i].has_spoken != has_spoken)
        i++;
    return i;
}

static struct stranger leave(struct door *d, size_t at)
{
    struct stranger s = d->strangers[at];

    d->count--;
    d->spoken -= s.has_spoken;
    memmove(d->strangers + at, d->strangers + at + 1, (d->count - at) * sizeof s);
    return s;
}

static void turn_away(struct door *d, size_t at, const char *why)
{
    struct stranger s = leave(d, at);
    char address[INET_ADDRSTRLEN];

    close(s.fd);
    metric_add(METRIC_HANDSHAKES_FAILED, 1);
    if (log_limited(&d->logged_us, QUIET_MS))
        log_event(LOG_WARNING, "dist.peer_refused", "address=%s node=\"\" why=\"%s\"",
                  inet_ntop(AF_INET, &s.address.sin_addr, address, sizeof address), why);
}

bool door_has_room(const struct door *d)
{
    return d->count < d->places || d->spoken < d->count;
}

bool door_yield(struct door *d)
{
    size_t at = first_of(d, false);

    if (at == d->count)
        return false;
    turn_away(d, at, "said nothing, and others knocked");
    return true;
}

void door_knock(struct door *d, int fd, const struct sockaddr_in *address, int64_t now_ms)
{
    PRE(d->count < d->places || door_yield(d));
    d->strangers[d->count++] = (struct stranger){.fd = fd, .address = *address, .since_ms = now_ms};
}

size_t door_watch(const struct door *d, struct pollfd *p)
{
    for (size_t i = 0; i < d->count; i++)
        p[i] = (struct pollfd){d->strangers[i].has_spoken ? -1 : d->strangers[i].fd, POLLIN, 0};
    return d->count;
}

void door_look(struct door *d, const struct pollfd *p)
{
    for (size_t i = 0; i < d->count; i++)
        if (p[i].fd >= 0 && p[i].revents != 0) {
            d->strangers[i].has_spoken = true;
            d->spoken++;
        }
}

int64_t door_due_ms(const struct door *d)
{
    size_t at = first_of(d, false);

    return at < d->count ? d->strangers[at].since_ms + d->patience_ms : INT64_MAX;
}

void door_expire(struct door *d, int64_t now_ms)
{
    while (door_due_ms(d) <= now_ms)
        turn_away(d, first_of(d, false), "no handshake in time");
}

bool door_waits(const struct door *d)
{
    return d->spoken > 0;
}

void door_take(struct door *d, struct stranger *s)
{
    PRE(d->spoken > 0);
    *s = leave(d, first_of(d, true));
}
