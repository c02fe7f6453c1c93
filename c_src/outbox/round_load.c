/*
 * round_load.c - what is known of a document, and the parts of a change to it.
 *
 * The happy path: the id has a number, the number has a checkpoint, and the checkpoint names the
 * pending version, if any.  The three are read together, and written as one: a document
 * gets its number with its first checkpoint, at the end of the table, and keeps it for ever.
 *
 * What can go wrong: one of the three is damaged, or names what is missing.  A document whose
 * number is lost gets another; one without its checkpoint is new under its number; if the pending
 * version is lost, nothing is pending, and what Convex has is unknown, so the next version is
 * written.
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/ahead.h"
#include "outbox/lanes.h"
#include "outbox/round.h"
#include "outbox/round_inside.h"
#include "outbox/verdicts.h"
#include "projection/gate.h"
#include "store/store.h"

bool round_is_id(struct slice id)
{
    return id.len > 0 && id.len <= STORE_MAX_KEY;
}

void round_take_off(uint64_t *total, uint64_t bytes)
{
    *total -= bytes < *total ? bytes : *total;
}

/* The number of a known document is lost.  It gets another at once, so that it does not look new.
 */
static enum err renumber(struct round *r, struct slice id, uint64_t *document)
{
    *document = r->counters.next_document++;
    r->head.len = 0;
    record_put_id(&r->head, id, *document);
    return round_wrote(r, store_put(r->store, STORE_IDS, id, buf_view(&r->head)));
}

enum err round_number_of(struct round *r, struct slice id, uint64_t *document)
{
    struct slice value;
    struct fault fault;

    *document = 0;
    if (!round_is_id(id))
        return ERR_NOT_FOUND;
    enum err e = round_check(r, store_get(r->store, STORE_IDS, id, &value));
    if (e != ERR_OK || record_get_id(id, value, document, &fault) == ERR_OK)
        return e;
    e = round_damaged(r, STORE_IDS, id, &fault);
    return e == ERR_NOT_FOUND ? renumber(r, id, document) : e;
}

enum err round_pending(struct round *r, const struct checkpoint *cp, struct pending *p)
{
    return round_pending_at(r, cp->pending_no, p);
}

enum err round_each_pending(struct round *r, uint64_t after,
                            bool (*visit)(void *arg, const struct pending *p), void *arg)
{
    struct slice key, value;
    struct fault fault;
    struct pending p;

    for (;;) {
        enum err e = round_next_pending(r, after + 1, &key, &value);
        if (e != ERR_OK)
            return e == ERR_NOT_FOUND ? ERR_OK : e;
        after = lane_arrival(lanes_no(key));
        if (record_get_pending(key, value, &p, &fault) == ERR_OK && !visit(arg, &p))
            return ERR_OK;
    }
}

enum err round_pending_at(struct round *r, uint64_t no, struct pending *p)
{
    struct slice key = slice_of(&no, sizeof no), value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_PENDING, key, &value));

    if (e == ERR_OK && record_get_pending(key, value, p, &fault) != ERR_OK)
        e = round_damaged(r, STORE_PENDING, key, &fault);
    return e;
}

/* A copy of ${s} in loaded_past, which has been reserved and does not move. */
static struct slice keep_past(struct round *r, struct slice s)
{
    size_t at = r->loaded_past.len;

    buf_slice(&r->loaded_past, s);
    return slice_of(r->loaded_past.data + at, s.len);
}

/* Take what ${p} says instead of the checkpoint. */
static void take_past(struct round *r, struct checkpoint_record *c, const struct pending *p)
{
    r->loaded_past.len = 0;
    buf_reserve(&r->loaded_past, p->kind.len + p->fold.len + p->recent.len);
    c->cp.kind = keep_past(r, p->kind);
    c->cp.fold = keep_past(r, p->fold);
    c->cp.recent = keep_past(r, p->recent);
    c->cp.last_projected_us = p->version.projected_at_us;
}

/* Load the pending version that ${c} names; if it is missing, it is lost, and ${c} says so. */
static enum err load_pending(struct round *r, struct checkpoint_record *c)
{
    struct checkpoint *cp = &c->cp;
    struct pending p = {0};
    enum err e = round_pending(r, cp, &p);

