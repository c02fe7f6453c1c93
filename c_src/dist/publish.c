/*
 * publish.c - keeps the node's name with epmd.
 *
 * The happy path: register once, hold the connection for as long as the node
 * lives.
 *
 * What can go wrong: epmd ends, which is seen as the end of that connection.
 * BEAM nodes that are connected stay so, but new ones cannot find us; so the
 * name is registered again as soon as an epmd is back, as the BEAM does for its
 * own nodes, but at most every RETRY_MS.  If another node took the name meanwhile,
 * that is logged, and tried again.
 *
 * All on the accept thread, except publish_stands.
 */

#include "dist/publish.h"

#include "dist/epmd.h"
#include "ground/clock.h"
#include "ground/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_MS 2000
#define QUIET_MS 10000 /* between two log lines of the same event */

struct publish {
    char *alive;
    int port;
    int fd;
    int64_t since_ms; /* of the last registration */
    int64_t due_ms, logged_us, lost_logged_us;
    atomic_bool stands;
};

enum err publish_open(const char *alive, int port, struct publish **p, struct fault *fault)
{
    int fd;
    enum err e = epmd_register(alive, port, &fd, fault);

    if (e != ERR_OK)
        return e;
    *p = base_alloc(sizeof **p);
    (*p)->alive = base_strndup(alive, strlen(alive));
    (*p)->port = port;
    (*p)->fd = fd;
    (*p)->due_ms = INT64_MAX;
    (*p)->since_ms = clock_mono_ms();
    (*p)->stands = true;
    return ERR_OK;
}

void publish_close(struct publish *p)
{
    if (p == NULL)
        return;
    if (p->fd >= 0)
        close(p->fd);
    free(p->alive);
    free(p);
}

bool publish_stands(const struct publish *p)
{
    return p == NULL || p->stands;
}

int publish_fd(const struct publish *p)
{
    return p != NULL ? p->fd : -1;
}

int64_t publish_due_ms(const struct publish *p)
{
    return p != NULL ? p->due_ms : INT64_MAX;
}

/* Whether epmd closed the connection; epmd sends nothing more, so one that does counts as gone. */
static bool is_gone(int fd)
{
    char said[64];
    ssize_t n = recv(fd, said, sizeof said, MSG_DONTWAIT);

    return n >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void lose(struct publish *p)
{
    int64_t now_ms = clock_mono_ms();

    close(p->fd);
    p->fd = -1;
    p->stands = false;
    p->due_ms = p->since_ms + RETRY_MS > now_ms ? p->since_ms + RETRY_MS : now_ms;
    if (log_limited(&p->lost_logged_us, QUIET_MS))
        log_event(LOG_WARNING, "dist.epmd_lost",
                  "name=%s: new BEAM nodes cannot find us until it is back", p->alive);
}

static void try_again(struct publish *p)
{
    struct fault fault;

    if (epmd_register(p->alive, p->port, &p->fd, &fault) == ERR_OK) {
        p->stands = true;
        p->due_ms = INT64_MAX;
        p->since_ms = clock_mono_ms();
        log_event(LOG_INFO, "dist.epmd_back", "name=%s port=%d", p->alive, p->port);
        return;
    }
    p->due_ms = clock_mono_ms() + RETRY_MS;
    if (log_limited(&p->logged_us, QUIET_MS))
        log_event(LOG_WARNING, "dist.not_published", "name=%s why=\"%s\"", p->alive, fault.why);
}

void publish_tend(struct publish *p)
{
    if (p->fd >= 0 && is_gone(p->fd))
        lose(p);
    if (p->fd < 0 && clock_mono_ms() >= p->due_ms)
        try_again(p);
}
