/*
 * pending_words.c - {pending, Opts}: what is kept and not delivered.
 *
 * The happy path: delivery is asked which documents travel alone or are searched for, and why; then
 * an order reads the pending versions in a round: those of them, or all in the order of their
 * arrival, a portion of SCAN_MAX records a round, up to LIST_MAX rows.
 *
 * What can go wrong: the store fails, or the options are invalid: the error is the answer.  What
 * was delivered meanwhile is left out.
 *
 * The order belongs to one thread at a time: a reading one, delivery's, the store's.
 */

#include "intake/pending_words.h"

#include "ground/buf.h"
#include "ground/time_text.h"
#include "intake/answer.h"
#include "intake/arguments.h"
#include "intake/order.h"
#include "outbox/outbox.h"

enum { LIST_MAX = 1000, SCAN_MAX = 20000, ROW_KEYS = 9, WHY_BYTES = 160 };

struct place {
    uint64_t document, no;
    const char *what; /* static storage */
    char why[WHY_BYTES];
    int64_t next_us;
    unsigned attempts;
};

/* What belongs to one listing; its order's own. */
struct listing {
    bool is_troubled;
    char kind[128]; /* "": all */
    struct place places[LIST_MAX];
    size_t place_count, place; /* place: the next to be read */
    uint64_t after;            /* arrival of the last record read */
    size_t scanned;            /* in this round */
    uint32_t count;            /* rows, which are in the order's answer */
};

/* ---- rows: the store's thread ------------------------------------------------------------------
 */

static const struct place *place_of(const struct listing *l, uint64_t document)
{
    for (size_t i = 0; i < l->place_count; i++)
        if (l->places[i].document == document)
            return &l->places[i];
    return NULL;
}

static void key_time(struct buf *b, const char *key, int64_t us)
{
    char text[32];

    time_text_put(us, text);
    answer_key_word(b, key, us > 0 ? text : NULL);
}

static void put_row(struct order *d, const struct pending *p, const struct place *place)
{
    struct buf *b = &d->answer;

    term_put_map(b, ROW_KEYS);
    answer_key_text(b, "document_id", p->id);
    answer_key_text(b, "kind", p->kind);
    answer_key_word(b, "op", p->version.op == OUTBOX_REMOVE ? "remove" : "upsert");
    answer_key_integer(b, "seq", p->version.seq);
    key_time(b, "kept_at", p->kept_at_us);
    answer_key_word(b, "state", place != NULL ? place->what : "waits");
    answer_key_word(b, "why", place != NULL && *place->why ? place->why : NULL);
    answer_key_integer(b, "attempts", place != NULL ? place->attempts : p->attempts);
    key_time(b, "next_try", place != NULL ? place->next_us : p->next_try_us);
    ((struct listing *)d->own)->count++;
}

static bool is_wanted(const struct listing *l, const struct pending *p)
{
    return l->kind[0] == '\0' || slice_eq(p->kind, slice_str(l->kind));
}

static bool add(void *arg, const struct pending *p)
{
    struct order *d = arg;
    struct listing *l = d->own;

    if (is_wanted(l, p))
        put_row(d, p, place_of(l, p->document));
    l->after = lane_arrival(p->no);
    return ++l->scanned < SCAN_MAX && l->count < LIST_MAX;
}

static enum err work_all(struct order *d, struct round *r)
{
    struct listing *l = d->own;

    l->scanned = 0;
    enum err e = round_each_pending(r, l->after, add, d);
    d->again = l->scanned == SCAN_MAX && l->count < LIST_MAX;
    return e;
}

static enum err work_troubled(struct order *d, struct round *r)
{
    struct listing *l = d->own;
    struct pending p;

    for (; l->place < l->place_count; l->place++) {
        const struct place *place = &l->places[l->place];
        enum err e = round_pending_at(r, place->no, &p);
        if (e == ERR_OK && p.document == place->document && is_wanted(l, &p))
            put_row(d, &p, place);
        else if (e != ERR_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return ERR_OK;
}

static enum err work_pending(struct order *d, struct round *r)
{
    struct listing *l = d->own;

    return l->is_troubled ? work_troubled(d, r) : work_all(d, r);
}

/* After the commit. */
static void answer(struct order *d)
{
    const struct listing *l = d->own;
    struct buf b = {0};

    term_put_tuple(&b, 2);
    term_put_atom(&b, "ok");
    if (l->count > 0)
        term_put_list(&b, l->count);
    buf_slice(&b, buf_view(&d->answer));
    term_put_nil(&b);
    buf_free(&d->answer);
    d->answer = b;
    order_finish(d, d->context->answers);
}

/* ---- delivery: its thread ----------------------------------------------------------------------
 */

static void on_listed(void *arg, const struct pending_place *places, size_t count)
{
    struct order *d = arg;
    struct listing *l = d->own;

    for (size_t i = 0; i < count && i < LIST_MAX; i++) {
        struct place *p = &l->places[l->place_count++];
        *p = (struct place){.document = places[i].document,
                            .no = places[i].no,
                            .what = places[i].what,
                            .next_us = places[i].next_us,
                            .attempts = places[i].attempts};
        snprintf(p->why, sizeof p->why, "%s", places[i].why);
    }
    order_submit(d, NULL);
}

/* ---- the word: a reading thread ----------------------------------------------------------------
 */

struct options {
    struct slice kind;
    bool troubled;
};

#define AT(field) offsetof(struct options, field)
static const struct argument known[] = {
    {"kind", ARGUMENT_TEXT, AT(kind), .wanted = "must be the name of a kind"},
    {"troubled", ARGUMENT_FLAG, AT(troubled), .wanted = "must be true or false"},
};
#undef AT

void pending_words_take(const struct pending_wires *w, const struct order_context *orders,
                        struct dist_session *session, struct caller *caller, term opts)
{
    struct order *d = order_new(orders, caller, work_pending);
    struct listing *l = d->own = base_alloc(sizeof *l);
    struct options o = {.kind = slice_str("")};
    enum err e = arguments_options(opts, known, sizeof known / sizeof *known, &o, &d->fault);

    if (e == ERR_OK && o.kind.len >= sizeof l->kind)
        e = arguments_refuse(&d->fault, slice_str("kind"), "is too long");
    if (e != ERR_OK) {
        order_refuse(d, session, e, "");
        return;
    }
    snprintf(l->kind, sizeof l->kind, "%.*s", SLICE_ARG(o.kind));
    l->is_troubled = o.troubled;
    d->then = answer;
    w->list(w->arg, on_listed, d);
}
