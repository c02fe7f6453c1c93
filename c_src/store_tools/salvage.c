/*
 * salvage.c - makes a new store of what can be read of an old one.
 *
 * The happy path: pending versions are copied first, each with a checkpoint that says no more than
 * that it is pending; then the old checkpoints are merged with these; then the dead letters.  Then
 * come pages that no table refers to any more, whose entries may be outdated: they are taken only
 * where a checkpoint asks for them, or where nothing is known of the document.  At the end every
 * checkpoint must name records that exist; the counters are the sums.
 *
 * What can go wrong:
 *   a record, or a document under its hash, is damaged    quarantined with its bytes
 *   two pending versions of a document                    the newer one stays
 *   a pending version is nowhere                          the checkpoint forgets it; what was
 *                                                         delivered stays true, so the next
 *                                                         projection is compared with that
 *   a checkpoint is nowhere                               made again, without fold: the next
 *                                                         projection is asked for all events
 *   the new store or the quarantine fails                 the salvage ends; the old store is as
 *                                                         it was
 *
 * Offline, one thread.
 */

#include "store_tools/salvage.h"

#include "store/record_1.h"
#include "store/store.h"
#include "store/survey.h"
#include "store_tools/records.h"
#include "store_tools/salvage_inside.h"

#include <errno.h>

/* ---- pending versions ----------------------------------------------------- */

static void raise_last(struct checkpoint *cp, int64_t us)
{
    if (us > cp->last_projected_us)
        cp->last_projected_us = us;
}

/* Whether ${p} is ahead of ${cp}, which does not know it. */
static bool is_ahead_of(const struct pending *p, const struct checkpoint *cp)
{
    return p->is_ahead && p->version.projected_at_us > cp->last_projected_us;
}

static void set_link(struct checkpoint_record *c, const struct pending *p)
{
    c->cp.has_pending = true;
    c->cp.pending_no = p->no;
    c->cp.pending = p->version;
    c->pending_bytes = p->json.len;
    c->pending_kept_at_us = p->kept_at_us;
    raise_last(&c->cp, p->version.projected_at_us);
}

static void clear_link(struct checkpoint_record *c)
{
    c->cp.has_pending = false;
    c->cp.pending_no = 0;
    c->pending_bytes = 0;
    c->pending_kept_at_us = 0;
}

static void put_pending(struct salvager *s, struct pending *p)
{
    p->document = salvage_give_number(s, p->id);
    s->record.len = 0;
    record_put_pending(&s->record, p);
    salvage_put_numbered(s, STORE_PENDING, p->no);
    s->counters.pending_bytes += p->json.len;
    s->report->pending++;
}

static void drop_pending(struct salvager *s, const struct checkpoint_record *c)
{
    uint64_t no = c->cp.pending_no;

    if (s->failed != ERR_OK ||
        !salvage_good(s, store_del(s->to, STORE_PENDING, slice_of(&no, sizeof no))))
        return;
    s->counters.pending_bytes -= c->pending_bytes;
    s->report->pending--;
    s->report->pending_overtaken++;
}

/* A version of a document of which at most other pending versions are known. */
static void add_pending(struct salvager *s, struct pending *p)
{
    struct checkpoint_record c;
    struct pending same;
    bool is_known = salvage_load(s, p->id, &c);

    if (salvage_has_pending(s, p->no, &same) ||
        (is_known && c.cp.has_pending && c.cp.pending.revision > p->version.revision)) {
        s->report->pending_overtaken++;
        return;
    }
    if (is_known && c.cp.has_pending)
        drop_pending(s, &c);
    s->report->checkpoints_made += is_known ? 0 : 1;
    put_pending(s, p);
    c.cp.kind = p->kind;
    if (is_ahead_of(p, &c.cp)) {
        c.cp.fold = p->fold;
        c.cp.recent = p->recent;
    }
    set_link(&c, p);
    c.reset_revision = p->version.reset ? p->version.revision : 0;
    salvage_save(s, p->id, &c);
}

/* Note its document, as far as it is known: the checkpoint may not name this version. */
static void note_damaged(struct salvager *s, struct slice value)
{
    struct slice id;

    if (s->format != 1 && s->damaged_count < SALVAGE_DAMAGED)
        record_pending_owner(value, &s->damaged[s->damaged_count++], &id);
}

