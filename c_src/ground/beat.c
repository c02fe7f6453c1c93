/*
 * beat.c - heartbeats of threads, and a watchdog that names one that has stopped.
 *
 * The happy path: a thread counts its beats in a counter of its own, one addition each; it does so
 * at each turn of its loop, and waits for nothing longer than BEAT_WAIT_MS.  The main thread checks
 * each second that every count has risen.
 *
 * What can go wrong: a thread waits for a disk, a lock or a call that never returns.  After
 * BEAT_STUCK_MS it is named once in the log, the watchdog notifications to the service manager stop
 * and /healthz fails, so that the program is restarted.  All of that ends when the thread beats
 * again.
 *
 * Any thread.
 */

#include "ground/beat.h"

#include "ground/clock.h"
#include "ground/log.h"

#include <pthread.h>
#include <stdatomic.h>

struct pulse {
    struct pulse *next;
    const char *name;
    atomic_uint_fast64_t count;
    atomic_bool rests;
    /* under lock */
    uint64_t seen;
    int64_t late_ms;
};

static _Thread_local struct pulse mine; /* name NULL: it does not beat */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pulse *pulses;           /* under lock */
static atomic_int_fast64_t tick_at_ms; /* of beats_tick; 0: never */

void beat_begin(const char *name)
{
    mine.name = name;
    mine.late_ms = 0;
    beat();
    pthread_mutex_lock(&lock);
    mine.next = pulses;
    pulses = &mine;
    pthread_mutex_unlock(&lock);
}

void beat_end(void)
{
    pthread_mutex_lock(&lock);
    for (struct pulse **at = &pulses; *at != NULL; at = &(*at)->next)
        if (*at == &mine) {
            *at = mine.next;
            break;
        }
    pthread_mutex_unlock(&lock);
    mine.name = NULL;
}

void beat(void)
{
    atomic_fetch_add_explicit(&mine.count, 1, memory_order_relaxed);
    atomic_store_explicit(&mine.rests, false, memory_order_relaxed);
}

void beat_rest(void)
{
    atomic_store_explicit(&mine.rests, true, memory_order_relaxed);
}

static bool is_stuck(const struct pulse *p)
{
    return p->late_ms >= BEAT_STUCK_MS;
}

static void look(struct pulse *p, int64_t elapsed_ms)
{
    uint64_t count = atomic_load_explicit(&p->count, memory_order_relaxed);
    bool moves = count != p->seen || atomic_load_explicit(&p->rests, memory_order_relaxed);
    bool was_stuck = is_stuck(p);

    p->seen = count;
    p->late_ms = moves ? 0 : p->late_ms + elapsed_ms;
    if (!was_stuck && is_stuck(p))
        log_event(
            LOG_ERROR, "sidecar.thread_stuck",
            "thread=%s seconds=%d next=\"/healthz and the watchdog fail until it moves; does a "
            "disk hang? else report it with the stacks of its threads (gdb -p, as root)\"",
            p->name, BEAT_STUCK_MS / 1000);
    else if (was_stuck && moves)
        log_event(LOG_WARNING, "sidecar.thread_moves", "thread=%s", p->name);
}

void beats_tick(int64_t elapsed_ms)
{
    pthread_mutex_lock(&lock);
    for (struct pulse *p = pulses; p != NULL; p = p->next)
        look(p, elapsed_ms);
    pthread_mutex_unlock(&lock);
    atomic_store(&tick_at_ms, clock_mono_ms());
}

bool beats_are_well(char who[BEAT_NAME])
{
    int64_t ticked_ms = atomic_load(&tick_at_ms);
    bool well = ticked_ms == 0 || clock_mono_ms() - ticked_ms < BEAT_STUCK_MS;

    snprintf(who, BEAT_NAME, "%s", well ? "" : "main");
    pthread_mutex_lock(&lock);
    for (const struct pulse *p = pulses; p != NULL && well; p = p->next)
        if (is_stuck(p)) {
            well = false;
            snprintf(who, BEAT_NAME, "%s", p->name);
        }
    pthread_mutex_unlock(&lock);
    return well;
}
