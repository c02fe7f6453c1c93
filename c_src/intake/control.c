/*
 * control.c - the words of operators: queries and control.
 *
 * The happy path: a word is looked up in the table; pause, resume, reload and status are done at
 * once on the reading thread, through the wires that sidecar.c has connected; the others become an
 * order (order.h), so that they see everything that was asked for before them.
 *
 * Words that concern many documents (clear all, dead retry all) go in portions
 * of PORTION documents a round, and submit themselves again until none is left,
 * so that no round grows with the store.
 *
 * What can go wrong: arguments out of place (not taken: bad_request), the store fails (its error
 * is the answer; what earlier portions did remains).
 */

#include "intake/control.h"

#include "ground/buf.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "ground/time_text.h"
#include "intake/answer.h"
#include "intake/arguments.h"
#include "intake/audit_words.h"
#include "intake/order.h"
#include "intake/sweeps.h"
#include "intake/tap_words.h"
#include "outbox/outbox.h"
#include "projection/gate.h"
#include "projection/projection.h"

#include <stdatomic.h>

enum {
    PORTION = 500,    /* documents of one round */
    LIST_MAX = 1000,  /* dead letters in one answer */
    DRAIN_MS = 10000, /* of drain without an argument */
    WAIT_MAX_MS = 86400000
};

struct control {
    /* fixed after new */
    struct order_context orders;
    struct control_wires wires;
    struct tap_words *taps;
    /* any thread */
    atomic_bool draining;
};

static bool is_id(term t)
{
    return t && term_type(t) == TERM_BINARY;
}

/* Start an order about document ${id} (a checked text term). */
static void order_about(struct control *c, struct dist_session *session, struct caller *caller,
                        term id, order_work *work)
{
    struct order *d = order_new(&c->orders, caller, work);
    enum err e = gate_lookup(term_text(id), &d->fault);

    order_set_id(d, term_text(id));
    if (e == ERR_OK)
        order_submit(d, session);
    else
        order_refuse(d, session, e, "");
}

/* ---- checkpoint ------------------------------------------------------------ */

static bool take_checkpoint(struct control *c, struct dist_session *session, struct caller *caller,
                            term words)
{
    if (!is_id(term_element(words, 1)))
        return false;
    order_about(c, session, caller, term_element(words, 1), explain_checkpoint);
    return true;
}

/* ---- clear ----------------------------------------------------------------- */

struct portion {
    struct buf ids; /* each: 2 bytes length, then the id */
    size_t count;
};

static void portion_add(struct portion *p, struct slice id)
{
    buf_be16(&p->ids, (uint16_t)id.len);
    buf_slice(&p->ids, id);
    p->count++;
}

/* The id at ${at}; ${at} moves past it. */
static struct slice portion_next(const struct portion *p, size_t *at)
{
    struct slice id = slice_of(p->ids.data + *at + 2, be16(p->ids.data + *at));

    *at += 2 + id.len;
    return id;
}

static bool collect_uncleared(void *arg, struct slice id, const struct checkpoint *cp)
{
    struct portion *p = arg;

    if (cp->is_dead || strcmp(explain_state(cp), "cleared") != 0)
        portion_add(p, id);
    return p->count < PORTION;
}

/* Whether everything that the store knows of the document is older than the time that it is cleared
 * for. */
static enum err is_newer(struct order *d, struct round *r, bool *newer)
{
    struct checkpoint cp;
    enum err e = round_checkpoint(r, order_id(d), &cp);

    *newer = e == ERR_NOT_FOUND || cp.last_projected_us < d->newer_us;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err work_clear_newer(struct order *d, struct round *r)
{
    bool newer;
    enum err e = is_newer(d, r, &newer);

    if (e == ERR_OK && newer)
        e = round_evict(r, order_id(d), slice_str(d->kind->name), d->newer_us);
    answer_ok_count(&d->answer, "cleared", newer ? 1 : 0);
    return e;
}

static enum err work_clear_one(struct order *d, struct round *r)
{
    enum err e = ERR_OK;

