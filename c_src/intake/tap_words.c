/*
 * tap_words.c - {tap, Opts}: what happens to documents, as a streamed answer.
 *
 * The happy path: the caller gets an empty part (to find out whether it takes parts), then a tap
 * and a thread of its own, which takes what the tap has every EACH_MS and sends it as a part.
 *
 * What can go wrong:
 *   a BEAM asks                      an error: its call has one answer
 *   TAP_COUNT are open               busy
 *   the caller reads too slowly      while UNSENT_BYTES wait for it nothing is taken from its tap,
 *                                    which fills and counts what it drops (tap.h)
 *   the caller leaves                its stream ends within EACH_MS
 *
 * Started on reading threads; one thread a stream.
 */

#include "intake/tap_words.h"

#include "ground/buf.h"
#include "ground/tap.h"
#include "ground/thread.h"
#include "ground/time_text.h"
#include "intake/answer.h"
#include "intake/arguments.h"

#include <poll.h>
#include <stdatomic.h>

#define EACH_MS      20
#define PORTION      64 /* records of one part */
#define UNSENT_BYTES 262144

struct stream {
    struct tap_words *words;
    pthread_t thread; /* set by the thread that started it, under lock */
    bool has_run;     /* likewise: to be joined */
    struct caller *caller;
    struct tap *tap;
    atomic_bool is_over;
    struct tap_record records[PORTION];
};

struct tap_words {
    atomic_bool closing;
    pthread_mutex_t lock;
    struct stream *streams[TAP_COUNT];
};

struct tap_options {
    struct slice kind, id;
};

static const struct argument tap_arguments[] = {
    {"kind", ARGUMENT_TEXT, offsetof(struct tap_options, kind), .wanted = "a kind is wanted"},
    {"id", ARGUMENT_TEXT, offsetof(struct tap_options, id), .wanted = "a document id is wanted"},
};

/* ---- a stream: its own thread -------------------------------------------------------------- */

static void put_record(struct buf *b, const struct tap_record *r)
{
    char time[32];

    time_text_put(r->at_us, time);
    term_put_map(b, 6);
    answer_key_word(b, "at", time);
    answer_key_word(b, "event", tap_text(r->event));
    answer_key_word(b, "kind", r->kind);
    answer_key_integer(b, "seq", r->seq);
    answer_key_text(b, "document_id", slice_str(r->id));
    answer_key_text(b, "why", slice_str(r->why));
}

static bool send_part(struct stream *s, size_t count, uint64_t dropped)
{
    struct buf b = {0};

    term_put_map(&b, 2);
    answer_key_integer(&b, "dropped", (int64_t)dropped);
    term_put_atom(&b, "events");
    if (count > 0)
        term_put_list(&b, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        put_record(&b, &s->records[i]);
    term_put_nil(&b);
    bool is_wanted = dist_part(s->caller, buf_view(&b));
    buf_free(&b);
    return is_wanted;
}

/* False: the caller is gone. */
static bool pass_on(struct stream *s, uint64_t *told)
{
    uint64_t dropped = *told;
    size_t count = PORTION;

    while (count == PORTION && dist_caller_unsent(s->caller) < UNSENT_BYTES) {
        count = tap_take(s->tap, s->records, PORTION, &dropped);
        if ((count > 0 || dropped != *told) && !send_part(s, count, dropped))
            return false;
        *told = dropped;
    }
    return !dist_caller_is_gone(s->caller);
}

static void *stream_run(void *arg)
{
    struct stream *s = arg;
    struct buf answer = {0};
    uint64_t told = 0;

    while (pass_on(s, &told) && !s->words->closing)
        (void)poll(NULL, 0, EACH_MS);
    tap_close(s->tap);
    answer_ok_count(&answer, "dropped", told);
    dist_reply(s->caller, NULL, buf_view(&answer));
    buf_free(&answer);
    s->is_over = true;
    return NULL;
}

/* ---- starting one --------------------------------------------------------------------------- */

static void end_stream(struct stream **place)
{
    struct stream *s = *place;

    if (s->has_run)
        pthread_join(s->thread, NULL);
    free(s);
    *place = NULL;
}

/* A free slot; NULL: all are in use.  Under lock. */
static struct stream **find_place(struct tap_words *w)
{
    for (size_t i = 0; i < TAP_COUNT; i++) {
        if (w->streams[i] != NULL && w->streams[i]->is_over)
            end_stream(&w->streams[i]);
        if (w->streams[i] == NULL)
            return &w->streams[i];
    }
    return NULL;
}

/* Takes ${caller} and ${tap} when it returns true. */
static bool start(struct tap_words *w, struct caller *caller, struct tap *tap)
{
    struct stream *s = NULL, **place;

    pthread_mutex_lock(&w->lock);
    place = find_place(w);
    if (place != NULL) {
        s = *place = base_alloc(sizeof *s);
        s->words = w;
        s->caller = caller;
        s->tap = tap;
        s->has_run = thread_start(&s->thread, "tap", stream_run, s);
        if (!s->has_run)
            end_stream(place);
    }
    bool has_started = place != NULL && *place != NULL;
    pthread_mutex_unlock(&w->lock);
    return has_started;
}

static void refuse(struct dist_session *session, struct caller *caller, enum err e,
                   const struct fault *fault)
{
    struct buf answer = {0};

    answer_error(&answer, e, fault, "");
    dist_reply(caller, session, buf_view(&answer));
    buf_free(&answer);
}

/* Whether ${caller} takes parts. */
static bool takes_parts(struct caller *caller)
{
    struct buf b = {0};

    term_put_map(&b, 2);
    answer_key_integer(&b, "dropped", 0);
    term_put_atom(&b, "events");
    term_put_nil(&b);
    bool does = dist_part(caller, buf_view(&b));
    buf_free(&b);
    return does;
}

void tap_words_take(struct tap_words *w, struct dist_session *session, struct caller *caller,
                    term opts)
{
    struct tap_options o = {0};
    struct fault fault = {0};
    enum err e = arguments_options(opts, tap_arguments, 2, &o, &fault);

    if (e == ERR_OK && !takes_parts(caller))
        e = fault_say(&fault, "", "is for the control socket: a call of a BEAM has one answer");
    struct tap *tap = e == ERR_OK ? tap_open(o.kind, o.id) : NULL;
    if (e == ERR_OK && (tap == NULL || !start(w, caller, tap)))
        e = ERR_BUSY;
    if (e == ERR_OK)
        return;
    tap_close(tap);
    refuse(session, caller, e, &fault);
}

/* ---- new and free --------------------------------------------------------------------------- */

struct tap_words *tap_words_new(void)
{
    struct tap_words *w = base_alloc(sizeof *w);

    PRE(pthread_mutex_init(&w->lock, NULL) == 0);
    return w;
}

void tap_words_free(struct tap_words *w)
{
    if (w == NULL)
        return;
    w->closing = true;
    for (size_t i = 0; i < TAP_COUNT; i++)
        if (w->streams[i] != NULL)
            end_stream(&w->streams[i]);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