/* The pending version, if its document is what was kept; else it is quarantined. */
static bool read_pending(struct salvager *s, struct slice key, struct slice value,
                         struct pending *p)
{
    struct fault fault = {0};

    if (records_get_pending(s->format, key, value, p, &fault) != ERR_OK) {
        salvage_quarantine(s, "pending", key, fault.why, value);
        note_damaged(s, value);
        return false;
    }
    salvage_note(&s->counters.next_no, lane_arrival(p->no));
    salvage_note(&s->counters.next_revision, p->version.revision);
    const char *why = !records_is_document(&p->version, p->json)
                          ? "the document is not what its hash says"
                      : owners_deny(&s->owners, p->no, p->id, p->json)
                          ? "it belongs to another document, says that one's checkpoint"
                          : NULL;
    if (why != NULL)
        salvage_quarantine(s, "pending", p->id, why, value);
    return why == NULL;
}

static void take_pending(struct salvager *s, struct slice key, struct slice value)
{
    struct pending p;

    if (read_pending(s, key, value, &p))
        add_pending(s, &p);
}

/* ---- checkpoints ---------------------------------------------------------- */

/* Whether what is pending, if anything, was projected after what is delivered. */
static bool is_later(const struct checkpoint *cp)
{
    return !cp->has_pending || cp->pending.projected_at_us > cp->delivered.projected_at_us;
}

/* Whether the pending version that ${c} names is in the new store. */
static bool is_link_right(struct salvager *s, struct slice id, const struct checkpoint *cp)
{
    struct pending p;

    return cp->has_pending && salvage_has_pending(s, cp->pending_no, &p) && slice_eq(p.id, id);
}

/* The two records of a pending version differ: the version is put once more, as it is likelier to
 * be right. */
static void agree(struct salvager *s, struct checkpoint_record *c, struct checkpoint_record *made)
{
    struct pending p;

    if (!salvage_has_pending(s, made->cp.pending_no, &p) ||
        record_1_agree(&p, c->cp.kind, c->cp.last_projected_us))
        return;
    salvage_tell(s, p.id, "its checkpoint says another kind or time of it: the likelier one stays");
    s->report->checkpoints_mended++;
    made->cp.pending.projected_at_us = p.version.projected_at_us;
    made->cp.last_projected_us = c->cp.last_projected_us;
    s->record.len = 0;
    record_put_pending(&s->record, &p);
    if (slice_eq(p.kind, made->cp.kind))
        c->cp.kind = made->cp.kind; /* that of ${p} points into the store, which is written to */
    salvage_put_numbered(s, STORE_PENDING, p.no);
}

/* Whether the pending version ${no}, in the new store, is ahead of ${cp}, which does not know it.
 */
static bool is_behind(struct salvager *s, uint64_t no, const struct checkpoint *cp)
{
    struct pending p;

    return salvage_has_pending(s, no, &p) && is_ahead_of(&p, cp);
}

/* Merge the old ${c} with what its pending version has made (${made}). */
static void merge(struct salvager *s, struct slice id, struct checkpoint_record *c,
                  const struct checkpoint_record *made)
{
    const struct checkpoint *m = &made->cp;
    bool waits = is_link_right(s, id, m);

    if (waits && c->cp.has_delivered && c->cp.delivered.revision >= m->pending.revision) {
        drop_pending(s, made); /* confirmed already */
    } else if (waits) {
        bool was_right = c->cp.has_pending && c->cp.pending_no == m->pending_no;
        bool was_behind = is_behind(s, m->pending_no, &c->cp);
        s->report->checkpoints_mended += was_right || was_behind ? 0 : 1;
        c->cp.has_pending = true;
        c->cp.pending_no = m->pending_no;
        c->cp.pending = m->pending;
        c->pending_bytes = made->pending_bytes;
        c->pending_kept_at_us = made->pending_kept_at_us;
        if (was_behind) {
            c->cp.fold = m->fold;
            c->cp.recent = m->recent;
        }
    }
    raise_last(&c->cp, m->last_projected_us);
    if (c->cp.has_pending)
        raise_last(&c->cp, c->cp.pending.projected_at_us);
    if (c->cp.has_delivered)
        raise_last(&c->cp, c->cp.delivered.projected_at_us);
    if (c->cp.has_delivered && (c->cp.delivered.op != OUTBOX_UPSERT || !is_later(&c->cp)))
        c->cp.has_delivered = false;
    salvage_save(s, id, c);
}

