/*
 * link.c - one connection to a BEAM node.
 *
 * The happy path: the reading thread waits, receives as much as there is, hands
 * over every whole message in it (4 bytes length, then the message) and waits
 * again.  Answers come from any thread: each is framed into the link's unsent
 * bytes under its lock and offered to the socket at once; what the socket does
 * not take, the reading thread sends once the socket is writable (an eventfd wakes it).
 * A thread that sends many answers gives a cork, so that one system call takes them all.
 * The BEAM's ticks (length 0) are answered through the same lock: four bytes in
 * the middle of somebody's message would end the connection.
 *
 * What can go wrong: the peer closes or resets; sends something malformed or
 * does not read its answers.  In every case the connection is shut down with
 * the first reason given, link_run returns that reason, and later answers are
 * dropped.  A message over the limit is drained, not stored.
 *
 * link_run: the reading thread.  Everything else: any thread.
 */

#include "dist/link.h"

#include "ground/beat.h"
#include "ground/clock.h"
#include "ground/metrics.h"
#include "ground/wake.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES    131072  /* the usual size of the read buffer */
#define KEEP_BYTES      1048576 /* a buffer that grew beyond this is freed once it is empty */
#define CORKED_BYTES    262144  /* with more than this unsent, a cork does not hold back */
#define SIGN_OF_LIFE_MS 1000    /* how often we send to a peer while it sends a long message */

struct link {
    atomic_uint holders;
    atomic_bool is_gone; /* why is set */
    /* fixed after link_new */
    struct link_options options;
    int wake_fd;
    /* owned by the reading thread */
    uint8_t *in;
    size_t cap, start, end; /* the bytes not handed over yet are in[start..end) */
    size_t drain;           /* bytes still to come of a message that is too large */
    bool more;              /* the last read filled the buffer: do not wait before the next */
    /* under lock; fd is set to -1 by the reading thread only */
    pthread_mutex_t lock;
    int fd;
    struct buf out;
    size_t sent;     /* bytes of out the socket has taken */
    size_t frame;    /* where the message between begin and end started in out */
    bool watched;    /* the reading thread waits for the socket to be writable */
    int64_t sent_ms; /* when the socket last took something */
    const char *why; /* NULL while the connection is good */
};

struct link *link_new(int fd, const struct link_options *options)
{
    const int on = 1, idle_s = 60, interval_s = 15, tries = 4;
    int wake_fd = wake_open();

    if (wake_fd < 0) {
        close(fd);
        return NULL;
    }
    /* A socketpair supports none of these: failures are ignored. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    struct link *l = base_alloc(sizeof *l);
    l->holders = 1;
    l->options = *options;
    l->wake_fd = wake_fd;
    l->in = base_alloc(BUFFER_BYTES);
    l->cap = BUFFER_BYTES;
    l->fd = fd;
    l->sent_ms = clock_mono_ms();
    PRE(pthread_mutex_init(&l->lock, NULL) == 0);
    return l;
}

struct link *link_hold(struct link *l)
{
    atomic_fetch_add(&l->holders, 1);
    return l;
}

void link_drop(struct link *l)
{
    if (l == NULL || atomic_fetch_sub(&l->holders, 1) > 1)
        return;
    pthread_mutex_destroy(&l->lock);
    buf_free(&l->out);
    if (l->fd >= 0)
        close(l->fd);
    free(l->in);
    close(l->wake_fd);
    free(l);
}

bool link_is_waited_for(const struct link *l)
{
    return l->holders > 1;
}

bool link_is_gone(const struct link *l)
{
    return l->is_gone;
}

/* The first reason counts.  Under lock. */
static void end(struct link *l, const char *why)
{
    if (l->why != NULL)
        return;
    l->why = why;
    l->is_gone = true;
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_RDWR);
}

void link_shutdown(struct link *l, const char *why)
{
    pthread_mutex_lock(&l->lock);
    end(l, why);
    pthread_mutex_unlock(&l->lock);
}

static const char *reset_text(int error)
{
    if (error == ECONNRESET || error == EPIPE)
        return "reset by the peer";
    return error == ETIMEDOUT ? "the peer's machine does not answer" : "the connection failed";
}

/* --- answers: any thread --- */

static size_t unsent(const struct link *l)
{
    return l->out.len - l->sent;
}

size_t link_unsent(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    size_t left = unsent(l);
    pthread_mutex_unlock(&l->lock);
    return left;
}

