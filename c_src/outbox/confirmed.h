/* confirmed.h - how long documents took to be confirmed. */

/* Private to outbox/. */

#ifndef CONFIRMED_H
#define CONFIRMED_H

#include "ground/base.h"

struct checkpoint_record;
struct round_tally;

/** confirmed_note(t, c, now_us): The pending version of ${c} is confirmed at ${now_us} (wall
 * clock).  It is noted in ${t}, and counted when the round is committed. */
void confirmed_note(struct round_tally *t, const struct checkpoint_record *c, int64_t now_us);
/** confirmed_count(t, now_us): The round is committed. */
void confirmed_count(const struct round_tally *t, int64_t now_us);

#endif
