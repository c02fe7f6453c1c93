/*
 * store_check.c - checks every record of a store, and the links between them.
 *
 * The happy path: the tables are walked page by page (pages.c): first meta, then ids, dead letters
 * and pending versions, a few numbers of which are noted; last the checkpoints, which must name
 * exactly those.  The counters must equal the sums.  Quarantined records are listed.
 *
 * What can go wrong: the file, a record, a link, a number, a document's bytes.  Each is a finding,
 * reported once, and the check goes on; a damaged page hides its records, so what they were linked
 * to is reported as well.
 *
 * Offline, on one thread.  Memory: 48 bytes a pending version, 24 a document.
 */

#include "store_tools/store_check.h"

#include "projection/gate.h"
#include "store/format.h"
#include "store/kept.h"
#include "store/kept_for.h"
#include "store/survey.h"
#include "store/record.h"
#include "store/record_1.h"
#include "store_tools/records.h"
#include "projection/rehash.h"

#include <inttypes.h>
#include <stdarg.h>

#define DAMAGED_MAX 1000 /* damaged pending records whose documents are named */

/* A pending version, as far as its checkpoint is compared with it. */
struct link {
    uint64_t no, document, revision, id_hash, facts;
    int64_t projected_at_us;
    bool is_known, is_ahead;
};

/* A document by its number, or in format 1, which has none, by the hash of its id. */
struct name {
    uint64_t number, id_hash;
    bool is_known;
};

struct names {
    struct name *list; /* by number, once sorted */
    size_t count, room;
};

struct checker {
    void (*finding)(void *arg, const char *text);
    void *arg;
    struct store_report *report;
    unsigned format;
    struct counters counters;
    bool has_counters, has_format;
    uint64_t max_no, max_document, max_revision, max_quarantine, lost;
    struct link *links; /* by number */
    size_t link_count, link_room;
    struct link *damaged; /* those whose documents are known */
    size_t damaged_count, damaged_room;
    struct names letters, ids;
};

PRINTF(2, 3) static void tell(struct checker *c, const char *fmt, ...)
{
    char text[640];
    va_list args;

    if (c->finding == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->finding(c->arg, text);
}

PRINTF(2, 3) static void find(struct checker *c, const char *fmt, ...)
{
    char text[640];
    va_list args;

    c->report->findings++;
    if (c->finding == NULL)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->finding(c->arg, text);
}

/* FNV-1a: to recognize an id among millions, not against an attacker. */
static uint64_t hash_of(struct slice id)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < id.len; i++)
        h = (h ^ id.data[i]) * 1099511628211u;
    return h;
}

/* What format 1, which has no checksums, writes into both records of a pending version. */
static uint64_t facts_of(struct slice kind, const struct outbox_version *v, int64_t kept_at_us,
                         uint64_t bytes)
{
    const int64_t numbers[] = {v->op,
                               v->reset,
                               v->seq,
                               v->event_count,
                               v->projected_at_us,
                               kept_at_us,
                               (int64_t)v->revision,
                               (int64_t)bytes};

    return hash_of(kind) * 3 + hash_of(slice_of(v->hash, sizeof v->hash)) * 5 +
           hash_of(v->version) * 7 + hash_of(slice_of(numbers, sizeof numbers)) * 11;
}

static void *more_room(void *list, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return list;
    *room = *room ? 2 * *room : 1024;
    return base_realloc(list, *room * bytes);
}

static void raise(uint64_t *max, uint64_t value)
{
    if (value > *max)
        *max = value;
}

static void add_name(struct names *n, uint64_t number, uint64_t id_hash)
{
    n->list = more_room(n->list, n->count, &n->room, sizeof *n->list);
    n->list[n->count++] = (struct name){.number = number, .id_hash = id_hash};
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct name *)a)->number, y = ((const struct name *)b)->number;

    return (x > y) - (x < y);
}

static void sort_names(struct names *n)
{
    if (n->count > 0)
        qsort(n->list, n->count, sizeof *n->list,
              by_number); /* sorted, unless damaged or by hash */
}

static struct name *find_name(const struct names *n, uint64_t number)
{
    const struct name want = {.number = number};

