/* salvage_inside.h - a salvage under way: what the two files of salvage share. */

/* Private to store_tools/. */

#ifndef SALVAGE_INSIDE_H
#define SALVAGE_INSIDE_H

#include "ground/buf.h"
#include "store/owners.h"
#include "store/record.h"
#include "store_tools/salvage.h"

struct store;

/* Which entries of lost pages are read, in this order. */
enum lost_stage { LOST_CHECKPOINTS, LOST_PENDING, LOST_DEAD, LOST_STAGES };

#define SALVAGE_DAMAGED 1000

struct salvager {
    struct store *to;
    FILE *quarantine;
    void (*say)(void *arg, const char *text);
    void *arg;
    struct salvage_report *report;
    unsigned format;      /* of the old store */
    struct owners owners; /* of format 1 */
    struct counters counters;
    struct destination destination;
    bool has_destination;
    uint64_t damaged[SALVAGE_DAMAGED]; /* old numbers of documents whose pending version is */
    size_t damaged_count;
    enum lost_stage stage;
    struct buf line, record, loaded, where; /* where: what destination borrows */
    char loaded_version[RECORD_MAX_VERSION];
    size_t uncommitted;
    enum err failed;
    int bad; /* errno of the quarantine */
};

/** salvage_good(s, e): Whether ${e} is ERR_OK; the first failure is remembered. */
bool salvage_good(struct salvager *s, enum err e);
/** salvage_put(s, t, key), salvage_put_numbered(s, t, number): Put s->record there. */
void salvage_put(struct salvager *s, enum store_table t, struct slice key);
void salvage_put_numbered(struct salvager *s, enum store_table t, uint64_t number);

/** salvage_give_number(s, id): The document's number in the new store, given now if it has none. */
uint64_t salvage_give_number(struct salvager *s, struct slice id);
/** salvage_has_pending(s, no, p), salvage_has_letter(s, id): Whether they exist. */
bool salvage_has_pending(struct salvager *s, uint64_t no, struct pending *p);
bool salvage_has_letter(struct salvager *s, struct slice id);
/** salvage_load(s, id, c), salvage_save(s, id, c): The checkpoint in the new store. */
bool salvage_load(struct salvager *s, struct slice id, struct checkpoint_record *c);
void salvage_save(struct salvager *s, struct slice id, struct checkpoint_record *c);

/** salvage_note(next, used): A number is in use: the next one given is higher. */
void salvage_note(uint64_t *next, uint64_t used);
/** salvage_quarantine(s, table, key, why, bytes): A line for what cannot be read. */
void salvage_quarantine(struct salvager *s, const char *table, struct slice key, const char *why,
                        struct slice bytes);
/** salvage_tell(s, id, fmt, ...): A sentence about the document ${id}. */
void salvage_tell(struct salvager *s, struct slice id, const char *fmt, ...) PRINTF(3, 4);

/** salvage_take_meta(s, key, value), salvage_take_quarantined(s, key, value): Entries of the old
 * store's tables of these names. */
void salvage_take_meta(struct salvager *s, struct slice key, struct slice value);
void salvage_take_quarantined(struct salvager *s, struct slice key, struct slice value);
/** salvage_put_meta(s): The records that complete the new store; at the end. */
void salvage_put_meta(struct salvager *s);

#endif
