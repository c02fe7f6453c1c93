/*
 * lmdb_loop.c - what the disk and LMDB give: records appended in groups, a commit a group.
 *
 *   lmdb_loop DIR BYTES GROUP COMMITS
 *
 * The happy path: integer keys that rise (MDB_APPEND), values of BYTES bytes, each group one
 * durable transaction with LMDB's default flags: those of the store.  Writes
 * "rate=RECORDS_PER_S p50_us=MEDIAN_OF_A_COMMIT cpu_us=CPU_US_PER_RECORD".  DIR must be empty.
 *
 * What can go wrong: any failure of LMDB ends the program with status 1.
 */

#include <lmdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void check(int rc)
{
    if (rc == 0)
        return;
    fprintf(stderr, "lmdb_loop: %s\n", mdb_strerror(rc));
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void append_group(MDB_env *env, MDB_dbi dbi, uint64_t *no, long group, MDB_val value)
{
    MDB_txn *txn;
    MDB_val key = {.mv_size = sizeof *no, .mv_data = no};

    check(mdb_txn_begin(env, NULL, 0, &txn));
    for (long i = 0; i < group; i++, ++*no) {
        memcpy(value.mv_data, no, sizeof *no);
        check(mdb_put(txn, dbi, &key, &value, MDB_APPEND));
    }
    check(mdb_txn_commit(txn));
}

static MDB_env *open_env(const char *dir, MDB_dbi *dbi)
{
    MDB_env *env;
    MDB_txn *txn;

    check(mdb_env_create(&env));
    check(mdb_env_set_maxdbs(env, 1));
    check(mdb_env_set_mapsize(env, (size_t)8 << 30));
    check(mdb_env_open(env, dir, 0, 0600));
    check(mdb_txn_begin(env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, "pending", MDB_CREATE | MDB_INTEGERKEY, dbi));
    check(mdb_txn_commit(txn));
    return env;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: lmdb_loop DIR BYTES GROUP COMMITS\n");
        return 2;
    }
    size_t bytes = strtoul(argv[2], NULL, 10);
    long group = atol(argv[3]), commits = atol(argv[4]);
    double *took = calloc((size_t)commits + 1, sizeof *took);
    char *record = malloc(bytes + sizeof(uint64_t));
    MDB_val value = {.mv_size = bytes, .mv_data = record};
    MDB_dbi dbi;
    uint64_t no = 1;

    if (took == NULL || record == NULL || bytes < sizeof no)
        return 2;
    memset(record, 'x', bytes);
    MDB_env *env = open_env(argv[1], &dbi);
    append_group(env, dbi, &no, group, value);
    double began = now_us(), cpu = cpu_us();
    for (long i = 0; i < commits; i++) {
        double at = now_us();
        append_group(env, dbi, &no, group, value);
        took[i] = now_us() - at;
    }
    double seconds = (now_us() - began) / 1e6, records = (double)(commits * group);
    cpu = cpu_us() - cpu;
    qsort(took, (size_t)commits, sizeof *took, by_size);
    printf("rate=%.0f p50_us=%.1f cpu_us=%.3f\n", records / seconds, took[commits / 2],
           cpu / records);
    mdb_env_close(env);
    free(record);
    free(took);
    return 0;
}
