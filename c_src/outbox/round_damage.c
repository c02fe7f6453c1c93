/*
 * round_damage.c - records that cannot be read are moved to quarantine.
 *
 * The happy path: whoever reads a record with a wrong checksum or with invalid fields has it moved:
 * its table, key and bytes become a record of `quarantine`, and it is removed from its table.
 * round_load.c says what happens to a document whose number, checkpoint or version is lost.
 *
 * What can go wrong: the record belongs to another table, so a page is in the wrong place; it
 * stays, and the store is marked for the next start (store_mark_damaged).  Or the quarantine is
 * full; then the record stays, is skipped, and is named once a minute: nothing damaged is deleted
 * without a copy in quarantine.
 *
 * Runs on the store thread only, inside a round.
 */

#include "ground/log.h"
#include "outbox/damage.h"
#include "outbox/round_inside.h"
#include "store/store.h"

#define QUARANTINE_MAX       1000
#define QUARANTINE_MAX_BYTES ((uint64_t)64 << 20)
#define LOG_PERIOD_MS        60000

/* The size of the quarantine; counts at most QUARANTINE_MAX records. */
static enum err measure(struct round *r, uint64_t *count, uint64_t *bytes)
{
    struct slice key = slice_of("", 0), value;
    enum err e;

    *count = *bytes = 0;
    while ((e = store_seek(r->store, STORE_QUARANTINE, key, key.len > 0, &key, &value)) == ERR_OK) {
        ++*count;
        *bytes += value.len;
    }
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static void log_place(const struct round *r, const char *event, enum store_table t,
                      struct slice key, const char *why)
{
    char place[256], quoted[600], reason[300];

    (void)r;
    record_key_text(t, key, place);
    log_event(LOG_ERROR, event, "record=%s why=%s",
              log_quote(slice_str(place), quoted, sizeof quoted),
              log_quote(slice_str(why), reason, sizeof reason));
}

/* ${key} and ${value} are copies. */
static enum err move(struct round *r, enum store_table t, struct slice key, struct slice value,
                     const char *why)
{
    struct buf record = {0};
    struct quarantined q = {.no = r->counters.next_quarantine++,
                            .table = t,
                            .key = key,
                            .value = value,
                            .why = slice_of(why, strnlen(why, RECORD_MAX_WHY)),
                            .at_us = r->now_us,
                            .tail = slice_str("")};

    record_put_quarantined(&record, &q);
    enum err e =
        store_put(r->store, STORE_QUARANTINE, slice_of(&q.no, sizeof q.no), buf_view(&record));
    if (e == ERR_OK)
        e = store_del(r->store, t, key);
    buf_free(&record);
    uint64_t json_len = record_json_bytes(t, value);
    round_take_off(t == STORE_DEAD ? &r->counters.dead_bytes : &r->counters.pending_bytes,
                   json_len);
    r->tally.damaged++;
    return round_wrote(r, e);
}

enum err round_damaged(struct round *r, enum store_table t, struct slice key,
                       const struct fault *fault)
{
    struct buf copy = {0};
    struct slice value;
    uint64_t count, bytes;
    enum err e = round_check(r, measure(r, &count, &bytes));

    if (e == ERR_OK)
        e = round_check(r, store_get(r->store, t, key, &value));
    if (e != ERR_OK)
        return e;
    if (record_is_of_another(t, key, value)) {
        store_mark_damaged(r->store, "a page of one table is found in another");
        return round_check(
            r, ERR_STORE); /* it stays: the copy at the next start puts it into its table */
    }
    if (count >= QUARANTINE_MAX || bytes + value.len > QUARANTINE_MAX_BYTES) {
        if (log_limited(&r->damaged_logged_us, LOG_PERIOD_MS))
            log_place(r, "store.record_damaged", t, key, "it stays, the quarantine is full");
        return ERR_STORE;
    }
    log_place(r, "store.record_damaged", t, key, fault->why);
    buf_slice(&copy, key);
    buf_slice(&copy, value);
    e = move(r, t, slice_of(copy.data, key.len), slice_of(copy.data + key.len, value.len),
             fault->why);
    buf_free(&copy);
    return e == ERR_OK ? ERR_NOT_FOUND : e;
}

/* What is wrong with the record in ${place}; false: nothing, by now. */
static bool is_damaged(struct round *r, const struct damage_place *place, struct fault *fault)
{
    struct slice key = slice_of(place->key, place->key_len), value;
    struct pending p;

    return place->table == STORE_PENDING &&
           round_check(r, store_get(r->store, STORE_PENDING, key, &value)) == ERR_OK &&
           record_get_pending(key, value, &p, fault) != ERR_OK;
}

enum err round_take_damage(struct round *r)
{
    struct damage_place place;
    struct fault fault;

    while (!r->failed && damage_take(r->damage, &place))
        if (is_damaged(r, &place, &fault))
            (void)round_damaged(r, place.table, slice_of(place.key, place.key_len), &fault);
    return r->failed ? ERR_STORE : ERR_OK;
}
