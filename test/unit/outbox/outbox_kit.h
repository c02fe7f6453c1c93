/*
 * outbox_kit.h - an outbox for tests, asked one thing at a time.
 *
 * do_... functions submit one intent and wait until it is settled; they give back what settled
 * said.
 */

#ifndef OUTBOX_KIT_H
#define OUTBOX_KIT_H

#include "outbox/outbox.h"
#include "projection/projection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* One intent of a test.  fn runs inside the round; its arguments and results lie beside it. */
struct op {
    struct intent in; /* first: an intent is its op */
    enum err (*fn)(struct op *, struct round *);
    /* arguments */
    const char *id;
    int64_t seq;
    uint8_t hash;
    bool reset;
    unsigned how;     /* enum put_how, beside reset */
    const char *fold; /* NULL: none */
    bool is_behind;
    size_t json_len; /* 0: as long as it is */
    int64_t until_us;
    /* results */
    struct decision decision;
    struct checkpoint cp;
    char fold_found[64], kind_found[32];
    enum err e;
    char why[256];
    bool is_settled; /* under kit_lock */
};

static pthread_mutex_t kit_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kit_changed = PTHREAD_COND_INITIALIZER;
static atomic_int kit_works; /* how often on_work was called */
static struct kind kit_kind = {.name = (char *)(uintptr_t) "run_summary"};

static inline void kit_on_work(void *arg)
{
    (void)arg;
    atomic_fetch_add(&kit_works, 1);
}

static inline enum err kit_open(const char *dir, uint64_t limit_bytes, uint64_t dead_limit,
                                struct outbox **o, struct fault *fault)
{
    struct outbox_options options = {.dir = dir,
                                     .limit_bytes = limit_bytes,
                                     .dead_limit = dead_limit,
                                     .queue_count = 100000,
                                     .queue_bytes = 1 << 30,
                                     .is_hasty = true,
                                     .on_work = kit_on_work};
    return outbox_open(&options, o, fault);
}

static inline struct outbox *kit_outbox(const char *dir)
{
    struct outbox *o = NULL;
    struct fault fault = {0};
    enum err e = kit_open(dir, 1 << 20, 3, &o, &fault);

    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    return o;
}

static inline enum err kit_apply(struct intent *i, struct round *r)
{
    struct op *op = (struct op *)i;

    return op->fn(op, r);
}

static inline void kit_settled(struct intent *i, enum err e, const char *why)
{
    struct op *op = (struct op *)i;

    pthread_mutex_lock(&kit_lock);
    op->e = e;
    snprintf(op->why, sizeof op->why, "%s", why);
    op->is_settled = true;
    pthread_cond_broadcast(&kit_changed);
    pthread_mutex_unlock(&kit_lock);
}

static inline enum err kit_submit(struct outbox *o, struct op *op)
{
    op->in.apply = kit_apply;
    op->in.settled = kit_settled;
    op->in.cost_bytes = sizeof *op;
    op->in.next = NULL;
    op->is_settled = false;
    return outbox_submit(o, &op->in, 1, sizeof *op);
}

static inline bool kit_is_settled(struct op *op)
{
    pthread_mutex_lock(&kit_lock);
    bool is = op->is_settled;
    pthread_mutex_unlock(&kit_lock);
    return is;
}

static inline enum err kit_wait(struct op *op)
{
    pthread_mutex_lock(&kit_lock);
    while (!op->is_settled)
        pthread_cond_wait(&kit_changed, &kit_lock);
    pthread_mutex_unlock(&kit_lock);
    return op->e;
}

static inline enum err kit_do(struct outbox *o, struct op *op)
{
    enum err e = kit_submit(o, op);

    return e == ERR_OK ? kit_wait(op) : e;
}

/* ---- what may be done ----------------------------------------------------- */

/* "{id seq hash}", and blanks up to the length asked for. */
static inline size_t kit_json(char *out, size_t size, const struct op *op)
{
    int n = snprintf(out, size, "{%s %lld %d}", op->id, (long long)op->seq, op->hash);
    size_t len = (size_t)n;

    ck_assert_uint_lt(len, size);
    if (op->json_len > len) {
        memset(out + len, ' ', op->json_len - len);
        len = op->json_len;
    }
    return len;
}

static inline enum err fn_put(struct op *op, struct round *r)
{
    static char json[1 << 21]; /* the store thread's */
    struct checkpoint cp;
    enum err e = round_checkpoint(r, slice_str(op->id), &cp);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    size_t len = kit_json(json, sizeof json, op);
    struct document d = {.kind = &kit_kind,
                         .id = slice_str(op->id),
                         .version = slice_str("v1"),
                         .json = slice_of(json, len),
                         .past.fold = slice_str(op->fold != NULL ? op->fold : ""),
                         .is_behind = op->is_behind,
                         .seq = op->seq,
                         .event_count = op->seq,
                         .projected_at_us = round_now_us(r)};
    if (d.projected_at_us <= cp.last_projected_us)
        d.projected_at_us = cp.last_projected_us + 1;
    memset(d.hash, op->hash, sizeof d.hash);
    return round_put(r, &d, (op->reset ? PUT_RESET : 0u) | op->how, &op->decision);
}

