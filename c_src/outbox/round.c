/*
 * round.c - what happens to a document inside one write transaction.
 *
 * The happy path: begin reads the counters; intents read checkpoints, put and
 * clear documents (E1 -> E2 at the commit); settle.c puts the verdicts on disk;
 * commit writes the counters back and makes all of it true at once.  The counters
 * are read anew each round, so that a round that failed leaves no trace here.
 *
 * What can go wrong:
 *   the store fails     `failed` is set, the round is aborted by outbox.c, which
 *                       tells every intent; settlements are tried again
 *   a damaged record    that intent alone gets ERR_STORE; it is logged by key
 *   the limit           that intent alone gets ERR_FULL; versions that take the
 *                       place of a larger one, clears and verdicts always go on
 *
 * What a checkpoint says after a clear, or after a version that may go below what
 * stands in Convex: reset_revision holds its revision until it or a newer one is
 * confirmed.  Until then `delivered` is no reason to skip anything, and every
 * version kept carries the reset flag, since the one before may never be sent.
 *
 * Runs on the store thread only.
 */

#include "outbox/round.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "ground/metrics.h"
#include "outbox/round_inside.h"
#include "outbox/decide.h"
#include "projection/gate.h"
#include "projection/projection.h"
#include "store/store.h"

#define LOG_PERIOD_MS 10000

void round_init(struct round *r, struct store *s, uint64_t limit_bytes, uint64_t dead_limit)
{
    *r = (struct round){.store = s, .limit_bytes = limit_bytes, .dead_limit = dead_limit};
}

void round_free(struct round *r)
{
    buf_free(&r->body);
    buf_free(&r->head);
    buf_free(&r->loaded_id);
    buf_free(&r->loaded);
}

enum err round_check(struct round *r, enum err e)
{
    if (e == ERR_STORE)
        r->failed = true;
    return e;
}

enum err round_wrote(struct round *r, enum err e)
{
    r->changed = true;
    r->is_loaded = false;
    return round_check(r, e);
}

enum err round_damaged(struct round *r, const struct fault *fault)
{
    char quoted[600];

    if (log_limited(&r->damaged_logged_us, LOG_PERIOD_MS))
        log_event(LOG_ERROR, "outbox.record_damaged", "key=%s why=\"%s\"",
                  log_quote(slice_str(fault->path), quoted, sizeof quoted), fault->why);
    return ERR_STORE;
}

/* ---- begin and commit ----------------------------------------------------- */

static enum err read_counters(struct round *r)
{
    struct slice value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_META, slice_str("counters"), &value));

    if (e == ERR_OK && record_get_counters(value, &r->counters, &fault) != ERR_OK)
        e = round_check(r, round_damaged(r, &fault));
    return e == ERR_OK ? ERR_OK : ERR_STORE;
}

static enum err write_counters(struct round *r)
{
    r->body.len = 0;
    record_put_counters(&r->body, &r->counters);
    return round_wrote(r,
                       store_put(r->store, STORE_META, slice_str("counters"), buf_view(&r->body)));
}

enum err round_begin(struct round *r, size_t hold_room, bool must_write)
{
    r->failed = false;
    r->changed = must_write;
    r->is_loaded = false;
    r->tally = (struct round_tally){0};
    r->hold_room = hold_room;
    r->now_us = clock_wall_us();
    enum err e = round_check(r, store_begin(r->store));
    return e == ERR_OK ? read_counters(r) : e;
}

/* Arrival numbers rise with time, so the first one is the oldest. */
static enum err read_oldest(struct round *r)
{
    struct slice key, value;
    struct pending p;
    struct fault fault;
    enum err e =
        round_check(r, store_seek(r->store, STORE_PENDING, slice_of("", 0), false, &key, &value));