    if (d->newer_us != 0)
        return work_clear_newer(d, r);
    if (!d->dry_run)
        e = round_clear(r, order_id(d), slice_str(d->kind->name));
    answer_ok_count(&d->answer, d->dry_run ? "would_clear" : "cleared", 1);
    return e;
}

/*
 * What ${e}, the outcome of one of many, means for the rest: a document that cannot be cleared or
 * sent again is named and counted, and the others go on.
 */
static enum err count_one(struct order *d, const struct round *r, struct slice id, enum err e)
{
    char quoted[700];

    order_set_id(d, id);
    if (e == ERR_OK)
        d->count++;
    if (e != ERR_INVALID)
        return e;
    d->refused++;
    log_event(LOG_WARNING, "control.document_refused", "document_id=%s where=%s why=\"%s\"",
              log_quote(id, quoted, sizeof quoted), round_fault(r)->path, round_fault(r)->why);
    return ERR_OK;
}

static void answer_counts(struct order *d, const char *key)
{
    answer_ok_map(&d->answer, d->refused > 0 ? 2 : 1);
    answer_key_integer(&d->answer, key, (int64_t)d->count);
    if (d->refused > 0)
        answer_key_integer(&d->answer, "refused", (int64_t)d->refused);
}

/* The next portion of d->kind; then, for `clear all`, the next kind. */
static enum err work_clear_many(struct order *d, struct round *r)
{
    struct portion portion = {0};
    enum err e = round_each_checkpoint(r, slice_str(d->kind->prefix), order_id(d),
                                       collect_uncleared, &portion);
    size_t at = 0;

    while (e == ERR_OK && at < portion.ids.len) {
        struct slice id = portion_next(&portion, &at);
        enum err cleared = d->dry_run ? ERR_OK : round_clear(r, id, slice_str(d->kind->name));
        e = count_one(d, r, id, cleared);
    }
    d->again = portion.count == PORTION;
    if (!d->again && d->all && ++d->next_kind < kinds_count(d->context->kinds)) {
        d->kind = kinds_at(d->context->kinds, d->next_kind);
        order_set_id(d, slice_str(""));
        d->again = true;
    }
    if (!d->again)
        answer_counts(d, d->dry_run ? "would_clear" : "cleared");
    buf_free(&portion.ids);
    return e;
}

static const struct argument clear_arguments[] = {
    {"dry_run", ARGUMENT_FLAG, offsetof(struct order, dry_run),
     .wanted = "true or false is wanted"},
    {"unless_newer", ARGUMENT_TEXT, offsetof(struct order, newer), .wanted = "a time is wanted"},
};

/* Opts of {clear, What, Opts}; unless_newer goes with one document. */
static enum err read_clear_options(struct order *d, term opts, bool is_one)
{
    enum err e = arguments_options(opts, clear_arguments, 2, d, &d->fault);

