/*
 * intake_kit.h - words as dist would bring them, and what they are answered, as text.
 *
 * An intake, a control and a real outbox; dist's functions stand below.  Everything that is asked
 * is a text of term_text.h, and so is every answer.
 */

#ifndef INTAKE_KIT_H
#define INTAKE_KIT_H

#include "dist/dist.h"
#include "ground/clock.h"
#include "ground/time_text.h"
#include "intake/control.h"
#include "intake/intake.h"
#include "intake/sweeps.h"

#include "outbox/outbox_kit.h"
#include "temp_dir.h"
#include "term/term_text.h"

#include <time.h>

#define RUN    "runtime/run_summary:"
#define WORKER "runtime/codex_worker_summary:"
#define T0     "2026-02-19T20:00:00.000000Z"
#define T0_US  INT64_C(1771531200000000)

/* ---- a wall clock that a test sets --------------------------------------------------------------
 */

static _Atomic int64_t kit_wall_us = T0_US;

int64_t clock_wall_us(void)
{
    return kit_wall_us;
}

int64_t clock_mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- dist: callers that are answered once -------------------------------------------------------
 */

#define KIT_CALLERS 2000

struct caller {
    char *answer; /* heap, once it came */
    char *parts;  /* heap: those that came, a blank after each */
    unsigned answers;
    atomic_bool is_gone;
    bool takes_parts;
    atomic_size_t unsent;
};

struct dist_session {
    void *gathered;
};

static struct caller kit_callers[KIT_CALLERS];
static size_t kit_caller_count;
static struct dist_session kit_session, kit_answers;
static pthread_mutex_t kit_told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kit_told = PTHREAD_COND_INITIALIZER;

static char *kit_text_of(struct slice bytes)
{
    struct buf b = {0};
    size_t used;
    struct fault fault;

    ck_assert_msg(term_check_some(bytes, 1, &used, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_uint_eq(used, bytes.len);
    term_text_show(&b, bytes.data);
    buf_byte(&b, '\0');
    return (char *)b.data;
}

void dist_reply(struct caller *c, struct dist_session *session, struct slice answer)
{
    (void)session;
    pthread_mutex_lock(&kit_told_lock);
    ck_assert_uint_eq(c->answers, 0);
    c->answer = kit_text_of(answer);
    c->answers++;
    pthread_cond_broadcast(&kit_told);
    pthread_mutex_unlock(&kit_told_lock);
}

bool dist_part(struct caller *c, struct slice part)
{
    struct buf all = {0};

    if (!c->takes_parts || c->is_gone)
        return false;
    char *text = kit_text_of(part);
    pthread_mutex_lock(&kit_told_lock);
    buf_printf(&all, "%s%s ", c->parts ? c->parts : "", text);
    buf_byte(&all, '\0');
    free(c->parts);
    c->parts = (char *)all.data;
    pthread_cond_broadcast(&kit_told);
    pthread_mutex_unlock(&kit_told_lock);
    free(text);
    return true;
}

bool dist_caller_is_gone(const struct caller *c)
{
    return c->is_gone;
}

size_t dist_caller_unsent(const struct caller *c)
{
    return c->unsent;
}

void **dist_session_gathered(struct dist_session *s)
{
    return &s->gathered;
}

static struct caller *kit_caller(void)
{
    ck_assert_uint_lt(kit_caller_count, KIT_CALLERS);
    return &kit_callers[kit_caller_count++];
}

/* What ${c} was answered; NULL: nothing yet. */
static inline const char *kit_answer_now(struct caller *c)
{
    pthread_mutex_lock(&kit_told_lock);
    const char *answer = c->answer;
    pthread_mutex_unlock(&kit_told_lock);
    return answer;
}

static const char *kit_answer(struct caller *c)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&kit_told_lock);
    while (c->answer == NULL)
        ck_assert_msg(pthread_cond_timedwait(&kit_told, &kit_told_lock, &until) == 0,
                      "nothing was answered");
    pthread_mutex_unlock(&kit_told_lock);
    return c->answer;
}

