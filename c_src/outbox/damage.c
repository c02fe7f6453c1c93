/*
 * damage.c - a short list of damaged records, from the readers to the store thread.
 *
 * The happy path: it is empty.  A reader that skips a damaged record reports its key, once; the
 * next round takes it and moves the record to quarantine (round_damage.c).
 *
 * What can go wrong: the list is full.  The reader meets the other records again, and reports them
 * then.
 */

#include "outbox/damage.h"

#include <pthread.h>

struct damage {
    pthread_mutex_t lock;
    /* under lock */
    struct damage_place places[DAMAGE_MAX];
    size_t count;
};

struct damage *damage_new(void)
{
    struct damage *d = base_alloc(sizeof *d);

    PRE(pthread_mutex_init(&d->lock, NULL) == 0);
    return d;
}

void damage_free(struct damage *d)
{
    if (d == NULL)
        return;
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static bool is_there(const struct damage *d, enum store_table t, struct slice key)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->places[i].table == t &&
            slice_eq(slice_of(d->places[i].key, d->places[i].key_len), key))
            return true;
    return false;
}

void damage_report(struct damage *d, enum store_table t, struct slice key)
{
    if (key.len > STORE_MAX_KEY)
        return;
    pthread_mutex_lock(&d->lock);
    if (d->count < DAMAGE_MAX && !is_there(d, t, key)) {
        struct damage_place *p = &d->places[d->count++];
        p->table = t;
        p->key_len = key.len;
        memcpy(p->key, key.data, key.len);
    }
    pthread_mutex_unlock(&d->lock);
}

bool damage_take(struct damage *d, struct damage_place *place)
{
    pthread_mutex_lock(&d->lock);
    bool is_any = d->count > 0;
    if (is_any)
        *place = d->places[--d->count];
    pthread_mutex_unlock(&d->lock);
    return is_any;
}
