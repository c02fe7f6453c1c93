/*
 * thread.c - a thread that signals do not reach.
 *
 * The happy path: a new thread inherits the signal mask, so the mask is set while the thread is
 * made.  Signals of a broken program (SIGSEGV and the like) are not blocked: the kernel kills a
 * process whose thread blocks them without calling a handler.  The thread sets its own name: to set
 * another thread's, glibc writes to /proc, which the sandbox does not allow.
 *
 * Any thread.
 */

#include "ground/thread.h"

#include <errno.h>
#include <signal.h>

#define SIGNAL_STACK_BYTES 32768 /* the vector registers of the largest machines need 12 KB */

struct start {
    const char *name;
    void *(*run)(void *);
    void *arg;
};

static void *begin(void *arg)
{
    struct start start = *(struct start *)arg;

    free(arg);
    (void)pthread_setname_np(pthread_self(), start.name);
    return start.run(start.arg);
}

bool thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    static const int broken[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all, before;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
        sigdelset(&all, broken[i]);
    PRE(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    struct start *start = base_alloc(sizeof *start);
    *start = (struct start){.name = name, .run = run, .arg = arg};
    int error = pthread_create(thread, NULL, begin, start);
    PRE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (error != 0)
        free(start);
    errno = error;
    return error == 0;
}

void thread_give_signal_stack(void)
{
    static _Thread_local uint8_t stack[SIGNAL_STACK_BYTES];
    const stack_t mine = {.ss_sp = stack, .ss_size = sizeof stack};
    stack_t old;

    /* A sanitizer sets one of its own, and unmaps whatever it finds when the thread ends. */
    if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE))
        (void)sigaltstack(&mine, NULL);
}