/* ---- the scene
 * ----------------------------------------------------------------------------------- */

static struct {
    struct temp_dir dir;
    struct outbox *box;
    struct kinds *kinds;
    struct sweeps *sweeps;
    struct control *control;
    struct intake *intake;
    struct dist_handler handler;
} kit;

static inline void kit_begin(const struct control_wires *wires, uint64_t limit_bytes)
{
    struct fault fault = {0};

    kit.dir = temp_dir_make();
    kit.kinds = kinds_new();
    ck_assert_int_eq(kinds_finish(kit.kinds, &fault), ERR_OK);
    ck_assert_msg(kit_open(kit.dir.path, limit_bytes, 1000, &kit.box, &fault) == ERR_OK, "%s",
                  fault.why);
    kit.sweeps = sweeps_new(kit.box);
    struct control_wires w = *wires;
    w.sweeps = kit.sweeps;
    kit.control = control_new(kit.box, kit.kinds, &kit_answers, &w);
    struct intake_options options = {
        .kinds = kit.kinds, .projection_version = "v1", .hash = true, .answers = &kit_answers};
    kit.intake = intake_open(kit.box, kit.control, &options);
    kit.handler = intake_handler(kit.intake);
}

static inline void kit_end(void)
{
    sweeps_free(kit.sweeps);
    outbox_close(kit.box);
    intake_close(kit.intake);
    control_free(kit.control);
    kinds_free(kit.kinds);
    temp_dir_remove(&kit.dir);
    for (size_t i = 0; i < kit_caller_count; i++) {
        ck_assert_uint_eq(kit_callers[i].answers, 1); /* each just once */
        free(kit_callers[i].answer);
        free(kit_callers[i].parts);
    }
    kit_caller_count = 0;
    memset(kit_callers, 0, sizeof kit_callers);
}

/* ---- asking
 * ---------------------------------------------------------------------------------------- */

static inline void kit_call(struct caller *c, const char *request)
{
    struct buf b = {0};

    kit.handler.call(kit.handler.arg, &kit_session, c, term_of(&b, request));
    buf_free(&b);
}

static inline void kit_gathered(void)
{
    kit.handler.gathered(kit.handler.arg, &kit_session);
}

/* Ask, and wait for the answer; borrowed until kit_end. */
__attribute__((format(printf, 1, 2))) static inline const char *ask(const char *format, ...)
{
    char request[9000];
    struct caller *c = kit_caller();
    va_list ap;

    va_start(ap, format);
    int len = vsnprintf(request, sizeof request, format, ap);
    va_end(ap);
    ck_assert_int_lt(len, (int)sizeof request);
    kit_call(c, request);
    kit_gathered();
    return kit_answer(c);
}

static inline struct caller *ask_later(const char *request)
{
    struct caller *c = kit_caller();

    kit_call(c, request);
    kit_gathered();
    return c;
}

static inline void cast(const char *request)
{
    struct buf b = {0};

    kit.handler.cast(kit.handler.arg, &kit_session, term_of(&b, request));
    kit_gathered();
    buf_free(&b);
}

#define assert_ask(wanted, ...) ck_assert_str_eq(ask(__VA_ARGS__), wanted)

/* {upsert, ...} of a document by its id, of version ${seq}, projected now. */
static inline const char *kit_upsert_text(const char *kind, const char *id, int64_t seq,
                                          const char *opts)
{
    static char text[1000];
    char time[32];

    time_text_put(kit_wall_us, time);
    snprintf(text, sizeof text,
             "(upsert, %s, '%s', {status: 'running', projection_version: 'v1', projected_at: '%s', "
             "runtime_source: {seq: %lld}}, %s)",
             kind, id, time, (long long)seq, opts);
    return text;
}

static inline void kit_upsert(const char *id, int64_t seq)
{
    const char *answer = ask("%s", kit_upsert_text("run_summary", id, seq, "{}"));

    ck_assert_msg(strstr(answer, "write: 'queued'") != NULL, "%s", answer);
}

#endif
