/*
 * explain.c - {explain, Id}: where one document is between the event log and Convex.
 *
 * The happy path: an order reads, in one round, what the store knows of the document (checkpoint,
 * what is pending, the dead letter); then the delivery thread is asked where it is, if something
 * is pending; then Convex is asked what it holds.  Each adds its part to the answer, and the last
 * one sends it.
 *
 * What can go wrong: the store fails: its error is the answer.  Convex cannot be asked, or an
 * audit is running: that part says so, and the rest is answered.
 *
 * The order belongs to one thread at a time: a reading one, the store's, delivery's, the audit's.
 */

#include "intake/explain.h"

#include "ground/buf.h"
#include "ground/hex.h"
#include "ground/time_text.h"
#include "intake/answer.h"
#include "intake/order.h"
#include "outbox/outbox.h"
#include "projection/fold.h"
#include "projection/gate.h"
#include "projection/projection.h"

/* What belongs to one explanation; its order's own. */
struct explanation {
    const struct explain_wires *wires;
    uint64_t document;              /* 0: the store does not know it */
    bool has_pending, stands_still; /* delivery does */
    const char *state;
    struct drift_ours ours;
};

enum { PAIRS = 9 };

const char *explain_state(const struct checkpoint *cp)
{
    if (cp->has_pending)
        return cp->pending.op == OUTBOX_REMOVE ? "cleared" : "pending";
    if (cp->is_dead)
        return "dead";
    return cp->has_delivered ? "delivered" : "cleared";
}

static void key_time(struct buf *b, const char *key, int64_t us)
{
    char text[32];

    time_text_put(us, text);
    answer_key_word(b, key, us > 0 ? text : NULL);
}

static void key_map(struct buf *b, const char *key, uint32_t pairs)
{
    term_put_atom(b, key);
    term_put_map(b, pairs);
}

/* ---- checkpoint: the store's thread ------------------------------------------------------------
 */

enum err explain_checkpoint(struct order *d, struct round *r)
{
    struct checkpoint cp;
    struct fold fold;
    enum err e = round_checkpoint(r, order_id(d), &cp);

    if (e == ERR_OK)
        e = fold_read(cp.fold, &fold, &d->fault);
    if (e != ERR_OK)
        return e;
    const struct outbox_version none = {0};
    const struct outbox_version *v = cp.has_pending     ? &cp.pending
                                     : cp.has_delivered ? &cp.delivered
                                                        : &none;
    char time[32], hex[65];
    struct buf *b = &d->answer;
    time_text_put(cp.last_projected_us, time);
    hex_put(v->hash, 32, hex);
    answer_ok_map(b, 10);
    answer_key_text(b, "document_id", order_id(d));
    answer_key_text(b, "kind", cp.kind);
    answer_key_word(b, "state", explain_state(&cp));
    answer_key_integer(b, "seq", v->seq);
    answer_key_integer(b, "event_count", v->event_count);
    answer_key_text(b, "projection_version", v->version);
    answer_key_word(b, "projection_hash", hex);
    answer_key_word(b, "projected_at", time);
    answer_key_integer(b, "folded_seq", fold.seq);
    term_put_atom(b, "delivered_seq");
    if (cp.has_delivered)
        term_put_integer(b, cp.delivered.seq);
    else
        term_put_atom(b, "nil");
    return ERR_OK;
}

/* ---- the store: its thread ------------------------------------------------------------------- */

static void put_version(struct buf *b, const struct outbox_version *v)
{
    answer_key_integer(b, "seq", v->seq);
    key_time(b, "projected_at", v->projected_at_us);
}

static enum err put_pending(struct buf *b, struct round *r, const struct checkpoint *cp)
{
    struct pending p;
    enum err e = cp->has_pending ? round_pending(r, cp, &p) : ERR_NOT_FOUND;

