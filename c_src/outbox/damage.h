/* damage.h - records that a reader could not read, reported to the store thread. */

/* Private to outbox/. */

#ifndef DAMAGE_H
#define DAMAGE_H

#include "ground/base.h"
#include "store/store.h"

#define DAMAGE_MAX 64 /* at once; further ones are met and reported again */

/* One record. */
struct damage_place {
    enum store_table table;
    size_t key_len;
    uint8_t key[STORE_MAX_KEY];
};

struct damage; /* opaque; any thread */

struct damage *damage_new(void);
void damage_free(struct damage *d);

/** damage_report(d, t, key): The record under ${key} cannot be read. */
void damage_report(struct damage *d, enum store_table t, struct slice key);
/** damage_take(d, place): Take one that was reported; false: there is none. */
bool damage_take(struct damage *d, struct damage_place *place);

#endif