    if (e == ERR_OK && d->newer.data != NULL &&
        !(is_one && time_text_parse(d->newer, &d->newer_us) && d->newer_us > 0))
        e = arguments_refuse(&d->fault, slice_str("unless_newer"),
                             "a time, and the id of a document, are wanted");
    d->newer = slice_of(NULL, 0); /* it borrows the message */
    return e;
}

/* {clear, What} or {clear, What, Opts} */
static bool take_clear(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    term what = term_element(words, 1), name = term_element(what, 1);
    bool all = term_is(what, "all");
    bool is_kind = term_is(term_element(what, 0), "kind") && name && term_text(name).data;
    enum err e = ERR_OK;

    if (!all && !is_kind && !is_id(what))
        return false;
    struct order *d = order_new(&c->orders, caller, is_id(what) ? work_clear_one : work_clear_many);
    d->all = all;
    order_set_id(d, is_id(what) ? term_text(what) : slice_str(""));
    if (all) {
        d->kind = kinds_at(c->orders.kinds, 0);
    } else if (is_kind) {
        e = arguments_kind(c->orders.kinds, name, &d->kind, &d->fault);
    } else {
        d->kind = kinds_of_id(c->orders.kinds, term_text(what));
        e = gate_document_id(d->kind, term_text(what), &d->fault);
    }
    if (e == ERR_OK && term_arity(words) == 3)
        e = read_clear_options(d, term_element(words, 2), is_id(what));
    if (e == ERR_OK)
        order_submit(d, session);
    else
        order_refuse(d, session, e, "");
    return true;
}

/* ---- flush and drain ------------------------------------------------------- */

static enum err work_flush(struct order *d, struct round *r)
{
    answer_ok_count(&d->answer, "pending", 0);
    return round_hold_flushed(r, &d->intent, clock_mono_us() + d->wait_ms * 1000);
}

static void flush_submit(struct control *c, struct dist_session *session, struct caller *caller,
                         int64_t wait_ms)
{
    struct order *d = order_new(&c->orders, caller, work_flush);

    d->wait_ms = wait_ms;
    order_submit(d, session);
}

static bool is_wait(term t, int64_t *ms)
{
    return t && term_integer(t, ms) && *ms >= 0 && *ms <= WAIT_MAX_MS;
}

static bool take_flush(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    int64_t ms;

    if (!is_wait(term_element(words, 1), &ms))
        return false;
    flush_submit(c, session, caller, ms);
    return true;
}

static bool take_drain(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    int64_t ms = DRAIN_MS;

    if (term_type(words) == TERM_TUPLE && !is_wait(term_element(words, 1), &ms))
        return false;
    control_drain(c, true);
    flush_submit(c, session, caller, ms);
    return true;
}

/* ---- dead letters ---------------------------------------------------------- */

#define DEAD_KEYS 8

static void put_dead(struct buf *b, const struct round *r, const struct dead_letter *dead)
{
    int64_t next_us = round_dead_next_us(r, dead);
    char time[32], next[32];

    time_text_put(dead->died_at_us, time);
    time_text_put(next_us, next);
    answer_key_text(b, "document_id", dead->id);
    answer_key_text(b, "kind", dead->kind);
    answer_key_integer(b, "seq", dead->version.seq);
    answer_key_text(b, "why", dead->why);
    answer_key_integer(b, "attempts", dead->attempts);
    answer_key_integer(b, "tries", dead->tries);
    answer_key_word(b, "died_at", time);
    answer_key_word(b, "next_try", next_us > 0 ? next : NULL);
}

struct dead_page {
    const struct round *round;
    struct buf items;
    uint32_t count;
};

static bool add_dead(void *arg, const struct dead_letter *dead)
{
    struct dead_page *page = arg;

    term_put_map(&page->items, DEAD_KEYS);
    put_dead(&page->items, page->round, dead);
    return ++page->count < LIST_MAX;
}

static enum err work_dead_list(struct order *d, struct round *r)
{
    struct dead_page page = {.round = r};
    enum err e = round_dead_each(r, order_id(d), add_dead, &page);

    term_put_tuple(&d->answer, 2);
    term_put_atom(&d->answer, "ok");
    if (page.count)
        term_put_list(&d->answer, page.count);
    buf_slice(&d->answer, buf_view(&page.items));
    term_put_nil(&d->answer);
    buf_free(&page.items);
    return e;
}

static enum err work_dead_show(struct order *d, struct round *r)
{
    struct dead_letter dead;
    enum err e = round_dead_get(r, order_id(d), &dead);

    if (e != ERR_OK)
        return e;
    answer_ok_map(&d->answer, DEAD_KEYS + 2);
    put_dead(&d->answer, r, &dead);
    answer_key_text(&d->answer, "answer", dead.answer);
    answer_key_json(&d->answer, "summary", dead.json);
    return ERR_OK;
}

static enum err work_dead_retry(struct order *d, struct round *r)
{
    answer_ok_count(&d->answer, "retried", 1);
    return round_dead_retry(r, order_id(d));
}

static enum err work_dead_drop(struct order *d, struct round *r)
{
    answer_ok_count(&d->answer, "dropped", 1);
    return round_dead_drop(r, order_id(d));
}

static bool collect_dead(void *arg, const struct dead_letter *dead)
{
    struct portion *p = arg;

    portion_add(p, dead->id);
    return p->count < PORTION;
}

static enum err work_dead_retry_all(struct order *d, struct round *r)
{
    struct portion portion = {0};
    enum err e = round_dead_each(r, order_id(d), collect_dead, &portion);
    size_t at = 0;

