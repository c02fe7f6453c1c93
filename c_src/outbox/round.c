/*
 * round.c - one write transaction, and what intents do to documents in it.
 *
 * The happy path: begin reads the counters; intents read checkpoints, put and
 * clear documents (E1 -> E2 at the commit); settle.c puts the verdicts on disk;
 * commit writes the counters back and makes all changes durable at once.  The counters
 * are read again in each round, so a failed round leaves no trace here.
 *
 * What can go wrong:
 *   the store fails     `failed` is set, the round is aborted by outbox.c, which
 *                       tells every intent; settlements are tried again
 *   a damaged record    it is moved to quarantine (round_damage.c), and the document goes on
 *                       as if it had no such record
 *   the limit           that intent alone gets ERR_FULL; versions that take the
 *                       place of a larger one, clears and verdicts always go on
 *
 * After a clear, or after a version that may go below what is in Convex, the
 * checkpoint's reset_revision holds the revision of that version until it or a
 * newer one is confirmed.  Until then `delivered` is no reason to skip anything, and
 * every version kept carries the reset flag, since the one before may never be sent.
 *
 * Runs on the store thread only.
 */

#include "outbox/ahead.h"
#include "outbox/round.h"

#include "ground/clock.h"
#include "ground/metrics.h"
#include "outbox/confirmed.h"
#include "outbox/round_inside.h"
#include "outbox/decide.h"
#include "projection/gate.h"
#include "projection/projection.h"
#include "store/store.h"

void round_init(struct round *r, struct store *s, struct damage *damage, uint64_t limit_bytes,
                uint64_t dead_limit)
{
    *r = (struct round){
        .store = s, .damage = damage, .limit_bytes = limit_bytes, .dead_limit = dead_limit};
    r->ahead = ahead_new();
    r->is_ahead_stale = true;
}

void round_free(struct round *r)
{
    buf_free(&r->body);
    buf_free(&r->head);
    buf_free(&r->tail);
    buf_free(&r->retimed);
    buf_free(&r->loaded_id);
    buf_free(&r->loaded);
    buf_free(&r->loaded_past);
    ahead_free(r->ahead);
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

/* ---- begin and commit ----------------------------------------------------- */

static enum err read_counters(struct round *r)
{
    struct slice value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_META, slice_str("counters"), &value));

    /* Without counters nothing can be kept, nor moved to quarantine: the store needs a repair. */
    if (e != ERR_OK || record_get_counters(value, &r->counters, &fault) != ERR_OK)
        return round_check(r, ERR_STORE);
    r->tail.len = 0;
    buf_slice(&r->tail, r->counters.tail);
    r->counters.tail = buf_view(&r->tail);
    return ERR_OK;
}

/* A damaged doubt covers everything: that costs writes, and loses nothing. */
static enum err read_doubt(struct round *r)
{
    struct slice value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_META, slice_str("doubt"), &value));

    r->has_doubt = e == ERR_OK;
    if (e == ERR_OK && record_get_doubt(value, &r->doubt, &fault) != ERR_OK)
        r->doubt = (struct doubt){.to = UINT64_MAX};
    return e == ERR_NOT_FOUND ? ERR_OK : e;
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
    r->has_new_destination = false;
    r->hold_room = hold_room;
    r->now_us = clock_wall_us();
    enum err e = round_check(r, store_begin(r->store));
    if (e == ERR_OK)
        e = read_counters(r);
    if (e == ERR_OK)
        e = read_doubt(r);
    if (e == ERR_OK && r->is_ahead_stale)
        e = round_read_ahead(r);
    if (e == ERR_OK)
        r->is_ahead_stale = false;
    return e == ERR_OK ? round_take_damage(r) : e;
}

/* Numbers rise with time in each lane, so the first that arrived is the oldest. */
static enum err read_oldest(struct round *r)
{
    struct slice key, value;
    struct pending p;
    struct fault fault;
    enum err e = round_next_pending(r, 0, &key, &value);

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
    if (e == ERR_OK)
        e = round_check(r, store_count(r->store, STORE_QUARANTINE, &r->levels.quarantined));
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
    for (size_t k = 0; metric_kind_name(k) != NULL; k++) {
        metric_count_at(LABELLED_DEAD_LETTERS, k, 0, r->tally.by_kind[k].died);
        metric_count_at(LABELLED_DEAD_LETTERS, k, 1, r->tally.by_kind[k].healed);
    }
    metric_add(METRIC_RECORDS_DAMAGED, r->tally.damaged);
    metric_set(METRIC_QUARANTINED, r->levels.quarantined);
    metric_set(METRIC_PENDING, r->levels.pending);
    metric_set(METRIC_PENDING_BYTES, r->counters.pending_bytes);
    metric_set(METRIC_CHECKPOINTS, r->levels.checkpoints);
    metric_set(METRIC_DEAD, r->levels.dead);
    metric_set(METRIC_DEAD_BYTES, r->counters.dead_bytes);
    metric_set(METRIC_STORE_LIMIT_BYTES, r->limit_bytes);
    confirmed_count(&r->tally, r->now_us);
}

