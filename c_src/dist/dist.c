/*
 * dist.c - the C node: a hidden member of the BEAM cluster.
 *
 * The happy path: epmd has our name; a BEAM node connects; its socket is polled without a
 * thread (door.h) until its first bytes are there; then the accept thread gives it
 * a thread of its own, which performs the handshake (node.h) and then reads for as
 * long as the connection lives (talk.h).  A call to our name becomes a struct
 * caller (caller.h), which whoever makes the answer returns, from any thread.
 *
 * What can go wrong, and the one thing done then:
 *   a silent peer            costs no thread, and is closed after HANDSHAKE_MS
 *   a slow handshake         one deadline from the accept; of MAX_HANDSHAKES the oldest
 *                            is ended when another peer waits for a thread
 *   wrong cookie, no BEAM    counted, logged at most every 10 s per address
 *   epmd ends                the name is registered again (publish.h)
 *   too many peers, no fds   the new connection is closed; the others go on
 *
 * Threads: one accepts, keeps the name registered and joins threads that have
 * ended; one for each connection.  A caller holds its link, not dist, and may outlive both.
 */

#include "dist/dist.h"

#include "dist/caller.h"
#include "dist/door.h"
#include "dist/link.h"
#include "dist/node.h"
#include "dist/publish.h"
#include "dist/session.h"
#include "dist/talk.h"
#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "ground/wake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_MS   7000  /* the BEAM's own limit */
#define MAX_HANDSHAKES 64    /* under way at once */
#define ACCEPT_MAX     64    /* connections in one go, before the other work of the thread */
#define GRACE_MS       100   /* the least time a handshake gets before it is ended for another */
#define BREATH_MS      100   /* pause in accepting, when there was no descriptor or thread left */
#define QUIET_MS       10000 /* between two log lines of the same event */
#define LOG_SLOTS      16    /* peer addresses share these, for QUIET_MS */
#define QUOTED_BYTES   ((size_t)4 * NODE_NAME_MAX)

/* One connection, from accept to the join of its thread. */
struct peer {
    /* fixed when the thread starts */
    struct dist *dist;
    struct sockaddr_in address;
    int64_t since_ms; /* of the accept */
    pthread_t thread;
    /* its own thread; name before link is set */
    char name[NODE_NAME_MAX];
    struct dist_session session;
    atomic_uint_fast64_t calls;
    /* under dist->lock */
    struct peer *next;
    int64_t up_us; /* wall clock: when the handshake succeeded */
    int fd;        /* during the handshake, then -1 */
    int64_t began_ms;
    bool gave_way;  /* its handshake is being ended for another's */
    struct link *l; /* set after the handshake */
    bool replaced;  /* by a newer connection of the same node */
    bool finished;  /* to be joined */
};

struct dist {
    /* fixed after open */
    struct node *node;
    struct publish *publish;
    struct dist_handler handler;
    struct link_options link_options;
    char *registered_name, *allow_nodes;
    unsigned max_peers;
    int wake_fd; /* wakes the accept thread */
    pthread_t accepter;
    /* owned by the accept thread, once it runs */
    struct door *door;
    int64_t yield_at_ms; /* when a handshake may be ended for another; INT64_MAX: no need */
    int64_t accept_at_ms, crowd_logged_us;
    /* any thread */
    atomic_bool closing;
    /* under lock */
    pthread_mutex_t lock;
    struct peer *peers;
    unsigned handshakes;
    int64_t refused_us[LOG_SLOTS];
};

/* --- a connection's life: its own thread --- */

static const char *quoted(const struct peer *p, char out[QUOTED_BYTES])
{
    return log_quote(slice_str(p->name), out, QUOTED_BYTES);
}

static const char *address_text(const struct peer *p, char out[INET_ADDRSTRLEN])
{
    return inet_ntop(AF_INET, &p->address.sin_addr, out, INET_ADDRSTRLEN);
}

/* At most one line per address and QUIET_MS, whatever a scanner does. */
static void log_refused(struct peer *p, const char *why)
{
    struct dist *d = p->dist;
    char address[INET_ADDRSTRLEN], name[QUOTED_BYTES];

    if (d->closing)
        return;
    metric_add(METRIC_HANDSHAKES_FAILED, 1);
    pthread_mutex_lock(&d->lock);
    bool now = log_limited(&d->refused_us[ntohl(p->address.sin_addr.s_addr) % LOG_SLOTS], QUIET_MS);
    pthread_mutex_unlock(&d->lock);
    if (now)
        log_event(LOG_WARNING, "dist.peer_refused", "address=%s node=%s why=\"%s\"",
                  address_text(p, address), quoted(p, name), why);
}

/* Perform the handshake; returns the socket, or -1.  In either case dist_close no longer shuts it
 * down through p->fd. */
