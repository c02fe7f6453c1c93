/*
 * fake_sink.c - a sink that is a script, and a clock that moves when told; included by a test.
 *
 * Each call is shown to the test's rule, on the delivery thread, inside send; the rule answers, or
 * leaves it in flight until the test says fake_sink_answer.  `wait` returns for wakes, answers, and
 * when the time it was given is over by the fake clock: a wrong timeout makes a test hang and fail.
 * The sink itself checks that no two calls in flight hold the same document.
 */

#include "ground/clock.h"
#include "sink/sink.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FAKE_CALLS     131072
#define FAKE_DOCUMENTS 128

static _Atomic int64_t fake_now_us = 1000000000;

int64_t clock_mono_us(void)
{
    return fake_now_us;
}

int64_t clock_wall_us(void)
{
    return fake_now_us + 1700000000000000;
}

struct sink_call {
    struct fake_sink *sink;
    size_t count;
    char ids[FAKE_DOCUMENTS][32];
    int64_t seqs[FAKE_DOCUMENTS];
    /* once sent */
    unsigned no; /* from 1 */
    int64_t sent_us;
    sink_answered *answered;
    void *arg;
    struct sink_call *next; /* in flight */
    bool is_ready;          /* the test has said what the answer is */
    struct verdict verdict;
};

/* What a rule says: false leaves the call in flight.  ${each} has room for all documents. */
typedef bool fake_rule(struct fake_sink *s, const struct sink_call *c, struct verdict *overall,
                       struct verdict *each, bool *use_each);

struct fake_sink {
    struct sink base;
    int poke_fd;
    pthread_mutex_t lock;
    fake_rule *rule;
    struct verdict control; /* NONE: none is known */
    int functions;
    struct sink_call *in_flight;
    unsigned in_flight_count, in_flight_most;
    unsigned calls, controls, attaches, reloads, closed;
    unsigned doubles; /* a document in two calls at once: must stay 0 */
    size_t sizes[FAKE_CALLS];
    int64_t times_us[FAKE_CALLS];
    char firsts[FAKE_CALLS][32]; /* the first document of each call */
    unsigned asked, seen, rested, waits;
    size_t bytes_max; /* not used when 0: documents that fit */
};

static void fake_poke(struct fake_sink *s)
{
    uint64_t one = 1;

    ck_assert_int_eq(write(s->poke_fd, &one, sizeof one), sizeof one);
}

__attribute__((unused)) static void fake_advance(struct fake_sink *s, int64_t ms)
{
    fake_now_us += 1000 * ms;
    fake_poke(s);
}

static bool always_done(struct fake_sink *s, const struct sink_call *c, struct verdict *overall,
                        struct verdict *each, bool *use_each)
{
    (void)s, (void)c, (void)each, (void)use_each;
    overall->kind = VERDICT_DONE;
    return true;
}

static bool left_in_flight(struct fake_sink *s, const struct sink_call *c, struct verdict *overall,
                           struct verdict *each, bool *use_each)
{
    (void)s, (void)c, (void)overall, (void)each, (void)use_each;
    return false;
}

static void fake_rule_set(struct fake_sink *s, fake_rule *rule)
{
    pthread_mutex_lock(&s->lock);
    s->rule = rule;
    pthread_mutex_unlock(&s->lock);
}

/* ---- the sink ------------------------------------------------------------------ */

static struct sink_call *fake_begin(struct sink *base)
{
    struct sink_call *c = base_alloc(sizeof *c);

    c->sink = (struct fake_sink *)base;
    return c;
}

static bool fake_add(struct sink_call *c, const struct pending *p)
{
    if (c->count == FAKE_DOCUMENTS ||
        (c->sink->bytes_max > 0 && c->count > 0 && c->count >= c->sink->bytes_max))
        return false;
    snprintf(c->ids[c->count], sizeof c->ids[0], "%.*s", SLICE_ARG(p->id));
    c->seqs[c->count++] = p->version.seq;
    return true;
}

static void check_doubles(struct fake_sink *s, const struct sink_call *c)
{
    for (const struct sink_call *other = s->in_flight; other != NULL; other = other->next)
        for (size_t i = 0; i < other->count; i++)
            for (size_t j = 0; j < c->count; j++)
                s->doubles += strcmp(other->ids[i], c->ids[j]) == 0;
}

