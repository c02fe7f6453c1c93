/*
 * store_export.c - undelivered documents as JSON lines.
 *
 * The happy path: dead letters first, then what is pending in the order of its numbers, each as it
 * was kept.  The last line says how many there were, so that a truncated file is noticed.
 *
 * What can go wrong: a record is damaged, or its id is not UTF-8: it is reported and left out.  If
 * the output fails, the export ends there, without its last line.
 *
 * Offline, one thread.
 */

#include "store_tools/store_export.h"

#include "ground/buf.h"
#include "ground/hex.h"
#include "ground/time_text.h"
#include "json/json.h"
#include "store/survey.h"
#include "store_tools/records.h"

#include <errno.h>
#include <inttypes.h>

struct export
{
    FILE *out;
    void (*say)(void *arg, const char *text);
    void *arg;
    struct export_report *report;
    unsigned format;
    char store_id[33];
    struct buf line;
    int bad; /* errno of the output */
};

static void write_line(struct export *x)
{
    buf_byte(&x->line, '\n');
    if (x->bad == 0 && fwrite(x->line.data, 1, x->line.len, x->out) != x->line.len)
        x->bad = errno;
    x->line.len = 0;
}

static void leave_out(struct export *x, enum store_table t, struct slice key, const char *why)
{
    char place[256], text[600];

    x->report->left_out++;
    x->line.len = 0; /* it may have been begun */
    record_key_text(t, key, place);
    snprintf(text, sizeof text, "%s is left out: %s", place, why);
    x->say(x->arg, text);
}

static void put_time(struct buf *b, const char *name, int64_t us)
{
    char text[32];

    time_text_put(us, text);
    buf_printf(b, ",\"%s\":\"%s\"", name, text);
}

/* The members that all lines begin with; false: a text is not UTF-8. */
static bool begin_line(struct export *x, const struct outbox_version *v, struct slice kind,
                       struct slice id, const char *state)
{
    struct buf *b = &x->line;

    b->len = 0;
    buf_printf(b, "{\"op\":\"%s\",\"kind\":", v->op == OUTBOX_REMOVE ? "remove" : "upsert");
    bool is_text = json_try_string(b, kind);
    buf_str(b, ",\"document_id\":");
    is_text = is_text && json_try_string(b, id);
    buf_printf(b, ",\"state\":\"%s\"", state);
    put_time(b, "projected_at", v->projected_at_us);
    return is_text;
}

static void end_line(struct export *x, const struct outbox_version *v, struct slice json)
{
    if (v->op == OUTBOX_UPSERT) {
        buf_printf(&x->line, ",\"reset\":%s,\"summary\":", v->reset ? "true" : "false");
        buf_slice(&x->line, json);
    }
    buf_byte(&x->line, '}');
    write_line(x);
}

static void take_pending(struct export *x, const struct survey_entry *e)
{
    struct pending p;
    struct fault fault = {0};

    if (records_get_pending(x->format, e->key, e->value, &p, &fault) != ERR_OK) {
        leave_out(x, e->table, e->key, fault.why);
    } else if (!records_is_document(&p.version, p.json) ||
               !begin_line(x, &p.version, p.kind, p.id, "pending")) {
        leave_out(x, e->table, e->key, "its document is damaged, or its id is no text");
    } else {
        put_time(&x->line, "kept_at", p.kept_at_us);
        end_line(x, &p.version, p.json);
        x->report->pending++;
    }
}

static void take_dead(struct export *x, const struct survey_entry *e)
{
    struct dead_letter d;
    struct fault fault = {0};

    if (records_get_dead(x->format, e->key, e->value, &d, &fault) != ERR_OK) {
        leave_out(x, e->table, e->key, fault.why);
    } else if (!records_is_document(&d.version, d.json) ||
               !begin_line(x, &d.version, d.kind, d.id, "dead")) {
        leave_out(x, e->table, e->key, "its document is damaged, or its id is no text");
    } else {
        put_time(&x->line, "died_at", d.died_at_us);
        buf_str(&x->line, ",\"why\":");
        json_put_shown(&x->line, d.why);
        end_line(x, &d.version, d.json);
        x->report->dead++;
    }
}

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct export *x = arg;
    struct destination d;
    struct fault fault;

    if (e->table == STORE_PENDING)
        take_pending(x, e);
    else if (e->table == STORE_DEAD)
        take_dead(x, e);
    else if (e->table == STORE_META && slice_is(e->key, "destination") &&
             record_get_destination(e->value, &d, &fault) == ERR_OK)
        hex_put(d.store_id, sizeof d.store_id, x->store_id);
}

static void take_damage(void *arg, const char *what)
{
    struct export *x = arg;

    x->report->left_out++;
    x->say(x->arg, what);
}

static void write_all(struct export *x, struct survey *p, int64_t made_at_us)
{
    survey_table(p, STORE_META);
    buf_str(&x->line, "{\"convex_sidecar_export\":1");
    put_time(&x->line, "made_at", made_at_us);
    buf_printf(&x->line, ",\"store_id\":\"%s\",\"store_format\":%u}", x->store_id, x->format);
    write_line(x);
    survey_table(p, STORE_DEAD);
    survey_table(p, STORE_PENDING);
    buf_printf(&x->line, "{\"end\":true,\"lines\":%" PRIu64 "}",
               x->report->pending + x->report->dead);
    write_line(x);
    if (x->bad == 0 && fflush(x->out) != 0)
        x->bad = errno;
}

enum err store_export(const char *dir, int64_t made_at_us, FILE *out,
                      void (*say)(void *arg, const char *text), void *arg,
                      struct export_report *report, struct fault *fault)
{
    struct export x = {.out = out, .say = say, .arg = arg, .report = report};
    const struct survey_visitor visitor = {&x, take_entry, take_damage};
    struct survey *p;

    *report = (struct export_report){0};
    struct fault why = {0};
    enum survey_by by = survey_choose(dir, &why);
    enum err e = survey_open(dir, by, &visitor, &p, fault);
    if (e != ERR_OK)
        return e;
    x.format = survey_format(p);
    write_all(&x, p, made_at_us);
    survey_close(p);
    buf_free(&x.line);
    return x.bad == 0 ? ERR_OK : fault_fail(fault, ERR_SYSTEM, "output", "%s", strerror(x.bad));
}
