/*
 * format.c - the format of a store, and the first records of an empty one.
 *
 * The happy path: meta/format says "convex-sidecar outbox" and STORE_FORMAT, the counters fit the
 * records, and nothing is written.  An empty store gets its first records in one transaction.  An
 * older store has been migrated before it is opened (migrate.c).
 *
 * What can go wrong: the format is newer or not ours, or the counters would give a number twice. In
 * every case the store is left unchanged and outbox_open says why.  A damaged destination is
 * replaced by a new one, with another store id, and all that was confirmed is in doubt.
 *
 * Runs once, inside outbox_open, before the store thread.  record.h says what to do when the
 * format changes.
 */

#include "store/format.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "store/record.h"
#include "store/store.h"

#include <sys/random.h>

static const char magic[] = "convex-sidecar outbox ";

static enum err refuse(struct fault *fault, const char *why)
{
    return fault_fail(fault, ERR_STORE, "meta/format", "%s", why);
}

/* ---- records ---------------------------------------------------------------- */

enum err format_put(struct store *s, unsigned format)
{
    char value[sizeof magic + 10];

    snprintf(value, sizeof value, "%s%u", magic, format);
    return store_put(s, STORE_META, slice_str("format"), slice_str(value));
}

static enum err put_meta(struct store *s, const char *key, struct buf *value)
{
    enum err e = store_put(s, STORE_META, slice_str(key), buf_view(value));

    buf_free(value);
    return e;
}

enum err format_put_counters(struct store *s, const struct counters *c)
{
    struct buf value = {0};

    record_put_counters(&value, c);
    return put_meta(s, "counters", &value);
}

enum err format_put_destination(struct store *s, const struct destination *d)
{
    struct buf value = {0};

    record_put_destination(&value, d);
    return put_meta(s, "destination", &value);
}

void format_new_store_id(uint8_t id[16])
{
    PRE(getrandom(id, 16, 0) == 16);
}

static void be_unknown(struct destination *d)
{
    *d = (struct destination){.sink = slice_str(""), .address = slice_str("")};
    d->deployment = d->tail = slice_str("");
    format_new_store_id(d->store_id);
}

