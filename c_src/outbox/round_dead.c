/*
 * round_dead.c - dead letters as operators meet them: looked at, sent again, thrown away.
 *
 * The happy path: a version that Convex refused lies under its document's id with
 * the reason and the answer (settle.c put it there, E6).  An operator shows it,
 * mends Convex, and has it sent again (E6 -> E2); or drops it.
 *
 * What can go wrong: a newer version of the document waits already.  It takes the
 * dead one's place, which is then of no use to anybody and goes.  A damaged letter
 * is logged and left out of lists; it can be dropped.
 *
 * Runs on the store thread only, inside a round.
 */

#include "outbox/round.h"

#include "outbox/round_inside.h"
#include "store/store.h"

enum err round_dead_get(struct round *r, struct slice id, struct dead_letter *d)
{
    struct slice value;
    struct fault fault;

    if (!round_is_id(id))
        return ERR_NOT_FOUND;
    enum err e = round_check(r, store_get(r->store, STORE_DEAD, id, &value));

    if (e == ERR_OK && record_get_dead(id, value, d, &fault) != ERR_OK)
        e = round_damaged(r, &fault);
    return e;
}

enum err round_dead_each(struct round *r, struct slice after,
                         bool (*visit)(void *arg, const struct dead_letter *d), void *arg)
{
    uint8_t id[STORE_MAX_KEY];
    struct slice at = after, key, value;

    for (;;) {
        enum err e = store_seek(r->store, STORE_DEAD, at, true, &key, &value);
        if (e == ERR_NOT_FOUND)
            return ERR_OK;
        if (e != ERR_OK)
            return round_check(r, e);
        struct dead_letter d;
        struct fault fault;
        PRE(key.len <= sizeof id);
        memcpy(id, key.data, key.len);
        at = slice_of(id, key.len);
        if (record_get_dead(at, value, &d, &fault) != ERR_OK)
            round_damaged(r, &fault);
        else if (!visit(arg, &d))
            return ERR_OK;
    }
}

enum err round_remove_letter(struct round *r, struct slice id, size_t json_len,
                             struct checkpoint_record *c)
{
    c->cp.is_dead = false;
    round_take_off(&r->counters.dead_bytes, json_len);
    enum err e = round_wrote(r, store_del(r->store, STORE_DEAD, id));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err round_dead_retry(struct round *r, struct slice id)
{
    struct checkpoint_record c;
    struct dead_letter d;
    enum err e = round_dead_get(r, id, &d);

    if (e == ERR_OK)
        e = round_load(r, id, &c);
    if (e != ERR_OK)
        return e;
    struct pending p = {.id = id, .kind = d.kind, .json = d.json, .version = d.version};
    size_t json_len = d.json.len;
    c.cp.is_dead = false;
    e = c.cp.has_pending ? round_save(r, id, &c) : round_keep(r, &p, &c);
    return e == ERR_OK ? round_remove_letter(r, id, json_len, &c) : e;
}

enum err round_dead_drop(struct round *r, struct slice id)
{
    struct checkpoint_record c;
    struct dead_letter d = {0};
    enum err e = round_dead_get(r, id, &d);

    if (e == ERR_NOT_FOUND || r->failed)
        return e;
    size_t json_len = d.json.len;
    enum err known = round_load(r, id, &c);
    if (r->failed)
        return ERR_STORE;
    c.cp.is_dead = false;
    e = known == ERR_OK ? round_save(r, id, &c) : ERR_OK;
    return e == ERR_OK ? round_remove_letter(r, id, json_len, &c) : e;
}
