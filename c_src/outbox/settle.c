/*
 * settle.c - what a verdict changes.
 *
 * The happy path: the version sent is the one that is pending, so it leaves
 * `pending`, the checkpoint says it is delivered (E4 -> E5), and an older dead
 * letter is removed.  Or it was refused: it moves to the dead letters
 * with the reason and the answer (E4 -> E6).
 *
 * A version that is sent alone and waits long gets its attempts and next try written to its record.
 *
 * What can go wrong:
 *   a newer version took its place   that one stays pending, with its number
 *   the dead letters are full        it stays pending, with a log line; nothing is dropped
 *   the checkpoint is damaged        one is made from the pending version; nothing else is known
 *   the store fails                  the round ends; verdicts are tried again
 * A verdict applied twice changes nothing the second time, so a commit that broke
 * half-way is repeated without harm.
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/settle.h"

#include "ground/log.h"
#include "outbox/confirmed.h"
#include "outbox/doubtful.h"
#include "outbox/round.h"
#include "outbox/round_inside.h"
#include "store/record.h"
#include "store/store.h"

#define LOG_PERIOD_MS 10000

static struct slice id_of(const struct settlement *s)
{
    return slice_of(s->id, s->id_len);
}

/* The pending record with the settlement's number; ERR_NOT_FOUND when it is gone or damaged. */
static enum err read_pending(struct round *r, const struct settlement *s, struct pending *p)
{
    struct slice key = slice_of(&s->no, sizeof s->no), value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_PENDING, key, &value));

    if (e == ERR_OK && record_get_pending(key, value, p, &fault) != ERR_OK)
        e = round_damaged(r, STORE_PENDING, key, &fault);
    return e;
}

static enum err remove_pending(struct round *r, uint64_t no, uint64_t json_len)
{
    round_take_off(&r->counters.pending_bytes, json_len);
    return round_wrote(r, store_del(r->store, STORE_PENDING, slice_of(&no, sizeof no)));
}

/* After damage a document may have two pending versions; the one that no checkpoint names is
 * removed when it is answered. */
static enum err remove_unnamed(struct round *r, const struct settlement *s)
{
    struct pending p;
    enum err e = read_pending(r, s, &p);

    if (e == ERR_OK && p.version.revision == s->revision)
        e = remove_pending(r, s->no, p.json.len);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* Replaces a damaged checkpoint by what the pending version says; what was delivered before is
 * unknown. */
static enum err make_checkpoint(struct round *r, const struct settlement *s,
                                struct checkpoint_record *c)
{
    struct pending p;
    enum err e = read_pending(r, s, &p);

    if (e != ERR_OK)
        return e;
    c->cp.document = p.document;
    c->cp.kind = s->kind;
    c->cp.last_projected_us = p.version.projected_at_us;
    c->cp.has_pending = true;
    c->cp.pending_no = p.no;
    c->cp.pending.revision = p.version.revision;
    c->pending_bytes = p.json.len;
    c->pending_kept_at_us = p.kept_at_us;
    c->reset_revision = r->counters.next_revision;
    return ERR_OK;
}

static size_t kind_no(const struct settlement *s)
{
    return metric_kind_no(s->kind.data, s->kind.len);
}

static void note_healed(struct round *r, const struct settlement *s, const struct dead_letter *d)
{
    char id[700], why[700];

    r->tally.by_kind[kind_no(s)].healed++;
    log_event(LOG_INFO, "outbox.healed", "document_id=%s tries=%u why=%s",
              log_quote(id_of(s), id, sizeof id), d->tries + 1, log_quote(d->why, why, sizeof why));
}

/* An older dead letter is superseded by what Convex has now. */
static enum err forget_older_letter(struct round *r, const struct settlement *s, bool is_healing,
                                    struct checkpoint_record *c)
{
    struct dead_letter d;
    enum err e = round_letter(r, c->cp.document, &d);

