/* thread_test.c - how a thread begins. */

#include "ground/thread.h"

#include "test.h"

#include <signal.h>

struct seen {
    sigset_t mask;
    char name[16];
};

static void *look(void *arg)
{
    struct seen *s = arg;

    pthread_sigmask(SIG_SETMASK, NULL, &s->mask);
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    return NULL;
}

TEST(signals_are_main_s_and_a_crash_is_the_thread_s_own)
{
    struct seen s;
    pthread_t thread;
    sigset_t before, after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert(thread_start(&thread, "looker", look, &s));
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);

    ck_assert_str_eq(s.name, "looker");
    ck_assert_int_eq(sigismember(&s.mask, SIGTERM), 1);
    ck_assert_int_eq(sigismember(&s.mask, SIGXFSZ), 1);
    ck_assert_int_eq(sigismember(&s.mask, SIGSEGV), 0);
    ck_assert_int_eq(sigismember(&s.mask, SIGABRT), 0);
    ck_assert_int_eq(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}
