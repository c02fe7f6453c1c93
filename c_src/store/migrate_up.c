/*
 * migrate_up.c - the records of format 1 as those of format 2.
 *
 * The happy path: each checkpoint gets the next number, in the order of ids, so that ids,
 * checkpoints and pending versions are appended.  Versions and revisions do not change; pending
 * versions go to the live lane, in their order; marks are unknown.
 *
 * What can go wrong: a record cannot be read, or its hash is not that of its document: it goes to
 * quarantine; its checkpoint has another kind or time: the likelier one is kept; or a version or
 * letter has no checkpoint: it gets one that has no other facts.
 */

#include "ground/log.h"
#include "store/format.h"
#include "store/migrate_inside.h"
#include "store/record_1.h"
#include "store/store.h"

#define LOGGED_MAX   100 /* damaged records named in the log */
#define NOT_ITS_HASH "the document is not what its hash says"

static void log_record(const char *event, const struct survey_entry *e, const char *why)
{
    char place[256], quoted[600], reason[300];

    if (store_table_is_numbered(e->table, 1))
        record_key_text(e->table, e->key, place);
    else
        snprintf(place, sizeof place, "%s/%.*s", store_table_name(e->table), SLICE_ARG(e->key));
    log_event(LOG_ERROR, event, "record=%s why=%s",
              log_quote(slice_str(place), quoted, sizeof quoted),
              log_quote(slice_str(why), reason, sizeof reason));
}

static void quarantine(struct migration *m, const struct survey_entry *e, const char *why)
{
    struct quarantined q = {.no = m->counters.next_quarantine++,
                            .table = e->table,
                            .key = e->key,
                            .value = e->value,
                            .why = slice_of(why, strnlen(why, RECORD_MAX_WHY)),
                            .at_us = m->began_us,
                            .tail = slice_str("")};

    if (m->report->quarantined++ < LOGGED_MAX)
        log_record("store.record_damaged", e, why);
    m->record.len = 0;
    record_put_quarantined(&m->record, &q);
    migrate_put_numbered(m, STORE_QUARANTINE, q.no, true);
}

static void put_id(struct migration *m, struct slice id, uint64_t document, bool is_last)
{
    m->record.len = 0;
    record_put_id(&m->record, id, document);
    migrate_put(m, STORE_IDS, id, is_last);
}

static void put_checkpoint(struct migration *m, const struct checkpoint_record *c, bool is_last)
{
    m->record.len = 0;
    record_put_checkpoint(&m->record, c);
    migrate_put_numbered(m, STORE_CHECKPOINTS, c->cp.document, is_last);
}

static void take_meta(struct migration *m, const struct survey_entry *e)
{
    struct counters c;
    struct fault fault = {0};

    if (slice_is(e->key, RECORD_1_SINK)) {
        m->sink.len = 0;
        buf_slice(&m->sink, e->value);
    } else if (slice_is(e->key, "counters")) {
        if (record_1_get_counters(e->value, &c, &fault) != ERR_OK) {
            quarantine(m, e, fault.why);
            return;
        }
        migrate_note(&m->counters.next_no, c.next_no - 1);
        migrate_note(&m->counters.next_revision, c.next_revision - 1);
    }
}

static void note_version(struct migration *m, bool is_there, const struct outbox_version *v)
{
    if (is_there)
        migrate_note(&m->counters.next_revision, v->revision);
}

static void take_checkpoint(struct migration *m, const struct survey_entry *e)
{
    struct checkpoint_record c;
    struct fault fault = {0};

    if (record_1_get_checkpoint(e->key, e->value, &c, &fault) != ERR_OK) {
        quarantine(m, e, fault.why);
        return;
    }
    note_version(m, c.cp.has_pending, &c.cp.pending);
    note_version(m, c.cp.has_delivered, &c.cp.delivered);
    if (c.reset_revision > 0)
        migrate_note(&m->counters.next_revision, c.reset_revision - 1);
    c.cp.document = m->counters.next_document++;
    if (c.cp.has_pending)
        owners_note(&m->owners, c.cp.pending_no, c.id);
    c.cp.pending_no |= c.cp.has_pending ? LANE_LIVE : 0;
    m->report->checkpoints++;
    put_id(m, c.id, c.cp.document, true);
    put_checkpoint(m, &c, true);
}

/* The number of ${id}; ${c}, filled in for it, becomes its checkpoint if it has none. */
static uint64_t number_of(struct migration *m, struct slice id, struct checkpoint_record *c)
{
    struct slice value;
    struct fault fault;
    uint64_t document = 0;

    if (m->failed == ERR_OK && migrate_good(m, store_get(m->to, STORE_IDS, id, &value)))
        PRE(record_get_id(id, value, &document, &fault) == ERR_OK); /* ours */
    if (document != 0 || m->failed != ERR_OK)
        return document;
    c->id = id;
    c->cp.document = m->counters.next_document++;
    m->report->checkpoints++;
    m->made++;
    put_id(m, id, c->cp.document, false);
    put_checkpoint(m, c, true);
    return c->cp.document;
}