    return n->count == 0 ? NULL : bsearch(&want, n->list, n->count, sizeof want, by_number);
}

/* The number of a document in other tables. */
static uint64_t number_of(const struct checker *c, uint64_t document, struct slice id)
{
    return c->format == 1 ? hash_of(id) : document;
}

/* ---- one record ----------------------------------------------------------- */

static void check_format(struct checker *c, struct slice value)
{
    struct fault fault = {0};
    unsigned format;

    c->has_format = true;
    if (format_parse(value, &format, &fault) != ERR_OK)
        find(c, "%s: %s", fault.path, fault.why);
    else if (format != STORE_FORMAT)
        tell(c, "meta/format: format %u; the sidecar brings it to %d when it starts", format,
             STORE_FORMAT);
}

static void check_destination(struct checker *c, struct slice value)
{
    struct destination d;
    struct fault fault = {0};

    if (record_get_destination(value, &d, &fault) != ERR_OK)
        find(c, "%s: %s", fault.path, fault.why);
    else if (d.sink.len > 0 && !kept_for_is_name(d.sink))
        find(c, "meta/destination: no sink has this name");
    else if (d.mark > d.mark_wanted)
        find(c, "meta/destination: mark %" PRIu64 " was never asked for", d.mark);
}

static void check_meta(struct checker *c, struct slice key, struct slice value)
{
    struct fault fault = {0};
    struct doubt doubt;

    if (slice_is(key, "format")) {
        check_format(c, value);
    } else if (slice_is(key, "counters")) {
        if (records_get_counters(c->format, value, &c->counters, &fault) == ERR_OK)
            c->has_counters = true;
        else
            find(c, "%s: %s", fault.path, fault.why);
    } else if (c->format == 1 && slice_is(key, RECORD_1_SINK)) {
        if (!kept_for_is_name(value))
            find(c, "meta/" RECORD_1_SINK ": no sink has this name");
    } else if (c->format != 1 && slice_is(key, "destination")) {
        check_destination(c, value);
    } else if (c->format != 1 && slice_is(key, "doubt")) {
        if (record_get_doubt(value, &doubt, &fault) != ERR_OK)
            find(c, "%s: %s", fault.path, fault.why);
    } else {
        find(c, "meta/%.*s: nobody knows it", SLICE_ARG(key));
    }
}

