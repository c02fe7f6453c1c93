/* crash_mark.h - what a crash leaves in the store's directory for the next start. */

#ifndef CRASH_MARK_H
#define CRASH_MARK_H

#include "ground/base.h"

enum crash_mark {
    CRASH_NONE,
    CRASH_STARTS, /* several starts in a row were killed soon: the store may be why */
    CRASH_MARKED  /* the last process died of a fault of its own, or met a damaged page */
};

/** crash_mark_read(dir, why): What was left in ${dir}, and by what ("SIGBUS"), for people. */
enum crash_mark crash_mark_read(const char *dir, char why[64]);
/** crash_mark_leave(dir, why): Leave the mark: the next start copies what can be read. */
void crash_mark_leave(const char *dir, const char *why);
/** crash_mark_is_left(): Whether this process has left it: it had better make room for the next. */
bool crash_mark_is_left(void);
/** crash_mark_clear(dir): The store was copied, or is sound. */
void crash_mark_clear(const char *dir);

/**
 * crash_mark_begin(dir):
 * A start begins: SIGSEGV, SIGBUS and SIGABRT leave the mark from now on, before they do what they
 * do; and the start is counted, until crash_mark_settle.  Once in a process.
 */
void crash_mark_begin(const char *dir);
/** crash_mark_settle(dir): The process runs since a minute, or ends in good order. */
void crash_mark_settle(const char *dir);

#endif
