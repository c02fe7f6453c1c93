/*
 * store_test.c - LMDB behind store.h, on a real disk and with a disk that fails.
 *
 * The calls by which LMDB writes are defined below: they pass everything on to the kernel, but the
 * n-th can be made to fail.
 */

#include "store/store.h"

#include "test.h"
#include "temp_dir.h"
#include "ground/fake_log.c"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#define MAP ((uint64_t)64 << 20)

/* ---- a disk that fails ---------------------------------------------------- */

static unsigned long disk_calls, disk_fail_at; /* 0: never */
static int disk_error = ENOSPC;

static bool disk_fails(void)
{
    if (++disk_calls != disk_fail_at)
        return false;
    errno = disk_error;
    return true;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return disk_fails() ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    return disk_fails() ? -1 : syscall(SYS_pwritev, fd, v, n, at, 0);
}

int fdatasync(int fd)
{
    return disk_fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* ---- helpers -------------------------------------------------------------- */

static struct store *open_at(const char *dir, uint64_t map_bytes)
{
    struct store *s = NULL;
    struct fault fault = {0};

    ck_assert_msg(store_open(dir, map_bytes, &s, &fault) == ERR_OK, "%s: %s", fault.path,
                  fault.why);
    return s;
}

static void put_text(struct store *s, enum store_table t, const char *key, const char *value)
{
    ck_assert_int_eq(store_put(s, t, slice_str(key), slice_str(value)), ERR_OK);
}

static void check_text(struct store *s, enum store_table t, const char *key, const char *value)
{
    struct slice found;

    ck_assert_int_eq(store_get(s, t, slice_str(key), &found), ERR_OK);
    ck_assert_slice(found, value);
}

static struct slice number(const uint64_t *no)
{
    return slice_of(no, sizeof *no);
}

/* ---- tests ---------------------------------------------------------------- */

TEST(what_is_committed_is_there_after_opening_again)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);

    ck_assert_int_eq(store_begin(s), ERR_OK);
    put_text(s, STORE_META, "format", "1");
    put_text(s, STORE_IDS, "b", "two");
    ck_assert_int_eq(store_commit(s), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    put_text(s, STORE_IDS, "b", "not kept");
    store_abort(s);
    store_abort(s); /* harmless */
    store_close(s);
    store_close(NULL);

    s = open_at(d.path, MAP);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    check_text(s, STORE_META, "format", "1");
    check_text(s, STORE_IDS, "b", "two");
    uint64_t n = 0;
    ck_assert_int_eq(store_count(s, STORE_IDS, &n), ERR_OK);
    ck_assert_uint_eq(n, 1);
    struct slice v;
    ck_assert_int_eq(store_get(s, STORE_IDS, slice_str("a"), &v), ERR_NOT_FOUND);
    ck_assert_int_eq(store_del(s, STORE_IDS, slice_str("a")), ERR_NOT_FOUND);
    ck_assert_int_eq(store_del(s, STORE_IDS, slice_str("b")), ERR_OK);
    ck_assert_int_eq(store_get(s, STORE_IDS, slice_str("b"), &v), ERR_NOT_FOUND);
    store_close(s); /* ends the transaction */
    temp_dir_remove(&d);
}

/* Found by `make torture`: LMDB keeps the pages of the larger one, and the store was called
 * damaged. */
TEST(a_smaller_value_over_a_larger_one_in_one_transaction_is_sound)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    char large[40001], small[5001];

    memset(large, 'l', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    memset(small, 's', sizeof small - 1);
    small[sizeof small - 1] = '\0';
    ck_assert_int_eq(store_begin(s), ERR_OK);
    put_text(s, STORE_IDS, "a", large);
    put_text(s, STORE_IDS, "b", large);
    put_text(s, STORE_IDS, "a", small);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);

    s = open_at(d.path, MAP);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    check_text(s, STORE_IDS, "a", small);
    check_text(s, STORE_IDS, "b", large);
    store_close(s);
    temp_dir_remove(&d);
}

