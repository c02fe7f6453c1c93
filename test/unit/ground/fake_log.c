/*
 * fake_log.c - a log that says nothing, counts, and keeps the last line that its thread wrote, for
 * tests that make much go wrong.
 */

#include "ground/log.h"

#include <stdarg.h>
#include <stdatomic.h>

static atomic_int fake_log_lines[LOG_DEBUG + 1];
static _Thread_local char fake_log_last[600]; /* "event key=value" */

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    va_list ap;
    int len = snprintf(fake_log_last, sizeof fake_log_last, "%s%s", event, fmt ? " " : "");

    va_start(ap, fmt);
    if (fmt)
        vsnprintf(fake_log_last + len, sizeof fake_log_last - (size_t)len, fmt, ap);
    va_end(ap);
    atomic_fetch_add(&fake_log_lines[level], 1);
}

const char *log_quote(struct slice text, char *out, size_t size)
{
    snprintf(out, size, "\"%.*s\"", SLICE_ARG(text));
    return out;
}

bool log_limited(int64_t *last_us, int64_t period_ms)
{
    bool is_first = *last_us == 0;

    (void)period_ms;
    *last_us = 1;
    return is_first;
}

void log_tick(void)
{
}

void log_open(enum log_level level)
{
    (void)level;
}

bool log_level_parse(const char *text, enum log_level *level)
{
    (void)text;
    *level = LOG_INFO;
    return true;
}
