/*
 * round_ahead.c - pending versions that replace their checkpoint, within a round.
 *
 * The happy path: a further version of a known document is ahead of its checkpoint: it carries the
 * fold, and its projected_at_us is later than the checkpoint's last_projected_us.  So the
 * round that keeps the version does not write the checkpoint; the verdict does.
 *
 * The versions that are ahead are remembered (ahead.c); the counters say where the oldest is, so
 * that after a crash only pending versions from there on are read.  To bound that, the checkpoint
 * of one that is pending for long is written after all; at the end all of them are, so that an
 * older program finds nothing new.
 *
 * What can go wrong: the round fails: the table is rebuilt from what is committed.  The pending
 * version is damaged: it is handled as one that a checkpoint names (round_load.c), and the fold is
 * that of the checkpoint.
 *
 * Runs on the store thread only.
 */

#include "outbox/ahead.h"
#include "outbox/lanes.h"
#include "outbox/round.h"
#include "outbox/round_inside.h"
#include "store/store.h"

#define PAST_MAX   2048  /* bytes that a pending version may carry for its checkpoint */
#define SPAN_MAX   32768 /* arrivals, from the oldest one that is ahead to the last */
#define NAMED_ONCE 256   /* in one round */

bool round_may_be_ahead(const struct round *r, const struct pending *p,
                        const struct checkpoint_record *c, bool is_new)
{
    bool has_room = is_new ? ahead_count(r->ahead) < AHEAD_MAX : c->is_ahead;

    return c->is_stored && has_room && p->origin == ORIGIN_LIVE && p->no >= LANE_LIVE &&
           p->version.op == OUTBOX_UPSERT && !p->version.reset && c->reset_revision == 0 &&
           c->cp.fold.len + c->cp.recent.len <= PAST_MAX;
}

/* ---- after a crash ----------------------------------------------------------------- */

/* Whether ${p} has a checkpoint that does not name it. */
static enum err is_behind(struct round *r, const struct pending *p, bool is_damaged, bool *yes)
{
    struct slice key = slice_of(&p->document, sizeof p->document), value;
    struct checkpoint_record c;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_CHECKPOINTS, key, &value));

    *yes = e == ERR_OK && record_get_checkpoint(key, value, &c, &fault) == ERR_OK &&
           !c.cp.has_pending &&
           (is_damaged ||
            (slice_eq(c.id, p->id) && p->version.projected_at_us > c.cp.last_projected_us));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* A damaged version is remembered, too: the next read of its document finds that it is lost. */
static enum err read_one(struct round *r, struct slice key, struct slice value)
{
    struct pending p;
    struct fault fault;
    bool is_damaged = record_get_pending(key, value, &p, &fault) != ERR_OK, yes = false;

    if (is_damaged)
        record_pending_owner(value, &p.document, &p.id);
    enum err e = is_damaged || p.is_ahead ? is_behind(r, &p, is_damaged, &yes) : ERR_OK;
    if (e == ERR_OK && yes && ahead_find(r->ahead, p.document) == 0)
        ahead_add(r->ahead, p.document, lanes_no(key));
    return e;
}

enum err round_read_ahead(struct round *r)
{
    uint64_t no = LANE_LIVE | r->counters.ahead_from;
    struct slice key = slice_of(&no, sizeof no), value;
    enum err e = r->counters.ahead_from == 0 ? ERR_NOT_FOUND : ERR_OK;

    ahead_clear(r->ahead);
    for (bool is_after = false; e == ERR_OK; is_after = true) {
        e = round_check(r, store_seek(r->store, STORE_PENDING, key, is_after, &key, &value));
        if (e != ERR_OK)
            break;
        no = lanes_no(key);
        key = slice_of(&no, sizeof no);
        e = read_one(r, key, value);
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* ---- checkpoints written after all ----------------------------------------------------- */

/* Write the checkpoint of the oldest. */
static enum err name_oldest(struct round *r)
{
    struct checkpoint_record c;
    struct pending p;
    uint64_t no = ahead_oldest(r->ahead);
    enum err e = round_pending_at(r, no, &p);

    if (e == ERR_OK)
        e = round_load_numbered(r, p.document, p.id, &c);
    if (e == ERR_OK)
        e = round_save(r, c.id, &c);
    if (r->failed)
        return e;
    if (ahead_oldest(r->ahead) == no)
        ahead_drop_oldest(r->ahead); /* the version or its checkpoint is damaged */
    return ERR_OK;
}

static bool is_too_old(const struct round *r)
{
    uint64_t oldest = ahead_oldest(r->ahead);

    return oldest != 0 && (lane_arrival(oldest) + SPAN_MAX < r->counters.next_no ||
                           ahead_count(r->ahead) > AHEAD_MAX / 4 * 3);
}

enum err round_end_ahead(struct round *r)
{
    enum err e = ERR_OK;

    for (int i = 0; i < NAMED_ONCE && e == ERR_OK && is_too_old(r); i++)
        e = name_oldest(r);
    r->counters.ahead_from = lane_arrival(ahead_oldest(r->ahead));
    return e;
}

enum err round_name_all(struct round *r)
{
    enum err e = ERR_OK;

    while (e == ERR_OK && ahead_count(r->ahead) > 0)
        e = name_oldest(r);
    return e;
}
