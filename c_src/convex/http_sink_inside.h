/* http_sink_inside.h - what the three files of the http sink share. */

/* Private to convex/. */

#ifndef HTTP_SINK_INSIDE_H
#define HTTP_SINK_INSIDE_H

#include "convex/convex_answer.h"
#include "convex/functions.h"
#include "convex/http_sink.h"
#include "ground/buf.h"

#define MUTATION_PATH "/api/mutation"

/* Convex's own limit (crates/common/src/knobs.rs, MAX_BACKEND_PUBLIC_API_REQUEST_SIZE). */
#define MAX_BODY_BYTES (16777216 + 2000)
#define NUMBER_BYTES   220 /* of what follows the arguments of a numbered call, at most */

struct asker {
    sink_told *told;
    void *arg;
    struct asker *next;
};

struct http_sink {
    struct sink sink;
    /* fixed after open */
    struct http *http;
    const struct kinds *kinds;
    struct buf batch_opening; /* the body up to the first item; empty: one call a document */
    char *batch_mutation, *remove_mutation, *key_file;
    size_t batch_bytes;
    struct functions *functions;
    /* of the delivery thread */
    size_t usual_bytes; /* of the last body: the next one is likely as long, and grows once */
    bool closing;
    bool raise_is_out;     /* a call under way carries it */
    int64_t control_us;    /* projected_at of the last control */
    int64_t key_failed_us; /* log_limited's memory */
    bool has_clock;        /* as in struct sink_peer */
    int64_t ahead_ms;
    struct {
        bool is_due, is_out;
        bool has_done; /* a call was done since it was asked */
        int64_t asked_ms, wait_ms;
        struct functions_sent sent;
        /* wait for its answer; those that came while it was out wait for the next */
        struct sink_call *calls, *late_calls;
        struct asker *askers, *late_askers;
    } attach;
    struct {
        int64_t days, next_ms;
        size_t kind; /* the next one */
        bool is_out;
    } sweep;
};

struct sink_call {
    struct http_sink *owner;
    struct buf body;
    const char *path; /* borrowed: of the batch mutation; NULL: one call a document */
    size_t count;
    size_t control_end; /* where the control ends in the body; 0: no control */
    size_t items_end;   /* where the body has no number yet */
    uint64_t number;    /* 0: the functions take none */
    struct functions_sent sent;
    bool has_raise;
    struct verdict fault; /* REFUSED: answered from inside send */
    bool has_fault;
    sink_answered *answered;
    sink_told *told; /* instead of answered: a control by itself */
    void *arg;
    struct verdict refused; /* the refusal, while the call waits for attach */
    struct buf said;
    int64_t took_us;
    struct sink_call *next;
};

/* ---- http_sink.c ---- */

static inline bool http_sink_is_batch(const struct http_sink *s)
{
    return s->batch_mutation != NULL;
}

/** http_sink_begin(sink), http_sink_free_call(c): Make a call; free one that was not sent, or is
 * over. */
struct sink_call *http_sink_begin(struct sink *sink);
void http_sink_free_call(struct sink_call *c);
/** http_sink_add_control(c, kind): As sink_ops.add_control. */
bool http_sink_add_control(struct sink_call *c, struct slice kind);
/** http_sink_control_time(s): Now, or later than any before. */
int64_t http_sink_control_time(struct http_sink *s);
/** http_sink_reload_after_401(s): Read the key file again: perhaps the key was rotated. */
void http_sink_reload_after_401(struct http_sink *s);

/* ---- http_calls.c ---- */

/** http_calls_send(c, answered, arg), http_calls_ask(...): As sink_ops.send and ask. */
void http_calls_send(struct sink_call *c, sink_answered *answered, void *arg);
void http_calls_ask(struct sink *sink, enum sink_question question, struct slice kind,
                    sink_told *told, void *arg);
/** http_calls_attach_if_due(s): Ask which functions there are, if it is time. */
void http_calls_attach_if_due(struct http_sink *s);

/* ---- http_sweep.c ---- */

/** http_sweep_if_due(s): Delete expired tombstones, a page of a kind at a time. */
void http_sweep_if_due(struct http_sink *s);

#endif
