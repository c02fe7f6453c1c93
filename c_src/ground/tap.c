/*
 * tap.c - the events in documents' lives, for whoever watches.
 *
 * The happy path: modules report each event in a document's life where it happens.  With no tap
 * open that costs the read of one number.  With one, the record is copied into that tap's ring, and
 * its owner takes it out when it likes.
 *
 * What can go wrong: the owner is slower than the events.  Then the ring is full, and further
 * events are dropped and counted.  Nobody waits, except for a lock that is held during a copy.
 *
 * Any thread.
 */

#include "ground/tap.h"

#include "ground/clock.h"

#include <pthread.h>
#include <stdatomic.h>

struct tap {
    /* fixed after open */
    struct slice kind, id; /* in text */
    char text[64 + TAP_ID_BYTES];
    /* under lock */
    uint64_t put, taken, dropped;
    struct tap_record ring[TAP_RECORDS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tap *taps[TAP_COUNT];
static atomic_uint open_count;

const char *tap_text(enum tap_event e)
{
    static const char *const texts[] = {
#define X(name, text) [name] = text,
        TAP_EVENT_LIST(X)
#undef X
    };

    PRE(e < TAP_EVENT_COUNT);
    return texts[e];
}

bool tap_is_open(void)
{
    return atomic_load_explicit(&open_count, memory_order_relaxed) > 0;
}

static bool wants(const struct tap *t, struct slice kind, struct slice id)
{
    return (t->kind.len == 0 || slice_eq(t->kind, kind)) && (t->id.len == 0 || slice_eq(t->id, id));
}

static void copy_text(char *to, size_t size, struct slice from)
{
    size_t len = from.len < size ? from.len : size - 1;

    if (len > 0)
        memcpy(to, from.data, len);
    to[len] = '\0';
}

void tap_tell(enum tap_event event, struct slice kind, struct slice id, int64_t seq,
              const char *why)
{
    if (!tap_is_open())
        return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TAP_COUNT; i++) {
        struct tap *t = taps[i];
        if (t == NULL || !wants(t, kind, id))
            continue;
        if (t->put - t->taken == TAP_RECORDS) {
            t->dropped++;
            continue;
        }
        struct tap_record *r = &t->ring[t->put++ % TAP_RECORDS];
        r->at_us = clock_wall_us();
        r->event = event;
        r->seq = seq;
        copy_text(r->kind, sizeof r->kind, kind);
        copy_text(r->id, sizeof r->id, id);
        copy_text(r->why, sizeof r->why, slice_str(why != NULL ? why : ""));
    }
    pthread_mutex_unlock(&lock);
}

/* ${s}, cut to the size of its field in a record, in ${t}->text from ${at}. */
static struct slice keep(struct tap *t, size_t at, size_t size, struct slice s)
{
    copy_text(t->text + at, size, s);
    return slice_str(t->text + at);
}

struct tap *tap_open(struct slice kind, struct slice id)
{
    struct tap *t = base_alloc(sizeof *t);
    size_t i = 0;

    t->kind = keep(t, 0, 64, kind);
    t->id = keep(t, 64, TAP_ID_BYTES, id);
    pthread_mutex_lock(&lock);
    while (i < TAP_COUNT && taps[i] != NULL)
        i++;
    if (i < TAP_COUNT) {
        taps[i] = t;
        atomic_fetch_add(&open_count, 1);
    }
    pthread_mutex_unlock(&lock);
    if (i < TAP_COUNT)
        return t;
    free(t);
    return NULL;
}

size_t tap_take(struct tap *t, struct tap_record *records, size_t max, uint64_t *dropped)
{
    size_t n = 0;

    pthread_mutex_lock(&lock);
    while (n < max && t->taken < t->put)
        records[n++] = t->ring[t->taken++ % TAP_RECORDS];
    *dropped = t->dropped;
    pthread_mutex_unlock(&lock);
    return n;
}

void tap_close(struct tap *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TAP_COUNT; i++)
        if (taps[i] == t)
            taps[i] = NULL;
    atomic_fetch_sub(&open_count, 1);
    pthread_mutex_unlock(&lock);
    free(t);
}
