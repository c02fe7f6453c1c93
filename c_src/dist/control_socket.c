/*
 * control_socket.c - the Unix socket for the command line.
 *
 * The happy path: a command connects; the kernel says which user it runs as, and it gets one of a
 * few slots and a thread, which sends {welcome, Version} and reads for as long as the connection
 * lives (link.h).  Each {call, Ref, Request} (frame.h) goes to the same handler as dist's calls, as
 * a struct caller, which whoever makes the answer returns, from any thread.
 *
 * What can go wrong, and the one thing done then:
 *   no socket can be made    logged with what to do; the sidecar runs without
 *   another user             told so, and closed
 *   no slot is free          the longest silent client that waits for no answer is closed, if it
 *                            has been silent for SILENT_MS; else the new one is told so, and closed
 *   a call too large         drained; its caller gets an error
 *   a malformed frame        its connection ends
 *
 * Threads: one accepts, and joins threads that have ended; one for each client.
 */

#include "dist/control_socket.h"

#include "dist/caller.h"
#include "dist/frame.h"
#include "dist/link.h"
#include "dist/session.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/thread.h"
#include "ground/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define SILENT_MS 10000 /* after which a client without a call under way may lose its slot */
#define BREATH_MS 100   /* pause in accepting, when there was no descriptor or thread left */
#define QUIET_MS  10000 /* between two log lines of the same event */

/* A slot for one client: free while l is NULL and has_left is false. */
struct guest {
    struct control_socket *socket; /* fixed */
    pthread_t thread;              /* the accept thread's */
    _Atomic int64_t heard_ms;      /* of the last frame */
    int64_t logged_us;             /* its own thread's */
    struct dist_session session;   /* likewise */
    /* under socket->lock */
    struct link *l;
    bool has_left; /* to be joined */
};

struct control_socket {
    /* fixed after open */
    struct dist_handler handler;
    struct link_options link_options;
    int dir_fd, fd;
    pthread_t accepter;
    /* the accept thread's */
    int64_t refused_us, failed_us;
    /* any thread */
    atomic_bool closing;
    /* under lock */
    pthread_mutex_t lock;
    struct guest guests[CONTROL_SOCKET_GUESTS];
};

/* --- frames: a client's own thread --- */

static void heard(struct guest *g)
{
    g->heard_ms = clock_mono_ms();
    metric_add(METRIC_MESSAGES, 1);
}

static bool on_message(void *arg, struct slice bytes)
{
    struct guest *g = arg;
    const struct dist_handler *h = &g->socket->handler;
    struct fault fault;
    term ref, request;

    heard(g);
    if (frame_read_call(bytes, &ref, &request, &fault) != ERR_OK) {
        log_event(LOG_WARNING, "control_socket.malformed", "bytes=%zu why=\"%s\"", bytes.len,
                  fault.why);
        return false;
    }
    h->call(h->arg, &g->session, caller_new_guest(g->l, ref), request);
    return true;
}

static void on_oversized(void *arg, struct slice head, size_t size)
{
    struct guest *g = arg;
    size_t max = g->socket->link_options.max_message_bytes;
    term ref;

    heard(g);
    if (frame_read_head(head, &ref))
        caller_too_large(caller_new_guest(g->l, ref), &g->session.cork, size, max);
    if (log_limited(&g->logged_us, QUIET_MS))
        log_event(LOG_WARNING, "control_socket.message_too_large", "bytes=%zu max=%zu", size, max);
}

static void on_gathered(void *arg)
{
    struct guest *g = arg;

    g->socket->handler.gathered(g->socket->handler.arg, &g->session);
}

static void say(struct link *l, const char *word, const char *text)
{
    struct buf *b = link_begin(l);

    if (b != NULL) {
        frame_put_text(b, word, text);
        link_end(l, NULL);
    }
}

static void *guest_run(void *arg)
{
    struct guest *g = arg;
    const struct link_events events = {g, on_message, on_oversized, on_gathered};

    say(g->l, "welcome", SIDECAR_VERSION);
    const char *why = link_run(g->l, &g->session.cork, &events);
    if (g->socket->handler.left != NULL)
        g->socket->handler.left(g->socket->handler.arg);
    log_event(LOG_DEBUG, "control_socket.left", "why=\"%s\"", why);
    pthread_mutex_lock(&g->socket->lock);
    link_drop(g->l);
    g->l = NULL;
    g->has_left = true;
    pthread_mutex_unlock(&g->socket->lock);
    return NULL;
}

/* --- new connections: the accept thread --- */

/* Refuse a connection with one frame of a few bytes, which a fresh socket takes at once. */
static void turn_away(int fd, const char *why)
{
    struct buf b = {0};

    buf_be32(&b, 0);
    frame_put_text(&b, "refused", why);
    b.data[3] = (uint8_t)(b.len - 4);
    if (send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_event(LOG_DEBUG, "control_socket.not_told", "why=\"%s\"", strerror(errno));
    buf_free(&b);
    close(fd);
}

static bool is_ours(struct control_socket *s, int fd)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t size = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
        (who.uid == geteuid() || who.uid == 0))
        return true;
    if (log_limited(&s->refused_us, QUIET_MS))
        log_event(LOG_WARNING, "control_socket.refused", "uid=%ld pid=%ld", (long)who.uid,
                  (long)who.pid);
    return false;
}

