/*
 * format.c - which format a store has, and how an older one becomes this one.
 *
 * The happy path: meta/format says "convex-sidecar outbox" and STORE_FORMAT, the
 * counters fit what is pending, nothing is written.  An older store goes through
 * its steps and gets the new number, in one transaction: a crash or a full disk in
 * the middle leaves the old store, which the older sidecar still reads.  An empty
 * store has format 0, and its first step makes the first records.
 *
 * What can go wrong: the format is newer, or not ours, or counters that would give
 * a number twice.  In every case the store is left as it is and outbox_open says why.
 *
 * Runs once, inside outbox_open, before the store thread.  What to do when the
 * format changes stands in record.h.
 */

#include "store/format.h"

#include "ground/buf.h"
#include "ground/log.h"
#include "store/record.h"
#include "store/store.h"

static const char magic[] = "convex-sidecar outbox ";

/* 0 -> 1: an empty store. */
static enum err make_first(struct store *s)
{
    struct counters first = {.next_no = 1, .next_revision = 1};
    struct buf value = {0};

    record_put_counters(&value, &first);
    enum err e = store_put(s, STORE_META, slice_str("counters"), buf_view(&value));
    buf_free(&value);
    return e;
}

/* steps[n] takes a store from format n to n + 1. */
static format_step *const own_steps[STORE_FORMAT] = {make_first};

static enum err refuse(struct fault *fault, const char *why)
{
    return fault_fail(fault, ERR_STORE, "meta/format", "%s", why);
}

/* Nothing in meta is an empty store only when there is nothing elsewhere either. */
static enum err check_empty(struct store *s, struct fault *fault)
{
    uint64_t n = 0;
    enum err e = ERR_OK;

    for (enum store_table t = STORE_PENDING; e == ERR_OK && n == 0 && t <= STORE_DEAD; t++)
        e = store_count(s, t, &n);
    if (e != ERR_OK)
        return refuse(fault, store_why(s));
    return n == 0 ? ERR_OK : refuse(fault, "documents, but no format: damaged, or not ours");
}

enum err format_refuse_newer(unsigned format, unsigned known, struct fault *fault)
{
    return fault_fail(
        fault, ERR_STORE, "meta/format",
        "format %u is of a newer sidecar; this one knows up to %u: run the newer one, "
        "or \"convex_sidecar store migrate --to %u\" with it",
        format, known, known);
}

/* The number behind the magic: 1 to 9 digits, no more. */
enum err format_parse(struct slice value, unsigned *format, struct fault *fault)
{
    size_t skip = sizeof magic - 1;
    unsigned n = 0;

    if (value.len <= skip || value.len > skip + 9 || !slice_starts(value, slice_str(magic)))
        return refuse(fault, "not a store of the sidecar");
    for (size_t i = skip; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return refuse(fault, "not a store of the sidecar");
        n = n * 10 + (value.data[i] - (unsigned)'0');
    }
    *format = n;
    return ERR_OK;
}

static enum err read_format(struct store *s, unsigned target, unsigned *format, struct fault *fault)
{
    struct slice value;
    enum err e = store_get(s, STORE_META, slice_str("format"), &value);

    *format = 0;
    if (e == ERR_NOT_FOUND)
        return check_empty(s, fault);
    if (e != ERR_OK)
        return refuse(fault, store_why(s));
    e = format_parse(value, format, fault);
    if (e == ERR_OK && *format > target)
        e = format_refuse_newer(*format, target, fault);
    return e;
}

static enum err put_format(struct store *s, unsigned format)
{
    char value[sizeof magic + 10];

    snprintf(value, sizeof value, "%s%u", magic, format);
    return store_put(s, STORE_META, slice_str("format"), slice_str(value));
}

enum err format_put(struct store *s)
{
    return put_format(s, STORE_FORMAT);
}

static enum err run_steps(struct store *s, format_step *const *steps, unsigned from,
                          unsigned target, struct fault *fault)
{
    enum err e = ERR_OK;

    for (unsigned n = from; e == ERR_OK && n < target; n++)
        e = steps[n](s);
    if (e == ERR_OK)
        e = put_format(s, target);
    return e == ERR_OK ? ERR_OK : refuse(fault, store_why(s));
}

/* Numbers are never given twice: all that are in use are below the next one. */
static enum err check_counters(struct store *s, struct fault *fault)
{
    struct counters c;
    struct slice found = {0}, value;
    uint64_t next;
    enum err e = store_get(s, STORE_META, slice_str("counters"), &value);

    if (e == ERR_NOT_FOUND)
        return refuse(fault, "the counters are missing");
    if (e == ERR_OK && record_get_counters(value, &c, fault) != ERR_OK)
        return ERR_STORE;
    if (e == ERR_OK) {
        next = c.next_no;
        e = store_seek(s, STORE_PENDING, slice_of(&next, sizeof next), false, &found, &value);
    }
    if (e == ERR_OK)
        return refuse(fault, "the counters are behind what is pending");
    return e == ERR_NOT_FOUND ? ERR_OK : refuse(fault, store_why(s));
}

enum err format_migrate(struct store *s, format_step *const *steps, unsigned target,
                        struct fault *fault)
{
    unsigned from = 0;

    if (store_begin(s) != ERR_OK)
        return refuse(fault, store_why(s));
    enum err e = read_format(s, target, &from, fault);
    if (e == ERR_OK && from < target)
        e = run_steps(s, steps, from, target, fault);
    if (e == ERR_OK)
        e = check_counters(s, fault);
    if (e != ERR_OK || from == target) {
        store_abort(s);
        return e;
    }
    if (store_commit(s) != ERR_OK)
        return refuse(fault, store_why(s));
    if (from > 0)
        log_event(LOG_INFO, "store.migrated", "from=%u to=%u", from, target);
    return ERR_OK;
}

enum err format_check(struct store *s, struct fault *fault)
{
    return format_migrate(s, own_steps, STORE_FORMAT, fault);
}
