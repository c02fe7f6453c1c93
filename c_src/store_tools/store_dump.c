/*
 * store_dump.c - records as lines of JSON, for people with grep and jq.
 *
 * The happy path: the tables are walked page by page (pages.c), each record is read and written as
 * one object; the document of a pending version or a dead letter is in it as it was kept.
 *
 * What can go wrong: a page or a record is damaged.  It becomes a line with "damaged", as far as
 * there are bytes with them, and the dump goes on.  A text that is not UTF-8, and a document that
 * does not match its hash, are written as {"$bytes": base64}.  If the output fails, the dump ends
 * there.
 *
 * Offline, one thread.
 */

#include "store_tools/store_dump.h"

#include "ground/hex.h"
#include "ground/time_text.h"
#include "json/json.h"
#include "store/format.h"
#include "store/kept.h"
#include "store/kept_for.h"
#include "store/survey.h"
#include "store/record_1.h"
#include "store_tools/records.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>

#define KEY_MAX 512 /* bytes of a damaged key shown */

struct dump {
    FILE *out;
    struct buf line, tame;
    uint64_t damaged;
    unsigned format;
    int bad; /* errno of the output */
};

/* ---- values --------------------------------------------------------------- */

static void put_bytes(struct buf *b, struct slice bytes)
{
    buf_str(b, "{\"$bytes\":\"");
    buf_reserve(b, bytes.len / 3 * 4 + 5);
    b->len += (size_t)EVP_EncodeBlock(b->data + b->len, bytes.data, (int)bytes.len);
    buf_str(b, "\"}");
}

static void put_text(struct buf *b, struct slice text)
{
    if (!json_try_string(b, text))
        put_bytes(b, text);
}

static void put_name(struct buf *b, const char *name)
{
    buf_printf(b, ",\"%s\":", name);
}

static void put_time(struct buf *b, const char *name, int64_t us)
{
    char text[32];

    put_name(b, name);
    if (us == 0 || us < TIME_TEXT_MIN_US || us > TIME_TEXT_MAX_US) {
        buf_str(b, "null");
        return;
    }
    time_text_put(us, text);
    json_put_string(b, slice_str(text));
}

static void put_version(struct buf *b, const struct outbox_version *v)
{
    char hex[65];

    hex_put(v->hash, sizeof v->hash, hex);
    buf_printf(b, "{\"op\":\"%s\",\"reset\":%s,\"seq\":%" PRId64 ",\"event_count\":%" PRId64,
               v->op == OUTBOX_REMOVE ? "remove" : "upsert", v->reset ? "true" : "false", v->seq,
               v->event_count);
    put_time(b, "projected_at", v->projected_at_us);
    buf_printf(b,
               ",\"projection_hash\":\"%s\",\"revision\":%" PRIu64 ",\"projection_version\":", hex,
               v->revision);
    put_text(b, v->version);
    buf_byte(b, '}');
}

static void put_version_or_null(struct buf *b, const char *name, bool present,
                                const struct outbox_version *v)
{
    put_name(b, name);
    if (present)
        put_version(b, v);
    else
        buf_str(b, "null");
}

/* As it was kept; {"$bytes": ...} when it no longer is. */
static bool put_document(struct buf *b, const struct outbox_version *v, struct slice json)
{
    put_name(b, "document");
    if (v->op == OUTBOX_REMOVE && json.len == 0) {
        buf_str(b, "null");
        return true;
    }
    if (records_is_document(v, json)) {
        buf_slice(b, json);
        return true;
    }
    put_bytes(b, json);
    buf_str(b, ",\"damaged\":\"the document is not what its hash says\"");
    return false;
}

/* ---- lines ---------------------------------------------------------------- */

static void begin_line(struct buf *b, const char *table)
{
    buf_printf(b, "{\"table\":\"%s\"", table);
}

void store_dump_damaged(struct buf *line, const char *table, struct slice key, const char *why,
                        struct slice bytes)
{
    begin_line(line, table);
    put_name(line, "damaged");
    json_put_shown(line, slice_str(why));
    put_name(line, "key");
    put_text(line, slice_of(key.data, key.len < KEY_MAX ? key.len : KEY_MAX));
    put_name(line, "bytes");
    put_bytes(line, bytes);
    buf_str(line, "}\n");
}

static enum err put_counters(struct buf *b, unsigned format, struct slice value,
                             struct fault *fault)
{
    struct counters c;
    enum err e = records_get_counters(format, value, &c, fault);

    if (e != ERR_OK)
        return e;
    buf_printf(b, ",\"next_no\":%" PRIu64 ",\"next_revision\":%" PRIu64, c.next_no,
               c.next_revision);
    if (format != 1)
        buf_printf(b, ",\"next_document\":%" PRIu64 ",\"next_quarantine\":%" PRIu64,
                   c.next_document, c.next_quarantine);
    buf_printf(b, ",\"pending_bytes\":%" PRIu64 ",\"dead_bytes\":%" PRIu64 "}\n", c.pending_bytes,
               c.dead_bytes);
    return ERR_OK;
}

