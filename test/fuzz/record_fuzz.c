/*
 * record_fuzz.c - whatever stands on the disk, reading a record gives the record or a fault.
 *
 * The slices of what was read must lie inside the value.  The first byte says which record it is;
 * it gets a right checksum, behind which nothing is trusted either.  What was read is written again
 * and read once more.
 */

#include "outbox/outbox.h"
#include "store/record.h"
#include "store/record_1.h"
#include "store/record_inside.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice value, struct slice part)
{
    PRE(part.len == 0 ||
        (part.data >= value.data && part.data + part.len <= value.data + value.len));
}

static void read_pending(struct slice key, struct slice value)
{
    struct pending p;
    struct fault fault = {0};
    struct buf again = {0};

    if (record_get_pending(key, value, &p, &fault) != ERR_OK)
        return;
    inside(value, p.id);
    inside(value, p.json);
    inside(value, p.version.version);
    inside(value, p.tail);
    record_put_pending(&again, &p);
    PRE(record_get_pending(key, buf_view(&again), &p, &fault) == ERR_OK);
    buf_free(&again);
}

static void read_checkpoint(struct slice key, struct slice value)
{
    struct checkpoint_record c;
    struct fault fault = {0};
    struct buf again = {0};

    if (record_get_checkpoint(key, value, &c, &fault) != ERR_OK)
        return;
    inside(value, c.id);
    inside(value, c.cp.fold);
    inside(value, c.row_version);
    inside(value, c.cp.recent);
    record_put_checkpoint(&again, &c);
    PRE(record_get_checkpoint(key, buf_view(&again), &c, &fault) == ERR_OK);
    buf_free(&again);
}

static void read_dead(struct slice key, struct slice value)
{
    struct dead_letter d;
    struct fault fault = {0};
    struct buf again = {0};

    if (record_get_dead(key, value, &d, &fault) != ERR_OK)
        return;
    inside(value, d.json);
    inside(value, d.why);
    inside(value, d.deployment);
    record_put_dead(&again, &d);
    PRE(record_get_dead(key, buf_view(&again), &d, &fault) == ERR_OK);
    buf_free(&again);
}

static void read_meta(int which, struct slice key, struct slice value)
{
    struct counters counters;
    struct destination destination;
    struct doubt doubt;
    struct quarantined q;
    struct fault fault = {0};

    if (which == 3 && record_get_counters(value, &counters, &fault) == ERR_OK)
        inside(value, counters.tail);
    if (which == 4 && record_get_destination(value, &destination, &fault) == ERR_OK)
        inside(value, destination.address);
    if (which == 5 && record_get_doubt(value, &doubt, &fault) == ERR_OK)
        inside(value, doubt.why);
    if (which == 6 && record_get_quarantined(key, value, &q, &fault) == ERR_OK)
        inside(value, q.value);
}

static void read_format_1(struct slice key, struct slice value)
{
    struct pending p;
    struct checkpoint_record c;
    struct dead_letter d;
    struct fault fault = {0};

    if (record_1_get_pending(key, value, &p, &fault) == ERR_OK)
        inside(value, p.json);
    if (record_1_get_checkpoint(slice_str("x"), value, &c, &fault) == ERR_OK)
        inside(value, c.cp.fold);
    if (record_1_get_dead(slice_str("x"), value, &d, &fault) == ERR_OK)
        inside(value, d.json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum store_table tables[] = {STORE_PENDING,   STORE_CHECKPOINTS, STORE_DEAD,
                                              STORE_META,      STORE_META,        STORE_META,
                                              STORE_QUARANTINE};
    static const char *const names[] = {"counters", "destination", "doubt"};
    const uint64_t no = 7;
    struct buf value = {0};

    if (size == 0)
        return 0;
    int which = data[0] % 8;
    struct slice key =
        which >= 3 && which < 6 ? slice_str(names[which - 3]) : slice_of(&no, sizeof no);
    buf_reserve(&value, size);
    buf_add(&value, data + 1, size - 1);
    if (which < 7)
        record_seal(&value, 0, tables[which], key);
    if (which == 0)
        read_pending(key, buf_view(&value));
    else if (which == 1)
        read_checkpoint(key, buf_view(&value));
    else if (which == 2)
        read_dead(key, buf_view(&value));
    else if (which < 7)
        read_meta(which, key, buf_view(&value));
    else
        read_format_1(key, buf_view(&value));
    buf_free(&value);
    return 0;
}