    if (e == ERR_STORE)
        return e;
    if (e != ERR_OK || p.document != cp->document) {
        cp->has_pending = false;
        cp->pending_no = 0;
        c->is_ahead = false;
        c->reset_revision = r->counters.next_revision;
        return ERR_OK;
    }
    if (c->is_ahead)
        take_past(r, c, &p);
    cp->pending = p.version;
    memcpy(r->loaded_version, p.version.version.data, p.version.version.len);
    cp->pending.version = slice_of(r->loaded_version, p.version.version.len);
    c->pending_bytes = p.json.len;
    c->pending_kept_at_us = p.kept_at_us;
    c->pending_origin = p.origin;
    return ERR_OK;
}

static void find_ahead(const struct round *r, struct checkpoint_record *c)
{
    uint64_t no = c->cp.has_pending ? 0 : ahead_find(r->ahead, c->cp.document);

    if (no == 0)
        return;
    c->cp.has_pending = true;
    c->cp.pending_no = no;
    c->is_ahead = true;
}

static enum err load(struct round *r, uint64_t document, struct slice id,
                     struct checkpoint_record *c)
{
    struct slice key = slice_of(&document, sizeof document), value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_CHECKPOINTS, key, &value));

    *c = (struct checkpoint_record){0};
    if (e == ERR_OK) {
        r->loaded.len = 0;
        buf_slice(&r->loaded, value);
        e = record_get_checkpoint(key, buf_view(&r->loaded), c, &fault);
        if (e == ERR_OK && !slice_eq(c->id, id))
            e = fault_fail(&fault, ERR_STORE, "checkpoints", "it is of another document");
        if (e != ERR_OK)
            e = round_damaged(r, STORE_CHECKPOINTS, key, &fault);
    }
    if (e == ERR_OK) {
        c->is_stored = true;
        find_ahead(r, c);
    }
    if (e == ERR_OK && c->cp.has_pending)
        e = load_pending(r, c);
    if (e != ERR_OK)
        *c = (struct checkpoint_record){.cp = {.document = document}};
    return e;
}

static enum err give_loaded(struct round *r, struct checkpoint_record *c)
{
    *c = r->loaded_record;
    return r->loaded_err;
}

static bool is_at_hand(const struct round *r, struct slice id)
{
    return r->is_loaded && slice_eq(buf_view(&r->loaded_id), id);
}

enum err round_load_numbered(struct round *r, uint64_t document, struct slice id,
                             struct checkpoint_record *c)
{
    if (!is_at_hand(r, id) || r->loaded_record.cp.document != document) {
        r->loaded_id.len = 0;
        buf_slice(&r->loaded_id, id); /* it may borrow the store, which may be changed */
        r->loaded_err = load(r, document, buf_view(&r->loaded_id), &r->loaded_record);
        r->is_loaded = true;
    }
    return give_loaded(r, c);
}

enum err round_load(struct round *r, struct slice id, struct checkpoint_record *c)
{
    uint64_t document;

    if (is_at_hand(r, id))
        return give_loaded(r, c);
    enum err e = round_number_of(r, id, &document);
    *c = (struct checkpoint_record){0};
    return e == ERR_OK ? round_load_numbered(r, document, id, c) : e;
}

/* Make the record of ${c}, for write_checkpoint; a document without a number gets one.  Returns
 * whether it had none. */
static bool make_checkpoint(struct round *r, struct slice id, struct checkpoint_record *c)
{
    bool is_first = c->cp.document == 0;

    if (is_first)
        c->cp.document = r->counters.next_document++;
    c->id = id;
    r->head.len = 0;
    record_put_checkpoint(&r->head, c);
    return is_first;
}

static enum err write_checkpoint(struct round *r, struct slice id, uint64_t document, bool is_first)
{
    struct slice key = slice_of(&document, sizeof document);

    ahead_drop(r->ahead, document);
    if (!is_first)
        return store_put(r->store, STORE_CHECKPOINTS, key, buf_view(&r->head));
    enum err e = store_append(r->store, STORE_CHECKPOINTS, key, buf_view(&r->head));
    r->head.len = 0;
    record_put_id(&r->head, id, document);
    return e == ERR_OK ? store_put(r->store, STORE_IDS, id, buf_view(&r->head)) : e;
}

