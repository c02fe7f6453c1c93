/* time_text.h - ISO 8601 text and microseconds since 1970, both ways, in UTC. */

#ifndef TIME_TEXT_H
#define TIME_TEXT_H

#include "ground/base.h"

/* The years 0000 to 9999, which ISO 8601 can write. */
#define TIME_TEXT_MIN_US (-62167219200000000)
#define TIME_TEXT_MAX_US 253402300799999999

/** time_text_put(us, out): "2026-02-19T20:00:00.000000Z", terminated; a time out of range is
 * clamped. */
void time_text_put(int64_t us, char out[32]);
/** time_text_parse(text, us): Whether ${text} is ISO 8601 with an offset or Z; if so, ${us} is set.
 */
bool time_text_parse(struct slice text, int64_t *us);
/** time_text_month_days(year, month): 28 to 31; ${month} counts from 1. */
int64_t time_text_month_days(int64_t year, int64_t month);

#endif