    if (r->failed)
        return ERR_STORE;
    if (e == ERR_OK && d.version.revision > s->revision)
        return ERR_OK;
    if (e == ERR_OK && is_healing)
        note_healed(r, s, &d);
    return round_remove_letter(r, e == ERR_OK ? d.json.len : 0, c);
}

static void confirm(const struct settlement *s, bool is_newest, struct checkpoint_record *c)
{
    bool is_newer = !c->cp.has_delivered || s->revision >= c->cp.delivered.revision;

    if (is_newer) {
        c->cp.has_delivered = s->sent.op == OUTBOX_UPSERT;
        c->cp.delivered = s->sent;
        c->cp.delivered_mark = s->mark;
        c->row_version = slice_str("");
        c->origin = c->pending_origin;
        c->has_origin = is_newest && c->pending_origin != ORIGIN_LIVE;
    }
    if (s->revision >= c->reset_revision)
        c->reset_revision = 0;
}

/*
 * Evidence that Convex is not as we left it: a confirmed version was missing, or it has a version
 * newer than any that was kept here.
 */
static void look_for_contradiction(struct round *r, const struct settlement *s, bool is_newest,
                                   const struct checkpoint_record *c)
{
    bool is_gone = s->outcome == OUTCOME_INSERTED && round_believes(r, c);
    bool is_foreign = s->outcome == OUTCOME_STALE && is_newest;
    char id[700];

    if (!is_gone && !is_foreign)
        return;
    r->tally.contradicted++;
    if (log_limited(&r->contradicted_logged_us, LOG_PERIOD_MS))
        log_event(LOG_WARNING, "outbox.contradicted", "document_id=%s why=\"%s\"",
                  log_quote(id_of(s), id, sizeof id),
                  is_gone ? "it was confirmed, and Convex did not have it"
                          : "Convex has a newer version than this store ever kept");
}

/* E4 -> E5 */
static enum err settle_done(struct round *r, const struct settlement *s, bool is_newest,
                            struct checkpoint_record *c)
{
    if (is_newest)
        confirmed_note(&r->tally, c, s->answered_us);
    look_for_contradiction(r, s, is_newest, c);
    enum err e = is_newest ? round_unkeep(r, c) : ERR_OK;

    if (e == ERR_OK && c->cp.is_dead)
        e = forget_older_letter(r, s, is_newest && c->pending_origin == ORIGIN_HEALED, c);
    bool was_doubtful = doubtful_is(r, c);
    confirm(s, is_newest, c);
    doubtful_note(r, c, was_doubtful);
    return e == ERR_OK ? round_save(r, id_of(s), c) : e;
}

static bool has_room_for_letter(struct round *r, const struct checkpoint_record *c,
                                const struct settlement *s)
{
    uint64_t letters;
    char quoted[600];

    if (round_check(r, store_count(r->store, STORE_DEAD, &letters)) != ERR_OK)
        return false;
    if (c->cp.is_dead || letters < r->dead_limit)
        return true;
    if (log_limited(&r->dead_full_logged_us, LOG_PERIOD_MS))
        log_event(LOG_ERROR, "outbox.dead_letters_full",
                  "limit=%llu document=%s stays=pending why=\"retry or drop dead letters\"",
                  (unsigned long long)r->dead_limit, log_quote(id_of(s), quoted, sizeof quoted));
    return false;
}

/* What a new letter needs to know of the older one that it replaces. */
struct old_letter {
    size_t json_len;
    uint32_t tries, attempts;
};

/* Put the letter, with one more try if ${p} was to heal one. */
static enum err put_letter(struct round *r, const struct settlement *s, const struct pending *p,
                           const struct old_letter *old)
{
    struct dead_letter d = {.document = p->document,
                            .id = id_of(s),
                            .kind = p->kind,
                            .json = p->json,
                            .version = p->version,
                            .why = slice_str(s->why != NULL ? s->why : ""),
                            .answer = slice_str(s->answer != NULL ? s->answer : ""),
                            .attempts = s->attempts,
                            .died_at_us = r->now_us,
                            .functions = r->peer.functions,
                            .deployment = slice_str(r->peer.deployment)};
    if (p->origin == ORIGIN_HEALED) {
        d.tries = old->tries + 1;
        d.attempts += old->attempts;
    }
    d.next_try_us = round_next_try_us(r->now_us, d.tries);
    round_take_off(&r->counters.dead_bytes, old->json_len);
    r->counters.dead_bytes += p->json.len;
    r->body.len = 0; /* ${p} borrows the store: made before anything is written */
    record_put_dead(&r->body, &d);
    return round_wrote(r, store_put(r->store, STORE_DEAD, slice_of(&d.document, sizeof d.document),
                                    buf_view(&r->body)));
}

static struct old_letter look_at_old(struct round *r, uint64_t document)
{
    struct dead_letter d;

