/*
 * outbox_disk_test.c - a real outbox on a small disk of its own: full, read-only, and well again.
 *
 * The disk is a tmpfs in a mount namespace of the test's process.  Where that is not allowed the
 * tests pass without a check; outbox_test.c has the same faults by RLIMIT_FSIZE, store_test.c by
 * failing system calls.
 */

#include "outbox/outbox.h"

#include "ground/metrics.h"
#include "store_tools/store_check.h"
#include "store/format.h"
#include "store/migrate.h"
#include "store/store_dir.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

#include <sched.h>
#include <sys/mount.h>

#define DISK "size=2m"

/* Mount a disk on ${path}; false: not allowed here. */
static bool mount_disk(const char *path)
{
    if (unshare(CLONE_NEWNS) != 0)
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, DISK) == 0;
}

/* Something else fills the disk, but for ${leave} bytes. */
static void fill_disk(const char *path, size_t leave)
{
    char file[120], page[KIT_PAGE] = {1};

    snprintf(file, sizeof file, "%s/ballast", path);
    int fd = open(file, O_WRONLY | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    off_t size = 0;
    while (write(fd, page, sizeof page) == (ssize_t)sizeof page)
        size += (off_t)sizeof page;
    ck_assert_int_eq(ftruncate(fd, size - (off_t)leave), 0);
    close(fd);
}

static void free_disk(const char *path)
{
    char file[120];

    snprintf(file, sizeof file, "%s/ballast", path);
    ck_assert_int_eq(unlink(file), 0);
}

TEST(a_full_disk_takes_nothing_new_and_recovers_by_itself)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct fault fault = {0};
    struct store_report r;
    char dir[100], id[32];

    if (mount_disk(d.path)) {
        snprintf(dir, sizeof dir, "%s/store", d.path);
        ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_OK);
        kit_put_real(o, "first", 1, 1000);
        fill_disk(d.path, 65536);
        struct op op = {.fn = fn_put_real, .id = id, .seq = 1, .json_len = 4000};
        enum err e = ERR_OK;
        int kept = 1;
        for (int i = 0; e == ERR_OK; i++) {
            snprintf(id, sizeof id, "doc:%d", i);
            e = kit_do(o, &op);
            kept += e == ERR_OK;
            ck_assert_int_lt(i, 1000);
        }
        ck_assert_int_eq(e, ERR_STORE);
        ck_assert_str_eq(op.why, "No space left on device");
        ck_assert_uint_eq(metric_get(METRIC_STORE_OK), 0);
        ck_assert_uint_eq(kit_count_pending(o), (size_t)kept); /* what is kept can be delivered */
        struct settlement *s = kit_send(o, "first");
        uint64_t ticket = outbox_settle(o, s);
        free_disk(d.path);
        while (metric_get(METRIC_STORE_OK) == 0 || !outbox_is_settled(o, ticket))
            usleep(1000);
        ck_assert_int_eq(kit_do(o, &op), ERR_OK);
        ck_assert_uint_eq(kit_count_pending(o), (size_t)kept);
        ck_assert(do_look(o, "first").has_delivered);
        outbox_close(o);
        ck_assert_int_eq(store_check(dir, NULL, NULL, &r, &fault), ERR_OK);
        ck_assert_uint_eq(r.findings, 0);
        ck_assert_int_eq(umount(d.path), 0);
    }
    temp_dir_remove(&d);
}

/* Until there is no room for one more; how many were kept. */
static size_t put_until_full(struct outbox *o)
{
    char id[32];
    struct op op = {.fn = fn_put_real, .id = id, .seq = 1, .json_len = 4000};

    for (size_t kept = 0;; kept++) {
        snprintf(id, sizeof id, "doc:%zu", kept);
        if (kit_do(o, &op) != ERR_OK) {
            ck_assert_str_eq(op.why, "No space left on device");
            return kept;
        }
        ck_assert_uint_lt(kept, 1000);
    }
}

