/*
 * salvage_into.c - the new store of a salvage: writes records to it, and looks them up.
 *
 * The happy path: records are written as they are met, with new numbers, and the store is
 * committed every few megabytes.  What can go wrong: it fails; the first failure is remembered,
 * and nothing is written after it.  What cannot be read becomes a line of the quarantine file.
 *
 * Offline, one thread.
 */

#include "store_tools/salvage_inside.h"

#include "ground/log.h"
#include "store/format.h"
#include "store/kept_for.h"
#include "store/record_1.h"
#include "store/store.h"
#include "store_tools/records.h"
#include "store_tools/store_dump.h"

#include <errno.h>
#include <stdarg.h>

#define COMMIT_BYTES ((size_t)8 << 20)

/* ---- the new store -------------------------------------------------------- */

/* Remember the first failure; whether ${e} is ERR_OK. */
bool salvage_good(struct salvager *s, enum err e)
{
    if (e == ERR_STORE && s->failed == ERR_OK)
        s->failed = e;
    return e == ERR_OK;
}

void salvage_put(struct salvager *s, enum store_table t, struct slice key)
{
    if (s->failed != ERR_OK)
        return;
    s->uncommitted += s->record.len;
    if (salvage_good(s, store_put(s->to, t, key, buf_view(&s->record))) &&
        s->uncommitted > COMMIT_BYTES) {
        s->uncommitted = 0;
        if (salvage_good(s, store_commit(s->to)))
            salvage_good(s, store_begin(s->to));
    }
}

void salvage_put_numbered(struct salvager *s, enum store_table t, uint64_t number)
{
    salvage_put(s, t, slice_of(&number, sizeof number));
}

/* The number that ${id} has in the new store; 0: none yet. */
uint64_t salvage_number_of(struct salvager *s, struct slice id)
{
    struct slice value;
    struct fault fault;
    uint64_t document = 0;

    if (s->failed == ERR_OK && salvage_good(s, store_get(s->to, STORE_IDS, id, &value)))
        PRE(record_get_id(id, value, &document, &fault) == ERR_OK); /* ours */
    return document;
}

uint64_t salvage_give_number(struct salvager *s, struct slice id)
{
    uint64_t document = salvage_number_of(s, id);

    if (document != 0)
        return document;
    document = s->counters.next_document++;
    s->record.len = 0;
    record_put_id(&s->record, id, document);
    salvage_put(s, STORE_IDS, id);
    return document;
}

bool salvage_has_pending(struct salvager *s, uint64_t no, struct pending *p)
{
    struct slice key = slice_of(&no, sizeof no), value;
    struct fault fault;

    return s->failed == ERR_OK && salvage_good(s, store_get(s->to, STORE_PENDING, key, &value)) &&
           record_get_pending(key, value, p, &fault) == ERR_OK;
}

/* The pending version of ${c}, if it is in the new store. */
static void load_link(struct salvager *s, struct checkpoint_record *c)
{
    struct pending p;

    if (!c->cp.has_pending || !salvage_has_pending(s, c->cp.pending_no, &p) ||
        p.document != c->cp.document)
        return;
    c->cp.pending = p.version;
    memcpy(s->loaded_version, p.version.version.data, p.version.version.len);
    c->cp.pending.version = slice_of(s->loaded_version, p.version.version.len);
    c->pending_bytes = p.json.len;
    c->pending_kept_at_us = p.kept_at_us;
}

bool salvage_load(struct salvager *s, struct slice id, struct checkpoint_record *c)
{
    uint64_t document = salvage_number_of(s, id);
    struct slice key = slice_of(&document, sizeof document), value;
    struct fault fault;

    *c = (struct checkpoint_record){0};
    if (document == 0 || s->failed != ERR_OK ||
        !salvage_good(s, store_get(s->to, STORE_CHECKPOINTS, key, &value)))
        return false;
    s->loaded.len = 0;
    buf_slice(&s->loaded, value);
    PRE(record_get_checkpoint(key, buf_view(&s->loaded), c, &fault) == ERR_OK); /* ours */
    load_link(s, c);
    return true;
}

void salvage_save(struct salvager *s, struct slice id, struct checkpoint_record *c)
{
    c->cp.document = salvage_give_number(s, id);
    c->id = id;
    s->record.len = 0;
    record_put_checkpoint(&s->record, c);
    salvage_put_numbered(s, STORE_CHECKPOINTS, c->cp.document);
}

bool salvage_has_letter(struct salvager *s, struct slice id)
{
    uint64_t document = salvage_number_of(s, id);
    struct slice value;

    return s->failed == ERR_OK &&
           salvage_good(s,
                        store_get(s->to, STORE_DEAD, slice_of(&document, sizeof document), &value));
}