    if (round_letter(r, document, &d) != ERR_OK)
        return (struct old_letter){0};
    return (struct old_letter){.json_len = d.json.len, .tries = d.tries, .attempts = d.attempts};
}

static void log_letter(const struct settlement *s)
{
    char id[700], why[300];

    log_event(LOG_WARNING, "outbox.dead_letter", "document_id=%s why=%s attempts=%u",
              log_quote(id_of(s), id, sizeof id),
              log_quote(slice_str(s->why != NULL ? s->why : ""), why, sizeof why), s->attempts);
}

/* E4 -> E6 */
static enum err settle_dead(struct round *r, const struct settlement *s,
                            struct checkpoint_record *c)
{
    struct pending p;

    if (!has_room_for_letter(r, c, s))
        return r->failed ? ERR_STORE : ERR_OK;
    struct old_letter old = look_at_old(r, c->cp.document);
    enum err e = r->failed ? ERR_STORE : read_pending(r, s, &p);
    if (e == ERR_OK) {
        e = put_letter(r, s, &p, &old);
        if (e != ERR_OK)
            return e;
        c->cp.is_dead = true;
        r->tally.died++;
        r->tally.by_kind[kind_no(s)].died++;
        log_letter(s); /* a round whose commit fails is repeated, and logs it again */
    }
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = round_unkeep(r, c);
    return e == ERR_OK ? round_save(r, id_of(s), c) : e;
}

/* It stays pending; its record says, also after a restart, that it failed alone. */
static enum err settle_later(struct round *r, const struct settlement *s)
{
    struct pending p;
    enum err e = read_pending(r, s, &p);

    if (e != ERR_OK)
        return r->failed ? ERR_STORE : ERR_OK;
    p.attempts = s->attempts;
    p.next_try_us = s->next_try_us;
    r->body.len = 0;
    record_put_pending(&r->body, &p);
    return round_wrote(
        r, store_put(r->store, STORE_PENDING, slice_of(&s->no, sizeof s->no), buf_view(&r->body)));
}

static enum err load(struct round *r, const struct settlement *s, struct checkpoint_record *c)
{
    enum err e = s->document != 0 ? round_load_numbered(r, s->document, id_of(s), c)
                                  : round_load(r, id_of(s), c);

    return e == ERR_NOT_FOUND ? make_checkpoint(r, s, c) : e;
}

enum err settle_apply(struct round *r, const struct settlement *s)
{
    struct checkpoint_record c;
    enum err e = load(r, s, &c);

    r->tally.brought_work = true;
    if (e != ERR_OK) /* no longer pending; or its checkpoint stays damaged, which is logged */
        return r->failed ? ERR_STORE : ERR_OK;
    bool is_newest =
        c.cp.has_pending && c.cp.pending_no == s->no && c.cp.pending.revision == s->revision;
    if (s->later)
        return is_newest ? settle_later(r, s) : ERR_OK;
    if (c.cp.pending_no != s->no)
        e = remove_unnamed(r, s);
    if (e != ERR_OK)
        return r->failed ? ERR_STORE : ERR_OK;
    if (!s->dead)
        return settle_done(r, s, is_newest, &c);
    return is_newest ? settle_dead(r, s, &c) : ERR_OK; /* a newer one is pending, and decides */
}