/* Counters that are older than their table: it was an abort at each start. */
TEST(a_number_that_is_there_already_is_no_end_of_the_program)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    const uint64_t one = 1, two = 2;

    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&two), slice_str("x")), ERR_OK);
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&one), slice_str("x")), ERR_STORE);
    store_close(s);
    temp_dir_remove(&d);
}

TEST(seek_goes_in_key_order)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    struct slice k, v;
    uint64_t numbers[] = {1, 255, 256, 70000}, found;

    ck_assert_int_eq(store_begin(s), ERR_OK);
    put_text(s, STORE_META, "b", "2");
    put_text(s, STORE_META, "a", "1");
    put_text(s, STORE_META, "ba", "3");
    struct slice none = slice_of("", 0);
    ck_assert_int_eq(store_seek(s, STORE_META, none, false, &k, &v), ERR_OK);
    ck_assert_slice(k, "a");
    ck_assert_int_eq(store_seek(s, STORE_META, slice_str("b"), false, &k, &v), ERR_OK);
    ck_assert_slice(v, "2");
    ck_assert_int_eq(store_seek(s, STORE_META, slice_str("b"), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "3");
    ck_assert_int_eq(store_seek(s, STORE_META, slice_str("aa"), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "2");
    ck_assert_int_eq(store_seek(s, STORE_META, slice_str("ba"), true, &k, &v), ERR_NOT_FOUND);
    /* Numbers are in order as numbers, not as bytes; deleting while going on is fine. */
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(store_append(s, STORE_PENDING, number(&numbers[i]), slice_str("x")),
                         ERR_OK);
    found = 0;
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(store_seek(s, STORE_PENDING, number(&found), true, &k, &v), ERR_OK);
        ck_assert_uint_eq(k.len, sizeof found);
        memcpy(&found, k.data, sizeof found);
        ck_assert_uint_eq(found, numbers[i]);
        ck_assert_int_eq(store_del(s, STORE_PENDING, number(&found)), ERR_OK);
    }
    store_close(s);
    temp_dir_remove(&d);
}

