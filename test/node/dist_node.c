/*
 * dist_node.c - a C node made of the rooms dist, link, message, node, epmd and term, for tests from
 * a real BEAM (test/dist_test.exs).
 *
 *   dist_node NODE [max_message=BYTES] [max_unsent=BYTES] [max_peers=N] [allow=PATTERNS]
 *
 * The cookie is the first line of standard input; the node ends when its standard input does.  It
 * writes "ready port=PORT pid=PID" when it can be called.  What it answers:
 *
 *   {echo, T}       T                        casts          the number of casts so far
 *   {later, Ms, T}  T, from another thread   counters       {Messages, Unknown, Failed, Peers}
 *   published       whether epmd has us      anything else  bad_request
 */

#include "ground/buf.h"
#include "dist/dist.h"
#include "ground/metrics.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static struct dist *node;
static atomic_uint casts, late;

/* An answer that another thread gives. */
struct later {
    struct caller *caller;
    struct buf answer;
    int64_t after_ms;
};

static void *answer_later(void *arg)
{
    struct later *l = arg;

    usleep((useconds_t)(l->after_ms * 1000));
    struct dist_session *session = dist_session_new();
    dist_reply(l->caller, session, buf_view(&l->answer));
    dist_session_send(session);
    dist_session_free(session);
    buf_free(&l->answer);
    free(l);
    late--;
    return NULL;
}

static void start_later(struct caller *caller, int64_t after_ms, term answer)
{
    struct later *l = base_alloc(sizeof *l);
    pthread_t thread;

    l->caller = caller;
    l->after_ms = after_ms;
    buf_slice(&l->answer, term_raw(answer));
    late++;
    PRE(pthread_create(&thread, NULL, answer_later, l) == 0);
    pthread_detach(thread);
}

static void reply_atom(struct caller *caller, struct dist_session *session, const char *name)
{
    struct buf b = {0};

    term_put_atom(&b, name);
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void reply_counters(struct caller *caller, struct dist_session *session)
{
    static const enum metric which[] = {METRIC_MESSAGES, METRIC_MESSAGES_UNKNOWN,
                                        METRIC_HANDSHAKES_FAILED, METRIC_PEERS};
    struct buf b = {0};

    term_put_tuple(&b, 4);
    for (size_t i = 0; i < 4; i++)
        term_put_integer(&b, (int64_t)metric_get(which[i]));
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void reply_casts(struct caller *caller, struct dist_session *session)
{
    struct buf b = {0};

    term_put_integer(&b, casts);
    dist_reply(caller, session, buf_view(&b));
    buf_free(&b);
}

static void call(void *arg, struct dist_session *session, struct caller *caller, term request)
{
    term word = term_element(request, 0), second = word ? term_element(request, 1) : NULL;
    term third = word ? term_element(request, 2) : NULL;
    int64_t ms;

    (void)arg;
    if (second && term_is(word, "echo")) {
        dist_reply(caller, session, term_raw(second));
    } else if (third && term_is(word, "later") && term_integer(second, &ms)) {
        start_later(caller, ms, third);
    } else if (term_is(request, "casts")) {
        reply_casts(caller, session);
    } else if (term_is(request, "counters")) {
        reply_counters(caller, session);
    } else if (term_is(request, "published")) {
        reply_atom(caller, session, dist_is_published(node) ? "true" : "false");
    } else {
        reply_atom(caller, session, "bad_request");
    }
}

static void cast(void *arg, struct dist_session *session, term request)
{
    (void)arg, (void)session, (void)request;
    casts++;
}

static void gathered(void *arg, struct dist_session *session)
{
    (void)arg, (void)session;
}

static void set_option(struct dist_options *o, char *word)
{
    char *value = strchr(word, '=');

    PRE(value != NULL);
    *value++ = '\0';
    if (strcmp(word, "max_message") == 0)
        o->max_message_bytes = strtoul(value, NULL, 10);
    else if (strcmp(word, "max_unsent") == 0)
        o->max_unsent_bytes = strtoul(value, NULL, 10);
    else if (strcmp(word, "max_peers") == 0)
        o->max_peers = (unsigned)strtoul(value, NULL, 10);
    else if (strcmp(word, "allow") == 0)
        o->allow_nodes = value;
    else
        PRE(strcmp(word, "?") == 0);
}

int main(int argc, char **argv)
{
    const struct dist_handler handler = {NULL, call, cast, gathered, NULL};
    char cookie[600] = "", byte[256];
    struct fault fault;
    struct dist_options options = {.node = argc > 1 ? argv[1] : "",
                                   .cookie = cookie,
                                   .registered_name = "convex_sidecar",
                                   .max_message_bytes = 64 << 20,
                                   .max_unsent_bytes = 64 << 20,
                                   .max_peers = 256};

    for (int i = 2; i < argc; i++)
        set_option(&options, argv[i]);
    if (fgets(cookie, sizeof cookie, stdin) == NULL)
        return 2;
    cookie[strcspn(cookie, "\r\n")] = '\0';
    if (dist_open(&options, &handler, &node, &fault) != ERR_OK) {
        fprintf(stderr, "%s\n", fault.why);
        return 1;
    }
    printf("ready port=%d pid=%d\n", dist_port(node), (int)getpid());
    fflush(stdout);
    while (read(STDIN_FILENO, byte, sizeof byte) > 0)
        continue;
    dist_close(node);
    while (late > 0) /* the callers outlive dist: answered into the void */
        usleep(1000);
    return 0;
}
