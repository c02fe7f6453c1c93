/* beat_kit.h - whether a thread that is held up is found to stand still. */

#ifndef BEAT_KIT_H
#define BEAT_KIT_H

#include "ground/beat.h"

#include <pthread.h>
#include <time.h>

/* Main's looks at a thread that is held up by ${lock}, which the test holds and gives back. */
static inline void beat_kit_held_up(const char *name, pthread_mutex_t *lock)
{
    char who[BEAT_NAME];
    int tries = 0;

    for (int i = 0; beats_are_well(who); i++) {
        ck_assert_msg(i < 5000, "%s is not found to stand still", name);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        beats_tick(1000);
    }
    ck_assert_str_eq(who, name);
    pthread_mutex_unlock(lock);
    while (!beats_are_well(who)) {
        ck_assert_msg(tries++ < 50000, "%s does not beat", who);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        beats_tick(0);
    }
}

#endif
