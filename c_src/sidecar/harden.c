/*
 * harden.c - what the process gives up before it holds a secret.
 *
 * No core dump may hold a key, no signal may end a thread in the middle of its work.  No failure
 * here is worth stopping for.
 *
 * Start-up only, before any thread.
 */

#include "sidecar/harden.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

void harden_memory(void)
{
    const struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}

void harden_process(bool managed)
{
    /* When the owner dies while we are stopped (SIGSTOP), this lets us see the end of stdin. */
    if (managed)
        prctl(PR_SET_PDEATHSIG, SIGCONT);
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}
