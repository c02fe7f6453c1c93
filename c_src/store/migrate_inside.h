/* migrate_inside.h - a migration in progress, for the files that implement migrate.h. */

/* Private to store/. */

#ifndef MIGRATE_INSIDE_H
#define MIGRATE_INSIDE_H

#include "ground/buf.h"
#include "store/migrate.h"
#include "store/owners.h"
#include "store/survey.h"
#include "store/record.h"

struct store;

struct migration {
    const struct migrate_wires *wires;
    struct migrate_report *report;
    struct fault *fault;
    struct store *to;
    struct counters counters; /* of the new store */
    struct doubt doubt;       /* of the old one; texts are not kept */
    bool has_doubt, has_format;
    struct buf sink; /* the sink that its documents are kept for */
    struct buf record, other;
    struct owners owners; /* up */
    /* what was read, what is written */
    uint64_t seen, of, made, overtaken;
    size_t uncommitted, uncommitted_bytes;
    int64_t began_us, said_us;
    enum err failed;
    char damage[160]; /* the first damage that needs a repair first; "": none */
};

/** migrate_step(step): Does nothing; tests replace it to kill the process here. */
void migrate_step(unsigned step);

/** migrate_good(m, e): Whether ${e} is not a failure of the new store; the first failure is kept.
 */
bool migrate_good(struct migration *m, enum err e);
/** migrate_put(m, t, key, is_last): Put m->record under ${key}; ${is_last}: after all others. */
void migrate_put(struct migration *m, enum store_table t, struct slice key, bool is_last);
/** migrate_put_numbered(m, t, no, is_last): The same under a number. */
void migrate_put_numbered(struct migration *m, enum store_table t, uint64_t no, bool is_last);
/** migrate_note(next, used): ${used} is in use: ${next} must be higher. */
void migrate_note(uint64_t *next, uint64_t used);

/** migrate_up_entry(m, e), migrate_down_entry(m, e): Convert one record of the old store, of
 * format 1 or 2.  Tables are walked in the order meta, checkpoints, pending, dead. */
void migrate_up_entry(struct migration *m, const struct survey_entry *e);
void migrate_down_entry(struct migration *m, const struct survey_entry *e);
/** migrate_up_end(m), migrate_down_end(m): Write the records in meta that complete the copy. */
void migrate_up_end(struct migration *m);
void migrate_down_end(struct migration *m);

#endif