static void check_id(struct checker *c, struct slice key, struct slice value)
{
    uint64_t document;
    struct fault fault = {0};

    if (record_get_id(key, value, &document, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    raise(&c->max_document, document);
    add_name(&c->ids, document, hash_of(key));
}

static void check_quarantined(struct checker *c, struct slice key, struct slice value)
{
    struct quarantined q;
    struct fault fault = {0};
    char place[256];

    if (record_get_quarantined(key, value, &q, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    raise(&c->max_quarantine, q.no);
    c->report->quarantined++;
    record_key_text(q.table, q.key, place);
    tell(c, "quarantine/%" PRIu64 ": %s: %.*s", q.no, place, SLICE_ARG(q.why));
}

static void check_document(struct checker *c, const char *table, struct slice id,
                           const struct outbox_version *v, struct slice json)
{
    uint8_t hash[32];

    if (v->op == OUTBOX_REMOVE) {
        if (json.len > 0)
            find(c, "%s: %.*s: a removal with a document", table, SLICE_ARG(id));
    } else if (!rehash_json(json, hash)) {
        find(c, "%s: %.*s: the document is no JSON object", table, SLICE_ARG(id));
    } else if (memcmp(hash, v->hash, sizeof hash) != 0) {
        find(c, "%s: %.*s: the document is not what its hash says", table, SLICE_ARG(id));
    }
}

/* The sidecar can serve a store with such a version: it is reported, and is not a finding. */
static void check_gate(struct checker *c, const struct pending *p)
{
    struct fault fault;

    if (gate_version(p->id, p->kind, p->version.op == OUTBOX_REMOVE, p->json,
                     p->version.projected_at_us, &fault) == ERR_OK)
        return;
    c->report->unsendable++;
    tell(c, "pending: %.*s: it cannot be sent (%.40s %.60s); the sidecar makes it a dead letter",
         SLICE_ARG(p->id), fault.path, fault.why);
}

static void note_damaged(struct checker *c, struct slice key, struct slice value)
{
    struct link l = {0};
    struct slice id;

    if (c->format == 1 || key.len != sizeof l.no || c->damaged_count >= DAMAGED_MAX)
        return;
    memcpy(&l.no, key.data, sizeof l.no);
    record_pending_owner(value, &l.document, &id);
    l.id_hash = hash_of(id);
    c->damaged = more_room(c->damaged, c->damaged_count, &c->damaged_room, sizeof *c->damaged);
    c->damaged[c->damaged_count++] = l;
}

static void check_pending(struct checker *c, struct slice key, struct slice value)
{
    struct pending p;
    struct fault fault = {0};

    if (records_get_pending(c->format, key, value, &p, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        note_damaged(c, key, value);
        return;
    }
    c->report->pending++;
    c->report->pending_bytes += p.json.len;
    raise(&c->max_revision, p.version.revision);
    check_document(c, "pending", p.id, &p.version, p.json);
    check_gate(c, &p);
    raise(&c->max_no, lane_arrival(p.no));
    c->links = more_room(c->links, c->link_count, &c->link_room, sizeof *c->links);
    c->links[c->link_count++] =
        (struct link){.no = p.no,
                      .document = p.document,
                      .revision = p.version.revision,
                      .id_hash = hash_of(p.id),
                      .facts = facts_of(p.kind, &p.version, p.kept_at_us, p.json.len),
                      .projected_at_us = p.version.projected_at_us,
                      .is_ahead = p.is_ahead};
}

static void check_dead(struct checker *c, struct slice key, struct slice value)
{
    struct dead_letter d;
    struct fault fault = {0};

    if (records_get_dead(c->format, key, value, &d, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    c->report->dead++;
    c->report->dead_bytes += d.json.len;
    raise(&c->max_revision, d.version.revision);
    check_document(c, "dead", d.id, &d.version, d.json);
    add_name(&c->letters, number_of(c, d.document, d.id), hash_of(d.id));
}

/* ---- a checkpoint, and what it names -------------------------------------- */

static int by_no(const void *a, const void *b)
{
    uint64_t x = ((const struct link *)a)->no, y = ((const struct link *)b)->no;

    return (x > y) - (x < y);
}

/* Invariants 3 and 4: what is pending is newer than what was delivered, and later. */
static void check_order(struct checker *c, const struct checkpoint_record *r, const struct link *l)
{
    const struct checkpoint *cp = &r->cp;
    int64_t last_us = cp->last_projected_us;

    if ((l != NULL && l->projected_at_us > last_us) ||
        (cp->has_delivered && cp->delivered.projected_at_us > last_us))
        find(c, "checkpoints/%.*s: a version is later than the last one", SLICE_ARG(r->id));
    if (l == NULL || !cp->has_delivered)
        return;
    if (l->revision <= cp->delivered.revision)
        find(c, "checkpoints/%.*s: what is pending is older than what is delivered",
             SLICE_ARG(r->id));
    else if (l->projected_at_us <= cp->delivered.projected_at_us)
        find(c, "checkpoints/%.*s: projected_at does not rise", SLICE_ARG(r->id));
}

static struct link *check_link(struct checker *c, const struct checkpoint_record *r)
{
    const struct link want = {.no = r->cp.pending_no};
    struct link *l =
        c->link_count == 0 ? NULL : bsearch(&want, c->links, c->link_count, sizeof want, by_no);

    if (l == NULL || l->id_hash != hash_of(r->id) || l->document != r->cp.document) {
        find(c, "checkpoints/%.*s: its pending version, number %" PRIu64 ", is not there",
             SLICE_ARG(r->id), lane_arrival(want.no));
        return NULL;
    }
    l->is_known = true;
    if (c->format == 1 &&
        l->facts != facts_of(r->cp.kind, &r->cp.pending, r->pending_kept_at_us, r->pending_bytes))
        find(c, "checkpoints/%.*s: its pending version, number %" PRIu64 ", is another one",
             SLICE_ARG(r->id), lane_arrival(want.no));
    return l;
}

/* What is pending may be damaged, and ahead of ${r}, which does not name it. */
static void check_lost(struct checker *c, const struct checkpoint_record *r)
{
    uint64_t id_hash = c->damaged_count > 0 ? hash_of(r->id) : 0;

    for (size_t i = 0; i < c->damaged_count; i++)
        if (c->damaged[i].document == r->cp.document || c->damaged[i].id_hash == id_hash)
            find(c, "checkpoints/%.*s: its pending version, number %" PRIu64 ", is damaged",
                 SLICE_ARG(r->id), lane_arrival(c->damaged[i].no));
}

static void check_letter(struct checker *c, const struct checkpoint_record *r)
{
    struct name *n = find_name(&c->letters, number_of(c, r->cp.document, r->id));

    if (n != NULL && n->id_hash == hash_of(r->id))
        n->is_known = true;
    else
        find(c, "checkpoints/%.*s: its dead letter is not there", SLICE_ARG(r->id));
}

/* The id leads to the number, and the number to the id. */
static void check_name(struct checker *c, const struct checkpoint_record *r)
{
    struct name *n = find_name(&c->ids, r->cp.document);

    raise(&c->max_document, r->cp.document);
    if (n != NULL && n->id_hash == hash_of(r->id))
        n->is_known = true;
    else
        find(c, "checkpoints/%.*s: its id does not lead to its number, %" PRIu64, SLICE_ARG(r->id),
             r->cp.document);
}

static void check_checkpoint(struct checker *c, struct slice key, struct slice value)
{
    struct checkpoint_record r;
    struct fault fault = {0};

    if (records_get_checkpoint(c->format, key, value, &r, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    c->report->checkpoints++;
    if (c->format != 1)
        check_name(c, &r);
    if (r.reset_revision > 0)
        raise(&c->max_revision, r.reset_revision - 1); /* of a doubt: the next one */
    if (r.cp.has_delivered) {
        raise(&c->max_revision, r.cp.delivered.revision);
        if (r.cp.delivered.op != OUTBOX_UPSERT)
            find(c, "checkpoints/%.*s: a removal is delivered for ever", SLICE_ARG(r.id));
    }
    check_order(c, &r, r.cp.has_pending ? check_link(c, &r) : NULL);
    if (!r.cp.has_pending)
        check_lost(c, &r);
    if (r.cp.is_dead)
        check_letter(c, &r);
}

/* ---- all of it ------------------------------------------------------------ */

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct checker *c = arg;

    if (e->table == STORE_META)
        check_meta(c, e->key, e->value);
    else if (e->table == STORE_PENDING)
        check_pending(c, e->key, e->value);
    else if (e->table == STORE_IDS)
        check_id(c, e->key, e->value);
    else if (e->table == STORE_QUARANTINE)
        check_quarantined(c, e->key, e->value);
    else if (e->table == STORE_CHECKPOINTS)
        check_checkpoint(c, e->key, e->value);
    else if (e->table == STORE_DEAD)
        check_dead(c, e->key, e->value);
    else
        c->lost++;
}

static void take_damage(void *arg, const char *what)
{
    find(arg, "%s", what);
}

/* Whether ${l} is ahead of its checkpoint, and that exists. */
static bool is_ahead(const struct checker *c, const struct link *l)
{
    const struct name *n = l->is_ahead ? find_name(&c->ids, l->document) : NULL;

    return n != NULL && n->is_known && n->id_hash == l->id_hash;
}

/* What no checkpoint named. */
static void check_unknown(struct checker *c)
{
    for (size_t i = 0; i < c->link_count; i++)
        if (!c->links[i].is_known && !is_ahead(c, &c->links[i]))
            find(c, "pending/%" PRIu64 ": no checkpoint names it", lane_arrival(c->links[i].no));
    for (size_t i = 0; i < c->letters.count; i++)
        if (!c->letters.list[i].is_known)
            find(c, "dead: a letter is there that no checkpoint names");
}

static void take_name(void *arg, const struct survey_entry *e)
{
    struct checker *c = arg;
    uint64_t document;
    struct fault fault;

    if (record_get_id(e->key, e->value, &document, &fault) != ERR_OK)
        return;
    const struct name *n = find_name(&c->ids, document);
    if (n != NULL && !n->is_known && n->id_hash == hash_of(e->key))
        find(c, "ids/%.*s: its checkpoint, number %" PRIu64 ", is damaged or not there",
             SLICE_ARG(e->key), document);
}

static void pass_damage(void *arg, const char *what)
{
    (void)arg;
    (void)what;
}

/* The ids of documents without a checkpoint, which are not kept, are read once more. */
static enum err check_names(struct checker *c, const char *dir, enum survey_by by,
                            struct fault *fault)
{
    const struct survey_visitor visitor = {c, take_name, pass_damage};
    struct survey *s;
    enum err e = survey_open(dir, by, &visitor, &s, fault);

    if (e != ERR_OK)
        return e;
    survey_table(s, STORE_IDS);
    survey_close(s);
    return ERR_OK;
}

static bool is_any_nameless(const struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        if (!n->list[i].is_known)
            return true;
    return false;
}

static void check_next(struct checker *c, const char *what, uint64_t next, uint64_t max)
{
    if (next <= max)
        find(c, "meta/counters: %s %" PRIu64 " is in use, the next one is %" PRIu64, what, max,
             next);
}

static void check_counters(struct checker *c)
{
    const struct store_report *r = c->report;

    if (!c->has_format && (r->pending || r->checkpoints || r->dead))
        find(c, "meta/format: it is missing");
    if (!c->has_counters) {
        if (c->has_format)
            find(c, "meta/counters: they are missing");
        return;
    }
    check_next(c, "number", c->counters.next_no, c->max_no);
    check_next(c, "document", c->counters.next_document, c->max_document);
    check_next(c, "revision", c->counters.next_revision, c->max_revision);
    check_next(c, "quarantine", c->counters.next_quarantine, c->max_quarantine);
    /* How much a damaged record counted can only be guessed: at most, it is still counted. */
    bool may_be_more = r->quarantined > 0 && c->counters.pending_bytes >= r->pending_bytes &&
                       c->counters.dead_bytes >= r->dead_bytes;
    if (!may_be_more &&
        (c->counters.pending_bytes != r->pending_bytes || c->counters.dead_bytes != r->dead_bytes))
        find(c,
             "meta/counters: %" PRIu64 " bytes pending and %" PRIu64 " dead, it is %" PRIu64
             " and %" PRIu64,
             c->counters.pending_bytes, c->counters.dead_bytes, r->pending_bytes, r->dead_bytes);
}

enum err store_check(const char *dir, void (*finding)(void *arg, const char *text), void *arg,
                     struct store_report *report, struct fault *fault)
{
    struct checker c = {.finding = finding, .arg = arg, .report = report};
    const struct survey_visitor visitor = {&c, take_entry, take_damage};
    struct survey *p;

    *report = (struct store_report){0};
    struct fault why = {0};
    enum survey_by by = survey_choose(dir, &why);
    enum err e = survey_open(dir, by, &visitor, &p, fault);
    if (e != ERR_OK)
        return e;
    if (by == SURVEY_BY_PAGES)
        find(&c, "%s", why.why);
    c.format = survey_format(p);
    survey_table(p, STORE_META);
    survey_table(p, STORE_QUARANTINE);
    survey_table(p, STORE_IDS);
    survey_table(p, STORE_DEAD);
    survey_table(p, STORE_PENDING);
    if (c.link_count > 0)
        qsort(c.links, c.link_count, sizeof *c.links, by_no); /* sorted, unless damaged */
    sort_names(&c.letters);
    sort_names(&c.ids);
    survey_table(p, STORE_CHECKPOINTS);
    check_unknown(&c);
    check_counters(&c);
    survey_lost(p);
    if (c.lost > 0)
        find(&c, "%" PRIu64 " entries lie on pages that no table leads to", c.lost);
    survey_close(p);
    if (is_any_nameless(&c.ids))
        e = check_names(&c, dir, by, fault);
    free(c.links);
    free(c.damaged);
    free(c.letters.list);
    free(c.ids.list);
    return e;
}
