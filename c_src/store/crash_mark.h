/* crash_mark.h - the mark that a crash leaves in the store's directory for the next start. */

#ifndef CRASH_MARK_H
#define CRASH_MARK_H

#include "ground/base.h"

enum crash_mark {
    CRASH_NONE,
    CRASH_STARTS, /* several starts in a row were killed early, perhaps because of the store */
    CRASH_MARKED  /* the last process crashed, or met a damaged page */
};

/** crash_mark_read(dir, why): The mark in ${dir}, and its cause ("SIGBUS"), for people. */
enum crash_mark crash_mark_read(const char *dir, char why[64]);
/** crash_mark_leave(dir, why): Leave the mark: the next start copies what can be read. */
void crash_mark_leave(const char *dir, const char *why);
/** crash_mark_is_left(): Whether this process has left the mark, and should be restarted. */
bool crash_mark_is_left(void);
/** crash_mark_clear(dir): Remove the mark: the store was copied, or is sound. */
void crash_mark_clear(const char *dir);

/**
 * crash_mark_begin(dir):
 * A start begins: from now on SIGSEGV, SIGBUS and SIGABRT leave the mark before they end the
 * process, and the start is counted until crash_mark_settle.  Once per process.
 */
void crash_mark_begin(const char *dir);
/** crash_mark_settle(dir): The process has run for a minute, or ends normally. */
void crash_mark_settle(const char *dir);

#endif
