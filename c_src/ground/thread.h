/* thread.h - how every thread of the program begins. */

#ifndef THREAD_H
#define THREAD_H

#include "ground/base.h"

#include <pthread.h>

/**
 * thread_start(thread, name, run, arg):
 * Begin ${run}(${arg}) under ${name} (borrowed for ever; at most 15 bytes; ps and perf show it),
 * out of reach of signals: they are main's.  False: there is no thread left, errno says why.  Ends
 * with pthread_join.
 */
bool thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg) MUST_CHECK;

/** thread_give_signal_stack(): The calling thread handles signals on a stack of their own, which is
 * there when the thread's is used up. */
void thread_give_signal_stack(void);

#endif
