/*
 * migrate_down.c - the records of format 2 as those of format 1.
 *
 * The happy path: checkpoints are put under their ids; then each pending version is put under a
 * number of its own, the live ones before the others, and into its checkpoint, as format 1 has it;
 * then the dead letters.  What format 1 does not have is lost: lanes, marks, next tries, optional
 * members. A checkpoint in doubt becomes one that format 1 does not believe, either.
 *
 * What can go wrong: a record cannot be read: it is left out, stays in the store that is kept, and
 * is named.  Two pending versions of a document, after damage: the newer is taken.
 */

#include "ground/log.h"
#include "store/format.h"
#include "store/migrate_inside.h"
#include "store/record_1.h"
#include "store/store.h"

static void leave_behind(struct migration *m, const struct survey_entry *e, const char *why)
{
    char place[256], quoted[600];

    m->report->quarantined++;
    record_key_text(e->table, e->key, place);
    log_event(LOG_WARNING, "store.left_behind", "record=%s why=\"%s\"",
              log_quote(slice_str(place), quoted, sizeof quoted), why);
}

static void take_meta(struct migration *m, const struct survey_entry *e)
{
    struct counters c;
    struct destination d;
    struct fault fault = {0};

    if (slice_is(e->key, "counters")) {
        if (record_get_counters(e->value, &c, &fault) != ERR_OK) {
            snprintf(m->damage, sizeof m->damage, "meta/counters: %.120s", fault.why);
            return;
        }
        migrate_note(&m->counters.next_no, c.next_no - 1);
        migrate_note(&m->counters.next_revision, c.next_revision - 1);
    } else if (slice_is(e->key, "destination")) {
        bool is_known = record_get_destination(e->value, &d, &fault) == ERR_OK;
        m->sink.len = 0;
        buf_slice(&m->sink, is_known ? d.sink : slice_str("http"));
    } else if (slice_is(e->key, "doubt")) {
        m->has_doubt = true;
        if (record_get_doubt(e->value, &m->doubt, &fault) != ERR_OK)
            m->doubt = (struct doubt){.to = UINT64_MAX};
    }
}

/* The checkpoint in the new store; if missing, all zero. */
static bool load(struct migration *m, struct slice id, struct checkpoint_record *c)
{
    struct slice value;
    struct fault fault;

    *c = (struct checkpoint_record){0};
    if (m->failed != ERR_OK || !migrate_good(m, store_get(m->to, STORE_CHECKPOINTS, id, &value)))
        return false;
    m->other.len = 0;
    buf_slice(&m->other, value);
    PRE(record_1_get_checkpoint(id, buf_view(&m->other), c, &fault) == ERR_OK); /* ours */
    return true;
}

static void save(struct migration *m, struct slice id, const struct checkpoint_record *c)
{
    m->record.len = 0;
    record_1_put_checkpoint(&m->record, c);
    migrate_put(m, STORE_CHECKPOINTS, id, false);
}

static bool is_doubtful(const struct migration *m, const struct checkpoint *cp)
{
    return m->has_doubt && cp->has_delivered && cp->delivered_mark >= m->doubt.from &&
           cp->delivered_mark <= m->doubt.to;
}

static void take_checkpoint(struct migration *m, const struct survey_entry *e)
{
    struct checkpoint_record c, twin;
    struct fault fault = {0};

    if (record_get_checkpoint(e->key, e->value, &c, &fault) != ERR_OK) {
        leave_behind(m, e, fault.why);
        return;
    }
    if (c.cp.has_delivered)
        migrate_note(&m->counters.next_revision, c.cp.delivered.revision);
    if (c.reset_revision > 0)
        migrate_note(&m->counters.next_revision, c.reset_revision - 1);
    if (c.reset_revision == 0 && is_doubtful(m, &c.cp))
        c.reset_revision = m->counters.next_revision;
    /* Two of one document, whose id was damaged and got another number: the newer is taken.
     */
    if (load(m, c.id, &twin)) {
        m->overtaken++;
        if (twin.cp.last_projected_us > c.cp.last_projected_us)
            return;
    } else {
        m->report->checkpoints++;
    }
    c.cp.has_pending = false; /* take_pending says what is */
    c.cp.pending_no = 0;
    c.cp.is_dead = false; /* take_dead does */
    save(m, c.id, &c);
}