    while (e == ERR_OK && at < portion.ids.len) {
        struct slice id = portion_next(&portion, &at);
        e = count_one(d, r, id, round_dead_retry(r, id));
    }
    d->again = portion.count == PORTION;
    if (!d->again)
        answer_counts(d, "retried");
    buf_free(&portion.ids);
    return e;
}

static void order_from_start(struct control *c, struct dist_session *session, struct caller *caller,
                             order_work *work)
{
    struct order *d = order_new(&c->orders, caller, work);

    order_set_id(d, slice_str(""));
    order_submit(d, session);
}

static bool take_dead(struct control *c, struct dist_session *session, struct caller *caller,
                      term words)
{
    static const struct {
        const char *word;
        order_work *work;
    } about_one[] = {{"list", work_dead_list},
                     {"show", work_dead_show},
                     {"retry", work_dead_retry},
                     {"drop", work_dead_drop}};
    term what = term_element(words, 1);
    term id = term_element(what, 1);

    if (term_is(what, "list")) {
        order_from_start(c, session, caller, work_dead_list);
        return true;
    }
    if (term_is(term_element(what, 0), "retry") && term_is(id, "all")) {
        order_from_start(c, session, caller, work_dead_retry_all);
        return true;
    }
    for (size_t k = 0; k < sizeof about_one / sizeof about_one[0]; k++)
        if (term_is(term_element(what, 0), about_one[k].word) && is_id(id)) {
            order_about(c, session, caller, id, about_one[k].work);
            return true;
        }
    return false;
}

/* ---- at once --------------------------------------------------------------- */

static void answer_now(struct dist_session *session, struct caller *caller, const char *word)
{
    struct buf answer = {0};

    answer_ok_atom(&answer, word);
    dist_reply(caller, session, buf_view(&answer));
    buf_free(&answer);
}

static bool take_pause(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    (void)words;
    c->wires.pause(c->wires.arg);
    answer_now(session, caller, "paused");
    return true;
}

static bool take_resume(struct control *c, struct dist_session *session, struct caller *caller,
                        term words)
{
    (void)words;
    control_drain(c, false);
    c->wires.resume(c->wires.arg);
    answer_now(session, caller, "running");
    return true;
}

static bool take_reload(struct control *c, struct dist_session *session, struct caller *caller,
                        term words)
{
    (void)words;
    c->wires.reload(c->wires.arg);
    answer_now(session, caller, "reloaded");
    return true;
}

struct adopt_options {
    bool dry_run;
};

static const struct argument adopt_arguments[] = {
    {"dry_run", ARGUMENT_FLAG, offsetof(struct adopt_options, dry_run),
     .wanted = "true or false is wanted"},
};

/* {adopt, Opts} */
static bool take_adopt(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    struct adopt_options options = {false};
    struct fault fault = {0};
    struct buf answer = {0};
    char text[300];

    if (arguments_options(term_element(words, 1), adopt_arguments, 1, &options, &fault) != ERR_OK) {
        answer_error(&answer, ERR_INVALID, &fault, "");
    } else {
        c->wires.adopt(c->wires.arg, options.dry_run, text);
        answer_ok_map(&answer, 1);
        answer_key_word(&answer, options.dry_run ? "would_adopt" : "adopted", text);
    }
    dist_reply(caller, session, buf_view(&answer));
    buf_free(&answer);
    return true;
}

/* {ok, what ${put} appends}. */
static bool answer_with(struct control *c, struct dist_session *session, struct caller *caller,
                        void (*put)(void *arg, struct buf *term))
{
    struct buf answer = {0};

    term_put_tuple(&answer, 2);
    term_put_atom(&answer, "ok");
    put(c->wires.arg, &answer);
    dist_reply(caller, session, buf_view(&answer));
    buf_free(&answer);
    return true;
}

static bool take_status(struct control *c, struct dist_session *session, struct caller *caller,
                        term words)
{
    (void)words;
    return answer_with(c, session, caller, c->wires.status);
}

/* {changes, Seen} */
static bool take_changes(struct control *c, struct dist_session *session, struct caller *caller,
                         term words)
{
    int64_t seen;

    if (c->wires.changes == NULL || !term_integer(term_element(words, 1), &seen))
        return false;
    c->wires.changes(c->wires.arg, session, caller, seen);
    return true;
}

static bool take_peers(struct control *c, struct dist_session *session, struct caller *caller,
                       term words)
{
    (void)words;
    return answer_with(c, session, caller, c->wires.peers);
}

static bool take_explain(struct control *c, struct dist_session *session, struct caller *caller,
                         term words)
{
    if (!is_id(term_element(words, 1)))
        return false;
    explain_take(&c->wires.explain, &c->orders, session, caller, term_text(term_element(words, 1)));
    return true;
}

static bool take_tap(struct control *c, struct dist_session *session, struct caller *caller,
                     term words)
{
    tap_words_take(c->taps, session, caller, term_element(words, 1));
    return true;
}

static bool take_pending(struct control *c, struct dist_session *session, struct caller *caller,
                         term words)
{
    pending_words_take(&c->wires.pending, &c->orders, session, caller, term_element(words, 1));
    return true;
}

/* ---- the table ------------------------------------------------------------- */

/* A word alone (arity 0) or a tuple {Word, Argument...}. */
static const struct word {
    const char *name;
    uint32_t arity;
    bool (*take)(struct control *, struct dist_session *, struct caller *, term);
} words_known[] = {
    {"checkpoint", 2, take_checkpoint}, {"clear", 2, take_clear},     {"clear", 3, take_clear},
    {"status", 0, take_status},         {"flush", 2, take_flush},     {"pause", 0, take_pause},
    {"resume", 0, take_resume},         {"drain", 0, take_drain},     {"drain", 2, take_drain},
    {"reload", 0, take_reload},         {"dead", 2, take_dead},       {"peers", 0, take_peers},
    {"explain", 2, take_explain},       {"tap", 2, take_tap},         {"pending", 2, take_pending},
    {"adopt", 2, take_adopt},           {"changes", 2, take_changes},
};

bool control_take(struct control *c, struct dist_session *session, struct caller *caller,
                  term request)
{
    bool is_tuple = term_type(request) == TERM_TUPLE;
    term name = is_tuple ? term_element(request, 0) : request;
    uint32_t arity = is_tuple ? term_arity(request) : 0;

    if (audit_words_take(&c->wires.audit, c->orders.kinds, session, caller, request) ||
        (c->wires.sweeps != NULL && sweeps_take(c->wires.sweeps, session, caller, request)))
        return true;
    for (size_t k = 0; k < sizeof words_known / sizeof words_known[0]; k++)
        if (words_known[k].arity == arity && term_is(name, words_known[k].name))
            return words_known[k].take(c, session, caller, request);
    return false;
}

/* ---- new and free ---------------------------------------------------------- */

struct control *control_new(struct outbox *o, const struct kinds *kinds,
                            struct dist_session *answers, const struct control_wires *wires)
{
    struct control *c = base_alloc(sizeof *c);

    c->orders = (struct order_context){o, kinds, answers};
    c->wires = *wires;
    c->taps = tap_words_new();
    return c;
}

void control_free(struct control *c)
{
    if (c != NULL)
        tap_words_free(c->taps);
    free(c);
}

void control_drain(struct control *c, bool on)
{
    if (atomic_exchange(&c->draining, on) != on)
        log_event(LOG_INFO, on ? "intake.draining" : "intake.open", "%s", "");
}

bool control_is_draining(const struct control *c)
{
    return atomic_load(&c->draining);
}