/* The client that has been silent longest, without a call under way.  Under lock. */
static struct guest *longest_silent(struct control_socket *s)
{
    struct guest *found = NULL;

    for (struct guest *g = s->guests; g < s->guests + CONTROL_SOCKET_GUESTS; g++)
        if (g->l != NULL && !link_is_waited_for(g->l) &&
            clock_mono_ms() - g->heard_ms >= SILENT_MS &&
            (found == NULL || g->heard_ms < found->heard_ms))
            found = g;
    return found;
}

/* A free slot, or NULL. */
static struct guest *find_place(struct control_socket *s)
{
    struct guest *place = NULL;

    pthread_mutex_lock(&s->lock);
    for (struct guest *g = s->guests; place == NULL && g < s->guests + CONTROL_SOCKET_GUESTS; g++)
        place = g->l == NULL ? g : NULL;
    bool is_taken = place == NULL;
    if (is_taken && (place = longest_silent(s)) != NULL) {
        say(place->l, "refused", "other commands needed the place of one that was silent");
        link_shutdown(place->l, "silent, and others wanted its place");
    }
    bool has_run = place != NULL && (is_taken || place->has_left);
    pthread_mutex_unlock(&s->lock);
    if (has_run)
        pthread_join(place->thread, NULL);
    if (place != NULL)
        place->has_left = false;
    return place;
}

static void log_failed(struct control_socket *s)
{
    if (log_limited(&s->failed_us, QUIET_MS))
        log_event(LOG_ERROR, "control_socket.accept_failed", "why=\"%s\"", strerror(errno));
}

/* Give the new connection its slot; ${fd} is taken. */
static void seat(struct control_socket *s, struct guest *g, int fd)
{
    struct link *l = link_new(fd, &s->link_options);

    pthread_mutex_lock(&s->lock);
    g->l = l;
    g->heard_ms = clock_mono_ms();
    if (l == NULL || !thread_start(&g->thread, "guest", guest_run, g)) {
        log_failed(s);
        g->l = NULL;
        link_drop(l);
    }
    pthread_mutex_unlock(&s->lock);
}

static void admit(struct control_socket *s, int fd)
{
    struct guest *place = NULL;

    if (!is_ours(s, fd))
        turn_away(fd, "the sidecar's user and root may ask it; run this as one of them");
    else if ((place = find_place(s)) == NULL)
        turn_away(fd, "too many commands are connected already; try again when one has ended");
    else
        seat(s, place, fd);
}

static void *accept_run(void *arg)
{
    struct control_socket *s = arg;

    while (!s->closing) {
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(s, fd);
        } else if (errno != EINTR && errno != ECONNABORTED && !s->closing) {
            log_failed(s);
            (void)poll(NULL, 0, BREATH_MS);
        }
    }
    return NULL;
}

/* --- opening and closing --- */

static void release(struct control_socket *s)
{
    if (s->fd >= 0) {
        unlinkat(s->dir_fd, CONTROL_SOCKET_NAME, 0);
        close(s->fd);
    }
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Listen and accept; false with errno. */
static bool go(struct control_socket *s, const char *dir)
{
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return false;
    /* A killed sidecar of 0.1 leaves these, and its command line would wait for an answer. */
    unlinkat(s->dir_fd, "control", 0);
    unlinkat(s->dir_fd, "control.new", 0);
    s->fd = unix_socket_listen(s->dir_fd, CONTROL_SOCKET_NAME);
    if (s->fd < 0)
        return false;
    return thread_start(&s->accepter, "control", accept_run, s);
}

struct control_socket *control_socket_open(const struct control_socket_options *options,
                                           const struct dist_handler *handler)
{
    struct control_socket *s = base_alloc(sizeof *s);

    s->handler = *handler;
    s->link_options = (struct link_options){options->max_message_bytes, options->max_unsent_bytes};
    s->dir_fd = s->fd = -1;
    PRE(pthread_mutex_init(&s->lock, NULL) == 0);
    for (size_t i = 0; i < CONTROL_SOCKET_GUESTS; i++)
        s->guests[i].socket = s;
    if (go(s, options->dir))
        return s;
    log_event(LOG_WARNING, "control_socket.unavailable",
              "at=\"%s/" CONTROL_SOCKET_NAME "\" why=\"%s\" next=\"the command line cannot reach "
              "this sidecar, all else works; free that name, or put store.dir on a file system "
              "that holds sockets, and restart\"",
              options->dir, strerror(errno));
    release(s);
    return NULL;
}

void control_socket_close(struct control_socket *s)
{
    if (s == NULL)
        return;
    s->closing = true;
    shutdown(s->fd, SHUT_RDWR); /* accept returns */
    pthread_join(s->accepter, NULL);
    for (struct guest *g = s->guests; g < s->guests + CONTROL_SOCKET_GUESTS; g++) {
        pthread_mutex_lock(&s->lock);
        bool has_run = g->l != NULL || g->has_left;
        if (g->l != NULL)
            link_shutdown(g->l, "closing");
        pthread_mutex_unlock(&s->lock);
        if (has_run)
            pthread_join(g->thread, NULL);
    }
    release(s);
}