    r->levels.oldest_kept_at_us = 0;
    if (e == ERR_OK && record_get_pending(key, value, &p, &fault) == ERR_OK)
        r->levels.oldest_kept_at_us = p.kept_at_us;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err read_levels(struct round *r)
{
    enum err e = round_check(r, store_count(r->store, STORE_PENDING, &r->levels.pending));

    if (e == ERR_OK)
        e = round_check(r, store_count(r->store, STORE_CHECKPOINTS, &r->levels.checkpoints));
    if (e == ERR_OK)
        e = round_check(r, store_count(r->store, STORE_DEAD, &r->levels.dead));
    return e == ERR_OK ? read_oldest(r) : e;
}

static void count_tally(const struct round *r)
{
    metric_add(METRIC_COMMITS, r->changed ? 1 : 0);
    metric_add(METRIC_KEPT, r->tally.kept);
    metric_add(METRIC_COALESCED, r->tally.coalesced);
    metric_add(METRIC_SKIPPED, r->tally.skipped);
    metric_add(METRIC_DRIFT, r->tally.drift);
    metric_add(METRIC_REFUSED_DOCUMENTS, r->tally.died);
    metric_set(METRIC_PENDING, r->levels.pending);
    metric_set(METRIC_PENDING_BYTES, r->counters.pending_bytes);
    metric_set(METRIC_CHECKPOINTS, r->levels.checkpoints);
    metric_set(METRIC_DEAD, r->levels.dead);
}

enum err round_commit(struct round *r)
{
    PRE(!r->failed);
    enum err e = r->changed ? write_counters(r) : ERR_OK;
    if (e == ERR_OK)
        e = read_levels(r);
    if (e == ERR_OK)
        e = round_check(r, store_commit(r->store));
    if (e == ERR_OK)
        count_tally(r);
    return e;
}

void round_abort(struct round *r)
{
    store_abort(r->store);
}

/* ---- the parts of a change ------------------------------------------------ */

bool round_is_id(struct slice id)
{
    return id.len > 0 && id.len <= STORE_MAX_KEY;
}

void round_take_off(uint64_t *total, uint64_t bytes)
{
    *total -= bytes < *total ? bytes : *total;
}

static enum err load(struct round *r, struct slice id, struct checkpoint_record *c)
{
    struct slice value;
    struct fault fault;

    *c = (struct checkpoint_record){0};
    if (!round_is_id(id))
        return ERR_NOT_FOUND;
    enum err e = round_check(r, store_get(r->store, STORE_CHECKPOINTS, id, &value));
    if (e != ERR_OK)
        return e;
    r->loaded.len = 0;
    buf_slice(&r->loaded, value);
    if (record_get_checkpoint(id, buf_view(&r->loaded), c, &fault) == ERR_OK)
        return ERR_OK;
    *c = (struct checkpoint_record){0};
    return round_damaged(r, &fault);
}

enum err round_load(struct round *r, struct slice id, struct checkpoint_record *c)
{
    if (!r->is_loaded || !slice_eq(buf_view(&r->loaded_id), id)) {
        r->loaded_err = load(r, id, &r->loaded_record);
        r->loaded_id.len = 0;
        buf_slice(&r->loaded_id, id);
        r->is_loaded = true;
    }
    *c = r->loaded_record;
    return r->loaded_err;
}

enum err round_save(struct round *r, struct slice id, const struct checkpoint_record *c)
{
    r->head.len = 0;
    record_put_checkpoint(&r->head, c);
    return round_wrote(r, store_put(r->store, STORE_CHECKPOINTS, id, buf_view(&r->head)));
}

enum err round_keep(struct round *r, struct pending *p, struct checkpoint_record *c)
{
    bool is_new = !c->cp.has_pending;
    enum err e = gate_version(p->id, p->kind, p->version.op == OUTBOX_REMOVE, p->json,
                              p->version.projected_at_us, &r->fault);

    if (e != ERR_OK)
        return e;
    p->no = is_new ? r->counters.next_no++ : c->cp.pending_no;
    p->version.revision = r->counters.next_revision++;
    p->kept_at_us = is_new ? r->now_us : c->pending_kept_at_us;
    round_take_off(&r->counters.pending_bytes, c->pending_bytes);
    r->counters.pending_bytes += p->json.len;
    c->cp.has_pending = true;
    c->cp.pending_no = p->no;
    c->cp.pending = p->version;
    c->pending_bytes = p->json.len;
    c->pending_kept_at_us = p->kept_at_us;
    r->tally.brought_work = true;

    struct slice key = slice_of(&p->no, sizeof p->no);
    r->body.len = r->head.len = 0;
    record_put_pending(&r->body, p);
    record_put_checkpoint(&r->head, c);
    e = is_new ? store_append(r->store, STORE_PENDING, key, buf_view(&r->body))
               : store_put(r->store, STORE_PENDING, key, buf_view(&r->body));
    if (e == ERR_OK)
        e = store_put(r->store, STORE_CHECKPOINTS, p->id, buf_view(&r->head));
    return round_wrote(r, e);
}

enum err round_unkeep(struct round *r, struct checkpoint_record *c)
{
    uint64_t no = c->cp.pending_no;
    enum err e = store_del(r->store, STORE_PENDING, slice_of(&no, sizeof no));

    round_take_off(&r->counters.pending_bytes, c->pending_bytes);
    c->cp.has_pending = false;
    c->cp.pending_no = 0;
    c->pending_bytes = 0;
    c->pending_kept_at_us = 0;
    return e == ERR_NOT_FOUND ? ERR_OK : round_wrote(r, e);
}

/* ---- what intents do ------------------------------------------------------ */

const struct fault *round_fault(const struct round *r)
{
    return &r->fault;
}

int64_t round_now_us(const struct round *r)
{
    return r->now_us;
}

enum err round_checkpoint(struct round *r, struct slice id, struct checkpoint *cp)
{
    struct checkpoint_record c;
    enum err e = round_load(r, id, &c);

