/*
 * doubts.c - the second check of documents that seemed to differ.
 *
 * The happy path: what differed in the merge is checked again, by id, many at once: the
 * checkpoint, then Convex, then the checkpoint once more.  If nothing changed meanwhile
 * (drift_is_still), the answer of Convex counts, and a difference is a finding.  With repair it is
 * mended in the round that confirms it.
 *
 * What can go wrong:
 *   on its way            checked again after growing waits, PATIENCE_MS an audit in all; then it
 *                         is counted as unsettled and not judged: it is being written anyway
 *   a damaged record      likewise: its state is unknown
 *   Convex, the store     the error goes up; what is not judged stays in the list
 *   a time far ahead      a row projected days ahead cannot be ordered after: it is named, not
 *                         repaired
 *
 * Runs on the audit's thread; work_... on the store thread, while the audit waits.
 */

#include "audit/doubts.h"

#include "audit/look.h"
#include "ground/buf.h"
#include "json/json.h"
#include "outbox/outbox.h"
#include "projection/projection.h"

#define DOUBTS      1000        /* documents collected for a second check */
#define TRIES       8           /* checks of one that is on its way */
#define WAIT_MS     25          /* before the second of them; doubles */
#define PATIENCE_MS 60000       /* of waiting in one audit */
#define BUSY_MS     10          /* before a full store queue is tried again */
#define ID_BYTES    511         /* of an id of the store */
#define AHEAD_US    86400000000 /* a projected_at further ahead than this is not from a clock */

struct doubt {
    char *id;
    size_t id_len;
    uint64_t checked;  /* up to this one */
    bool is_settled;   /* judged for good */
    bool is_asked;     /* in the question under way */
    bool is_confirmed; /* settled, once the round that says so is committed */
    struct drift_ours before;
    bool has_theirs;
    struct drift_theirs theirs; /* its id is not used */
    enum drift finding;
    bool is_repaired;
};

struct doubts {
    /* fixed after new */
    struct outbox *outbox;
    struct digests *digests;
    bool repair;
    /* of the audit */
    const struct kind *kind;
    struct doubt list[DOUBTS];
    size_t count, batch_to; /* the batch under way is list[0 .. batch_to) */
    struct buf safe;        /* all up to this id are judged */
    uint64_t safe_checked;  /* that many */
    int64_t patience_ms;
    struct fault *fault;
};

static enum err stop(struct doubts *u, const char *why)
{
    return fault_fail(u->fault, ERR_CLOSED, NULL, "%s", why);
}

/* ---- the list ------------------------------------------------------------------------------- */

struct doubts *doubts_new(struct outbox *o, struct digests *digests, bool repair)
{
    struct doubts *u = base_alloc(sizeof *u);

    u->outbox = o;
    u->digests = digests;
    u->repair = repair;
    u->patience_ms = PATIENCE_MS;
    return u;
}

void doubts_free(struct doubts *u)
{
    if (u == NULL)
        return;
    for (size_t i = 0; i < u->count; i++)
        free(u->list[i].id);
    buf_free(&u->safe);
    free(u);
}

void doubts_begin(struct doubts *u, const struct kind *kind)
{
    PRE(u->count == 0);
    u->kind = kind;
}

static void set_safe(struct doubts *u, struct slice id, uint64_t checked)
{
    if (!json_is_utf8(id)) /* Convex could not be asked for what comes after such an id */
        return;
    u->safe_checked = checked;
    u->safe.len = 0;
    buf_slice(&u->safe, id);
}

bool doubts_add(struct doubts *u, struct slice id, struct slice before, uint64_t checked)
{
    PRE(u->count < DOUBTS);
    if (u->count == 0)
        set_safe(u, before, checked);
    u->list[u->count++] = (struct doubt){
        .id = base_strndup(id.data, id.len), .id_len = id.len, .checked = checked + 1};
    return u->count < DOUBTS;
}

bool doubts_safe(const struct doubts *u, struct slice *id, uint64_t *checked)
{
    *id = buf_view(&u->safe);
    *checked = u->safe_checked;
    return u->count > 0;
}

/* ---- what is looked at ---------------------------------------------------------------------- */

static struct slice doubt_id(const struct doubt *d)
{
    return slice_of(d->id, d->id_len);
}

