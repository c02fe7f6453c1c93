/*
 * noop_sink.c - writes nothing, and confirms everything.
 *
 * The runtime's default sink: documents are decided, kept and settled as with
 * any other sink, and go nowhere.  Every call is answered from inside send.
 *
 * Nothing can go wrong.
 *
 * Runs on the delivery thread only.
 */

#include "sink/noop_sink.h"

#define MAX_DOCUMENTS 1024

struct sink_call {
    size_t count;
};

static struct sink_call *noop_begin(struct sink *s)
{
    (void)s;
    return base_alloc(sizeof(struct sink_call));
}

static bool noop_add(struct sink_call *c, const struct pending *p)
{
    (void)p;
    if (c->count == MAX_DOCUMENTS)
        return false;
    c->count++;
    return true;
}

static bool noop_add_control(struct sink_call *c, struct slice kind)
{
    (void)c;
    (void)kind;
    return false;
}

static void noop_send(struct sink_call *c, sink_answered *answered, void *arg)
{
    struct sink_answer answer = {.overall = {.kind = VERDICT_DONE}, .count = c->count};

    free(c);
    answered(arg, &answer);
}

static void noop_ask(struct sink *s, enum sink_question question, struct slice kind,
                     sink_told *told, void *arg)
{
    struct verdict verdict = {.kind = VERDICT_DONE};

    (void)s;
    (void)question;
    (void)kind;
    told(arg, &verdict);
}

static enum err noop_reload(struct sink *s, struct fault *fault)
{
    (void)s;
    (void)fault;
    return ERR_OK;
}

static void noop_wait(struct sink *s, int wake_fd, int timeout_ms)
{
    (void)s;
    sink_wait_plain(wake_fd, timeout_ms);
}

static void noop_close(struct sink *s)
{
    free(s);
}

struct sink *noop_sink_open(void)
{
    static const struct sink_ops ops = {
        .begin = noop_begin,
        .add = noop_add,
        .add_control = noop_add_control,
        .send = noop_send,
        .ask = noop_ask,
        .reload = noop_reload,
        .wait = noop_wait,
        .close = noop_close,
    };
    struct sink *s = base_alloc(sizeof *s);

    *s = (struct sink){.ops = &ops, .max_documents = MAX_DOCUMENTS};
    return s;
}
