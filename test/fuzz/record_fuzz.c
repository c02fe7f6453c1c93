/*
 * record_fuzz.c - whatever stands on the disk, reading a record gives the record or a fault.
 *
 * The slices of what was read must lie inside the value.
 */

#include "outbox/outbox.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice value, struct slice part)
{
    PRE(part.len == 0 ||
        (part.data >= value.data && part.data + part.len <= value.data + value.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t no = 7;
    struct slice key = slice_of(&no, sizeof no), id = slice_str("runtime/run_summary:x");
    struct slice value = slice_of(data, size);
    struct counters counters;
    struct pending pending;
    struct checkpoint_record checkpoint;
    struct dead_letter dead;
    struct fault fault = {0};

    if (record_get_counters(value, &counters, &fault) != ERR_OK)
        PRE(fault.why[0] != '\0');
    if (record_get_pending(key, value, &pending, &fault) == ERR_OK) {
        inside(value, pending.id);
        inside(value, pending.json);
        inside(value, pending.version.version);
    }
    if (record_get_checkpoint(id, value, &checkpoint, &fault) != ERR_OK)
        PRE(fault.why[0] != '\0');
    if (record_get_dead(id, value, &dead, &fault) == ERR_OK) {
        inside(value, dead.json);
        inside(value, dead.why);
        inside(value, dead.answer);
    }
    return 0;
}
