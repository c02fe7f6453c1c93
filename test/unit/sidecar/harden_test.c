/* harden_test.c - what the process gives up, seen from within. */

#include "sidecar/harden.h"

#include "test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static bool is_ignored(int number)
{
    struct sigaction a;

    ck_assert_int_eq(sigaction(number, NULL, &a), 0);
    return a.sa_handler == SIG_IGN;
}

TEST(nothing_of_its_memory_reaches_a_disk)
{
    const struct rlimit some = {1 << 20, 1 << 20};
    struct rlimit now;

    setrlimit(RLIMIT_CORE, &some);
    prctl(PR_SET_DUMPABLE, 1);
    harden_memory();
    ck_assert_int_eq(getrlimit(RLIMIT_CORE, &now), 0);
    ck_assert_uint_eq(now.rlim_cur, 0);
    ck_assert_uint_eq(now.rlim_max, 0);
    ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 0);
}

TEST(a_managed_one_hears_of_its_owners_end)
{
    int number = -1;

    umask(0);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    harden_process(false);
    ck_assert_int_eq(prctl(PR_GET_PDEATHSIG, &number), 0);
    ck_assert_int_eq(number, 0);
    ck_assert(is_ignored(SIGPIPE));
    ck_assert(is_ignored(SIGXFSZ));
    ck_assert_int_eq(umask(0), 0077);
    harden_process(true);
    ck_assert_int_eq(prctl(PR_GET_PDEATHSIG, &number), 0);
    ck_assert_int_eq(number, SIGCONT);
    prctl(PR_SET_PDEATHSIG, 0);
}