static int admit(struct peer *p)
{
    struct dist *d = p->dist;
    int64_t left_ms = p->since_ms + HANDSHAKE_MS - clock_mono_ms();
    enum node_welcome w = node_welcome(d->node, p->fd, left_ms > 0 ? left_ms : 0, p->name);
    const char *why = node_welcome_text(w);

    if (w == NODE_WELCOME && !node_matches(d->allow_nodes, p->name))
        why = "node.allow_nodes does not have it";
    pthread_mutex_lock(&d->lock);
    int fd = p->fd;
    p->fd = -1;
    if (p->gave_way)
        why = "too slow, and others knocked";
    if (d->handshakes-- == MAX_HANDSHAKES)
        wake_ring(d->wake_fd);
    pthread_mutex_unlock(&d->lock);
    if (*why == '\0')
        return fd;
    close(fd);
    log_refused(p, why);
    return -1;
}

static unsigned count_peers(const struct dist *d)
{
    unsigned n = 0;

    for (const struct peer *p = d->peers; p != NULL; p = p->next)
        n += p->l != NULL && !p->replaced && !p->finished;
    return n;
}

/* A node that connects again has lost its old connection, whether or not the kernel knows yet. */
static void replace_older(struct peer *p)
{
    for (struct peer *o = p->dist->peers; o != NULL; o = o->next)
        if (o != p && o->l != NULL && !o->replaced && strcmp(o->name, p->name) == 0) {
            o->replaced = true;
            link_shutdown(o->l, "replaced by a newer connection of the same node");
        }
}

/* Add the peer whose handshake succeeded; returns NULL, or why it was refused. */
static const char *enter(struct peer *p, int fd)
{
    struct dist *d = p->dist;
    struct link *l = link_new(fd, &d->link_options);
    const char *why = NULL;

    if (l == NULL)
        return "no file descriptor left";
    pthread_mutex_lock(&d->lock);
    replace_older(p);
    if (d->closing)
        why = "closing";
    else if (count_peers(d) >= d->max_peers)
        why = "node.max_peers are connected";
    else
        p->l = l;
    p->up_us = clock_wall_us();
    metric_set(METRIC_PEERS, count_peers(d));
    pthread_mutex_unlock(&d->lock);
    if (why != NULL)
        link_drop(l);
    return why;
}

static void serve(struct peer *p)
{
    struct dist *d = p->dist;
    const struct talk_options options = {d->node, &d->handler, d->registered_name,
                                         d->link_options.max_message_bytes, &p->calls};
    char address[INET_ADDRSTRLEN], name[QUOTED_BYTES];

    log_event(LOG_INFO, "dist.peer_up", "node=%s address=%s", quoted(p, name),
              address_text(p, address));
    const char *why = talk_run(p->l, p->name, &p->session, &options);
    if (d->handler.left != NULL)
        d->handler.left(d->handler.arg);
    log_event(LOG_INFO, "dist.peer_down", "node=%s why=\"%s\"", quoted(p, name), why);
}

static void *peer_run(void *arg)
{
    struct peer *p = arg;
    struct dist *d = p->dist;
    int fd = admit(p);
    const char *why = fd >= 0 ? enter(p, fd) : NULL;

    if (why != NULL)
        log_refused(p, why);
    else if (fd >= 0)
        serve(p);
    pthread_mutex_lock(&d->lock);
    p->finished = true;
    metric_set(METRIC_PEERS, count_peers(d));
    pthread_mutex_unlock(&d->lock);
    wake_ring(d->wake_fd);
    return NULL;
}

/* --- the accept thread --- */

/* Give the connection a thread; false: no thread could be made. */
static bool start_peer(struct dist *d, const struct stranger *s)
{
    struct peer *p = base_alloc(sizeof *p);

    p->dist = d;
    p->address = s->address;
    p->since_ms = s->since_ms;
    p->fd = s->fd;
    p->began_ms = clock_mono_ms();
    pthread_mutex_lock(&d->lock);
    bool started = thread_start(&p->thread, "peer", peer_run, p);
    if (started) {
        d->handshakes++;
        p->next = d->peers;
        d->peers = p;
    }
    pthread_mutex_unlock(&d->lock);
    if (!started) {
        close(s->fd);
        free(p);
    }
    return started;
}

static void take_breath(struct dist *d, const char *why)
{
    d->accept_at_ms = clock_mono_ms() + BREATH_MS;
    if (log_limited(&d->crowd_logged_us, QUIET_MS))
        log_event(LOG_ERROR, "dist.accept_failed", "why=\"%s\"", why);
}