    *cp = c.cp;
    return e;
}

static struct outbox_version version_of(const struct document *d)
{
    struct outbox_version v = {.op = OUTBOX_UPSERT,
                               .seq = d->seq,
                               .event_count = d->event_count,
                               .projected_at_us = d->projected_at_us,
                               .version = d->version};

    memcpy(v.hash, d->hash, sizeof v.hash);
    return v;
}

/* The decision table, and what it does not know: removals, and what a rebuild asks for. */
static struct decision judge(const struct checkpoint_record *c, const struct document *d,
                             unsigned how)
{
    const struct outbox_version incoming = version_of(d), *standing = NULL;

    if (c->cp.has_pending) /* a removal under way leaves nothing */
        standing = c->cp.pending.op == OUTBOX_UPSERT ? &c->cp.pending : NULL;
    else if (c->cp.has_delivered && c->reset_revision == 0)
        standing = &c->cp.delivered;
    struct decision decision = decide(standing, &incoming);
    bool may_go_below = (how & PUT_RESET) && !(how & PUT_UNLESS_AHEAD);
    if (may_go_below && decision.reason == DECIDE_CHECKPOINT_AHEAD)
        decision.write = true;
    if ((how & PUT_FORCE) && decision.reason == DECIDE_IDEMPOTENT)
        decision = (struct decision){.write = true};
    decision.coalesced = decision.write && c->cp.has_pending;
    return decision;
}

static void count_decision(struct round *r, const struct decision *decision)
{
    if (decision->write)
        r->tally.kept++;
    else
        r->tally.skipped++;
    if (decision->coalesced)
        r->tally.coalesced++;
    if (decision->reason != DECIDE_NO_REASON && decision->reason != DECIDE_IDEMPOTENT)
        r->tally.drift++;
}

static bool is_too_much(const struct round *r, const struct checkpoint_record *c, size_t len)
{
    uint64_t others = r->counters.pending_bytes + r->counters.dead_bytes;

    round_take_off(&others, c->pending_bytes);
    return len > c->pending_bytes && others + len > r->limit_bytes;
}

/* E1 -> E2, once the round is committed. */
static enum err keep_document(struct round *r, const struct document *d, bool reset,
                              struct checkpoint_record *c)
{
    bool may_go_below = reset || c->reset_revision != 0;

    PRE(d->projected_at_us > c->cp.last_projected_us);
    if (is_too_much(r, c, d->json.len))
        return ERR_FULL;
    struct pending p = {
        .id = d->id, .kind = slice_str(d->kind->name), .json = d->json, .version = version_of(d)};
    p.version.reset = may_go_below;
    c->cp.kind = p.kind;
    c->cp.fold = d->fold;
    c->cp.last_projected_us = d->projected_at_us;
    if (reset)
        c->reset_revision = r->counters.next_revision;
    return round_keep(r, &p, c);
}

/* Whether ${document}, which is not written, brings a fold that is. */
static bool keeps_fold(const struct checkpoint_record *c, const struct document *document,
                       unsigned how, const struct decision *decision)
{
    if ((how & PUT_UNLESS_AHEAD) && decision->reason == DECIDE_CHECKPOINT_AHEAD)
        return false;
    return !slice_eq(c->cp.fold, document->fold);
}

enum err round_put(struct round *r, const struct document *document, unsigned how,
                   struct decision *decision)
{
    struct checkpoint_record c;
    enum err e = round_load(r, document->id, &c);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    *decision = judge(&c, document, how);
    e = ERR_OK;
    if (decision->write) {
        e = keep_document(r, document, (how & PUT_RESET) != 0, &c);
    } else if (keeps_fold(&c, document, how, decision)) {
        c.cp.fold = document->fold;
        e = round_save(r, document->id, &c);
    }
    if (e == ERR_OK)
        count_decision(r, decision);
    return e;
}

static int64_t later_of(int64_t a_us, int64_t b_us)
{
    return a_us > b_us ? a_us : b_us;
}

enum err round_evict(struct round *r, struct slice id, struct slice kind, int64_t above_us)
{
    struct checkpoint_record c;