enum err round_save(struct round *r, struct slice id, struct checkpoint_record *c)
{
    bool is_first = make_checkpoint(r, id, c);

    return round_wrote(r, write_checkpoint(r, id, c->cp.document, is_first));
}

/* A live version of a document pending in the bulk lane moves it to the live lane, with its arrival
 * number. */
static enum err move_to_live(struct round *r, const struct pending *p)
{
    uint64_t was = lane_arrival(p->no);

    if (r->tally.moved_no == 0 || p->no < r->tally.moved_no)
        r->tally.moved_no = p->no;
    return store_del(r->store, STORE_PENDING, slice_of(&was, sizeof was));
}

/* New live versions are appended to the table. */
static enum err write_pending(struct round *r, uint64_t no, bool is_new)
{
    struct slice key = slice_of(&no, sizeof no);

    return is_new && no >= LANE_LIVE
               ? store_append(r->store, STORE_PENDING, key, buf_view(&r->body))
               : store_put(r->store, STORE_PENDING, key, buf_view(&r->body));
}

static bool is_healing(const struct checkpoint_record *c)
{
    return c->cp.has_pending && c->pending_origin == ORIGIN_HEALED;
}

enum err round_keep(struct round *r, struct pending *p, struct checkpoint_record *c)
{
    bool is_new = !c->cp.has_pending;
    bool moves = !is_new && c->cp.pending_no < LANE_LIVE && lane_of(p->origin) == LANE_LIVE;
    enum err e = gate_version(p->id, p->kind, p->version.op == OUTBOX_REMOVE, p->json,
                              p->version.projected_at_us, &r->fault);

    if (e != ERR_OK)
        return e;
    p->no = is_new  ? lane_of(p->origin) | r->counters.next_no++
            : moves ? c->cp.pending_no | LANE_LIVE
                    : c->cp.pending_no;
    p->version.revision = r->counters.next_revision++;
    p->kept_at_us = is_new ? r->now_us : c->pending_kept_at_us;
    round_take_off(&r->counters.pending_bytes, c->pending_bytes);
    r->counters.pending_bytes += p->json.len;
    r->tally.healing += (p->origin == ORIGIN_HEALED) - is_healing(c);
    c->cp.has_pending = true;
    c->cp.pending_no = p->no;
    c->cp.pending = p->version;
    c->pending_bytes = p->json.len;
    c->pending_kept_at_us = p->kept_at_us;
    c->pending_origin = p->origin;
    r->tally.brought_work = true;
    r->tally.meets_verdict |= !is_new && verdicts_has(r->verdicts, c->cp.document);

    /* ${p} may borrow the store: both records are made before the first is written. */
    p->is_ahead = round_may_be_ahead(r, p, c, is_new);
    bool is_first = !p->is_ahead && make_checkpoint(r, p->id, c);
    p->document = c->cp.document;
    p->fold = c->cp.fold;
    p->recent = c->cp.recent;
    r->body.len = 0;
    record_put_pending(&r->body, p);
    if (moves)
        e = move_to_live(r, p);
    if (e == ERR_OK)
        e = write_pending(r, p->no, is_new);
    if (e == ERR_OK && !p->is_ahead)
        e = write_checkpoint(r, p->id, p->document, is_first);
    else if (e == ERR_OK && is_new)
        ahead_add(r->ahead, p->document, p->no);
    return round_wrote(r, e);
}

enum err round_unkeep(struct round *r, struct checkpoint_record *c)
{
    uint64_t no = c->cp.pending_no;
    enum err e = store_del(r->store, STORE_PENDING, slice_of(&no, sizeof no));

    round_take_off(&r->counters.pending_bytes, c->pending_bytes);
    r->tally.healing -= is_healing(c);
    c->cp.has_pending = false;
    c->cp.pending_no = 0;
    c->pending_bytes = 0;
    c->pending_kept_at_us = 0;
    return e == ERR_NOT_FOUND ? ERR_OK : round_wrote(r, e);
}