static enum err put_destination(struct buf *b, struct slice value, struct fault *fault)
{
    struct destination d;
    char hex[2 * sizeof d.store_id + 1];
    enum err e = record_get_destination(value, &d, fault);

    if (e != ERR_OK)
        return e;
    put_name(b, "sink");
    put_text(b, d.sink);
    put_name(b, "address");
    put_text(b, d.address);
    put_name(b, "store_id");
    hex_put(d.store_id, sizeof d.store_id, hex);
    buf_printf(b, "\"%s\"", hex);
    put_name(b, "deployment");
    put_text(b, d.deployment);
    buf_printf(b, ",\"mark\":%" PRIu64 ",\"mark_wanted\":%" PRIu64 ",\"functions\":%u", d.mark,
               d.mark_wanted, d.functions);
    put_time(b, "raised_at", d.raised_at_us);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_doubt(struct buf *b, struct slice value, struct fault *fault)
{
    struct doubt d;
    enum err e = record_get_doubt(value, &d, fault);

    if (e != ERR_OK)
        return e;
    buf_printf(b, ",\"doubt_from\":%" PRIu64 ",\"doubt_to\":%" PRIu64 ",\"swept\":%s", d.from, d.to,
               d.is_swept ? "true" : "false");
    put_time(b, "since", d.since_us);
    put_name(b, "why");
    put_text(b, d.why);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_sink(struct buf *b, struct slice value, struct fault *fault)
{
    if (!kept_for_is_name(value))
        return fault_fail(fault, ERR_STORE, NULL, "no sink has this name");
    put_name(b, RECORD_1_SINK);
    put_text(b, value);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_meta(struct buf *b, unsigned format, struct slice key, struct slice value,
                         struct fault *fault)
{
    unsigned number;

    begin_line(b, "meta");
    if (slice_is(key, "counters"))
        return put_counters(b, format, value, fault);
    if (slice_is(key, "destination"))
        return put_destination(b, value, fault);
    if (slice_is(key, "doubt"))
        return put_doubt(b, value, fault);
    if (format == 1 && slice_is(key, RECORD_1_SINK))
        return put_sink(b, value, fault);
    if (!slice_is(key, "format"))
        return fault_fail(fault, ERR_STORE, NULL, "nobody knows it");
    enum err e = format_parse(value, &number, fault);
    if (e == ERR_OK)
        buf_printf(b, ",\"format\":%u}\n", number);
    return e;
}

static enum err put_id(struct buf *b, struct slice key, struct slice value, struct fault *fault)
{
    uint64_t document;
    enum err e = record_get_id(key, value, &document, fault);

    if (e != ERR_OK)
        return e;
    begin_line(b, "ids");
    put_name(b, "id");
    put_text(b, key);
    buf_printf(b, ",\"document\":%" PRIu64 "}\n", document);
    return ERR_OK;
}

static void put_number(struct buf *b, unsigned format, uint64_t document)
{
    if (format != 1)
        buf_printf(b, ",\"number\":%" PRIu64, document);
}

static enum err put_pending(struct buf *b, unsigned format, struct slice key, struct slice value,
                            bool *sound, struct fault *fault)
{
    struct pending p;
    enum err e = records_get_pending(format, key, value, &p, fault);

    if (e != ERR_OK)
        return e;
    begin_line(b, "pending");
    buf_printf(b, ",\"no\":%" PRIu64 ",\"lane\":\"%s\",\"origin\":\"%s\"", lane_arrival(p.no),
               p.no >= LANE_LIVE ? "live" : "bulk", outbox_origin_text(p.origin));
    put_number(b, format, p.document);
    put_name(b, "id");
    put_text(b, p.id);
    put_name(b, "kind");
    put_text(b, p.kind);
    put_time(b, "kept_at", p.kept_at_us);
    if (p.attempts > 0) {
        buf_printf(b, ",\"attempts\":%u", p.attempts);
        put_time(b, "next_try_at", p.next_try_us);
    }
    put_version_or_null(b, "version", true, &p.version);
    *sound = put_document(b, &p.version, p.json);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_dead(struct buf *b, unsigned format, struct slice key, struct slice value,
                         bool *sound, struct fault *fault)
{
    struct dead_letter d;
    enum err e = records_get_dead(format, key, value, &d, fault);

    if (e != ERR_OK)
        return e;
    begin_line(b, "dead");
    put_number(b, format, d.document);
    put_name(b, "id");
    put_text(b, d.id);
    put_name(b, "kind");
    put_text(b, d.kind);
    put_time(b, "died_at", d.died_at_us);
    put_time(b, "next_try_at", d.next_try_us);
    buf_printf(b, ",\"attempts\":%u,\"tries\":%u,\"why\":", d.attempts, d.tries);
    put_text(b, d.why);
    put_name(b, "answer");
    put_text(b, d.answer);
    put_version_or_null(b, "version", true, &d.version);
    *sound = put_document(b, &d.version, d.json);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_checkpoint(struct buf *b, unsigned format, struct slice key, struct slice value,
                               struct fault *fault)
{
    struct checkpoint_record c;
    enum err e = records_get_checkpoint(format, key, value, &c, fault);

    if (e != ERR_OK)
        return e;
    begin_line(b, "checkpoints");
    put_number(b, format, c.cp.document);
    put_name(b, "id");
    put_text(b, c.id);
    put_name(b, "kind");
    put_text(b, c.cp.kind);
    put_time(b, "last_projected_at", c.cp.last_projected_us);
    buf_printf(b, ",\"reset_revision\":%" PRIu64 ",\"dead\":%s,\"pending_no\":%" PRIu64,
               c.reset_revision, c.cp.is_dead ? "true" : "false", lane_arrival(c.cp.pending_no));
    put_version_or_null(b, "delivered", c.cp.has_delivered, &c.cp.delivered);
    if (c.cp.has_delivered)
        buf_printf(b, ",\"mark\":%" PRIu64, c.cp.delivered_mark);
    put_name(b, "fold");
    put_bytes(b, c.cp.fold);
    buf_str(b, "}\n");
    return ERR_OK;
}

static enum err put_quarantined(struct buf *b, struct slice key, struct slice value,
                                struct fault *fault)
{
    struct quarantined q;
    char place[256];
    enum err e = record_get_quarantined(key, value, &q, fault);

    if (e != ERR_OK)
        return e;
    record_key_text(q.table, q.key, place);
    begin_line(b, "quarantine");
    buf_printf(b, ",\"number\":%" PRIu64 ",\"record\":", q.no);
    put_text(b, slice_str(place));
    put_name(b, "why");
    put_text(b, q.why);
    put_time(b, "at", q.at_us);
    put_name(b, "bytes");
    put_bytes(b, q.value);
    buf_str(b, "}\n");
    return ERR_OK;
}

/* The line of one record; ${sound}: it has the document that was kept. */
static enum err put_entry(struct dump *d, const struct survey_entry *e, bool *sound,
                          struct fault *fault)
{
    struct buf *b = &d->line;

    switch (e->table) {
    case STORE_META:
        return put_meta(b, d->format, e->key, e->value, fault);
    case STORE_PENDING:
        return put_pending(b, d->format, e->key, e->value, sound, fault);
    case STORE_CHECKPOINTS:
        return put_checkpoint(b, d->format, e->key, e->value, fault);
    case STORE_DEAD:
        return put_dead(b, d->format, e->key, e->value, sound, fault);
    case STORE_IDS:
        return put_id(b, e->key, e->value, fault);
    case STORE_QUARANTINE:
        return put_quarantined(b, e->key, e->value, fault);
    }
    return fault_fail(fault, ERR_STORE, NULL, "on a page that no table leads to");
}

static void write_line(struct dump *d)
{
    d->tame.len = 0;
    json_put_tame(&d->tame, buf_view(&d->line));
    if (d->bad == 0 && fwrite(d->tame.data, 1, d->tame.len, d->out) != d->tame.len)
        d->bad = errno;
}

static void take_entry(void *arg, const struct survey_entry *entry)
{
    struct dump *d = arg;
    struct fault fault = {0};
    bool sound = true;

    d->line.len = 0;
    enum err e = put_entry(d, entry, &sound, &fault);
    if (e != ERR_OK) {
        const char *table =
            entry->table < STORE_TABLE_COUNT ? store_table_name(entry->table) : "lost";
        d->line.len = 0;
        store_dump_damaged(&d->line, table, entry->key, fault.why, entry->value);
    }
    if (e != ERR_OK || !sound)
        d->damaged++;
    write_line(d);
}

static void take_damage(void *arg, const char *what)
{
    struct dump *d = arg;

    d->damaged++;
    d->line.len = 0;
    buf_str(&d->line, "{\"damaged\":");
    json_put_shown(&d->line, slice_str(what));
    buf_str(&d->line, "}\n");
    write_line(d);
}

enum err store_dump(const char *dir, FILE *out, uint64_t *damaged, struct fault *fault)
{
    struct dump d = {.out = out};
    const struct survey_visitor visitor = {&d, take_entry, take_damage};
    struct survey *p;

    struct fault why = {0};
    enum survey_by by = survey_choose(dir, &why);
    enum err e = survey_open(dir, by, &visitor, &p, fault);
    if (e != ERR_OK)
        return e;
    if (by == SURVEY_BY_PAGES)
        take_damage(&d, why.why);
    d.format = survey_format(p);
    survey_table(p, STORE_META);
    survey_table(p, STORE_PENDING);
    survey_table(p, STORE_DEAD);
    survey_table(p, STORE_CHECKPOINTS);
    survey_table(p, STORE_IDS);
    survey_table(p, STORE_QUARANTINE);
    survey_lost(p);
    survey_close(p);
    buf_free(&d.line);
    buf_free(&d.tame);
    *damaged = d.damaged;
    if (d.bad == 0 && fflush(out) != 0)
        d.bad = errno;
    if (d.bad == 0)
        return ERR_OK;
    return fault_fail(fault, ERR_SYSTEM, "output", "%s", strerror(d.bad));
}