static void note_checkpoint(struct salvager *s, const struct checkpoint_record *c)
{
    if (c->cp.has_pending)
        salvage_note(&s->counters.next_no, lane_arrival(c->cp.pending_no));
    if (c->cp.has_delivered)
        salvage_note(&s->counters.next_revision, c->cp.delivered.revision);
    if (c->reset_revision > 0)
        salvage_note(&s->counters.next_revision, c->reset_revision - 1);
}

static bool is_damaged(const struct salvager *s, uint64_t document)
{
    for (size_t i = 0; i < s->damaged_count; i++)
        if (s->damaged[i] == document && document != 0)
            return true;
    return false;
}

/* It is unknown whether it was sent: so what was confirmed is no reason to skip the next. */
static void lose_pending(struct salvager *s, struct slice id, struct checkpoint_record *c)
{
    s->report->pending_lost++;
    salvage_tell(s, id,
                 "the version not yet delivered is lost: project it again, or clear it again if "
                 "that was what it did");
    clear_link(c);
    c->reset_revision = s->counters.next_revision;
}

/* Found: the checkpoint of a pending version that seemed to have none. */
static void count_known(struct salvager *s, bool is_known)
{
    if (is_known && s->report->checkpoints_made > 0)
        s->report->checkpoints_made--;
}

static void take_checkpoint(struct salvager *s, struct slice key, struct slice value)
{
    struct checkpoint_record c, made;
    struct fault fault = {0};

    if (records_get_checkpoint(s->format, key, value, &c, &fault) != ERR_OK) {
        salvage_quarantine(s, "checkpoints", key, fault.why, value);
        return;
    }
    note_checkpoint(s, &c);
    bool is_known = salvage_load(s, c.id, &made);
    /* Two of one document, where its id was damaged and got another number: the newer stays. */
    if (is_known && made.cp.has_delivered && made.cp.last_projected_us > c.cp.last_projected_us)
        return;
    count_known(s, is_known);
    if (!c.cp.has_pending && is_damaged(s, c.cp.document) && !is_link_right(s, c.id, &made.cp))
        lose_pending(s, c.id, &c);
    if (s->format == 1 && is_link_right(s, c.id, &made.cp))
        agree(s, &c, &made);
    merge(s, c.id, &c, &made);
}

/* ---- dead letters --------------------------------------------------------- */

static void add_letter(struct salvager *s, struct dead_letter *d)
{
    struct checkpoint_record c;

    d->document = salvage_give_number(s, d->id);
    s->record.len = 0;
    record_put_dead(&s->record, d);
    salvage_put_numbered(s, STORE_DEAD, d->document);
    s->counters.dead_bytes += d->json.len;
    s->report->dead++;
    if (!salvage_load(s, d->id, &c)) {
        c.cp.kind = d->kind;
        c.cp.last_projected_us = d->version.projected_at_us;
        s->report->checkpoints_made++;
    } else if (c.cp.is_dead) {
        return;
    }
    c.cp.is_dead = true;
    salvage_save(s, d->id, &c);
}

static void take_dead(struct salvager *s, struct slice key, struct slice value)
{
    struct dead_letter d;
    struct fault fault = {0};

    if (records_get_dead(s->format, key, value, &d, &fault) != ERR_OK) {
        salvage_quarantine(s, "dead", key, fault.why, value);
        return;
    }
    salvage_note(&s->counters.next_revision, d.version.revision);
    if (records_is_document(&d.version, d.json))
        add_letter(s, &d);
    else
        salvage_quarantine(s, "dead", d.id, "the document is not what its hash says", value);
}

/* ---- lost pages ----------------------------------------------------------- */

/*
 * Whether ${a} was written after ${b}, of the same document.  Between two versions kept
 * (last_projected_us rises) a checkpoint changes by verdicts only: what was pending no longer is,
 * or something is delivered.  A dead letter may be pending again, so one that is dead decides
 * nothing: better refused twice than lost.
 */