void salvage_note(uint64_t *next, uint64_t used)
{
    if (used >= *next && used < UINT64_MAX)
        *next = used + 1;
}

/* ---- what is left out ----------------------------------------------------- */

void salvage_quarantine(struct salvager *s, const char *table, struct slice key, const char *why,
                        struct slice bytes)
{
    s->report->quarantined++;
    s->line.len = 0;
    store_dump_damaged(&s->line, table, key, why, bytes);
    if (s->bad == 0 && fwrite(s->line.data, 1, s->line.len, s->quarantine) != s->line.len)
        s->bad = errno;
}

void salvage_tell(struct salvager *s, struct slice id, const char *fmt, ...)
{
    char text[640], quoted[400];
    va_list args;

    int n = snprintf(text, sizeof text, "%s: ", log_quote(id, quoted, sizeof quoted));
    va_start(args, fmt);
    vsnprintf(text + n, sizeof text - (size_t)n, fmt, args);
    va_end(args);
    s->say(s->arg, text);
}

/* ---- meta and quarantine -------------------------------------------------- */

static void take_counters(struct salvager *s, struct slice key, struct slice value)
{
    struct counters c;
    struct fault fault = {0};

    if (records_get_counters(s->format, value, &c, &fault) != ERR_OK) {
        salvage_quarantine(s, "meta", key, fault.why, value);
        return;
    }
    salvage_note(&s->counters.next_no, c.next_no - 1);
    salvage_note(&s->counters.next_revision, c.next_revision - 1);
    salvage_note(&s->counters.next_quarantine, c.next_quarantine - 1);
}

/* Without it: another store id, and the sink that loses nothing (put_meta). */
static void take_destination(struct salvager *s, struct slice key, struct slice value)
{
    struct fault fault = {0};

    s->where.len = 0;
    buf_slice(&s->where, value);
    if (record_get_destination(buf_view(&s->where), &s->destination, &fault) != ERR_OK) {
        salvage_quarantine(s, "meta", key, fault.why, value);
        return;
    }
    s->has_destination = true;
    if (s->destination.sink.len > 0 && !kept_for_is_name(s->destination.sink))
        s->destination.sink = slice_str("http");
}

static void take_sink_of_1(struct salvager *s, struct slice value)
{
    s->where.len = 0;
    buf_slice(&s->where, kept_for_is_name(value) ? value : slice_str("http"));
    s->destination = (struct destination){.sink = buf_view(&s->where), .address = slice_str("")};
    s->destination.deployment = s->destination.tail = slice_str("");
    format_new_store_id(s->destination.store_id);
    s->has_destination = true;
}

/* The tables of this record, as it is, if it can be read. */
static void take_as_it_is(struct salvager *s, enum store_table t, struct slice key,
                          struct slice value, bool is_sound, const struct fault *fault)
{
    if (!is_sound) {
        salvage_quarantine(s, store_table_name(t), key, fault->why, value);
        return;
    }
    s->record.len = 0;
    buf_slice(&s->record, value);
    salvage_put(s, t, key);
}

void salvage_take_meta(struct salvager *s, struct slice key, struct slice value)
{
    struct fault fault = {0};
    struct doubt doubt;

    if (s->format == 1 && slice_is(key, RECORD_1_SINK))
        take_sink_of_1(s, value);
    else if (s->format != 1 && slice_is(key, "destination"))
        take_destination(s, key, value);
    else if (s->format != 1 && slice_is(key, "doubt"))
        take_as_it_is(s, STORE_META, key, value, record_get_doubt(value, &doubt, &fault) == ERR_OK,
                      &fault);
    else if (slice_is(key, "counters"))
        take_counters(s, key, value);
}

void salvage_take_quarantined(struct salvager *s, struct slice key, struct slice value)
{
    struct quarantined q;
    struct fault fault = {0};
    bool is_sound = record_get_quarantined(key, value, &q, &fault) == ERR_OK;

    if (is_sound)
        salvage_note(&s->counters.next_quarantine, q.no);
    take_as_it_is(s, STORE_QUARANTINE, key, value, is_sound, &fault);
}

void salvage_put_meta(struct salvager *s)
{
    struct destination *d = &s->destination;

    if (!s->has_destination) {
        *d = (struct destination){.sink = slice_str("http"), .address = slice_str("")};
        d->deployment = d->tail = slice_str("");
        format_new_store_id(d->store_id);
    }
    if (s->failed == ERR_OK)
        salvage_good(s, format_put_counters(s->to, &s->counters));
    if (s->failed == ERR_OK)
        salvage_good(s, format_put_destination(s->to, d));
    if (s->failed == ERR_OK)
        salvage_good(s, format_put(s->to, STORE_FORMAT));
}
