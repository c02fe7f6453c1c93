/*
 * kept_for.c - which kind of sink the documents of a store are kept for.
 *
 * Noop confirms what goes nowhere; a file confirms what Convex does not have.  After a
 * missing or mistyped setting, such a sink must not confirm documents that were promised
 * to another: nobody would send them again.
 *
 * The happy path: the destination names the sink in use, and nothing is written.  A
 * sink that delivers further (noop < file < http, says the list of sinks) takes the store over, as
 * does any sink an empty one; what the earlier sink confirmed is then doubtful, and is sent again.
 * A sink that delivers less gets nothing: intake goes on, the documents stay pending, and the
 * operator is told.
 *
 * A store from before 0.1.1 has no name.  With http it gets one.  With noop or file it
 * gets one if nothing is pending and there is no dead letter (which only Convex causes),
 * since its checkpoints look the same whichever sink confirmed them, and a user who
 * always had noop must not be held up; otherwise its documents stay pending.
 *
 * What can go wrong: the name is unknown, and is taken for the furthest sink, which loses nothing
 * (format.c does the same with a damaged record); or the store fails.
 *
 * Runs once, inside outbox_open, before the store thread.
 */

#include "store/kept_for.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "store/format.h"
#include "store/record.h"
#include "store/store.h"

enum { UNKNOWN = -1, NAME_MAX_BYTES = 32 };

/* All sinks by how far they deliver, and the one in use. */
struct sinks {
    const char *const *names;
    int furthest, now; /* ranks */
};

static int rank_of(const char *const *names, struct slice name)
{
    for (int i = 0; names[i] != NULL; i++)
        if (slice_is(name, names[i]))
            return i;
    return UNKNOWN;
}

bool kept_for_is_name(struct slice value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 'a' || value.data[i] > 'z')
            return false;
    return value.len > 0 && value.len <= NAME_MAX_BYTES;
}

/* How many records say that a document was kept, or is pending. */
struct content {
    uint64_t checkpoints, pending, dead;
};

static enum err count(struct store *s, struct content *c)
{
    enum err e = store_count(s, STORE_CHECKPOINTS, &c->checkpoints);

    if (e == ERR_OK)
        e = store_count(s, STORE_PENDING, &c->pending);
    if (e == ERR_OK)
        e = store_count(s, STORE_DEAD, &c->dead);
    return e;
}

/* The rank of the name; UNKNOWN: the store has none.  ${sound}: the name is a known one. */
static int read_rank(const struct sinks *sinks, const struct destination *d, bool *sound)
{
    int rank = rank_of(sinks->names, d->sink);

    *sound = rank != UNKNOWN;
    return *sound || d->sink.len == 0 ? rank : sinks->furthest;
}

static bool may_have(const struct sinks *sinks, int kept, const struct content *c)
{
    bool is_empty = c->checkpoints == 0 && c->pending == 0 && c->dead == 0;

    if (is_empty || sinks->now == sinks->furthest)
        return true;
    return kept == UNKNOWN ? c->pending == 0 && c->dead == 0 : sinks->now >= kept;
}

static void withhold(struct kept_for *k, const struct sinks *sinks, int kept)
{
    const char *sink = sinks->names[sinks->now];
    const char *wanted = sinks->names[kept == UNKNOWN ? sinks->furthest : kept];

    k->is_withheld = true;
    if (kept == UNKNOWN)
        snprintf(k->why, sizeof k->why,
                 "[sink] type is %s, but a sidecar before 0.1.1 left documents here and did not "
                 "record for which sink: all wait, none is confirmed",
                 sink);
    else
        snprintf(k->why, sizeof k->why,
                 "[sink] type is %s, but the documents of this store are kept for %s: all wait, "
                 "none is confirmed",
                 sink, wanted);
    snprintf(k->next, sizeof k->next,
             "set [sink] type = %s to deliver them, give %s a [store] dir of its own, or say "
             "convex_sidecar adopt: what waits is confirmed to %s then",
             wanted, sink, sink);
    log_event(LOG_WARNING, "store.withheld", "sink=%s kept_for=%s next=\"%s\"", sink,
              kept == UNKNOWN ? "unknown" : wanted, k->next);
}

/* This sink does not have what another confirmed. */
static enum err doubt_all(struct store *s, struct destination *d)
{
    struct doubt all = {.to = d->mark_wanted,
                        .since_us = clock_wall_us(),
                        .why = slice_str("it was confirmed by another sink"),
                        .tail = slice_str("")};
    struct buf value = {0};

    d->mark_wanted++;
    record_put_doubt(&value, &all);
    enum err e = store_put(s, STORE_META, slice_str("doubt"), buf_view(&value));
    buf_free(&value);
    return e;
}

/* Inside a transaction; ${wrote}: it must be committed. */
static enum err decide(struct store *s, struct destination *d, const struct sinks *sinks,
                       struct kept_for *k, bool *wrote)
{
    const char *sink = sinks->names[sinks->now];
    struct content c = {0};
    bool is_sound;
    int kept = read_rank(sinks, d, &is_sound);
    enum err e = count(s, &c);

    if (e != ERR_OK)
        return e;
    bool may = may_have(sinks, kept, &c);
    if (!may)
        withhold(k, sinks, kept);
    if (!may || (is_sound && sinks->now == kept))
        return ERR_OK;
    if (kept != UNKNOWN && kept != sinks->now && c.checkpoints > 0)
        log_event(LOG_INFO, "store.kept_for", "was=%s now=%s", sinks->names[kept], sink);
    if (kept != UNKNOWN && kept != sinks->now && c.checkpoints > 0)
        e = doubt_all(s, d);
    *wrote = true;
    d->sink = slice_str(sink);
    return e == ERR_OK ? format_put_destination(s, d) : e;
}

enum err kept_for_check(struct store *s, const char *const *names, const char *sink,
                        struct kept_for *k, struct fault *fault)
{
    struct sinks sinks = {.names = names, .now = rank_of(names, slice_str(sink))};
    struct destination d;
    struct buf value = {0};
    bool wrote = false;

    PRE(sinks.now != UNKNOWN);
    while (names[sinks.furthest + 1] != NULL)
        sinks.furthest++;
    enum err e = store_begin(s);
    *k = (struct kept_for){0};
    if (e == ERR_OK) {
        e = format_destination(s, &value, &d, NULL);
        if (e == ERR_OK)
            e = decide(s, &d, &sinks, k, &wrote);
        if (e == ERR_OK && wrote)
            e = store_commit(s);
        store_abort(s);
    }
    buf_free(&value);
    if (e == ERR_OK)
        return ERR_OK;
    return fault_fail(fault, ERR_STORE, "meta/destination", "%s", store_why(s));
}