/* A pending version must agree with its checkpoint in kind and time. */
static void agree(struct migration *m, const struct survey_entry *e, struct pending *p)
{
    struct checkpoint_record c;
    struct slice key = slice_of(&p->document, sizeof p->document), value;
    struct fault fault;

    if (m->failed == ERR_OK && migrate_good(m, store_get(m->to, STORE_CHECKPOINTS, key, &value)) &&
        record_get_checkpoint(key, value, &c, &fault) == ERR_OK &&
        !record_1_agree(p, c.cp.kind, c.cp.last_projected_us))
        log_record("store.record_mended", e,
                   "its checkpoint says another kind or time: the likelier one stays");
}

static bool is_document(const struct migration *m, const struct outbox_version *v,
                        struct slice json)
{
    return v->op == OUTBOX_REMOVE || m->wires == NULL || m->wires->is_document == NULL ||
           m->wires->is_document(json, v->hash);
}

static void take_pending(struct migration *m, const struct survey_entry *e)
{
    struct pending p;
    struct fault fault = {0};

    if (record_1_get_pending(e->key, e->value, &p, &fault) != ERR_OK) {
        quarantine(m, e, fault.why);
        return;
    }
    migrate_note(&m->counters.next_no, p.no);
    migrate_note(&m->counters.next_revision, p.version.revision);
    if (!is_document(m, &p.version, p.json)) {
        quarantine(m, e, NOT_ITS_HASH);
        return;
    }
    if (owners_deny(&m->owners, p.no, p.id, p.json)) {
        quarantine(m, e, "it belongs to another document, says that one's checkpoint");
        return;
    }
    p.no |= LANE_LIVE;
    struct checkpoint_record c = {.cp = {.has_pending = true,
                                         .pending_no = p.no,
                                         .kind = p.kind,
                                         .last_projected_us = p.version.projected_at_us},
                                  .reset_revision = p.version.reset ? p.version.revision : 0};
    p.document = number_of(m, p.id, &c);
    agree(m, e, &p);
    if (m->failed != ERR_OK)
        return;
    m->record.len = 0;
    record_put_pending(&m->record, &p);
    migrate_put_numbered(m, STORE_PENDING, p.no, true);
    m->counters.pending_bytes += p.json.len;
    m->report->pending++;
}

static void take_dead(struct migration *m, const struct survey_entry *e)
{
    struct dead_letter d;
    struct fault fault = {0};

    if (record_1_get_dead(e->key, e->value, &d, &fault) != ERR_OK) {
        quarantine(m, e, fault.why);
        return;
    }
    migrate_note(&m->counters.next_revision, d.version.revision);
    if (!is_document(m, &d.version, d.json)) {
        quarantine(m, e, NOT_ITS_HASH);
        return;
    }
    struct checkpoint_record c = {
        .cp = {.is_dead = true, .kind = d.kind, .last_projected_us = d.version.projected_at_us}};
    d.document = number_of(m, d.id, &c);
    if (m->failed != ERR_OK)
        return;
    m->record.len = 0;
    record_put_dead(&m->record, &d);
    migrate_put_numbered(m, STORE_DEAD, d.document, false);
    m->counters.dead_bytes += d.json.len;
    m->report->dead++;
}

void migrate_up_entry(struct migration *m, const struct survey_entry *e)
{
    if (e->table == STORE_META)
        take_meta(m, e);
    else if (e->table == STORE_CHECKPOINTS)
        take_checkpoint(m, e);
    else if (e->table == STORE_PENDING)
        take_pending(m, e);
    else if (e->table == STORE_DEAD)
        take_dead(m, e);
}

void migrate_up_end(struct migration *m)
{
    struct destination d = {.sink = buf_view(&m->sink),
                            .address = slice_str(""),
                            .deployment = slice_str(""),
                            .tail = slice_str("")};

    if (d.sink.len > RECORD_MAX_DEPLOYMENT)
        d.sink = slice_str("?"); /* an unknown sink: taken for the furthest (kept_for.c) */
    format_new_store_id(d.store_id);
    m->counters.tail = slice_str("");
    if (m->failed == ERR_OK)
        migrate_good(m, format_put_counters(m->to, &m->counters));
    if (m->failed == ERR_OK)
        migrate_good(m, format_put_destination(m->to, &d));
    if (m->failed == ERR_OK)
        migrate_good(m, format_put(m->to, STORE_FORMAT));
}