/* False: no further connection is waiting, or no slot is free. */
static bool accept_one(struct dist *d)
{
    struct sockaddr_in address = {0};
    socklen_t len = sizeof address;
    int fd = accept4(node_fd(d->node), (struct sockaddr *)&address, &len, SOCK_CLOEXEC);

    if (fd >= 0) {
        door_knock(d->door, fd, &address, clock_mono_ms());
        return door_has_room(d->door);
    }
    int bad = errno;
    if (bad == EAGAIN || bad == EINTR || bad == ECONNABORTED)
        return bad != EAGAIN;
    if (!(bad == EMFILE || bad == ENFILE) || !door_yield(d->door))
        take_breath(d, strerror(bad));
    return false;
}

/* Accept all that wait, up to a bound: a full backlog costs a BEAM a second until TCP's resend. */
static void accept_some(struct dist *d)
{
    for (int i = 0; i < ACCEPT_MAX && accept_one(d); i++)
        ;
}

/* End the handshake that began first, once it has had GRACE_MS. */
static void yield_one(struct dist *d, int64_t now_ms)
{
    struct peer *oldest = NULL;

    pthread_mutex_lock(&d->lock);
    for (struct peer *p = d->peers; p != NULL; p = p->next)
        if (p->fd >= 0 && !p->gave_way && (oldest == NULL || p->began_ms < oldest->began_ms))
            oldest = p;
    d->yield_at_ms = oldest != NULL ? oldest->began_ms + GRACE_MS : INT64_MAX;
    if (oldest != NULL && now_ms >= d->yield_at_ms) {
        oldest->gave_way = true;
        shutdown(oldest->fd, SHUT_RDWR); /* its thread ends the handshake and wakes this one */
        d->yield_at_ms = now_ms + GRACE_MS;
    }
    pthread_mutex_unlock(&d->lock);
}

/* Begin handshakes with peers whose first bytes are there, up to MAX_HANDSHAKES. */
static void welcome(struct dist *d, int64_t now_ms)
{
    struct stranger s;

    d->yield_at_ms = INT64_MAX;
    while (door_waits(d->door)) {
        pthread_mutex_lock(&d->lock);
        bool room = d->handshakes < MAX_HANDSHAKES;
        pthread_mutex_unlock(&d->lock);
        if (!room) {
            yield_one(d, now_ms);
            return;
        }
        door_take(d->door, &s);
        if (!start_peer(d, &s))
            take_breath(d, "no thread left");
    }
}

/* Wait for the threads of a list of peers that no one else refers to. */
static void join(struct peer *list)
{
    for (struct peer *p; (p = list) != NULL;) {
        list = p->next;
        pthread_join(p->thread, NULL);
        link_drop(p->l);
        free(p);
    }
}

/* Join the threads that have ended. */
static void reap(struct dist *d)
{
    struct peer **at, *ended = NULL, *p;

    pthread_mutex_lock(&d->lock);
    for (at = &d->peers; (p = *at) != NULL;) {
        if (!p->finished) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->next = ended;
        ended = p;
    }
    pthread_mutex_unlock(&d->lock);
    join(ended);
}

/* How long to wait at most, until something is due. */
static int wait_ms(const struct dist *d, int64_t now_ms)
{
    const int64_t times_ms[] = {publish_due_ms(d->publish), door_due_ms(d->door), d->yield_at_ms,
                                d->accept_at_ms > now_ms ? d->accept_at_ms : INT64_MAX};
    int64_t due = now_ms + BEAT_WAIT_MS;

    for (size_t i = 0; i < sizeof times_ms / sizeof *times_ms; i++)
        if (times_ms[i] < due)
            due = times_ms[i];
    return due > now_ms ? (int)(due - now_ms) : 0;
}

enum { WAKE, EPMD, LISTENER, STRANGERS };

static void *accept_run(void *arg)
{
    struct dist *d = arg;
    struct pollfd p[STRANGERS + DOOR_PLACES];

    beat_begin("accept");
    while (!d->closing) {
        int64_t now_ms = clock_mono_ms();
        beat();
        bool accepts = door_has_room(d->door) && d->accept_at_ms <= now_ms;
        p[WAKE] = (struct pollfd){d->wake_fd, POLLIN, 0};
        p[EPMD] = (struct pollfd){publish_fd(d->publish), POLLIN, 0};
        p[LISTENER] = (struct pollfd){accepts ? node_fd(d->node) : -1, POLLIN, 0};
        size_t count = door_watch(d->door, p + STRANGERS);
        if (poll(p, STRANGERS + count, wait_ms(d, now_ms)) < 0)
            continue;
        door_look(d->door, p + STRANGERS);
        now_ms = clock_mono_ms();
        if (p[WAKE].revents != 0 && wake_drain(d->wake_fd))
            reap(d);
        door_expire(d->door, now_ms);
        if (p[LISTENER].revents != 0)
            accept_some(d);
        welcome(d, now_ms);
        if (p[EPMD].revents != 0 || now_ms >= publish_due_ms(d->publish))
            publish_tend(d->publish);
    }
    beat_end();
    return NULL;
}