enum err format_destination(struct store *s, struct buf *value, struct destination *d,
                            bool *is_sound)
{
    struct slice found;
    struct fault fault;
    enum err e = store_get(s, STORE_META, slice_str("destination"), &found);
    bool sound = false;

    if (e == ERR_OK) {
        value->len = 0;
        buf_slice(value, found);
        sound = record_get_destination(buf_view(value), d, &fault) == ERR_OK;
    }
    if (!sound)
        be_unknown(d);
    if (is_sound != NULL)
        *is_sound = sound;
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err make_first(struct store *s)
{
    struct counters first = record_first_counters();
    struct destination d;

    be_unknown(&d);
    enum err e = format_put_counters(s, &first);
    if (e == ERR_OK)
        e = format_put_destination(s, &d);
    return e == ERR_OK ? format_put(s, STORE_FORMAT) : e;
}

/* ---- what it says ----------------------------------------------------------- */

/* Without records in meta a store is empty only if the other tables are empty, too. */
static enum err check_empty(struct store *s, struct fault *fault)
{
    uint64_t n = 0;
    enum err e = ERR_OK;

    for (enum store_table t = STORE_PENDING; e == ERR_OK && n == 0 && t < STORE_TABLE_COUNT; t++)
        e = store_count(s, t, &n);
    if (e != ERR_OK)
        return refuse(fault, store_why(s));
    if (n == 0)
        return ERR_OK;
    store_mark_damaged(s, "the format is missing"); /* the tables are ours */
    return refuse(fault, "documents, but no format: damaged");
}

enum err format_refuse_newer(unsigned format, unsigned known, struct fault *fault)
{
    return fault_fail(
        fault, ERR_STORE, "meta/format",
        "format %u is of a newer sidecar; this one knows up to %u: run the newer one, "
        "or \"convex_sidecar store migrate --to %u\" with it",
        format, known, known);
}

/* The number after the magic: 1 to 9 digits. */
enum err format_parse(struct slice value, unsigned *format, struct fault *fault)
{
    size_t skip = sizeof magic - 1;
    unsigned n = 0;

    if (value.len <= skip || value.len > skip + 9 || memcmp(value.data, magic, skip) != 0)
        return refuse(fault, "not a store of the sidecar");
    for (size_t i = skip; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return refuse(fault, "not a store of the sidecar");
        n = n * 10 + (value.data[i] - (unsigned)'0');
    }
    *format = n;
    return ERR_OK;
}

/* ${format}: 0 for an empty store. */
static enum err read_format(struct store *s, unsigned *format, struct fault *fault)
{
    struct slice value;
    enum err e = store_get(s, STORE_META, slice_str("format"), &value);

    *format = 0;
    if (e == ERR_NOT_FOUND)
        return check_empty(s, fault);
    if (e != ERR_OK)
        return refuse(fault, store_why(s));
    e = format_parse(value, format, fault);
    if (e == ERR_OK && *format > STORE_FORMAT)
        return format_refuse_newer(*format, STORE_FORMAT, fault);
    if (e == ERR_OK && *format < STORE_FORMAT)
        return refuse(fault, "an older format: convex_sidecar store migrate brings it to this one");
    return e;
}

/* ---- whether it fits -------------------------------------------------------- */

/* Whether nothing in ${t} has number ${next} or more, up to ${end}. */
static enum err check_below(struct store *s, enum store_table t, uint64_t next, uint64_t end,
                            const char *why, struct fault *fault)
{
    struct slice found = {0}, value;
    uint64_t no = UINT64_MAX;
    enum err e = store_seek(s, t, slice_of(&next, sizeof next), false, &found, &value);

    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return refuse(fault, store_why(s));
    if (e == ERR_OK && found.len == sizeof no)
        memcpy(&no, found.data, sizeof no);
    return e == ERR_NOT_FOUND || no >= end ? ERR_OK : refuse(fault, why);
}

/* Numbers are never given twice: all that are in use are below the next one. */
static enum err check_counters(struct store *s, struct fault *fault)
{
    struct counters c;
    struct slice value;
    enum err e = store_get(s, STORE_META, slice_str("counters"), &value);

    if (e == ERR_NOT_FOUND) {
        store_mark_damaged(s, "the counters are missing");
        return refuse(fault, "the counters are missing: damaged");
    }
    if (e != ERR_OK)
        return refuse(fault, store_why(s));
    e = record_get_counters(value, &c, fault);
    /* A repair recounts. */
    if (e == ERR_OK)
        e = check_below(s, STORE_PENDING, c.next_no, LANE_LIVE,
                        "the counters are behind what is pending", fault);
    if (e == ERR_OK)
        e = check_below(s, STORE_PENDING, LANE_LIVE | c.next_no, UINT64_MAX,
                        "the counters are behind what is pending", fault);
    if (e == ERR_OK)
        e = check_below(s, STORE_CHECKPOINTS, c.next_document, UINT64_MAX,
                        "the counters are behind the documents", fault);
    if (e != ERR_OK)
        store_mark_damaged(s, fault->why);
    return e;
}

/* Without a destination, nothing is known of what was confirmed. */
static enum err mend_destination(struct store *s, struct buf *value, bool *wrote)
{
    struct doubt all = {.to = UINT64_MAX,
                        .since_us = clock_wall_us(),
                        .why = slice_str("the record of the destination was damaged"),
                        .tail = slice_str("")};
    struct destination d;
    bool is_sound;
    enum err e = format_destination(s, value, &d, &is_sound);

    if (e != ERR_OK || is_sound)
        return e;
    *wrote = true;
    d.sink = slice_str("http"); /* the choice that loses nothing (kept_for.c) */
    value->len = 0;
    record_put_doubt(value, &all);
    e = store_put(s, STORE_META, slice_str("doubt"), buf_view(value));
    log_event(LOG_ERROR, "store.destination_damaged", "next=\"%s\"",
              "what was confirmed is sent again when it changes");
    return e == ERR_OK ? format_put_destination(s, &d) : e;
}

static enum err check(struct store *s, bool *wrote, struct fault *fault)
{
    struct buf value = {0};
    unsigned format;
    enum err e = read_format(s, &format, fault);

    if (e == ERR_OK && format == 0) {
        *wrote = true;
        return make_first(s) == ERR_OK ? ERR_OK : refuse(fault, store_why(s));
    }
    if (e == ERR_OK)
        e = check_counters(s, fault);
    if (e == ERR_OK && mend_destination(s, &value, wrote) != ERR_OK)
        e = refuse(fault, store_why(s));
    buf_free(&value);
    return e;
}

enum err format_check(struct store *s, struct fault *fault)
{
    bool wrote = false;

    if (store_begin(s) != ERR_OK)
        return refuse(fault, store_why(s));
    enum err e = check(s, &wrote, fault);
    if (e == ERR_OK && wrote && store_commit(s) != ERR_OK)
        e = refuse(fault, store_why(s));
    store_abort(s);
    return e;
}