static inline enum err fn_put_and_hold(struct op *op, struct round *r)
{
    enum err e = fn_put(op, r);

    return e == ERR_OK ? round_hold_written(r, &op->in, slice_str(op->id), op->until_us) : e;
}

static inline enum err fn_hold(struct op *op, struct round *r)
{
    return round_hold_written(r, &op->in, slice_str(op->id), op->until_us);
}

static inline enum err fn_flush(struct op *op, struct round *r)
{
    return round_hold_flushed(r, &op->in, op->until_us);
}

static inline enum err fn_clear(struct op *op, struct round *r)
{
    return round_clear(r, slice_str(op->id), slice_str("run_summary"));
}

static inline enum err fn_retry(struct op *op, struct round *r)
{
    return round_dead_retry(r, slice_str(op->id));
}

static inline enum err fn_drop(struct op *op, struct round *r)
{
    return round_dead_drop(r, slice_str(op->id));
}

static inline void kit_copy(char *out, size_t size, struct slice s)
{
    ck_assert_uint_lt(s.len, size);
    if (s.len > 0)
        memcpy(out, s.data, s.len);
    out[s.len] = '\0';
}

static inline enum err fn_look(struct op *op, struct round *r)
{
    enum err e = round_checkpoint(r, slice_str(op->id), &op->cp);

    kit_copy(op->fold_found, sizeof op->fold_found, op->cp.fold);
    kit_copy(op->kind_found, sizeof op->kind_found, op->cp.kind);
    op->cp.fold = op->cp.recent = op->cp.kind = op->cp.pending.version = op->cp.delivered.version =
        slice_of("", 0);
    return e;
}

static inline struct decision do_put(struct outbox *o, const char *id, int64_t seq, uint8_t hash)
{
    struct op op = {.fn = fn_put, .id = id, .seq = seq, .hash = hash};

    ck_assert_int_eq(kit_do(o, &op), ERR_OK);
    return op.decision;
}

static inline enum err do_simple(struct outbox *o, enum err (*fn)(struct op *, struct round *),
                                 const char *id)
{
    struct op op = {.fn = fn, .id = id};

    return kit_do(o, &op);
}

/* The checkpoint; its slices are empty but for what `fold_found` shows. */
static inline struct checkpoint do_look(struct outbox *o, const char *id)
{
    struct op op = {.fn = fn_look, .id = id};
    enum err e = kit_do(o, &op);

    ck_assert(e == ERR_OK || e == ERR_NOT_FOUND);
    return op.cp;
}

/* ---- the delivery side ---------------------------------------------------- */

/* The version pending for ${id}, as it would be sent; NULL: none. */
static inline struct settlement *kit_send(struct outbox *o, const char *id)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct settlement *s = NULL;
    struct pending p;

    for (uint64_t after = 0; s == NULL && outbox_next(r, after, &p); after = p.no)
        if (slice_is(p.id, id))
            s = settlement_new(&p);
    outbox_reader_close(r);
    return s;
}

static inline void kit_settle(struct outbox *o, struct settlement *s)
{
    uint64_t ticket = outbox_settle(o, s);

    /* Should the store fail, another intent makes a round before the back-off is over. */
    for (int i = 0; !outbox_is_settled(o, ticket); i++) {
        struct op look = {.fn = fn_look, .id = "anything"};
        if (i < 10)
            usleep(200);
        else
            kit_do(o, &look);
    }
}

static inline void kit_done(struct outbox *o, const char *id)
{
    struct settlement *s = kit_send(o, id);

    ck_assert_ptr_nonnull(s);
    kit_settle(o, s);
}

static inline void kit_dead(struct outbox *o, const char *id, const char *why)
{
    struct settlement *s = kit_send(o, id);

    ck_assert_ptr_nonnull(s);
    s->dead = true;
    s->attempts = 1;
    s->why = base_strndup(why, strlen(why));
    s->answer = base_strndup("the answer", 10);
    kit_settle(o, s);
}

static inline size_t kit_count_pending(struct outbox *o)
{
    struct outbox_reader *r = outbox_reader_open(o);
    struct pending p;
    size_t n = 0;

    for (uint64_t after = 0; outbox_next(r, after, &p); after = p.no)
        n++;
    outbox_reader_close(r);
    return n;
}

#endif
