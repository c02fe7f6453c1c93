/*
 * door_fuzz.c - whatever comes in through a door, before and after the handshake and over the
 * control socket, ends in calls that are answered or in a connection that is closed.
 *
 * The first byte says which door, and how small the pieces are in which the rest arrives.
 */

#include "dist/caller.h"
#include "dist/frame.h"
#include "dist/node.h"
#include "dist/session.h"
#include "dist/talk.h"
#include "ground/log.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_MESSAGE = 2048 };

/* ---- who is behind the door ------------------------------------------------------------- */

static void on_call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    (void)arg;
    PRE(term_next(request) > request);
    dist_reply(caller, session, term_raw(request)); /* an echo */
}

static void on_cast(void *arg, struct dist_session *session, term request)
{
    (void)arg, (void)session;
    PRE(term_next(request) > request);
}

static void on_gathered(void *arg, struct dist_session *session)
{
    (void)arg, (void)session;
}

static const struct dist_handler handler = {NULL, on_call, on_cast, on_gathered, NULL};

/* A guest of the control socket, as in control_socket.c. */
struct guest {
    struct link *l;
    struct dist_session session;
};

static bool on_frame(void *arg, struct slice bytes)
{
    struct guest *g = arg;
    struct fault fault;
    term ref, request;

    if (frame_read_call(bytes, &ref, &request, &fault) != ERR_OK)
        return false;
    on_call(NULL, &g->session, caller_new_guest(g->l, ref), request);
    return true;
}

static void on_oversized(void *arg, struct slice head, size_t size)
{
    struct guest *g = arg;
    term ref;

    if (frame_read_head(head, &ref))
        caller_too_large(caller_new_guest(g->l, ref), &g->session.cork, size, MAX_MESSAGE);
}

static void no_more(void *arg)
{
    (void)arg;
}

/* ---- the doors ----------------------------------------------------------------------------- */

static struct node *node(void)
{
    static struct node *n;
    struct fault fault;

    if (n == NULL) {
        log_open(LOG_ERROR);
        PRE(node_open("fuzz@127.0.0.1", "cookie", "127.0.0.1", 0, &n, &fault) == ERR_OK);
    }
    return n;
}

static void shake_hands(int fd)
{
    char peer[NODE_NAME_MAX];

    PRE(node_welcome(node(), fd, 1000, peer) != NODE_WELCOME); /* nobody guesses the digest */
    PRE(memchr(peer, 0, sizeof peer) != NULL);
    close(fd);
}

static void talk(int fd)
{
    static atomic_uint_fast64_t calls;
    const struct talk_options options = {node(), &handler, "convex_sidecar", MAX_MESSAGE, &calls};
    const struct link_options limits = {MAX_MESSAGE, 1 << 20};
    struct dist_session session = {0};
    struct link *l = link_new(fd, &limits);

    PRE(*talk_run(l, "peer@127.0.0.1", &session, &options) != '\0');
    link_drop(l);
}

static void serve_guest(int fd)
{
    const struct link_options limits = {MAX_MESSAGE, 1 << 20};
    struct guest g = {.l = link_new(fd, &limits)};
    const struct link_events events = {&g, on_frame, on_oversized, no_more};

    PRE(*link_run(g.l, &g.session.cork, &events) != '\0');
    link_drop(g.l);
}

/* ---- who knocks ---------------------------------------------------------------------------- */

struct stranger {
    int fd;
    size_t piece;
    struct slice bytes;
};

static void *knock(void *arg)
{
    struct stranger *s = arg;
    char ignored[4096];

    for (size_t at = 0; at < s->bytes.len; at += s->piece) {
        size_t n = s->bytes.len - at < s->piece ? s->bytes.len - at : s->piece;
        if (send(s->fd, s->bytes.data + at, n, MSG_NOSIGNAL) < 0)
            break;
        while (recv(s->fd, ignored, sizeof ignored, MSG_DONTWAIT) > 0)
            ;
    }
    shutdown(s->fd, SHUT_WR);
    while (recv(s->fd, ignored, sizeof ignored, 0) > 0)
        ;
    close(s->fd);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const doors[])(int fd) = {shake_hands, talk, serve_guest};
    int ends[2];
    pthread_t thread;

    if (size < 2 || data[0] % 4 == 3)
        return 0;
    PRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    struct stranger s = {ends[1], (size_t)1 << data[0] / 4 % 16, slice_of(data + 1, size - 1)};
    PRE(pthread_create(&thread, NULL, knock, &s) == 0);
    doors[data[0] % 4](ends[0]);
    PRE(pthread_join(thread, NULL) == 0);
    return 0;
}