TEST(a_view_shows_one_state_until_released)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    struct store_view *view = store_view_open(s, STORE_PENDING);
    uint64_t one = 1, two = 2, three = 3;
    struct slice k, v;

    ck_assert_int_eq(store_view_get(view, number(&one), &v), ERR_NOT_FOUND);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&one), slice_str("first")), ERR_OK);
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&two), slice_str("second")), ERR_OK);
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&three), slice_str("third")), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    ck_assert_int_eq(store_view_get(view, number(&one), &v), ERR_NOT_FOUND);
    store_view_release(view);
    ck_assert_int_eq(store_view_get(view, number(&one), &v), ERR_OK);
    ck_assert_slice(v, "first");
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_del(s, STORE_PENDING, number(&two)), ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    /* A step after the last one found, and a search from anywhere: the same answers. */
    ck_assert_int_eq(store_view_seek(view, number(&one), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "second");
    ck_assert_int_eq(store_view_seek(view, number(&two), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "third");
    ck_assert_int_eq(store_view_seek(view, number(&three), true, &k, &v), ERR_NOT_FOUND);
    ck_assert_int_eq(store_view_seek(view, number(&one), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "second");
    store_view_release(view);
    ck_assert_int_eq(store_view_seek(view, number(&one), true, &k, &v), ERR_OK);
    ck_assert_slice(v, "third");
    store_view_close(view);
    store_view_close(NULL);
    store_close(s);
    temp_dir_remove(&d);
}

TEST(files_are_for_the_owner_only)
{
    struct temp_dir d = temp_dir_make();
    char dir[80], path[100];
    struct stat st;

    snprintf(dir, sizeof dir, "%s/store", d.path);
    struct store *s = open_at(dir, MAP);
    ck_assert_int_eq(stat(dir, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    const char *names[] = {"data.mdb", "lock.mdb", "lock"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0600);
    }
    store_close(s);
    temp_dir_empty(dir);
    ck_assert_int_eq(rmdir(dir), 0);
    temp_dir_remove(&d);
}

TEST(missing_parents_are_made)
{
    struct temp_dir d = temp_dir_make();
    char dir[100];
    struct stat st;

    snprintf(dir, sizeof dir, "%s/lib/my_app/convex/", d.path);
    store_close(open_at(dir, MAP));
    temp_dir_empty(dir);
    for (char *slash = strrchr(dir, '/'); slash > dir + strlen(d.path); slash = strrchr(dir, '/')) {
        *slash = '\0';
        ck_assert_int_eq(stat(dir, &st), 0);
        ck_assert_uint_eq(st.st_mode & 0777, 0700);
        ck_assert_int_eq(rmdir(dir), 0);
    }
    temp_dir_remove(&d);
}

/* Whose standard input is closed has a directory or a file of the number 0. */
TEST(a_file_of_the_number_nought_is_one_like_others)
{
    struct temp_dir d = temp_dir_make();
    int input = dup(STDIN_FILENO);
    char dir[100];

    snprintf(dir, sizeof dir, "%s/lib", d.path);
    close(STDIN_FILENO);
    store_close(open_at(dir, MAP));                     /* made */
    store_close(open_at(dir, MAP));                     /* opened */
    ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFD), -1); /* and nothing stays open */
    ck_assert_int_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
    close(input);
    temp_dir_empty(dir);
    ck_assert_int_eq(rmdir(dir), 0);
    temp_dir_remove(&d);
}

static void check_refused(const char *dir, const char *part)
{
    struct store *s;
    struct fault fault = {0};

    ck_assert_int_eq(store_open(dir, MAP, &s, &fault), ERR_STORE);
    ck_assert_str_eq(fault.path, dir);
    ck_assert_msg(strstr(fault.why, part) != NULL, "\"%s\" is not in \"%s\"", part, fault.why);
}

TEST(what_is_no_place_for_a_store_is_refused)
{
    struct temp_dir d = temp_dir_make();
    char path[100];

    check_refused("/proc/nonexistent/store", "No such file");
    check_refused("/dev/null/convex/store", "Not a directory");
    ck_assert_int_eq(chmod(d.path, 0777), 0);
    check_refused(d.path, "other users");
    ck_assert_int_eq(chmod(d.path, 0700), 0);
    snprintf(path, sizeof path, "%s/data.mdb", d.path);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < 1000; i++)
        fputs("this is not a database\n", f);
    fclose(f);
    check_refused(path, "Not a directory");
    check_refused(d.path, "is not a store");
    temp_dir_remove(&d);
}

TEST(a_directory_of_another_user_is_refused)
{
    struct temp_dir d = temp_dir_make();

    if (geteuid() == 0) { /* nobody else may give a directory away */
        ck_assert_int_eq(chown(d.path, 65534, 65534), 0);
        check_refused(d.path, "belongs to another user (uid 65534)");
        ck_assert_int_eq(chown(d.path, 0, 0), 0);
    }
    temp_dir_remove(&d);
}

TEST(files_that_are_no_plain_ones_of_ours_are_refused_at_once)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "lock"};
    struct temp_dir d = temp_dir_make();
    char path[100], other[100];
    struct stat st;

    snprintf(other, sizeof other, "%s/precious", d.path);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", d.path, names[i]);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        check_refused(d.path, "no regular file");
        ck_assert_int_eq(unlink(path), 0);
        if (i == 0)
            continue;
        FILE *f = fopen(other, "w");
        ck_assert_ptr_nonnull(f);
        fputs("precious\n", f);
        fclose(f);
        ck_assert_int_eq(link(other, path), 0);
        check_refused(d.path, "has another name");
        ck_assert_int_eq(stat(other, &st), 0);
        ck_assert_int_eq(st.st_size, 9);
        temp_dir_empty(d.path);
    }
    temp_dir_remove(&d);
}

TEST(one_process_only)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    char pid[64];

    snprintf(pid, sizeof pid, "in use by process %ld", (long)getpid());
    check_refused(d.path, pid);
    pid_t child = fork();
    if (child == 0) {
        struct store *again;
        struct fault fault = {0};
        /* Yes is a death by signal: an exit would have valgrind look for the parent's memory. */
        if (store_open(d.path, MAP, &again, &fault) == ERR_STORE && strstr(fault.why, pid) != NULL)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    store_close(s);
    store_close(open_at(d.path, MAP)); /* the lock went with it */
    temp_dir_remove(&d);
}