/* --- opening and closing --- */

static bool is_atom_text(const char *text)
{
    return text != NULL && *text != '\0' && strlen(text) <= 255;
}

/* Listen, register with epmd, start accepting; after a failure dist_close cleans up. */
static enum err go(struct dist *d, const struct dist_options *o, struct fault *fault)
{
    enum err e = node_open(o->node, o->cookie, o->listen_address, o->port, &d->node, fault);

    if (e == ERR_OK && !o->is_unpublished)
        e = publish_open(node_alive(d->node), node_port(d->node), &d->publish, fault);
    if (e != ERR_OK)
        return e;
    d->door = door_new(HANDSHAKE_MS);
    d->wake_fd = wake_open();
    if (d->wake_fd < 0 || !thread_start(&d->accepter, "accept", accept_run, d))
        return fault_fail(fault, ERR_SYSTEM, NULL, "no descriptor or thread: %s", strerror(errno));
    return ERR_OK;
}

/* Free everything but the threads. */
static void release(struct dist *d)
{
    if (d->wake_fd >= 0)
        close(d->wake_fd);
    door_free(d->door);
    publish_close(d->publish);
    node_close(d->node);
    pthread_mutex_destroy(&d->lock);
    free(d->allow_nodes);
    free(d->registered_name);
    free(d);
}

static char *copy(const char *text)
{
    return base_strndup(text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

enum err dist_open(const struct dist_options *options, const struct dist_handler *handler,
                   struct dist **d, struct fault *fault)
{
    PRE(handler->call != NULL && handler->cast != NULL && handler->gathered != NULL);
    fault_clear(fault);
    if (!is_atom_text(options->registered_name))
        return fault_say(fault, "", "a registered name has 1 to 255 bytes");
    struct dist *new = base_alloc(sizeof *new);
    new->handler = *handler;
    new->link_options =
        (struct link_options){options->max_message_bytes, options->max_unsent_bytes};
    new->registered_name = copy(options->registered_name);
    new->allow_nodes = copy(options->allow_nodes);
    new->max_peers = options->max_peers;
    new->wake_fd = -1;
    PRE(pthread_mutex_init(&new->lock, NULL) == 0);
    *d = new; /* before the first handler function is called */
    enum err e = go(new, options, fault);
    if (e != ERR_OK) {
        *d = NULL;
        release(new);
    } else {
        log_event(LOG_INFO, "dist.listening", "node=%s port=%d", options->node,
                  node_port(new->node));
    }
    return e;
}

void dist_close(struct dist *d)
{
    if (d == NULL)
        return;
    d->closing = true;
    wake_ring(d->wake_fd);
    pthread_join(d->accepter, NULL);
    pthread_mutex_lock(&d->lock);
    for (struct peer *p = d->peers; p != NULL; p = p->next) {
        if (p->fd >= 0)
            shutdown(p->fd, SHUT_RDWR);
        if (p->l != NULL)
            link_shutdown(p->l, "closing");
    }
    struct peer *ended = d->peers;
    d->peers = NULL;
    pthread_mutex_unlock(&d->lock);
    join(ended);
    metric_set(METRIC_PEERS, 0);
    release(d);
}

int dist_port(const struct dist *d)
{
    return node_port(d->node);
}

bool dist_is_published(const struct dist *d)
{
    return publish_stands(d->publish);
}

void dist_each_peer(struct dist *d, void (*show)(void *arg, const struct dist_peer *peer),
                    void *arg)
{
    char address[INET_ADDRSTRLEN];

    pthread_mutex_lock(&d->lock);
    for (struct peer *p = d->peers; p != NULL; p = p->next) {
        if (p->l == NULL || p->replaced || p->finished)
            continue;
        const struct dist_peer peer = {p->name, address_text(p, address), p->up_us,
                                       atomic_load(&p->calls)};
        show(arg, &peer);
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- answers: any thread --- */

void dist_reply(struct caller *caller, struct dist_session *session, struct slice answer)
{
    caller_reply(caller, session != NULL ? &session->cork : NULL, answer);
}

bool dist_part(struct caller *caller, struct slice part)
{
    return caller_part(caller, part);
}

void **dist_session_gathered(struct dist_session *s)
{
    return &s->gathered;
}

struct dist_session *dist_session_new(void)
{
    return base_alloc(sizeof(struct dist_session));
}

void dist_session_send(void *s)
{
    link_uncork(&((struct dist_session *)s)->cork);
}

void dist_session_free(struct dist_session *s)
{
    PRE(s == NULL || s->cork.count == 0);
    free(s);
}