struct drift_ours doubts_ours(const struct checkpoint *cp)
{
    struct drift_ours o = {.is_pending = cp->has_pending,
                           .is_dead = cp->is_dead,
                           .is_delivered = cp->has_delivered,
                           .last_projected_us = cp->last_projected_us,
                           .seq = cp->delivered.seq,
                           .projected_at_us = cp->delivered.projected_at_us,
                           .revision = cp->delivered.revision};

    memcpy(o.hash, cp->delivered.hash, sizeof o.hash);
    return o;
}

/* A document whose record is, or was, damaged is in an unknown state: it is not judged, the others
 * are. (A store that failed ends the round whatever is returned here.) */
static enum err load(struct round *r, const struct doubt *d, struct drift_ours *o)
{
    struct checkpoint cp;
    enum err e = round_checkpoint(r, doubt_id(d), &cp);

    bool is_lost = e == ERR_STORE || (e == ERR_NOT_FOUND && cp.document != 0);

    *o = (struct drift_ours){.is_pending = is_lost};
    if (e == ERR_OK)
        *o = doubts_ours(&cp);
    return e == ERR_NOT_FOUND || e == ERR_STORE ? ERR_OK : e;
}

static enum err work_before(void *arg, struct round *r)
{
    struct doubts *u = arg;
    enum err e = ERR_OK;

    for (size_t i = 0; i < u->batch_to && e == ERR_OK; i++)
        if (!u->list[i].is_settled)
            e = load(r, &u->list[i], &u->list[i].before);
    return e;
}

/* An orphan is removed; any other document is written by its next projection, whatever Convex
 * holds. */
static enum err mend(struct doubts *u, struct round *r, struct doubt *d)
{
    int64_t above_us = d->has_theirs ? d->theirs.projected_at_us : 0;

    if (d->finding == DRIFT_NONE || !u->repair || d->id_len == 0 || d->id_len > ID_BYTES)
        return ERR_OK;
    /* A version can only be ordered after a time that a clock can show; a later one was typed in.
     */
    if (above_us > round_now_us(r) + AHEAD_US)
        return ERR_OK;
    enum err e = d->finding == DRIFT_ORPHANED
                     ? round_evict(r, doubt_id(d), slice_str(u->kind->name), above_us)
                     : round_doubt(r, doubt_id(d), above_us);
    d->is_repaired = e == ERR_OK;
    return e == ERR_INVALID ? ERR_OK : e; /* it cannot be removed: it stays a finding */
}

/* Nothing changed since work_before: what Convex said in between counts. */
static enum err work_confirm(void *arg, struct round *r)
{
    struct doubts *u = arg;
    struct drift_ours after;
    enum err e = ERR_OK;

    for (size_t i = 0; i < u->batch_to && e == ERR_OK; i++) {
        struct doubt *d = &u->list[i];
        if (!d->is_asked)
            continue;
        e = load(r, d, &after);
        d->is_repaired = false;
        d->is_confirmed = e == ERR_OK && drift_is_still(&d->before, &after);
        if (!d->is_confirmed)
            continue;
        d->finding = drift_judge(&after, d->has_theirs ? &d->theirs : NULL);
        e = mend(u, r, d);
    }
    return e;
}

/* Take what Convex says of the asked documents ids[from..); the index after the last one answered.
 */
static enum err take_answers(struct doubts *u, struct doubt **asked, size_t from, size_t count,
                             const struct digests_page *page, size_t *answered)
{
    size_t at = from;

    for (size_t i = 0; i < page->count; i++) {
        while (at < count && !slice_eq(doubt_id(asked[at]), page->items[i].id))
            at++;
        if (at == count)
            return stop(u, "Convex answered for documents it was not asked for, or out of order");
        asked[at]->has_theirs = true;
        asked[at]->theirs = page->items[i];
    }
    *answered = count;
    if (page->is_last)
        return ERR_OK;
    for (at = from; at < count && !slice_eq(doubt_id(asked[at]), page->next); at++)
        ;
    *answered = at + 1;
    return at < count ? ERR_OK : stop(u, "Convex names a next document it was not asked for");
}

/* Ask Convex for those of the batch that are not on their way. */
static enum err ask_batch(struct doubts *u)
{
    struct doubt *asked[DIGESTS_LOOK];
    struct slice ids[DIGESTS_LOOK];
    size_t count = 0, answered = 0;
    enum err e = ERR_OK;