static void answer(struct sink_call *c, const struct verdict *overall, const struct verdict *each)
{
    char body[5000]; /* more than a dead letter keeps */
    struct sink_answer a = {.overall = *overall, .each = each, .count = c->count};

    memset(body, 'b', sizeof body);
    a.body = slice_of(body, overall->kind == VERDICT_DONE ? 0 : sizeof body);
    c->answered(c->arg, &a);
    free(c);
}

static void fake_send(struct sink_call *c, sink_answered *answered, void *arg)
{
    struct fake_sink *s = c->sink;
    struct verdict overall = {.kind = VERDICT_DONE}, each[FAKE_DOCUMENTS] = {0};
    bool use_each = false;

    c->answered = answered;
    c->arg = arg;
    c->sent_us = fake_now_us;
    pthread_mutex_lock(&s->lock);
    PRE(s->calls < FAKE_CALLS && c->count > 0);
    s->sizes[s->calls] = c->count;
    s->times_us[s->calls] = c->sent_us;
    memcpy(s->firsts[s->calls], c->ids[0], sizeof c->ids[0]);
    c->no = ++s->calls;
    check_doubles(s, c);
    bool now = s->rule(s, c, &overall, each, &use_each);
    if (!now) {
        c->next = s->in_flight;
        s->in_flight = c;
        if (++s->in_flight_count > s->in_flight_most)
            s->in_flight_most = s->in_flight_count;
    }
    pthread_mutex_unlock(&s->lock);
    if (now)
        answer(c, &overall, use_each ? each : NULL);
}

static bool fake_add_control(struct sink_call *c, struct slice kind)
{
    (void)c, (void)kind;
    return false;
}

static void fake_question(struct sink *base, enum sink_question question, struct slice kind,
                          sink_told *told, void *arg)
{
    struct fake_sink *s = (struct fake_sink *)base;

    (void)kind;
    pthread_mutex_lock(&s->lock);
    struct verdict v = s->control;
    if (question == SINK_ATTACH)
        s->attaches++;
    else
        s->controls += v.kind != VERDICT_NONE;
    pthread_mutex_unlock(&s->lock);
    told(arg, &v);
}

static void fake_peer(struct sink *base, struct sink_peer *out)
{
    struct fake_sink *s = (struct fake_sink *)base;

    pthread_mutex_lock(&s->lock);
    out->functions = s->functions;
    pthread_mutex_unlock(&s->lock);
}

/* It was not known before what is deployed. */
static void fake_learn(struct fake_sink *s, int functions, enum verdict_kind control)
{
    pthread_mutex_lock(&s->lock);
    s->functions = functions;
    s->control.kind = control;
    pthread_mutex_unlock(&s->lock);
}

static enum err fake_reload(struct sink *base, struct fault *fault)
{
    struct fake_sink *s = (struct fake_sink *)base;

    (void)fault;
    pthread_mutex_lock(&s->lock);
    s->reloads++;
    pthread_mutex_unlock(&s->lock);
    return ERR_OK;
}

/* Take one call whose answer is ready (or any) out of flight. */
static struct sink_call *take_ready(struct fake_sink *s, bool any)
{
    struct sink_call *c = NULL;

    pthread_mutex_lock(&s->lock);
    for (struct sink_call **at = &s->in_flight; *at != NULL && c == NULL; at = &(*at)->next)
        if ((*at)->is_ready || any) {
            c = *at;
            *at = c->next;
            s->in_flight_count--;
            break;
        }
    pthread_mutex_unlock(&s->lock);
    return c;
}

/* Give the answers that are ready; whether the delivery thread should make a pass. */
static bool take_poke(struct fake_sink *s)
{
    struct sink_call *c;
    uint64_t n;
    bool back = false;

    PRE(read(s->poke_fd, &n, sizeof n) == sizeof n);
    while ((c = take_ready(s, false)) != NULL) {
        answer(c, &c->verdict, NULL);
        back = true;
    }
    pthread_mutex_lock(&s->lock);
    back = back || s->seen != s->asked;
    s->seen = s->asked;
    pthread_mutex_unlock(&s->lock);
    return back;
}

