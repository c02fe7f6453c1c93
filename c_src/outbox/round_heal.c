/*
 * round_heal.c - a dead letter is retried.
 *
 * The happy path: the version in the letter becomes a new one, projected later than all before it,
 * with `reset` as the document's checkpoint requires now: so it is judged by the present state, not
 * by that of when it died.  The letter stays until that version is done.
 *
 * What can go wrong: a newer version is pending (it decides), the store is full (tried later), or
 * Convex has the letter's version by now (the letter is removed).
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/round.h"

#include "outbox/round_inside.h"
#include "projection/gate.h"
#include "projection/retime.h"

int64_t round_next_try_us(int64_t now_us, uint32_t tries)
{
    static const int64_t waits_s[] = {60, 600, 3600, 21600, 86400};
    const size_t last = sizeof waits_s / sizeof *waits_s - 1;

    return now_us + 1000000 * waits_s[tries < last ? tries : last];
}

/* A user's own functions may write twice what they are sent twice. */
bool round_heals(const struct round *r)
{
    return r->peer.functions >= 2;
}

int64_t round_dead_next_us(const struct round *r, const struct dead_letter *d)
{
    int64_t next_us = d->next_try_us > 0 ? d->next_try_us : d->died_at_us;

    return round_heals(r) ? next_us : 0;
}

/* Replaces a damaged checkpoint: nothing but the letter is known. */
static void make_checkpoint(const struct round *r, const struct dead_letter *d,
                            struct checkpoint_record *c)
{
    c->cp.document = d->document;
    c->cp.is_dead = true;
    c->cp.kind = d->kind;
    c->cp.last_projected_us = d->version.projected_at_us;
    c->reset_revision = r->counters.next_revision;
}

/* Whether Convex has the version of ${d}, as far as we know. */
static bool stands(const struct round *r, const struct dead_letter *d,
                   const struct checkpoint_record *c)
{
    return d->version.op == OUTBOX_UPSERT && round_believes(r, c) &&
           !decide(&c->cp.delivered, &d->version).write;
}

static enum err keep_again(struct round *r, struct slice id, const struct dead_letter *d,
                           struct checkpoint_record *c)
{
    bool is_removal = d->version.op == OUTBOX_REMOVE;
    struct pending p = {.id = id, .kind = d->kind, .origin = ORIGIN_HEALED, .version = d->version};
    /* Only just later than all before it: the row was read at the time in the letter. */
    enum err e = gate_time(c->cp.last_projected_us, d->version.projected_at_us,
                           &p.version.projected_at_us, &r->fault);

    if (e != ERR_OK)
        return e;
    r->retimed.len = 0;
    if (!is_removal)
        retime(d->json, p.version.projected_at_us, &r->retimed);
    p.json = buf_view(&r->retimed);
    return round_keep_document(r, &p, is_removal, c);
}

enum err round_heal(struct round *r, uint64_t document, struct slice id)
{
    struct checkpoint_record c;
    struct dead_letter d;
    enum err known = round_load_numbered(r, document, id, &c);

    if (known != ERR_OK && known != ERR_NOT_FOUND)
        return known;
    enum err e = round_letter(r, document, &d);
    if (e != ERR_OK || c.cp.has_pending)
        return e;
    if (known == ERR_NOT_FOUND)
        make_checkpoint(r, &d, &c);
    if (!stands(r, &d, &c))
        return keep_again(r, id, &d, &c);
    e = round_remove_letter(r, d.json.len, &c);
    return e == ERR_OK ? round_save(r, id, &c) : e;
}