    for (size_t i = 0; i < u->batch_to; i++) {
        struct doubt *d = &u->list[i];
        d->is_confirmed = false;
        d->is_asked = !d->is_settled && !d->before.is_pending;
        if (d->is_asked)
            d->has_theirs = false;
        if (d->is_asked && json_is_utf8(doubt_id(d))) { /* Convex cannot hold any other */
            asked[count] = d;
            ids[count++] = doubt_id(d);
        }
    }
    while (e == ERR_OK && answered < count) {
        const struct digests_ask ask = {
            .kind = u->kind->name, .ids = ids + answered, .id_count = count - answered};
        struct digests_page page;
        e = digests_get(u->digests, &ask, &page, u->fault);
        if (e == ERR_OK)
            e = take_answers(u, asked, answered, count, &page, &answered);
        else if (e == ERR_CLOSED)
            e = stop(u, "cancelled");
    }
    return e;
}

static size_t count_open(const struct doubts *u)
{
    size_t open = 0;

    for (size_t i = 0; i < u->batch_to; i++)
        open += u->list[i].is_settled ? 0 : 1;
    return open;
}

/* Put what the committed round has confirmed into the report, if it is a finding. */
static void note(struct doubts *u, struct doubt *d, struct drift_report *report)
{
    bool stands = d->has_theirs && !d->theirs.is_removed;

    d->is_settled = true;
    if (d->finding == DRIFT_NONE)
        return;
    drift_add_line(report, (struct drift_line){.id = base_strndup(d->id, d->id_len),
                                               .id_len = d->id_len,
                                               .kind = u->kind->name,
                                               .finding = d->finding,
                                               .has_seq = d->before.is_delivered,
                                               .seq = d->before.seq,
                                               .has_convex_seq = stands,
                                               .convex_seq = d->theirs.seq,
                                               .is_repaired = d->is_repaired});
}

/* Read the store; wait while its queue is full. */
static enum err look(struct doubts *u, look_work *work)
{
    enum err e;

    while ((e = look_at(u->outbox, work, u, u->fault)) == ERR_BUSY)
        if (!digests_pause(u->digests, BUSY_MS))
            return stop(u, "cancelled");
    return e;
}

/* The three reads for those of the batch that are not settled. */
static enum err look_once(struct doubts *u, struct drift_report *report)
{
    enum err e = look(u, work_before);

    if (e == ERR_OK)
        e = ask_batch(u);
    if (e == ERR_OK)
        e = look(u, work_confirm);
    for (size_t i = 0; i < u->batch_to && e == ERR_OK; i++)
        if (u->list[i].is_confirmed)
            note(u, &u->list[i], report);
    return e;
}

/* Check until all of the batch is settled, or the patience is used up. */
static enum err look_at_batch(struct doubts *u, struct drift_report *report)
{
    int64_t wait_ms = WAIT_MS;

    for (int tries = 1;; tries++, wait_ms *= 2) {
        enum err e = look_once(u, report);
        if (e != ERR_OK)
            return e;
        if (count_open(u) == 0 || tries == TRIES || u->patience_ms < wait_ms)
            break;
        u->patience_ms -= wait_ms;
        if (!digests_pause(u->digests, wait_ms))
            return stop(u, "cancelled");
    }
    report->unsettled += count_open(u);
    return ERR_OK;
}

/* What is judged leaves the list, so that a stop between two batches counts nothing twice. */
static void drop_batch(struct doubts *u)
{
    size_t left = u->count - u->batch_to;
    const struct doubt *last = &u->list[u->batch_to - 1];

    set_safe(u, doubt_id(last), last->checked);
    for (size_t i = 0; i < u->batch_to; i++)
        free(u->list[i].id);
    memmove(u->list, u->list + u->batch_to, left * sizeof *u->list);
    u->count = left;
}

enum err doubts_settle(struct doubts *u, struct drift_report *report, struct fault *fault)
{
    u->fault = fault;
    while (u->count > 0) {
        if (u->repair && report->line_count + DIGESTS_LOOK > DRIFT_LINES_MAX)
            return stop(u, "the list of findings is full");
        u->batch_to = u->count < DIGESTS_LOOK ? u->count : DIGESTS_LOOK;
        report->second_look += u->batch_to;
        enum err e = look_at_batch(u, report);
        if (e != ERR_OK)
            return e;
        drop_batch(u);
    }
    return ERR_OK;
}
