/* json_time.h - the text of the Elixir structs that JSON knows: times, dates, decimals. */

/* Private to json/. */

#ifndef JSON_TIME_H
#define JSON_TIME_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/** json_time_is_struct(t): Whether ${t} is a map with the atom key __struct__. */
bool json_time_is_struct(term t);

/**
 * json_time_put(out, t, fault):
 * Append the text (ASCII, without quotes) of the struct *${t} as Jason writes it: DateTime,
 * NaiveDateTime, Date, Time in ISO 8601 (Calendar.ISO only), Decimal as Decimal.to_string does.
 * Then *${t} is the term after it.  ERR_INVALID: any other struct, or invalid fields;
 * ${fault}->why says which, nothing is appended.
 */
enum err json_time_put(struct buf *out, term *t, struct fault *fault) MUST_CHECK;

#endif
