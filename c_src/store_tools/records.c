/*
 * records.c - one way to read the records of every format.
 *
 * The tools that read a store from outside take it as it is: not migrated, migrated, or kept after
 * a migration.  What can go wrong: the errors of the formats' readers.  Any thread.
 */

#include "store_tools/records.h"

#include "store/record_1.h"
#include "projection/rehash.h"

enum err records_get_counters(unsigned format, struct slice value, struct counters *c,
                              struct fault *fault)
{
    return format == 1 ? record_1_get_counters(value, c, fault)
                       : record_get_counters(value, c, fault);
}

enum err records_get_pending(unsigned format, struct slice key, struct slice value,
                             struct pending *p, struct fault *fault)
{
    if (format != 1)
        return record_get_pending(key, value, p, fault);
    enum err e = record_1_get_pending(key, value, p, fault);
    p->no |= LANE_LIVE;
    return e;
}

enum err records_get_checkpoint(unsigned format, struct slice key, struct slice value,
                                struct checkpoint_record *c, struct fault *fault)
{
    if (format != 1)
        return record_get_checkpoint(key, value, c, fault);
    enum err e = record_1_get_checkpoint(key, value, c, fault);
    if (c->cp.has_pending)
        c->cp.pending_no |= LANE_LIVE;
    return e;
}

enum err records_get_dead(unsigned format, struct slice key, struct slice value,
                          struct dead_letter *d, struct fault *fault)
{
    return format == 1 ? record_1_get_dead(key, value, d, fault)
                       : record_get_dead(key, value, d, fault);
}

bool records_is_document(const struct outbox_version *v, struct slice json)
{
    return v->op == OUTBOX_REMOVE ? json.len == 0 : rehash_is(json, v->hash);
}
