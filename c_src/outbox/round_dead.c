/*
 * round_dead.c - what operators do with dead letters: show, retry, drop.
 *
 * The happy path: a version that Convex refused is stored under its document's number with
 * the reason and the answer (by settle.c, E6).  It is retried automatically (heal.c); or
 * an operator shows it, mends Convex, and has it sent at once; or drops it.
 *
 * What can go wrong: a newer version of the document is pending already.  It replaces the
 * dead one, which is removed.  A damaged letter is moved to quarantine, and is no longer
 * a dead letter.
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/round.h"

#include "outbox/round_inside.h"
#include "store/store.h"

enum err round_letter(struct round *r, uint64_t document, struct dead_letter *d)
{
    struct slice key = slice_of(&document, sizeof document), value;
    struct fault fault;
    enum err e = round_check(r, store_get(r->store, STORE_DEAD, key, &value));

    if (e == ERR_OK && record_get_dead(key, value, d, &fault) != ERR_OK)
        e = round_damaged(r, STORE_DEAD, key, &fault);
    return e;
}

enum err round_dead_get(struct round *r, struct slice id, struct dead_letter *d)
{
    uint64_t document;
    enum err e = round_number_of(r, id, &document);

    return e == ERR_OK ? round_letter(r, document, d) : e;
}

enum err round_next_letter(struct round *r, uint64_t *document, struct dead_letter *d)
{
    struct slice key, value;
    struct fault fault;

    for (;;) {
        enum err e =
            round_check(r, store_seek(r->store, STORE_DEAD, slice_of(document, sizeof *document),
                                      true, &key, &value));
        if (e != ERR_OK)
            return e;
        memcpy(document, key.data, sizeof *document);
        if (record_get_dead(key, value, d, &fault) == ERR_OK)
            return ERR_OK;
        (void)round_damaged(r, STORE_DEAD, slice_of(document, sizeof *document), &fault);
        if (r->failed)
            return ERR_STORE;
    }
}

enum err round_dead_each(struct round *r, struct slice after,
                         bool (*visit)(void *arg, const struct dead_letter *d), void *arg)
{
    struct dead_letter d;
    uint64_t document = 0;
    enum err e = after.len > 0 ? round_number_of(r, after, &document) : ERR_OK;

    if (e == ERR_NOT_FOUND) /* nothing comes after an unknown document */
        return ERR_OK;
    while (e == ERR_OK) {
        e = round_next_letter(r, &document, &d);
        if (e == ERR_NOT_FOUND || (e == ERR_OK && !visit(arg, &d)))
            return ERR_OK;
    }
    return e;
}

enum err round_remove_letter(struct round *r, size_t json_len, struct checkpoint_record *c)
{
    uint64_t document = c->cp.document;

    c->cp.is_dead = false;
    round_take_off(&r->counters.dead_bytes, json_len);
    enum err e =
        round_wrote(r, store_del(r->store, STORE_DEAD, slice_of(&document, sizeof document)));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err round_dead_retry(struct round *r, struct slice id)
{
    struct checkpoint_record c;
    struct dead_letter d;
    enum err known = round_load(r, id, &c);

    if (known != ERR_OK && known != ERR_NOT_FOUND)
        return known;
    enum err e = c.cp.document != 0 ? round_letter(r, c.cp.document, &d) : ERR_NOT_FOUND;
    if (e != ERR_OK)
        return e;
    if (!c.cp.has_pending)
        return round_heal(r, c.cp.document, id);
    if (c.pending_origin == ORIGIN_HEALED) /* it is being retried */
        return ERR_OK;
    e = round_remove_letter(r, d.json.len, &c);
    return e == ERR_OK ? round_save(r, id, &c) : e;
}

enum err round_dead_drop(struct round *r, struct slice id)
{
    struct checkpoint_record c;
    struct dead_letter d = {0};
    enum err known = round_load(r, id, &c);

    if (r->failed || c.cp.document == 0)
        return known;
    enum err e = round_letter(r, c.cp.document, &d);
    if (r->failed || (e == ERR_NOT_FOUND && !c.cp.is_dead))
        return e;
    e = round_remove_letter(r, e == ERR_OK ? d.json.len : 0, &c);
    if (e == ERR_OK && c.cp.has_pending && c.pending_origin == ORIGIN_HEALED)
        e = round_unkeep(r, &c); /* it is the version of the letter */
    return e == ERR_OK && known == ERR_OK ? round_save(r, id, &c) : e;
}