TEST(the_map_grows_before_it_is_full)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, 1 << 20);
    struct store_view *view = store_view_open(s, STORE_PENDING);
    char big[2000] = {0};
    struct slice v;

    uint64_t no = 0;
    for (int round = 0; round < 100; round++) {
        ck_assert_int_eq(store_begin(s), ERR_OK);
        for (int i = 0; i < 50; i++) {
            no++;
            ck_assert_int_eq(store_append(s, STORE_PENDING, number(&no), slice_of(big, sizeof big)),
                             ERR_OK);
        }
        ck_assert_msg(store_commit(s) == ERR_OK, "%llu: %s", (unsigned long long)no, store_why(s));
        ck_assert_int_eq(store_view_get(view, number(&no), &v), ERR_OK);
        store_view_release(view);
    }
    store_view_close(view);
    store_close(s);
    s = open_at(d.path, 1 << 20); /* smaller than what is in it */
    uint64_t n;
    ck_assert_int_eq(store_begin(s), ERR_OK);
    ck_assert_int_eq(store_count(s, STORE_PENDING, &n), ERR_OK);
    ck_assert_uint_eq(n, 5000);
    store_close(s);
    temp_dir_remove(&d);
}

/* A process that reads the store in ${dir}, and does not move on. */
static pid_t reader_start(const char *dir)
{
    int ready[2];
    char byte;

    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        MDB_env *env;
        MDB_txn *txn;
        if (mdb_env_create(&env) == 0 && mdb_env_open(env, dir, MDB_RDONLY, 0600) == 0 &&
            mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0)
            (void)!write(ready[1], "r", 1);
        for (;;)
            pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

TEST(a_reader_that_stands_still_is_said)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    int said = fake_log_lines[LOG_WARNING];
    time_t end = time(NULL) + 30;
    pid_t reader = reader_start(d.path);

    while (fake_log_lines[LOG_WARNING] == said && time(NULL) < end) {
        ck_assert_int_eq(store_begin(s), ERR_OK);
        put_text(s, STORE_IDS, "id", "value");
        ck_assert_int_eq(store_commit(s), ERR_OK);
    }
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], said + 1);
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    store_close(s);
    temp_dir_remove(&d);
}

TEST(a_full_disk_is_an_error_and_passes)
{
    struct temp_dir d = temp_dir_make();
    struct store *s = open_at(d.path, MAP);
    struct rlimit old, small;
    char big[100000] = {0};

    ck_assert_int_eq(store_begin(s), ERR_OK);
    put_text(s, STORE_IDS, "kept", "before");
    ck_assert_int_eq(store_commit(s), ERR_OK);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 200000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    uint64_t no = 1;
    enum err e = ERR_OK;
    for (; e == ERR_OK && no < 100; no++) {
        ck_assert_int_eq(store_begin(s), ERR_OK);
        e = store_append(s, STORE_PENDING, number(&no), slice_of(big, sizeof big));
        if (e == ERR_OK)
            e = store_commit(s);
    }
    store_abort(s);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_int_eq(e, ERR_STORE);
    ck_assert_str_eq(store_why(s), "File too large");
    ck_assert_int_eq(store_begin(s), ERR_OK);
    check_text(s, STORE_IDS, "kept", "before");
    no--; /* the one that failed left nothing: it is appended as if for the first time */
    ck_assert_int_eq(store_append(s, STORE_PENDING, number(&no), slice_of(big, sizeof big)),
                     ERR_OK);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    temp_dir_remove(&d);
}

