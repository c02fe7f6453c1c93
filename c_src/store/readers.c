/*
 * readers.c - other processes that read the store, and so keep old pages from being reused.
 *
 * The happy path: there are none, or only a copy that ends within a second or two.
 *
 * What can go wrong: one is stuck (a backup that hangs).  LMDB may not reuse a page that its view
 * may read, so data.mdb grows with each commit, and nobody would know why.
 *
 * Runs on the store thread only.
 */

#include "store/readers.h"

#include "ground/clock.h"
#include "ground/log.h"

#include <stdlib.h>
#include <unistd.h>

#define LOOK_US     1000000
#define SAID_MS     60000
#define BEHIND_MIN  256 /* commits; a copy of a small store sees fewer */
#define OLDEST_NONE UINT64_MAX

struct oldest {
    uint64_t txnid;
    long pid;
};

/* A line of LMDB's table: "pid thread txnid", the thread in hex; "-" if it reads nothing now. */
static int take_line(const char *line, void *arg)
{
    struct oldest *o = arg;
    char *at, *end;
    long pid = strtol(line, &at, 10);

    (void)strtoull(at, &at, 16);
    uint64_t txnid = strtoull(at, &end, 10);
    if (end != at && pid != getpid() && txnid < o->txnid) {
        o->txnid = txnid;
        o->pid = pid;
    }
    return 0;
}

void readers_look(struct readers *r, MDB_env *env)
{
    struct oldest oldest = {.txnid = OLDEST_NONE};
    MDB_envinfo info;
    int64_t now_us = clock_mono_us();

    if (now_us < r->next_us)
        return;
    r->next_us = now_us + LOOK_US;
    if (mdb_env_info(env, &info) != 0 || mdb_reader_list(env, take_line, &oldest) < 0)
        return;
    bool is_still = oldest.txnid == r->txnid && oldest.txnid != OLDEST_NONE;
    uint64_t behind = is_still ? info.me_last_txnid - oldest.txnid : 0;
    r->txnid = oldest.txnid;
    if (behind >= BEHIND_MIN && log_limited(&r->said_us, SAID_MS))
        log_event(
            LOG_WARNING, "store.reader",
            "pid=%ld commits_behind=%llu why=\"this process reads the store and does not move "
            "on, so data.mdb grows\" next=\"end it, if it is a backup that hangs\"",
            oldest.pid, (unsigned long long)behind);
}
