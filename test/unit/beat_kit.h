/* beat_kit.h - whether a thread that is held up is found to stand still. */

#ifndef BEAT_KIT_H
#define BEAT_KIT_H

#include "ground/beat.h"

#include <time.h>

static inline void beat_kit_nap(int *tries, const char *what)
{
    ck_assert_msg((*tries)++ < 50000, "never: %s", what);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

/* Main looks until it finds that ${name}, which the test holds up, stands still. */
static inline void beat_kit_stands(const char *name)
{
    char who[BEAT_NAME];
    int tries = 0;

    while (beats_are_well(who)) {
        beat_kit_nap(&tries, "it stands still");
        beats_tick(1000);
    }
    ck_assert_str_eq(who, name);
}

static inline void beat_kit_moves(void)
{
    char who[BEAT_NAME];
    int tries = 0;

    while (!beats_are_well(who)) {
        beat_kit_nap(&tries, "it moves again");
        beats_tick(0);
    }
}

#endif