    if (e == ERR_NOT_FOUND) {
        answer_key_word(b, "pending", NULL);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    key_map(b, "pending", 8);
    answer_key_word(b, "op", p.version.op == OUTBOX_REMOVE ? "remove" : "upsert");
    put_version(b, &p.version);
    key_time(b, "kept_at", p.kept_at_us);
    answer_key_word(b, "lane", p.no & LANE_LIVE ? "live" : "bulk");
    answer_key_word(b, "origin", outbox_origin_text(p.origin));
    answer_key_integer(b, "attempts", p.attempts);
    key_time(b, "next_try_at", p.next_try_us);
    return ERR_OK;
}

static void put_delivered(struct buf *b, const struct checkpoint *cp)
{
    char hash[65];

    if (!cp->has_delivered) {
        answer_key_word(b, "delivered", NULL);
        return;
    }
    key_map(b, "delivered", 4);
    put_version(b, &cp->delivered);
    hex_put(cp->delivered.hash, 32, hash);
    answer_key_word(b, "projection_hash", hash);
    answer_key_integer(b, "mark", (int64_t)cp->delivered_mark);
}

static enum err put_dead(struct buf *b, struct round *r, struct slice id)
{
    struct dead_letter dead;
    enum err e = round_dead_get(r, id, &dead);

