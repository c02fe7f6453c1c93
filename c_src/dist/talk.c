/*
 * talk.c - the messages of a BEAM node after the handshake.
 *
 * The happy path: each message is checked once (message.h); a call to our name
 * becomes a struct caller (caller.h) and goes to the handler.
 *
 * What can go wrong, and the one thing done then:
 *   an unknown name          the call exits with noproc at once
 *   too long a pid and tag   the call exits with badarg: they would be kept until the answer
 *   a message too large      drained; its caller gets an error
 *   a malformed message      its connection ends
 *
 * The reading thread of the connection.
 */

#include "dist/talk.h"

#include "dist/caller.h"
#include "dist/message.h"
#include "dist/node.h"
#include "dist/session.h"
#include "ground/log.h"
#include "ground/metrics.h"

#define CALLER_BYTES 2048  /* of a pid and tag, kept until the answer; gen_server's have 100 */
#define QUIET_MS     10000 /* between two log lines of the same event */
#define QUOTED_BYTES ((size_t)4 * NODE_NAME_MAX)

struct talk {
    struct link *l;
    const char *name;
    struct dist_session *session;
    const struct talk_options *options;
    int64_t logged_us;
};

static const char *quoted(const struct talk *t, char out[QUOTED_BYTES])
{
    return log_quote(slice_str(t->name), out, QUOTED_BYTES);
}

static struct caller *new_caller(const struct talk *t, const struct message *m)
{
    return caller_new(t->l, node_self(t->options->node), m);
}

/* net_adm:ping, which would wait for ever without an answer. */
static bool is_ping(const struct message *m)
{
    return term_is(m->name, "net_kernel") && m->request != NULL &&
           term_is(term_element(m->request, 0), "is_auth");
}

static void answer_ping(struct talk *t, const struct message *m)
{
    struct buf yes = {0};

    term_put_atom(&yes, "yes");
    dist_reply(new_caller(t, m), t->session, buf_view(&yes));
    buf_free(&yes);
}

/* No gen_server makes a pid and tag this long; the call exits, if the tag has a monitor. */
static bool is_too_long(struct talk *t, const struct message *m)
{
    size_t bytes = term_raw(m->from).len + term_raw(m->tag).len;

    if (bytes <= CALLER_BYTES)
        return false;
    metric_add(METRIC_MESSAGES_UNKNOWN, 1);
    caller_refuse(t->l, &t->session->cork, m, "badarg");
    if (log_limited(&t->logged_us, QUIET_MS))
        log_event(LOG_WARNING, "dist.tag_too_large", "bytes=%zu max=%d", bytes, CALLER_BYTES);
    return true;
}

static void on_call(struct talk *t, const struct message *m)
{
    const struct dist_handler *h = t->options->handler;

    if (is_too_long(t, m))
        return;
    if (term_is(m->name, t->options->registered_name)) {
        atomic_fetch_add_explicit(t->options->calls, 1, memory_order_relaxed);
        h->call(h->arg, t->session, new_caller(t, m), m->request);
    } else if (is_ping(m)) {
        answer_ping(t, m);
    } else {
        metric_add(METRIC_MESSAGES_UNKNOWN, 1);
        caller_refuse(t->l, &t->session->cork, m, "noproc");
    }
}

static void on_unlink(struct talk *t, const struct message *m)
{
    struct buf *b = link_begin(t->l);

    if (b != NULL) {
        message_put_unlinked(b, m);
        link_end(t->l, &t->session->cork);
    }
}

static void on_cast(struct talk *t, const struct message *m)
{
    const struct dist_handler *h = t->options->handler;

    atomic_fetch_add_explicit(t->options->calls, 1, memory_order_relaxed);
    h->cast(h->arg, t->session, m->request);
}

static bool on_message(void *arg, struct slice bytes)
{
    struct talk *t = arg;
    struct message m;
    struct fault fault;
    char name[QUOTED_BYTES];

    metric_add(METRIC_MESSAGES, 1);
    if (message_read(bytes, &m, &fault) != ERR_OK) {
        log_event(LOG_WARNING, "dist.malformed", "node=%s bytes=%zu why=\"%s\"", quoted(t, name),
                  bytes.len, fault.why);
        return false;
    }
    if (m.kind == MESSAGE_CALL)
        on_call(t, &m);
    else if (m.kind == MESSAGE_CAST && term_is(m.name, t->options->registered_name))
        on_cast(t, &m);
    else if (m.kind == MESSAGE_UNLINK)
        on_unlink(t, &m);
    else if (m.kind != MESSAGE_SIGNAL)
        metric_add(METRIC_MESSAGES_UNKNOWN, 1);
    return true;
}

static void on_oversized(void *arg, struct slice head, size_t size)
{
    struct talk *t = arg;
    struct message m;
    char name[QUOTED_BYTES];
    bool is_call = message_read_head(head, &m);

    metric_add(METRIC_MESSAGES, 1);
    if (is_call && term_is(m.name, t->options->registered_name))
        caller_too_large(new_caller(t, &m), &t->session->cork, size, t->options->max_message_bytes);
    else if (is_call)
        on_call(t, &m);
    else
        metric_add(METRIC_MESSAGES_UNKNOWN, 1);
    if (log_limited(&t->logged_us, QUIET_MS))
        log_event(LOG_WARNING, "dist.message_too_large", "node=%s bytes=%zu max=%zu answered=%s",
                  quoted(t, name), size, t->options->max_message_bytes, is_call ? "yes" : "no");
}

static void on_gathered(void *arg)
{
    struct talk *t = arg;

    t->options->handler->gathered(t->options->handler->arg, t->session);
}

const char *talk_run(struct link *l, const char *name, struct dist_session *session,
                     const struct talk_options *options)
{
    struct talk t = {l, name, session, options, 0};
    const struct link_events events = {&t, on_message, on_oversized, on_gathered};

    return link_run(l, &session->cork, &events);
}