/* Whether ${p} is the newest pending version of its document; any other is left out. */
static bool is_newest(struct migration *m, const struct pending *p,
                      const struct checkpoint_record *c)
{
    uint64_t no = c->cp.pending_no;

    if (!c->cp.has_pending)
        return true;
    m->overtaken++;
    if (c->cp.pending.revision > p->version.revision)
        return false;
    migrate_good(m, store_del(m->to, STORE_PENDING, slice_of(&no, sizeof no)));
    m->counters.pending_bytes -= c->pending_bytes;
    m->report->pending--;
    return m->failed == ERR_OK;
}

static void take_pending(struct migration *m, const struct survey_entry *e)
{
    struct pending p;
    struct checkpoint_record c;
    struct fault fault = {0};

    if (record_get_pending(e->key, e->value, &p, &fault) != ERR_OK) {
        leave_behind(m, e, fault.why);
        return;
    }
    migrate_note(&m->counters.next_no, lane_arrival(p.no));
    migrate_note(&m->counters.next_revision, p.version.revision);
    if (!load(m, p.id, &c)) {
        c.cp.kind = p.kind;
        c.cp.last_projected_us = p.version.projected_at_us;
        c.reset_revision = p.version.reset ? p.version.revision : 0;
        m->report->checkpoints++;
        m->made++;
    }
    if (!is_newest(m, &p, &c))
        return;
    if (p.is_ahead && p.version.projected_at_us > c.cp.last_projected_us) {
        c.cp.kind = p.kind;
        c.cp.fold = p.fold;
        c.cp.last_projected_us = p.version.projected_at_us;
    }
    /* Live ones keep their arrival; the others come after all of them. */
    p.no = p.no >= LANE_LIVE ? lane_arrival(p.no) : m->counters.next_no + p.no;
    c.cp.has_pending = true;
    c.cp.pending_no = p.no;
    c.cp.pending = p.version;
    c.pending_bytes = p.json.len;
    c.pending_kept_at_us = p.kept_at_us;
    save(m, p.id, &c);
    m->record.len = 0;
    record_1_put_pending(&m->record, &p);
    migrate_put_numbered(m, STORE_PENDING, p.no, false);
    m->counters.pending_bytes += p.json.len;
    m->report->pending++;
}

static void take_dead(struct migration *m, const struct survey_entry *e)
{
    struct dead_letter d;
    struct checkpoint_record c;
    struct fault fault = {0};

    if (record_get_dead(e->key, e->value, &d, &fault) != ERR_OK) {
        leave_behind(m, e, fault.why);
        return;
    }
    migrate_note(&m->counters.next_revision, d.version.revision);
    if (!load(m, d.id, &c)) {
        c.cp.kind = d.kind;
        c.cp.last_projected_us = d.version.projected_at_us;
        m->report->checkpoints++;
        m->made++;
    }
    if (c.cp.is_dead) { /* under the number it had before */
        m->overtaken++;
        return;
    }
    c.cp.is_dead = true;
    save(m, d.id, &c);
    m->record.len = 0;
    record_1_put_dead(&m->record, &d);
    migrate_put(m, STORE_DEAD, d.id, false);
    m->counters.dead_bytes += d.json.len;
    m->report->dead++;
}

static void take_quarantined(struct migration *m, const struct survey_entry *e)
{
    struct quarantined q;
    struct fault fault = {0};
    char why[RECORD_MAX_WHY + 1] = "";

    if (record_get_quarantined(e->key, e->value, &q, &fault) == ERR_OK)
        snprintf(why, sizeof why, "%.*s", SLICE_ARG(q.why));
    leave_behind(m, e, why);
}

void migrate_down_entry(struct migration *m, const struct survey_entry *e)
{
    if (e->table == STORE_META)
        take_meta(m, e);
    else if (e->table == STORE_QUARANTINE)
        take_quarantined(m, e);
    else if (e->table == STORE_CHECKPOINTS)
        take_checkpoint(m, e);
    else if (e->table == STORE_PENDING)
        take_pending(m, e);
    else if (e->table == STORE_DEAD)
        take_dead(m, e);
}

void migrate_down_end(struct migration *m)
{
    m->counters.next_no *= 2; /* versions of the bulk lane have numbers up to that */
    m->record.len = 0;
    record_1_put_counters(&m->record, &m->counters);
    migrate_put(m, STORE_META, slice_str("counters"), false);
    m->record.len = 0;
    buf_slice(&m->record, buf_view(&m->sink));
    if (m->sink.len > 0)
        migrate_put(m, STORE_META, slice_str(RECORD_1_SINK), false);
    if (m->failed == ERR_OK)
        migrate_good(m, format_put(m->to, 1));
}