static void fake_wait(struct sink *base, int wake_fd, int timeout_ms)
{
    struct fake_sink *s = (struct fake_sink *)base;
    int64_t until_us = timeout_ms < 0 ? INT64_MAX : fake_now_us + 1000 * (int64_t)timeout_ms;
    struct pollfd fds[2] = {{.fd = wake_fd, .events = POLLIN},
                            {.fd = s->poke_fd, .events = POLLIN}};

    pthread_mutex_lock(&s->lock);
    s->waits++;
    pthread_mutex_unlock(&s->lock);
    while (fake_now_us < until_us) {
        if (poll(fds, 2, 0) == 0) {
            pthread_mutex_lock(&s->lock);
            s->rested = s->seen;
            pthread_mutex_unlock(&s->lock);
        }
        PRE(poll(fds, 2, -1) > 0);
        if ((fds[1].revents != 0 && take_poke(s)) || fds[0].revents != 0)
            return;
    }
}

static void fake_close(struct sink *base)
{
    struct fake_sink *s = (struct fake_sink *)base;
    struct sink_call *c;

    while ((c = take_ready(s, true)) != NULL)
        answer(c, &(struct verdict){.kind = VERDICT_UNKNOWN, .why = "closing"}, NULL);
    pthread_mutex_lock(&s->lock);
    s->closed++;
    pthread_mutex_unlock(&s->lock);
}

static struct fake_sink *fake_sink_new(size_t max_documents)
{
    static const struct sink_ops ops = {.begin = fake_begin,
                                        .add = fake_add,
                                        .send = fake_send,
                                        .add_control = fake_add_control,
                                        .ask = fake_question,
                                        .reload = fake_reload,
                                        .peer = fake_peer,
                                        .wait = fake_wait,
                                        .close = fake_close};
    struct fake_sink *s = base_alloc(sizeof *s);

    s->base = (struct sink){.ops = &ops, .max_documents = max_documents};
    s->poke_fd = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&s->lock, NULL);
    s->rule = always_done;
    s->control.kind = VERDICT_NONE;
    return s;
}

static void fake_sink_free(struct fake_sink *s)
{
    ck_assert_uint_eq(s->closed, 1);
    ck_assert_uint_eq(s->doubles, 0);
    close(s->poke_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* Answer call ${no} (from 1) that is in flight. */
__attribute__((unused)) static void fake_sink_answer(struct fake_sink *s, unsigned no,
                                                     enum verdict_kind kind)
{
    bool found = false;

    pthread_mutex_lock(&s->lock);
    for (struct sink_call *c = s->in_flight; c != NULL; c = c->next)
        if (c->no == no) {
            c->verdict = (struct verdict){.kind = kind};
            if (kind != VERDICT_DONE)
                snprintf(c->verdict.why, sizeof c->verdict.why, "scripted");
            found = c->is_ready = true;
        }
    pthread_mutex_unlock(&s->lock);
    ck_assert_msg(found, "call %u is not in flight", no);
    fake_poke(s);
}

/* Ask the delivery thread for a whole pass more; fake_has_rested: it has made it, and waits. */
__attribute__((unused)) static unsigned fake_ask(struct fake_sink *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned asked = ++s->asked;
    pthread_mutex_unlock(&s->lock);
    fake_poke(s);
    return asked;
}

__attribute__((unused)) static bool fake_has_rested(struct fake_sink *s, unsigned asked)
{
    pthread_mutex_lock(&s->lock);
    bool rested = s->rested >= asked;
    pthread_mutex_unlock(&s->lock);
    return rested;
}

__attribute__((unused)) static unsigned fake_calls(struct fake_sink *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned calls = s->calls;
    pthread_mutex_unlock(&s->lock);
    return calls;
}

__attribute__((unused)) static unsigned fake_controls(struct fake_sink *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned controls = s->controls;
    pthread_mutex_unlock(&s->lock);
    return controls;
}

/* How often the delivery thread has waited: more means that it has made a pass. */
__attribute__((unused)) static unsigned fake_waits(struct fake_sink *s)
{
    pthread_mutex_lock(&s->lock);
    unsigned waits = s->waits;
    pthread_mutex_unlock(&s->lock);
    return waits;
}
