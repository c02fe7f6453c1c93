/*
 * kept_for.c - which kind of sink the documents of a store are kept for.
 *
 * Noop confirms what goes nowhere, a file confirms what Convex does not have.  A sink
 * that is left out or mistyped must not do so to documents that were promised to
 * another: what it confirms is not sent again, by nobody.
 *
 * The happy path: meta/kept_for names the sink in use, and nothing is written.  A
 * sink that delivers further (noop < file < http) takes the store over, as does any
 * sink an empty one.  A sink that delivers less gets nothing: intake goes on, the
 * documents wait, and the operator is told.
 *
 * A store from before 0.1.1 has no such record.  With http it gets one.  With noop or
 * file it gets one when nothing is pending and there is no dead letter (which only
 * Convex makes), since its checkpoints look the same whoever confirmed them, and who
 * always had noop must not be held up; else its documents wait.
 *
 * Older sidecars leave the record alone.  What can go wrong: it is damaged, which is
 * taken for http, the sink that loses nothing; or the store fails.
 *
 * Runs once, inside outbox_open, before the store thread.
 */

#include "store/kept_for.h"

#include "ground/log.h"
#include "store/store.h"

/* By how far they deliver. */
static const char *const sinks[] = {"noop", "file", "http"};
enum { SINK_COUNT = sizeof sinks / sizeof *sinks, FURTHEST = SINK_COUNT - 1, UNKNOWN = -1 };

static int rank_of(struct slice name)
{
    for (int i = 0; i < SINK_COUNT; i++)
        if (slice_is(name, sinks[i]))
            return i;
    return UNKNOWN;
}

enum err kept_for_parse(struct slice value, const char **sink)
{
    int rank = rank_of(value);

    if (rank == UNKNOWN)
        return ERR_STORE;
    *sink = sinks[rank];
    return ERR_OK;
}

/* What the store has of a document: where it says that one was kept, and where one waits. */
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

/* The rank of the record; UNKNOWN: there is none.  ${sound}: it says so itself. */
static enum err read_rank(struct store *s, int *rank, bool *sound)
{
    struct slice value;
    enum err e = store_get(s, STORE_META, slice_str(KEPT_FOR_KEY), &value);

    *rank = e == ERR_OK ? rank_of(value) : UNKNOWN;
    *sound = *rank != UNKNOWN;
    if (e == ERR_OK && !*sound)
        *rank = FURTHEST;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static bool may_have(int sink, int kept, const struct content *c)
{
    bool is_empty = c->checkpoints == 0 && c->pending == 0 && c->dead == 0;

    if (is_empty || sink == FURTHEST)
        return true;
    return kept == UNKNOWN ? c->pending == 0 && c->dead == 0 : sink >= kept;
}

static void withhold(struct kept_for *k, const char *sink, int kept)
{
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
                 sink, sinks[kept]);
    snprintf(k->next, sizeof k->next,
             "set [sink] type = %s to deliver them, or give %s a [store] dir of its own",
             sinks[kept == UNKNOWN ? FURTHEST : kept], sink);
    log_event(LOG_WARNING, "store.withheld", "sink=%s kept_for=%s next=\"%s\"", sink,
              kept == UNKNOWN ? "unknown" : sinks[kept], k->next);
}

/* Inside a transaction; ${wrote}: it is to be committed. */
static enum err decide(struct store *s, const char *sink, struct kept_for *k, bool *wrote)
{
    struct content c = {0};
    int kept, now = rank_of(slice_str(sink));
    bool is_sound;
    enum err e = read_rank(s, &kept, &is_sound);

    PRE(now != UNKNOWN);
    if (e == ERR_OK)
        e = count(s, &c);
    if (e != ERR_OK)
        return e;
    bool may = may_have(now, kept, &c);
    if (!may)
        withhold(k, sink, kept);
    snprintf(k->sink, sizeof k->sink, "%s", sinks[may ? now : kept == UNKNOWN ? FURTHEST : kept]);
    if (!may || (is_sound && now == kept))
        return ERR_OK;
    if (kept != UNKNOWN && kept != now && c.checkpoints > 0)
        log_event(LOG_INFO, "store.kept_for", "was=%s now=%s", sinks[kept], sink);
    *wrote = true;
    return store_put(s, STORE_META, slice_str(KEPT_FOR_KEY), slice_str(sink));
}

enum err kept_for_check(struct store *s, const char *sink, struct kept_for *k, struct fault *fault)
{
    bool wrote = false;
    enum err e = store_begin(s);

    *k = (struct kept_for){0};
    if (e == ERR_OK) {
        e = decide(s, sink, k, &wrote);
        if (e == ERR_OK && wrote)
            e = store_commit(s);
        store_abort(s);
    }
    if (e == ERR_OK)
        return ERR_OK;
    return fault_fail(fault, ERR_STORE, "meta/" KEPT_FOR_KEY, "%s", store_why(s));
}
