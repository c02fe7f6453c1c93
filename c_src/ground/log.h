/* log.h - one line an event: level, name, key=value. */

#ifndef LOG_H
#define LOG_H

#include "ground/base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/**
 * log_open(level):
 * Lines of ${level} and graver go to standard error, "info dist.up port=4711";
 * with the prefix <N> of sd-daemon(3) when that is the journal (JOURNAL_STREAM
 * names it).  A line is one write(2), and dropped and counted when that would
 * block.  Before log_open everything up to LOG_INFO is shown.
 */
void log_open(enum log_level level);
/** log_level_parse(text, level): Whether ${text} is error, warning, info or debug. */
bool log_level_parse(const char *text, enum log_level *level);

/**
 * log_event(level, event, fmt, ...):
 * One line.  ${event} is a dotted name ("outbox.store_failed"); ${fmt} makes the
 * key=value part (may be ""), values with blanks or quotes go through log_quote.
 * All but printable ASCII is escaped, a line is cut at 2 KiB.  Log an event once,
 * where it is first seen; never a cookie, a key, a document.  ${event} is static
 * text; of one event LOG_BURST lines are shown within LOG_BURST_MS (debug: all),
 * the rest is counted, and "log.limited event=... lines=N" says so (log_tick).
 */
void log_event(enum log_level level, const char *event, const char *fmt, ...) PRINTF(3, 4);

enum { LOG_BURST = 20, LOG_BURST_MS = 10000 };

/** log_tick(): Log how many lines were held back of each event whose period is over.  To be called
 * now and then; any thread. */
void log_tick(void);

/** log_keep(on): Whether to remember the last lines, in fixed memory; off at first. */
void log_keep(bool on);
/** log_recent(line, arg): Call ${line} for each line that is remembered, oldest first, with its
 * time (wall clock); it must not log. */
void log_recent(void (*line)(void *arg, int64_t at_us, const char *text), void *arg);

/** log_quote(text, out, size): "${text}" quoted, escaped, cut to ${out}, which it returns. */
const char *log_quote(struct slice text, char *out, size_t size);

/**
 * log_limited(last_us, period_ms):
 * Whether an event that may repeat should be logged now: at most once in
 * ${period_ms}; ${last_us} is the caller's own memory, zero at first.
 */
bool log_limited(int64_t *last_us, int64_t period_ms);

#endif
