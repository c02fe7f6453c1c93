/* thread.h - how every thread of the program begins. */

#ifndef THREAD_H
#define THREAD_H

#include "ground/base.h"

#include <pthread.h>

/**
 * thread_start(thread, name, run, arg):
 * Start ${run}(${arg}) in a thread called ${name} (static text, at most 15 bytes; ps and perf show
 * it), with signals blocked: the main thread handles them.  False: no thread could be made, errno
 * says why.  The caller joins it with pthread_join.
 */
bool thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg) MUST_CHECK;

/** thread_give_signal_stack(): Give the calling thread an alternate signal stack, so that a handler
 * can run after a stack overflow. */
void thread_give_signal_stack(void);

#endif