static bool is_newer(const struct checkpoint *a, const struct checkpoint *b)
{
    uint64_t a_stands = a->has_delivered ? a->delivered.revision : 0;
    uint64_t b_stands = b->has_delivered ? b->delivered.revision : 0;

    if (a->last_projected_us != b->last_projected_us)
        return a->last_projected_us > b->last_projected_us;
    if (a_stands != b_stands)
        return a_stands > b_stands;
    if (a->has_pending != b->has_pending)
        return a->has_pending ? b->is_dead : !a->is_dead;
    if (a->pending_no != b->pending_no)
        return lane_arrival(a->pending_no) > lane_arrival(b->pending_no);
    return b->fold.len == 0;
}

static void take_lost_checkpoint(struct salvager *s, struct checkpoint_record *c)
{
    struct slice key = c->id;
    struct checkpoint_record made;
    bool is_known = salvage_load(s, key, &made);

    if (is_known && !is_newer(&c->cp, &made.cp))
        return;
    note_checkpoint(s, c);
    count_known(s, is_known && is_link_right(s, key, &made.cp));
    merge(s, key, c, &made);
}

static void take_lost_pending(struct salvager *s, struct pending *p)
{
    struct checkpoint_record c;
    struct pending same;

    if (!records_is_document(&p->version, p->json) || salvage_has_pending(s, p->no, &same))
        return;
    bool is_known = salvage_load(s, p->id, &c);
    salvage_note(&s->counters.next_no, lane_arrival(p->no));
    salvage_note(&s->counters.next_revision, p->version.revision);
    if (!is_known || is_ahead_of(p, &c.cp)) {
        add_pending(s, p);
    } else if (c.cp.pending_no == p->no &&
               p->version.projected_at_us == c.cp.last_projected_us) { /* not one it replaced */
        put_pending(s, p);
        set_link(&c, p);
        salvage_save(s, p->id, &c);
    }
}

static void take_lost_letter(struct salvager *s, struct dead_letter *d)
{
    struct checkpoint_record c;
    bool is_known = salvage_load(s, d->id, &c);

    if (!records_is_document(&d->version, d->json) || salvage_has_letter(s, d->id) ||
        (is_known && !c.cp.is_dead))
        return;
    salvage_note(&s->counters.next_revision, d->version.revision);
    add_letter(s, d);
}

/* Its table is unknown, but no record can be read as one of another table. */
static void take_lost(struct salvager *s, struct slice key, struct slice value)
{
    struct pending p;
    struct checkpoint_record c;
    struct dead_letter d;
    struct fault fault;

    if (s->stage == LOST_PENDING &&
        records_get_pending(s->format, key, value, &p, &fault) == ERR_OK)
        take_lost_pending(s, &p);
    if (s->stage == LOST_CHECKPOINTS &&
        records_get_checkpoint(s->format, key, value, &c, &fault) == ERR_OK)
        take_lost_checkpoint(s, &c);
    if (s->stage == LOST_DEAD && records_get_dead(s->format, key, value, &d, &fault) == ERR_OK)
        take_lost_letter(s, &d);
}

/* ---- the end -------------------------------------------------------------- */

/* Make ${c} forget what does not exist; whether it named only what exists. */
static bool mend(struct salvager *s, struct slice id, struct checkpoint_record *c)
{
    bool is_right = true;

    if (c->cp.has_pending && !is_link_right(s, id, &c->cp)) {
        lose_pending(s, id, c);
        is_right = false;
    }
    if (c->cp.is_dead && !salvage_has_letter(s, id)) {
        salvage_tell(s, id, "its dead letter is lost: project it again");
        c->cp.is_dead = false;
        is_right = false;
    }
    return is_right;
}

static void mend_checkpoints(struct salvager *s)
{
    uint64_t number = 0;
    struct slice key, value;
    struct buf id = {0};

    while (s->failed == ERR_OK &&
           salvage_good(s, store_seek(s->to, STORE_CHECKPOINTS, slice_of(&number, sizeof number),
                                      true, &key, &value))) {
        struct checkpoint_record c;
        struct fault fault;
        memcpy(&number, key.data, sizeof number);
        PRE(record_get_checkpoint(key, value, &c, &fault) == ERR_OK); /* ours */
        id.len = 0;
        buf_slice(&id, c.id);
        s->report->checkpoints++;
        if (salvage_load(s, buf_view(&id), &c) && !mend(s, buf_view(&id), &c)) {
            s->report->checkpoints_mended++;
            salvage_save(s, buf_view(&id), &c);
        }
    }
    buf_free(&id);
}