/* One change; on a failure the same again.  Returns how often it failed. */
static unsigned change_until_ok(struct store *s, uint64_t no)
{
    char value[3000];
    unsigned failures = 0;

    memset(value, (int)no, sizeof value);
    for (;; failures++) {
        ck_assert_uint_lt(failures, 10);
        enum err e = store_begin(s);
        if (e == ERR_OK)
            e = store_put(s, STORE_PENDING, number(&no), slice_of(value, sizeof value));
        if (e == ERR_OK)
            e = store_put(s, STORE_CHECKPOINTS, number(&no), slice_str("cp"));
        if (e == ERR_OK && store_commit(s) == ERR_OK)
            return failures;
        ck_assert_str_ne(store_why(s), "");
        store_abort(s);
    }
}

/* Fail the n-th write or sync; whatever it was, nothing committed is lost and the store recovers.
 */
static void fail_each_call(int error)
{
    disk_error = error;
    for (unsigned long n = 1;; n++) {
        struct temp_dir d = temp_dir_make();
        struct store *s = open_at(d.path, MAP);
        struct store_view *view = store_view_open(s, STORE_PENDING);
        uint64_t one = 1;
        struct slice v;

        change_until_ok(s, one);
        ck_assert_int_eq(store_view_get(view, number(&one), &v), ERR_OK);
        store_view_release(view); /* a broken environment is closed only without active views */
        disk_calls = 0;
        disk_fail_at = n;
        unsigned failures = 0;
        for (uint64_t no = 2; no < 6; no++) {
            failures += change_until_ok(s, no);
            store_view_release(view);
            ck_assert_int_eq(store_view_get(view, number(&no), &v), ERR_OK);
            ck_assert_uint_eq(v.data[0], no);
            store_view_release(view);
        }
        disk_fail_at = 0;
        for (uint64_t no = 1; no < 6; no++)
            ck_assert_int_eq(store_view_get(view, number(&no), &v), ERR_OK);
        bool all_passed = disk_calls < n;
        ck_assert(all_passed || failures > 0);
        store_view_close(view);
        store_close(s);
        temp_dir_remove(&d);
        if (all_passed)
            return;
    }
}

TEST(each_write_may_fail_with_no_space)
{
    fail_each_call(ENOSPC);
}

TEST(each_write_may_fail_with_an_io_error)
{
    fail_each_call(EIO);
}

TEST(each_write_may_fail_on_a_read_only_disk)
{
    fail_each_call(EROFS);
}

/* A reader that goes on reading can't keep a broken store from being opened again. */
TEST(a_broken_store_takes_no_new_readers_until_it_is_opened_again)
{
    bool was_broken = false;

    disk_error = EIO;
    for (unsigned long n = 1; n < 20 && !was_broken; n++) {
        struct temp_dir d = temp_dir_make();
        struct store *s = open_at(d.path, MAP);
        struct store_view *reading = store_view_open(s, STORE_PENDING);
        struct store_view *other = store_view_open(s, STORE_PENDING);
        uint64_t one = 1;
        struct slice v;

        change_until_ok(s, one);
        ck_assert_int_eq(store_view_get(reading, number(&one), &v), ERR_OK);
        disk_calls = 0;
        disk_fail_at = n;
        ck_assert_int_eq(store_begin(s), ERR_OK);
        ck_assert_int_eq(store_put(s, STORE_PENDING, number(&one), slice_str("new")), ERR_OK);
        enum err e = store_commit(s);
        disk_fail_at = 0;
        if (e != ERR_OK && store_begin(s) != ERR_OK) {
            was_broken = true;
            ck_assert_int_eq(store_view_get(reading, number(&one), &v), ERR_OK);
            ck_assert_int_eq(store_view_get(other, number(&one), &v), ERR_STORE);
            ck_assert_int_eq(store_begin(s), ERR_STORE);
            store_view_release(reading);
            ck_assert_int_eq(store_view_get(reading, number(&one), &v), ERR_STORE);
            ck_assert_int_eq(store_begin(s), ERR_STORE); /* this one closes it */
            ck_assert_int_eq(store_begin(s), ERR_OK);
            store_abort(s); /* views are other threads': never used inside a transaction */
            ck_assert_int_eq(store_view_get(other, number(&one), &v), ERR_OK);
        }
        store_abort(s);
        store_view_close(reading);
        store_view_close(other);
        store_close(s);
        temp_dir_remove(&d);
    }
    ck_assert(was_broken);
}