    if (e == ERR_NOT_FOUND) {
        answer_key_word(b, "dead", NULL);
        return ERR_OK;
    }
    if (e != ERR_OK)
        return e;
    key_map(b, "dead", 5);
    answer_key_integer(b, "seq", dead.version.seq);
    answer_key_text(b, "why", dead.why);
    key_time(b, "died_at", dead.died_at_us);
    answer_key_integer(b, "attempts", dead.attempts);
    key_time(b, "next_try_at", round_dead_next_us(r, &dead)); /* nil: not automatically */
    return ERR_OK;
}

static void remember(struct explanation *x, const struct checkpoint *cp, bool is_known)
{
    x->document = cp->document;
    x->has_pending = cp->has_pending;
    x->state = is_known ? explain_state(cp) : "unknown";
    x->ours = (struct drift_ours){.is_pending = cp->has_pending,
                                  .is_dead = cp->is_dead,
                                  .is_delivered = cp->has_delivered,
                                  .last_projected_us = cp->last_projected_us,
                                  .seq = cp->delivered.seq,
                                  .projected_at_us = cp->delivered.projected_at_us,
                                  .revision = cp->delivered.revision};
    memcpy(x->ours.hash, cp->delivered.hash, sizeof x->ours.hash);
}

static enum err work_explain(struct order *d, struct round *r)
{
    struct explanation *x = d->own;
    struct checkpoint cp;
    struct buf *b = &d->answer;
    enum err e = round_checkpoint(r, order_id(d), &cp);
    bool is_known = e == ERR_OK;

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (!is_known)
        cp = (struct checkpoint){0};
    remember(x, &cp, is_known);
    b->len = 0; /* a round may be repeated */
    answer_ok_map(b, PAIRS);
    answer_key_text(b, "document_id", order_id(d));
    answer_key_word(b, "kind", d->kind != NULL ? d->kind->name : NULL);
    answer_key_word(b, "state", x->state);
    put_delivered(b, &cp);
    e = put_pending(b, r, &cp);
    return e == ERR_OK ? put_dead(b, r, order_id(d)) : e;
}

/* What an operator can do about it; NULL: nothing needs to be done. */
static const char *next_of(const struct explanation *x, enum drift finding)
{
    if (x->has_pending)
        return x->stands_still ? "`status` says why delivery stands still, and what to do"
                               : "nothing: it is sent by itself; `tap` shows it";
    if (strcmp(x->state, "unknown") == 0)
        return "project it: no version of it was kept here";
    if (strcmp(x->state, "dead") == 0)
        return "mend what `dead show` says; `dead retry` sends it at once";
    return finding != DRIFT_NONE ? "`audit --repair`, then project it again" : NULL;
}

/* The last part has come. */
static void end_with(struct order *d, enum drift finding)
{
    answer_key_word(&d->answer, "next", next_of(d->own, finding));
    order_finish(d, NULL);
}

/* ---- Convex: the audit's thread ----------------------------------------------------------------
 */

static void put_unasked(struct order *d, const char *why)
{
    key_map(&d->answer, "convex", 1);
    answer_key_word(&d->answer, "not_asked", why);
    end_with(d, DRIFT_NONE);
}

static void on_looked(void *arg, const struct drift_theirs *theirs, const struct fault *fault)
{
    struct order *d = arg;
    struct explanation *x = d->own;
    struct buf *b = &d->answer;
    char hash[65];

    if (theirs == NULL && fault->why[0] != '\0') {
        put_unasked(d, fault->why);
        return;
    }
    enum drift finding = drift_judge(x->document != 0 ? &x->ours : NULL, theirs);
    key_map(b, "convex", 5);
    answer_key_word(b, "holds",
                    theirs == NULL       ? "nothing"
                    : theirs->is_removed ? "a tombstone"
                                         : "the document");
    if (theirs != NULL) {
        answer_key_integer(b, "seq", theirs->seq);
        key_time(b, "projected_at", theirs->projected_at_us);
        hex_put(theirs->actual, 32, hash);
    } else {
        answer_key_word(b, "seq", NULL);
        answer_key_word(b, "projected_at", NULL);
    }
    answer_key_word(b, "actual_hash", theirs != NULL && !theirs->is_removed ? hash : NULL);
    answer_key_word(b, "differs", finding == DRIFT_NONE ? NULL : drift_text(finding));
    end_with(d, finding);
}

static void look(struct order *d)
{
    struct explanation *x = d->own;
    struct fault fault = {0};

    if (d->kind == NULL) {
        put_unasked(d, "its prefix is that of no configured kind");
        return;
    }
    enum err e = x->wires->look(x->wires->arg, d->kind, order_id(d), on_looked, d, &fault);
    if (e == ERR_BUSY)
        put_unasked(d, "an audit is at it; ask again when it is over");
    else if (e != ERR_OK)
        put_unasked(d, fault.why[0] != '\0' ? fault.why : err_text(e));
}

/* ---- delivery: its thread ----------------------------------------------------------------------
 */

static void on_placed(void *arg, const struct explain_place *place)
{
    struct order *d = arg;
    struct explanation *x = d->own;
    struct buf *b = &d->answer;

    x->stands_still =
        strcmp(place->endpoint, "stopped") == 0 || strcmp(place->endpoint, "paused") == 0;
    key_map(b, "delivery", 5);
    answer_key_word(b, "endpoint", place->endpoint);
    answer_key_word(b, "is", place->what);
    answer_key_word(b, "why", *place->why ? place->why : NULL);
    answer_key_integer(b, "attempts", place->attempts);
    key_time(b, "next_try_at", place->next_us);
    look(d);
}

static void ask_delivery(struct order *d)
{
    struct explanation *x = d->own;

    if (x->has_pending) {
        x->wires->place(x->wires->arg, x->document, on_placed, d);
        return;
    }
    answer_key_word(&d->answer, "delivery", NULL);
    look(d);
}

/* ---- the word: a reading thread ----------------------------------------------------------------
 */

void explain_take(const struct explain_wires *w, const struct order_context *orders,
                  struct dist_session *session, struct caller *caller, struct slice id)
{
    struct order *d = order_new(orders, caller, work_explain);
    struct explanation *x = d->own = base_alloc(sizeof *x);
    enum err e = gate_lookup(id, &d->fault);

    x->wires = w;
    d->then = ask_delivery;
    d->kind = kinds_of_id(orders->kinds, id);
    order_set_id(d, id);
    if (e == ERR_OK)
        order_submit(d, session);
    else
        order_refuse(d, session, e, "");
}