enum err round_commit(struct round *r)
{
    PRE(!r->failed);
    enum err e = r->changed ? round_end_ahead(r) : ERR_OK;
    if (e == ERR_OK && r->changed)
        e = write_counters(r);
    if (e == ERR_OK)
        e = read_levels(r);
    int64_t begun_us = clock_mono_us();
    if (e == ERR_OK)
        e = round_check(r, store_commit(r->store));
    if (e == ERR_OK && r->changed)
        metric_observe(HISTOGRAM_COMMIT_TIME, clock_mono_us() - begun_us);
    if (e == ERR_OK)
        count_tally(r);
    return e;
}

void round_abort(struct round *r)
{
    store_abort(r->store);
    r->is_ahead_stale = true;
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

bool round_believes(const struct round *r, const struct checkpoint_record *c)
{
    uint64_t mark = c->cp.delivered_mark;
    bool is_doubtful = r->has_doubt && mark >= r->doubt.from && mark <= r->doubt.to;

    return c->cp.has_delivered && c->reset_revision == 0 && !is_doubtful;
}

/* Versions of a rebuild or an import go to the bulk lane: no caller waits for their delivery. */
static enum outbox_origin origin_of(unsigned how)
{
    return how & PUT_UNLESS_NEWER                 ? ORIGIN_IMPORT
           : how & (PUT_FORCE | PUT_UNLESS_AHEAD) ? ORIGIN_REBUILD
           : how & PUT_SWEEP                      ? ORIGIN_SWEEP
           : how & PUT_CATCH_UP                   ? ORIGIN_CATCH_UP
                                                  : ORIGIN_LIVE;
}

/* Whether ${incoming} is the version in the dead letter: that one is retried automatically. */
static bool is_dead_already(struct round *r, const struct checkpoint_record *c,
                            const struct outbox_version *incoming)
{
    struct dead_letter d;

    if (!c->cp.is_dead || c->cp.has_pending || round_letter(r, c->cp.document, &d) != ERR_OK)
        return false;
    return d.version.op == OUTBOX_UPSERT &&
           decide(&d.version, incoming).reason == DECIDE_IDEMPOTENT;
}

/* The decision table, and what it does not cover: removals, dead letters, and the options of a
 * rebuild. */
static struct decision judge(struct round *r, const struct checkpoint_record *c,
                             const struct document *d, unsigned how)
{
    const struct outbox_version incoming = version_of(d), *standing = NULL;

    if (c->cp.has_pending) /* a removal under way leaves nothing */
        standing = c->cp.pending.op == OUTBOX_UPSERT ? &c->cp.pending : NULL;
    else if (round_believes(r, c))
        standing = &c->cp.delivered;
    struct decision decision = decide(standing, &incoming);
    bool may_go_below = (how & PUT_RESET) && !(how & PUT_UNLESS_AHEAD);
    if (may_go_below && decision.reason == DECIDE_CHECKPOINT_AHEAD)
        decision.write = true;
    if ((how & PUT_FORCE) && decision.reason == DECIDE_IDEMPOTENT)
        decision = (struct decision){.write = true};
    if (decision.write && !(how & (PUT_RESET | PUT_FORCE)) && is_dead_already(r, c, &incoming))
        decision = (struct decision){.reason = DECIDE_DEAD};
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
    if (decision->reason != DECIDE_NO_REASON && decision->reason != DECIDE_IDEMPOTENT &&
        decision->reason != DECIDE_DEAD)
        r->tally.drift++;
}

static bool is_too_much(const struct round *r, const struct checkpoint_record *c, size_t len)
{
    uint64_t others = r->counters.pending_bytes + r->counters.dead_bytes;

    round_take_off(&others, c->pending_bytes);
    return len > c->pending_bytes && others + len > r->limit_bytes;
}

enum err round_keep_document(struct round *r, struct pending *p, bool reset,
                             struct checkpoint_record *c)
{
    /* ensured by gate_time (projection_finish), or by round_put where the time may be any */
    PRE(p->version.projected_at_us > c->cp.last_projected_us);
    if (is_too_much(r, c, p->json.len))
        return ERR_FULL;
    p->version.reset = reset || c->reset_revision != 0;
    c->cp.kind = p->kind;
    c->cp.last_projected_us = p->version.projected_at_us;
    if (reset)
        c->reset_revision = r->counters.next_revision;
    return round_keep(r, p, c);
}

/* E1 -> E2, once the round is committed. */
static enum err keep_document(struct round *r, const struct document *d, unsigned how,
                              struct checkpoint_record *c)
{
    struct pending p = {.id = d->id,
                        .kind = slice_str(d->kind->name),
                        .json = d->json,
                        .origin = origin_of(how),
                        .version = version_of(d)};
    c->cp.fold = d->past.fold;
    c->cp.recent = d->past.recent;
    return round_keep_document(r, &p, (how & PUT_RESET) != 0, c);
}

/* Whether the fold of ${document} is kept although the document is not written. */
static bool keeps_fold(const struct checkpoint_record *c, const struct document *document,
                       unsigned how, const struct decision *decision)
{
    if ((how & PUT_UNLESS_AHEAD) && decision->reason == DECIDE_CHECKPOINT_AHEAD)
        return false;
    return !slice_eq(c->cp.fold, document->past.fold);
}

enum err round_put(struct round *r, const struct document *document, unsigned how,
                   struct decision *decision)
{
    struct checkpoint_record c;
    enum err e = round_load(r, document->id, &c);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if ((how & PUT_UNLESS_NEWER) && document->projected_at_us <= c.cp.last_projected_us) {
        *decision = (struct decision){.reason = DECIDE_CHECKPOINT_AHEAD};
        r->tally.skipped++;
        return ERR_OK;
    }
    *decision = document->is_behind ? (struct decision){.reason = DECIDE_CHECKPOINT_AHEAD}
                                    : judge(r, &c, document, how);
    e = r->failed ? ERR_STORE : ERR_OK;
    if (e != ERR_OK || document->is_behind) {
        /* the log may be shorter for good, or a transaction may be open: nothing is kept */
    } else if (decision->write) {
        e = keep_document(r, document, how, &c);
    } else if (keeps_fold(&c, document, how, decision)) {
        c.cp.fold = document->past.fold;
        c.cp.recent = document->past.recent;
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

static enum err remove_document(struct round *r, struct slice id, struct slice kind,
                                enum outbox_origin origin, int64_t above_us)
{
    struct checkpoint_record c;

    if (!round_is_id(id))
        return ERR_NOT_OWNED;
    enum err e = round_load(r, id, &c);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    /* A removal that is pending already is the newest version: there is nothing to forget. */
    if (c.cp.has_pending && c.cp.pending.op == OUTBOX_REMOVE)
        return ERR_OK;
    struct pending p = {
        .id = id, .kind = kind, .origin = origin, .version = {.op = OUTBOX_REMOVE, .reset = true}};
    e = gate_time(later_of(c.cp.last_projected_us, above_us), r->now_us, &p.version.projected_at_us,
                  &r->fault);
    if (e != ERR_OK)
        return e;
    c.cp.kind = kind;
    c.cp.fold = c.cp.recent = slice_of("", 0);
    c.cp.has_delivered = false;
    c.cp.last_projected_us = p.version.projected_at_us;
    c.reset_revision = r->counters.next_revision;
    return round_keep(r, &p, &c);
}

enum err round_evict(struct round *r, struct slice id, struct slice kind, int64_t above_us)
{
    return remove_document(r, id, kind, ORIGIN_REPAIR, above_us);
}

enum err round_clear(struct round *r, struct slice id, struct slice kind)
{
    return remove_document(r, id, kind, ORIGIN_LIVE, 0);
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
        enum err e = store_seek(r->store, STORE_IDS, at, behind, &key, &value);
        if (e == ERR_NOT_FOUND)
            return ERR_OK;
        if (e != ERR_OK)
            return round_check(r, e);
        if (!slice_starts(key, prefix))
            return ERR_OK;
        struct checkpoint_record c;
        struct fault fault;
        uint64_t document;
        PRE(key.len <= sizeof id); /* store_seek returns no longer key, even from a damaged store */
        memcpy(id, key.data, key.len);
        at = slice_of(id, key.len);
        behind = true;
        e = record_get_id(at, value, &document, &fault) == ERR_OK
                ? round_load_numbered(r, document, at, &c)
                : round_damaged(r, STORE_IDS, at, &fault);
        if (r->failed)
            return ERR_STORE;
        if (e == ERR_OK && !visit(arg, at, &c.cp))
            return ERR_OK;
    }
}