/* Drop what is sent: all of it, or the front once it outweighs the rest.  Under lock. */
static void tidy(struct link *l)
{
    size_t left = unsent(l);

    if (left == 0) {
        l->out.len = l->sent = 0;
        if (l->out.cap > KEEP_BYTES)
            buf_free(&l->out);
    } else if (l->sent > KEEP_BYTES && l->sent > left) {
        memmove(l->out.data, l->out.data + l->sent, left);
        l->out.len = left;
        l->sent = 0;
    }
}

/* Offer the socket what is unsent; wake the reading thread for what it leaves.  Under lock. */
static void flush(struct link *l)
{
    bool took = false;

    while (l->why == NULL && unsent(l) > 0) {
        ssize_t n = send(l->fd, l->out.data + l->sent, unsent(l), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            l->sent += (size_t)n;
            took = true;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            end(l, reset_text(errno));
        }
    }
    if (l->why != NULL)
        l->sent = l->out.len;
    if (took)
        l->sent_ms = clock_mono_ms();
    tidy(l);
    if (unsent(l) > 0 && !l->watched) {
        wake_ring(l->wake_fd);
        l->watched = true;
    }
}

/* Whether ${cork} holds back what ${l} has to send, until link_uncork.  Under lock. */
static bool holds_back(struct cork *cork, struct link *l)
{
    if (cork == NULL || unsent(l) > CORKED_BYTES)
        return false;
    for (size_t i = 0; i < cork->count; i++)
        if (cork->links[i] == l)
            return true;
    if (cork->count == CORK_LINKS)
        return false;
    cork->links[cork->count++] = link_hold(l);
    return true;
}

/* The message after l->frame is complete.  Under lock. */
static void send_or_hold(struct link *l, struct cork *cork)
{
    size_t bytes = l->out.len - l->frame;

    if (holds_back(cork, l))
        return;
    flush(l);
    /* One large answer is not the peer's fault; unread ones before it are. */
    if (unsent(l) > bytes && unsent(l) - bytes > l->options.max_unsent_bytes) {
        end(l, "answers were not read");
        flush(l);
    }
}

struct buf *link_begin(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    if (l->fd < 0 || l->why != NULL) {
        pthread_mutex_unlock(&l->lock);
        return NULL;
    }
    l->frame = l->out.len;
    buf_be32(&l->out, 0);
    return &l->out;
}

void link_end(struct link *l, struct cork *cork)
{
    size_t len = l->out.len - l->frame - 4;
    uint8_t *p = l->out.data + l->frame;

    PRE(len > 0);
    if (len > INT32_MAX) { /* the answer to a batch, where node.max_message_bytes is very large */
        l->out.len = l->frame;
        end(l, "an answer of more than 2 GB");
        pthread_mutex_unlock(&l->lock);
        return;
    }
    p[0] = (uint8_t)(len >> 24);
    p[1] = (uint8_t)(len >> 16);
    p[2] = (uint8_t)(len >> 8);
    p[3] = (uint8_t)len;
    send_or_hold(l, cork);
    pthread_mutex_unlock(&l->lock);
}

/* A message of length 0: the answer to a tick, or a keepalive. */
static void send_tick(struct link *l, struct cork *cork)
{
    if (link_begin(l) != NULL) {
        send_or_hold(l, cork);
        pthread_mutex_unlock(&l->lock);
    }
}

void link_uncork(struct cork *cork)
{
    for (size_t i = 0; i < cork->count; i++) {
        struct link *l = cork->links[i];
        pthread_mutex_lock(&l->lock);
        if (l->fd >= 0)
            flush(l);
        pthread_mutex_unlock(&l->lock);
        link_drop(l);
    }
    cork->count = 0;
}

/* --- messages: the reading thread --- */

/* Whether there is something to send; from now on no wake-up is needed for it. */
static bool watch_unsent(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    bool any = unsent(l) > 0;
    l->watched = any;
    pthread_mutex_unlock(&l->lock);
    return any;
}

static void flush_now(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    flush(l);
    pthread_mutex_unlock(&l->lock);
}

/* Wait until there is something to read (or the end), sending meanwhile what can be sent. */
static void await(struct link *l)
{
    for (;;) {
        bool sending = watch_unsent(l);
        beat();
        if (l->more) {
            if (sending)
                flush_now(l);
            return;
        }
        struct pollfd p[2] = {{l->fd, (short)(POLLIN | (sending ? POLLOUT : 0)), 0},
                              {l->wake_fd, POLLIN, 0}};
        if (poll(p, 2, BEAT_WAIT_MS) <= 0)
            continue;
        if (p[1].revents != 0)
            (void)wake_drain(l->wake_fd);
        if (p[0].revents & POLLOUT)
            flush_now(l);
        if (p[0].revents & ~POLLOUT)
            return;
    }
}