TEST(a_full_disk_at_the_start_delivers_what_is_kept)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct fault fault = {0};
    char dir[100];

    if (mount_disk(d.path)) {
        snprintf(dir, sizeof dir, "%s/store", d.path);
        kit_make_store(dir, 10);
        ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_OK);
        fill_disk(d.path, 100000);
        size_t kept = 13 + put_until_full(o);
        outbox_close(o);
        enum err e = kit_open(dir, 1 << 28, 100, &o, &fault);
        ck_assert_msg(e == ERR_OK, "%s", fault.why);
        ck_assert_uint_eq(kit_count_pending(o), kept);
        struct settlement *s = kit_send(o, "large");
        uint64_t ticket = outbox_settle(o, s);
        free_disk(d.path);
        while (!outbox_is_well(o) || !outbox_is_settled(o, ticket))
            usleep(1000);
        ck_assert_uint_eq(kit_count_pending(o), kept - 1);
        outbox_close(o);
        ck_assert_int_eq(umount(d.path), 0);
    }
    temp_dir_remove(&d);
}

TEST(a_read_only_disk_is_refused_and_can_still_be_checked)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct fault fault = {0};
    struct store_report r;
    char dir[100];
    int fd;

    if (mount_disk(d.path)) {
        snprintf(dir, sizeof dir, "%s/store", d.path);
        kit_make_store(dir, 10);
        ck_assert_int_eq(mount("none", d.path, NULL, MS_REMOUNT | MS_RDONLY, DISK), 0);
        ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_STORE);
        ck_assert_str_eq(fault.why, "Read-only file system");
        ck_assert_int_eq(store_hold(dir, &fd, &fault), ERR_OK);
        ck_assert_int_eq(store_check(dir, NULL, NULL, &r, &fault), ERR_OK);
        ck_assert_uint_eq(r.findings, 0);
        close(fd);
        ck_assert_int_eq(mount("none", d.path, NULL, MS_REMOUNT, DISK), 0);
        ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_OK);
        ck_assert_uint_eq(kit_count_pending(o), 13);
        outbox_close(o);
        ck_assert_int_eq(umount(d.path), 0);
    }
    temp_dir_remove(&d);
}

/* A store of an older format, whose copy would not find room: both numbers, and all as it was. */
TEST(a_migration_without_room_is_refused_with_both_numbers)
{
    struct temp_dir d = temp_dir_make();
    struct migrate_report r;
    struct outbox *o = NULL;
    struct fault fault = {0};
    char dir[100];

    if (mount_disk(d.path)) {
        snprintf(dir, sizeof dir, "%s/store", d.path);
        ck_assert_int_eq(mkdir(dir, 0700), 0);
        struct store *s;
        ck_assert_int_eq(store_open_copy(dir, 1, 1 << 24, &s, &fault), ERR_OK);
        ck_assert_int_eq(store_begin(s), ERR_OK);
        ck_assert_int_eq(format_put(s, 1), ERR_OK);
        ck_assert_int_eq(store_commit(s), ERR_OK);
        store_close(s);
        ck_assert_int_eq(kit_open(dir, 1 << 28, 100, &o, &fault), ERR_STORE);
        ck_assert_ptr_nonnull(strstr(fault.why, "to bring the store from format 1 to 2, 16"));
        ck_assert_ptr_nonnull(strstr(fault.why, " are: make room and start again"));
        ck_assert_int_eq(migrate(dir, 1, NULL, &r, &fault), ERR_OK);
        ck_assert_uint_eq(r.from, 1); /* it is what it was */
        ck_assert_int_eq(umount(d.path), 0);
    }
    temp_dir_remove(&d);
}

/* A disk that becomes full while a store is open for the first time: nothing is left half-made. */
TEST(no_room_for_a_new_store_is_said_and_passes)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct fault fault = {0};
    char dir[100];

    if (mount_disk(d.path)) {
        snprintf(dir, sizeof dir, "%s/store", d.path);
        for (size_t leave = 0; leave < 8; leave++) {
            fill_disk(d.path, leave * KIT_PAGE);
            enum err e = kit_open(dir, 1 << 28, 100, &o, &fault);
            if (e == ERR_OK)
                outbox_close(o);
            free_disk(d.path);
        }
        ck_assert_msg(kit_open(dir, 1 << 28, 100, &o, &fault) == ERR_OK, "%s", fault.why);
        kit_put_real(o, "first", 1, 1000);
        outbox_close(o);
        ck_assert_int_eq(umount(d.path), 0);
    }
    temp_dir_remove(&d);
}
