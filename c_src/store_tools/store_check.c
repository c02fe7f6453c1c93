/*
 * store_check.c - every record of a store, and what ties them together.
 *
 * The happy path: the tables are walked page by page (pages.c): first meta, then the
 * dead letters and the pending versions, of which a few numbers each are noted; last
 * the checkpoints, which must name exactly those.  The counters must equal the sums.
 *
 * What can go wrong: the file, a record, a link, a number, a document's bytes.  Each
 * is a finding, told once, and the check goes on; a damaged page hides its records,
 * so what they were tied to is told as well.
 *
 * Offline, on one thread.  Memory: 48 bytes a pending version.
 */

#include "store_tools/store_check.h"

#include "projection/gate.h"
#include "store/format.h"
#include "store/kept.h"
#include "store/kept_for.h"
#include "store/pages.h"
#include "store/record.h"
#include "store_tools/rehash.h"

#include <inttypes.h>
#include <stdarg.h>

/* A pending version, as its checkpoint must know it. */
struct link {
    uint64_t no, revision, id_hash, json_len;
    int64_t kept_at_us;
    bool is_known;
};

/* A dead letter. */
struct letter {
    uint64_t id_hash;
    bool is_known;
};

struct checker {
    void (*finding)(void *arg, const char *text);
    void *arg;
    struct store_report *report;
    struct counters counters;
    bool has_counters, has_format;
    uint64_t max_no, max_revision, lost;
    struct link *links; /* by number */
    size_t link_count, link_room;
    struct letter *letters; /* by id_hash, once sorted */
    size_t letter_count, letter_room;
};

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

/* FNV-1a: to know an id again among millions, not against anybody. */
static uint64_t hash_of(struct slice id)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < id.len; i++)
        h = (h ^ id.data[i]) * 1099511628211u;
    return h;
}

static void *more_room(void *list, size_t count, size_t *room, size_t bytes)
{
    if (count < *room)
        return list;
    *room = *room ? 2 * *room : 1024;
    return base_realloc(list, *room * bytes);
}

/* ---- one record ----------------------------------------------------------- */

static void check_meta(struct checker *c, struct slice key, struct slice value)
{
    struct fault fault = {0};
    unsigned format;

    if (slice_is(key, "format")) {
        c->has_format = true;
        if (format_parse(value, &format, &fault) != ERR_OK)
            find(c, "%s: %s", fault.path, fault.why);
        else if (format != STORE_FORMAT)
            find(c, "meta/format: format %u; the sidecar brings it to %d when it starts", format,
                 STORE_FORMAT);
    } else if (slice_is(key, "counters")) {
        if (record_get_counters(value, &c->counters, &fault) == ERR_OK)
            c->has_counters = true;
        else
            find(c, "%s: %s", fault.path, fault.why);
    } else if (slice_is(key, KEPT_FOR_KEY)) {
        if (!kept_for_is_name(value))
            find(c, "meta/" KEPT_FOR_KEY ": no sink has this name");
    } else {
        find(c, "meta/%.*s: nobody knows it", SLICE_ARG(key));
    }
}