    if (!round_is_id(id))
        return ERR_NOT_OWNED;
    enum err e = round_load(r, id, &c);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    /* A removal that waits already is the newest version: there is nothing to forget. */
    if (c.cp.has_pending && c.cp.pending.op == OUTBOX_REMOVE)
        return ERR_OK;
    struct pending p = {.id = id, .kind = kind, .version = {.op = OUTBOX_REMOVE, .reset = true}};
    e = gate_time(later_of(c.cp.last_projected_us, above_us), r->now_us, &p.version.projected_at_us,
                  &r->fault);
    if (e != ERR_OK)
        return e;
    c.cp.kind = kind;
    c.cp.fold = slice_of("", 0);
    c.cp.has_delivered = false;
    c.cp.last_projected_us = p.version.projected_at_us;
    c.reset_revision = r->counters.next_revision;
    return round_keep(r, &p, &c);
}

enum err round_clear(struct round *r, struct slice id, struct slice kind)
{
    return round_evict(r, id, kind, 0);
}

enum err round_doubt(struct round *r, struct slice id, int64_t above_us)
{
    struct checkpoint_record c;
    enum err e = round_load(r, id, &c);

    if (e != ERR_OK)
        return e;
    /* Any version kept from now on has this revision or a later one. */
    c.reset_revision = r->counters.next_revision;
    c.cp.last_projected_us = later_of(c.cp.last_projected_us, above_us);
    return round_save(r, id, &c);
}

enum err round_each_checkpoint(struct round *r, struct slice prefix, struct slice after,
                               bool (*visit)(void *arg, struct slice id,
                                             const struct checkpoint *cp),
                               void *arg)
{
    uint8_t id[STORE_MAX_KEY];
    bool behind = after.len > 0 && slice_order(prefix, after) <= 0;
    struct slice at = behind ? after : prefix, key, value;

    for (;;) {
        enum err e = store_seek(r->store, STORE_CHECKPOINTS, at, behind, &key, &value);
        if (e == ERR_NOT_FOUND)
            return ERR_OK;
        if (e != ERR_OK)
            return round_check(r, e);
        if (!slice_starts(key, prefix))
            return ERR_OK;
        struct checkpoint_record c;
        struct fault fault;
        PRE(key.len <= sizeof id);
        memcpy(id, key.data, key.len);
        at = slice_of(id, key.len);
        behind = true;
        if (record_get_checkpoint(at, value, &c, &fault) != ERR_OK)
            round_damaged(r, &fault);
        else if (!visit(arg, at, &c.cp))
            return ERR_OK;
    }
}

/* ---- holding -------------------------------------------------------------- */

enum err round_hold_written(struct round *r, struct intent *intent, struct slice id,
                            int64_t until_us)
{
    struct checkpoint_record c;
    enum err e = round_load(r, id, &c);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (!c.cp.has_pending)
        return ERR_OK;
    if (r->hold_room == 0)
        return ERR_BUSY;
    r->hold_room--;
    intent->held_no = c.cp.pending_no;
    intent->held_revision = c.cp.pending.revision;
    intent->held_front = 0;
    intent->held_until_us = until_us;
    return ERR_OK;
}

enum err round_hold_flushed(struct round *r, struct intent *intent, int64_t until_us)
{
    uint64_t pending;
    enum err e = round_check(r, store_count(r->store, STORE_PENDING, &pending));

    if (e != ERR_OK || pending == 0)
        return e;
    if (r->hold_room == 0)
        return ERR_BUSY;
    r->hold_room--;
    intent->held_no = r->counters.next_no - 1;
    intent->held_revision = r->counters.next_revision - 1;
    intent->held_front = 1;
    intent->held_until_us = until_us;
    return ERR_OK;
}

/* Whether a document first seen waiting as ${p} has got a version newer than the flush. */
static bool is_past(struct round *r, const struct pending *p, uint64_t revision)
{
    struct checkpoint_record c;

    if (p->version.revision <= revision)
        return false;
    return round_load(r, p->id, &c) == ERR_OK && c.cp.has_delivered &&
           c.cp.delivered.revision > revision;
}

bool round_is_through(struct round *r, struct intent *intent)
{
    struct slice key, value;
    struct fault fault;
    struct pending p;

    /* held_front only rises: each number is passed once, so a flush costs O(1) a document. */
    for (;;) {
        uint64_t front = intent->held_front;
        enum err e = store_seek(r->store, STORE_PENDING, slice_of(&front, sizeof front), false,
                                &key, &value);
        if (e == ERR_NOT_FOUND)
            return true;
        if (round_check(r, e) != ERR_OK)
            return false;
        bool is_read = record_get_pending(key, value, &p, &fault) == ERR_OK;
        if (p.no > intent->held_no)
            return true;
        /* A damaged one can't be delivered: it holds nobody up. */
        if (is_read && !is_past(r, &p, intent->held_revision)) {
            intent->held_front = p.no;
            return false;
        }
        intent->held_front = p.no + 1;
    }
}
