/*
 * intake_kit.h - words as dist would bring them, and what they are answered, as text.
 *
 * An intake, a control and a real outbox, with fake_dist.c.
 */

#ifndef INTAKE_KIT_H
#define INTAKE_KIT_H

#include "ground/time_text.h"
#include "intake/control.h"
#include "intake/intake.h"
#include "intake/sweeps.h"
#include "intake/wall.h"

#include "dist/fake_dist.c"
#include "outbox/outbox_kit.h"
#include "temp_dir.h"

#define RUN    "runtime/run_summary:"
#define WORKER "runtime/codex_worker_summary:"

/* ---- the scene ---- */

static struct {
    struct temp_dir dir;
    struct outbox *box;
    struct kinds *kinds;
    struct sweeps *sweeps;
    struct control *control;
    struct intake *intake;
    struct dist_handler handler;
    size_t queue_count; /* 0: many */
} kit;

static inline void kit_begin(const struct control_wires *wires, uint64_t limit_bytes)
{
    struct fault fault = {0};

    kit.dir = temp_dir_make();
    kit.kinds = kinds_new();
    ck_assert_int_eq(kinds_finish(kit.kinds, &fault), ERR_OK);
    struct outbox_options box = {.dir = kit.dir.path,
                                 .limit_bytes = limit_bytes,
                                 .dead_limit = 1000,
                                 .queue_count = kit.queue_count ? kit.queue_count : 100000,
                                 .queue_bytes = 1 << 30,
                                 .on_work = kit_on_work};
    ck_assert_msg(outbox_open(&box, &kit.box, &fault) == ERR_OK, "%s", fault.why);
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
    fake_dist_reset();
}

/* ---- asking ---- */

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
