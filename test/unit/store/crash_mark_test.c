/* crash_mark_test.c - what a crash leaves for the next start. */

#include "store/crash_mark.h"
#include "ground/thread.h"

#include "test.h"
#include "ground/fake_log.c"
#include "temp_dir.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_bool goes_on = true;

static int overflow(int depth)
{
    volatile char page[4096];

    page[depth % 4096] = 1;
    return atomic_load(&goes_on) ? overflow(depth + 1) + page[depth % 4096] : 0;
}

static void *use_up_the_stack(void *arg)
{
    thread_give_signal_stack();
    atomic_store(&goes_on, overflow(0) >= 0);
    return arg;
}

/* How a start ends in a process of its own; ${how}: a signal, 0: in good order, -1: killed, -2: by
 * a thread without end. */
static int start(const char *dir, int how)
{
    pid_t pid = fork();
    int status;

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        pthread_t thread;
        crash_mark_begin(dir);
        if (how == 0)
            crash_mark_settle(dir);
        else if (how == -1)
            raise(SIGKILL);
        else if (how == -2 && thread_start(&thread, "deep", use_up_the_stack, NULL))
            pthread_join(thread, NULL);
        else
            raise(how);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

TEST(a_crash_leaves_its_name_and_dies_of_it)
{
    static const struct {
        int signal;
        const char *name;
    } crashes[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"}, {SIGABRT, "SIGABRT"}};
    struct temp_dir d = temp_dir_make();
    char why[64];

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(start(d.path, crashes[i].signal), crashes[i].signal);
        ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_MARKED);
        ck_assert_str_eq(why, crashes[i].name);
        crash_mark_clear(d.path);
        ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_NONE);
    }
    temp_dir_remove(&d);
}

#ifndef __SANITIZE_ADDRESS__ /* it has a handler of its own for that */
TEST(a_stack_that_is_used_up_leaves_it_too)
{
    struct temp_dir d = temp_dir_make();
    char why[64];

    ck_assert_int_eq(start(d.path, -2), SIGSEGV);
    ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_MARKED);
    crash_mark_clear(d.path);
    temp_dir_remove(&d);
}
#endif

TEST(three_starts_that_are_killed_soon_count_and_a_good_end_forgets_them)
{
    struct temp_dir d = temp_dir_make();
    char why[64];

    start(d.path, -1);
    start(d.path, -1);
    ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_NONE);
    start(d.path, 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_NONE);
        start(d.path, -1);
    }
    ck_assert_int_eq(crash_mark_read(d.path, why), CRASH_STARTS);
    ck_assert_str_eq(why, "3 starts in a row");
    crash_mark_clear(d.path);
    temp_dir_remove(&d);
}