static void note_revision(struct checker *c, uint64_t revision)
{
    if (revision > c->max_revision)
        c->max_revision = revision;
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

/* The sidecar can serve a store with such a version: it is told, and is no finding. */
static void check_gate(struct checker *c, const struct pending *p)
{
    struct fault fault;
    char text[640];

    if (gate_version(p->id, p->kind, p->version.op == OUTBOX_REMOVE, p->json,
                     p->version.projected_at_us, &fault) == ERR_OK)
        return;
    c->report->unsendable++;
    snprintf(text, sizeof text,
             "pending: %.*s: it cannot be sent (%.40s %.60s); the sidecar makes it a dead letter",
             SLICE_ARG(p->id), fault.path, fault.why);
    if (c->finding != NULL)
        c->finding(c->arg, text);
}

static void check_pending(struct checker *c, struct slice key, struct slice value)
{
    struct pending p;
    struct fault fault = {0};

    if (record_get_pending(key, value, &p, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    c->report->pending++;
    c->report->pending_bytes += p.json.len;
    note_revision(c, p.version.revision);
    check_document(c, "pending", p.id, &p.version, p.json);
    check_gate(c, &p);
    if (p.no > c->max_no)
        c->max_no = p.no;
    c->links = more_room(c->links, c->link_count, &c->link_room, sizeof *c->links);
    c->links[c->link_count++] = (struct link){.no = p.no,
                                              .revision = p.version.revision,
                                              .id_hash = hash_of(p.id),
                                              .json_len = p.json.len,
                                              .kept_at_us = p.kept_at_us};
}

static void check_dead(struct checker *c, struct slice key, struct slice value)
{
    struct dead_letter d;
    struct fault fault = {0};

    if (record_get_dead(key, value, &d, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    c->report->dead++;
    c->report->dead_bytes += d.json.len;
    note_revision(c, d.version.revision);
    check_document(c, "dead", key, &d.version, d.json);
    c->letters = more_room(c->letters, c->letter_count, &c->letter_room, sizeof *c->letters);
    c->letters[c->letter_count++] = (struct letter){.id_hash = hash_of(key)};
}

/* ---- a checkpoint, and what it names -------------------------------------- */

static int by_no(const void *a, const void *b)
{
    uint64_t x = ((const struct link *)a)->no, y = ((const struct link *)b)->no;

    return (x > y) - (x < y);
}

static int by_hash(const void *a, const void *b)
{
    uint64_t x = ((const struct letter *)a)->id_hash, y = ((const struct letter *)b)->id_hash;

    return (x > y) - (x < y);
}

static void check_link(struct checker *c, struct slice id, const struct checkpoint_record *r)
{
    const struct link want = {.no = r->cp.pending_no};
    struct link *l =
        c->link_count == 0 ? NULL : bsearch(&want, c->links, c->link_count, sizeof want, by_no);

    if (l == NULL || l->id_hash != hash_of(id)) {
        find(c, "checkpoints/%.*s: its pending version, number %" PRIu64 ", is not there",
             SLICE_ARG(id), want.no);
        return;
    }
    l->is_known = true;
    if (l->revision != r->cp.pending.revision)
        find(c, "checkpoints/%.*s: revision %" PRIu64 " should be pending, %" PRIu64 " is",
             SLICE_ARG(id), r->cp.pending.revision, l->revision);
    if (l->json_len != r->pending_bytes || l->kept_at_us != r->pending_kept_at_us)
        find(c, "checkpoints/%.*s: size or time of its pending version is wrong", SLICE_ARG(id));
}

static void check_letter(struct checker *c, struct slice id)
{
    const struct letter want = {.id_hash = hash_of(id)};
    struct letter *l = c->letter_count == 0
                           ? NULL
                           : bsearch(&want, c->letters, c->letter_count, sizeof want, by_hash);

    if (l != NULL)
        l->is_known = true;
    else
        find(c, "checkpoints/%.*s: its dead letter is not there", SLICE_ARG(id));
}

/* Invariants 3 and 4: what waits is newer than what stands, and later. */
static void check_order(struct checker *c, struct slice id, const struct checkpoint *cp)
{
    int64_t last_us = cp->last_projected_us;

    if ((cp->has_pending && cp->pending.projected_at_us > last_us) ||
        (cp->has_delivered && cp->delivered.projected_at_us > last_us))
        find(c, "checkpoints/%.*s: a version is later than the last one", SLICE_ARG(id));
    if (!cp->has_pending || !cp->has_delivered)
        return;
    if (cp->pending.revision <= cp->delivered.revision)
        find(c, "checkpoints/%.*s: what is pending is older than what is delivered", SLICE_ARG(id));
    else if (cp->pending.projected_at_us <= cp->delivered.projected_at_us)
        find(c, "checkpoints/%.*s: projected_at does not rise", SLICE_ARG(id));
}

static void check_checkpoint(struct checker *c, struct slice key, struct slice value)
{
    struct checkpoint_record r;
    struct fault fault = {0};

    if (record_get_checkpoint(key, value, &r, &fault) != ERR_OK) {
        find(c, "%s: %s", fault.path, fault.why);
        return;
    }
    c->report->checkpoints++;
    if (r.reset_revision > 0)
        note_revision(c, r.reset_revision - 1); /* of a doubt: the next one */
    if (r.cp.has_delivered) {
        note_revision(c, r.cp.delivered.revision);
        if (r.cp.delivered.op != OUTBOX_UPSERT)
            find(c, "checkpoints/%.*s: a removal is delivered for ever", SLICE_ARG(key));
    }
    check_order(c, key, &r.cp);
    if (r.cp.has_pending) {
        note_revision(c, r.cp.pending.revision);
        check_link(c, key, &r);
    }
    if (r.cp.is_dead)
        check_letter(c, key);
}

/* ---- all of it ------------------------------------------------------------ */

static void take_entry(void *arg, const struct pages_entry *e)
{
    struct checker *c = arg;

    if (e->table == STORE_META)
        check_meta(c, e->key, e->value);
    else if (e->table == STORE_PENDING)
        check_pending(c, e->key, e->value);
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

/* What no checkpoint named. */
static void check_unknown(struct checker *c)
{
    for (size_t i = 0; i < c->link_count; i++)
        if (!c->links[i].is_known)
            find(c, "pending/%" PRIu64 ": no checkpoint names it", c->links[i].no);
    for (size_t i = 0; i < c->letter_count; i++)
        if (!c->letters[i].is_known)
            find(c, "dead: a letter is there that no checkpoint names");
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
    if (c->counters.next_no <= c->max_no)
        find(c, "meta/counters: number %" PRIu64 " is in use, the next one is %" PRIu64, c->max_no,
             c->counters.next_no);
    if (c->counters.next_revision <= c->max_revision)
        find(c, "meta/counters: revision %" PRIu64 " is in use, the next one is %" PRIu64,
             c->max_revision, c->counters.next_revision);
    if (c->counters.pending_bytes != r->pending_bytes || c->counters.dead_bytes != r->dead_bytes)
        find(c,
             "meta/counters: %" PRIu64 " bytes pending and %" PRIu64 " dead, it is %" PRIu64
             " and %" PRIu64,
             c->counters.pending_bytes, c->counters.dead_bytes, r->pending_bytes, r->dead_bytes);
}

enum err store_check(const char *dir, void (*finding)(void *arg, const char *text), void *arg,
                     struct store_report *report, struct fault *fault)
{
    struct checker c = {.finding = finding, .arg = arg, .report = report};
    const struct pages_visitor visitor = {&c, take_entry, take_damage};
    struct pages *p;

    *report = (struct store_report){0};
    enum err e = pages_open(dir, &visitor, &p, fault);
    if (e != ERR_OK)
        return e;
    pages_walk(p, STORE_META);
    pages_walk(p, STORE_DEAD);
    pages_walk(p, STORE_PENDING);
    if (c.link_count > 0)
        qsort(c.links, c.link_count, sizeof *c.links, by_no); /* sorted, unless damaged */
    if (c.letter_count > 0)
        qsort(c.letters, c.letter_count, sizeof *c.letters, by_hash);
    pages_walk(p, STORE_CHECKPOINTS);
    check_unknown(&c);
    check_counters(&c);
    pages_walk_lost(p);
    if (c.lost > 0)
        find(&c, "%" PRIu64 " entries lie on pages that no table leads to", c.lost);
    pages_close(p);
    free(c.links);
    free(c.letters);
    return ERR_OK;
}