/* ---- format 1 ------------------------------------------------------------- */

static void take_owner(void *arg, const struct survey_entry *e)
{
    struct salvager *s = arg;
    struct checkpoint_record c;
    struct fault fault;

    if (records_get_checkpoint(1, e->key, e->value, &c, &fault) == ERR_OK && c.cp.has_pending)
        owners_note(&s->owners, c.cp.pending_no, c.id);
}

static void pass_damage(void *arg, const char *what)
{
    (void)arg;
    (void)what;
}

/* Before anything is taken: which document each pending version belongs to. */
static enum err read_owners(struct salvager *s, const char *dir, enum survey_by by,
                            struct fault *fault)
{
    const struct survey_visitor visitor = {s, take_owner, pass_damage};
    struct survey *p;
    enum err e = survey_open(dir, by, &visitor, &p, fault);

    if (e != ERR_OK)
        return e;
    if (survey_format(p) == 1)
        survey_table(p, STORE_CHECKPOINTS);
    survey_close(p);
    return ERR_OK;
}

/* ---- all of it ------------------------------------------------------------ */

static void take_entry(void *arg, const struct survey_entry *e)
{
    struct salvager *s = arg;

    if (s->failed != ERR_OK)
        return;
    if (e->table == STORE_META)
        salvage_take_meta(s, e->key, e->value);
    else if (e->table == STORE_PENDING)
        take_pending(s, e->key, e->value);
    else if (e->table == STORE_CHECKPOINTS)
        take_checkpoint(s, e->key, e->value);
    else if (e->table == STORE_DEAD)
        take_dead(s, e->key, e->value);
    else if (e->table == STORE_QUARANTINE)
        salvage_take_quarantined(s, e->key, e->value);
    else
        take_lost(s, e->key, e->value);
}

static void take_damage(void *arg, const char *what)
{
    struct salvager *s = arg;

    s->say(s->arg, what);
}

static void walk(struct salvager *s, struct survey *p)
{
    s->format = survey_format(p);
    survey_table(p, STORE_META);
    survey_table(p, STORE_QUARANTINE);
    survey_table(p, STORE_PENDING);
    survey_table(p, STORE_CHECKPOINTS);
    survey_table(p, STORE_DEAD);
    for (s->stage = LOST_CHECKPOINTS; s->stage < LOST_STAGES; s->stage++)
        survey_lost(p);
    mend_checkpoints(s);
    if (s->failed == ERR_OK)
        salvage_put_meta(s);
    if (s->failed == ERR_OK)
        salvage_good(s, store_commit(s->to));
}

enum err salvage(const char *dir, struct store *to, FILE *quarantine_file,
                 void (*say)(void *arg, const char *text), void *arg, struct salvage_report *report,
                 struct fault *fault)
{
    struct salvager s = {.to = to,
                         .quarantine = quarantine_file,
                         .say = say,
                         .arg = arg,
                         .report = report,
                         .counters = record_first_counters()};
    const struct survey_visitor visitor = {&s, take_entry, take_damage};
    struct survey *p;

    *report = (struct salvage_report){0};
    struct fault why = {0};
    enum survey_by by = survey_choose(dir, &why);
    enum err e = read_owners(&s, dir, by, fault);
    if (e == ERR_OK)
        e = survey_open(dir, by, &visitor, &p, fault);
    if (e != ERR_OK) {
        owners_free(&s.owners);
        return e;
    }
    if (by == SURVEY_BY_PAGES)
        say(arg, why.why);
    if (salvage_good(&s, store_begin(to)))
        walk(&s, p);
    if (s.failed != ERR_OK)
        fault_say(fault, NULL, "%s", store_why(to));
    else if (s.bad != 0)
        fault_say(fault, NULL, "quarantine: %s", strerror(s.bad));
    store_abort(to);
    survey_close(p);
    buf_free(&s.line);
    buf_free(&s.record);
    buf_free(&s.loaded);
    buf_free(&s.where);
    owners_free(&s.owners);
    return s.failed != ERR_OK ? ERR_STORE : s.bad != 0 ? ERR_SYSTEM : ERR_OK;
}