/* Read as much as there is and fits; false at the end of the connection. */
static bool receive(struct link *l)
{
    ssize_t n = recv(l->fd, l->in + l->end, l->cap - l->end, MSG_DONTWAIT);

    l->more = n > 0 && (size_t)n == l->cap - l->end;
    if (n > 0) {
        l->end += (size_t)n;
        metric_add(METRIC_RECEIVED_BYTES, (uint64_t)n);
    } else if (n == 0) {
        link_shutdown(l, "closed by the peer");
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
        link_shutdown(l, reset_text(errno));
        return false;
    }
    return n != 0;
}

/* The bytes that must be in the buffer before the next step: a length, a head, a whole message. */
static size_t wanted(const struct link *l)
{
    if (l->drain > 0)
        return 0;
    if (l->end - l->start < 4)
        return 4;
    size_t size = be32(l->in + l->start);
    if (size > l->options.max_message_bytes)
        size = size < LINK_HEAD_BYTES ? size : LINK_HEAD_BYTES;
    return 4 + size;
}

/* Move what is left to the front, in a buffer of the size that the next step wants. */
static void make_room(struct link *l)
{
    size_t left = l->end - l->start, want = wanted(l);

    if (l->start > 0 && left > 0)
        memmove(l->in, l->in + l->start, left);
    l->start = 0;
    l->end = left;
    if (want > l->cap)
        l->cap = want + BUFFER_BYTES;
    else if (l->cap > KEEP_BYTES && want <= BUFFER_BYTES && left < BUFFER_BYTES)
        l->cap = BUFFER_BYTES;
    else
        return;
    l->in = base_realloc(l->in, l->cap);
}

static void drain(struct link *l)
{
    size_t here = l->end - l->start;
    size_t n = here < l->drain ? here : l->drain;

    l->start += n;
    l->drain -= n;
}

/* One step over the bytes read; the caller has ensured that wanted(l) bytes are there. */
static bool take(struct link *l, struct cork *cork, const struct link_events *e, bool *handed_over)
{
    size_t size = be32(l->in + l->start);
    struct slice bytes = slice_of(l->in + l->start + 4, size);

    if (size == 0) {
        l->start += 4;
        send_tick(l, cork);
        return true;
    }
    *handed_over = true;
    if (size > l->options.max_message_bytes) {
        bytes.len = wanted(l) - 4;
        l->start += 4;
        l->drain = size;
        e->oversized(e->arg, bytes, size);
        return true;
    }
    l->start += 4 + size;
    return e->message(e->arg, bytes);
}

/* Hand over all complete messages; false when one was malformed. */
static bool hand_over(struct link *l, struct cork *cork, const struct link_events *e)
{
    bool handed_over = false, good = true;

    for (;;) {
        drain(l);
        if (!good || l->drain > 0 || l->end - l->start < wanted(l))
            break;
        good = take(l, cork, e, &handed_over);
    }
    if (handed_over)
        e->gathered(e->arg);
    return good;
}

/* A peer that is sending one long message must hear from us, or it considers us dead. */
static void show_life(struct link *l)
{
    if (l->drain == 0 && l->end == l->start)
        return;
    pthread_mutex_lock(&l->lock);
    bool silent = clock_mono_ms() - l->sent_ms >= SIGN_OF_LIFE_MS && unsent(l) == 0;
    pthread_mutex_unlock(&l->lock);
    if (silent)
        send_tick(l, NULL);
}

static const char *close_down(struct link *l)
{
    pthread_mutex_lock(&l->lock);
    close(l->fd);
    l->fd = -1;
    buf_free(&l->out);
    l->sent = 0;
    const char *why = l->why;
    pthread_mutex_unlock(&l->lock);
    return why;
}

const char *link_run(struct link *l, struct cork *cork, const struct link_events *events)
{
    beat_begin("reading");
    for (;;) {
        await(l);
        if (!receive(l))
            break;
        bool good = hand_over(l, cork, events);
        link_uncork(cork);
        if (!good) {
            link_shutdown(l, "malformed message");
            break;
        }
        make_room(l);
        show_life(l);
    }
    beat_end();
    return close_down(l);
}
