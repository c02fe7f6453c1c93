/* replace_test.c - a copy takes a store's place; the old one is kept under a name that is free. */

#include "store/replace.h"

#include "test.h"
#include "ground/fake_log.c"
#include "temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static struct temp_dir dir;
static int dir_fd;

static void write_file(const char *name, const char *text)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static const char *read_file(const char *name)
{
    static char text[100];
    int fd = openat(dir_fd, name, O_RDONLY);

    if (fd < 0)
        return "";
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void begin(void)
{
    dir = temp_dir_make();
    dir_fd = open(dir.path, O_RDONLY | O_DIRECTORY);
    write_file("data.mdb", "old");
    write_file("lock.mdb", "lock");
}

static void end(void)
{
    struct fault fault;

    ck_assert_int_eq(replace_clear(dir_fd, &fault), ERR_OK);
    close(dir_fd);
    temp_dir_remove(&dir);
}

static void copy(const char *text)
{
    ck_assert_int_eq(mkdirat(dir_fd, REPLACE_NEW, 0700), 0);
    write_file(REPLACE_NEW "/data.mdb", text);
}

static enum err put(char kept[64], struct fault *fault)
{
    *fault = (struct fault){0};
    return replace_put(dir_fd, "data.mdb.before", kept, fault);
}

TEST(the_copy_takes_its_place_and_the_old_one_is_kept)
{
    char kept[64];
    struct fault fault;

    begin();
    copy("new");
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_str_eq(kept, "data.mdb.before");
    ck_assert_str_eq(read_file("data.mdb"), "new");
    ck_assert_str_eq(read_file("data.mdb.before"), "old");
    ck_assert_int_eq(faccessat(dir_fd, "lock.mdb", F_OK, 0), -1);
    ck_assert_int_eq(faccessat(dir_fd, REPLACE_NEW, F_OK, 0), -1);
    copy("newer"); /* without a lock.mdb; the name is taken */
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_str_eq(kept, "data.mdb.before.2");
    ck_assert_str_eq(read_file("data.mdb.before.2"), "new");
    ck_assert_str_eq(read_file("data.mdb"), "newer");
    end();
}

TEST(nine_are_kept_under_one_name)
{
    char kept[64], name[64];
    struct fault fault;

    begin();
    for (int n = 1; n <= 8; n++) {
        snprintf(name, sizeof name, n == 1 ? "data.mdb.before" : "data.mdb.before.%d", n);
        write_file(name, "taken");
    }
    copy("new");
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_str_eq(kept, "data.mdb.before.9");
    copy("newer");
    ck_assert_int_eq(put(kept, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why, "9 stores are kept as data.mdb.before already: convex_sidecar "
                                "store drop-old");
    ck_assert_str_eq(read_file("data.mdb"), "new"); /* it is as it was */
    end();
}

TEST(what_a_killed_attempt_kept_is_kept_once)
{
    char kept[64];
    struct fault fault;

    begin();
    ck_assert_int_eq(linkat(dir_fd, "data.mdb", dir_fd, "data.mdb.before", 0), 0);
    copy("new");
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_str_eq(kept, "data.mdb.before");
    ck_assert_str_eq(read_file("data.mdb.before"), "old");
    end();
}

TEST(what_is_missing_is_named)
{
    char kept[64];
    struct fault fault;

    begin();
    ck_assert_int_eq(put(kept, &fault), ERR_STORE); /* no copy */
    ck_assert_str_eq(fault.why, "data.mdb.new/data.mdb: No such file or directory");
    ck_assert_str_eq(read_file("data.mdb"), "old");
    ck_assert_int_eq(unlinkat(dir_fd, "data.mdb", 0), 0);
    copy("new");
    ck_assert_int_eq(put(kept, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why, "data.mdb: No such file or directory");
    write_file(REPLACE_NEW "/other", ""); /* which is nobody's */
    ck_assert_int_eq(replace_clear(dir_fd, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why, "data.mdb.new: Directory not empty");
    ck_assert_int_eq(unlinkat(dir_fd, REPLACE_NEW "/other", 0), 0);
    end();
}

static uid_t owner_of(const char *name)
{
    struct stat st;

    ck_assert_int_eq(fstatat(dir_fd, name, &st, 0), 0);
    return st.st_uid;
}

/* Root repairs what belongs to the sidecar's user. */
TEST(the_copy_belongs_to_whom_the_store_belongs)
{
    char kept[64];
    struct fault fault;

    if (geteuid() != 0) /* only root can give a file away */
        return;
    begin();
    copy("new");
    ck_assert_int_eq(fchownat(dir_fd, "data.mdb", 12345, 12345, 0), 0);
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_uint_eq(owner_of("data.mdb"), 12345);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 0);
    ck_assert_int_eq(fchownat(dir_fd, "data.mdb", 0, 0, 0), 0);
    copy("newer");
    ck_assert_int_eq(fchownat(dir_fd, REPLACE_NEW "/data.mdb", 777, 777, 0), 0);
    ck_assert_int_eq(put(kept, &fault), ERR_OK);
    ck_assert_uint_eq(owner_of("data.mdb"), 777); /* our own: nobody is given anything */
    end();
}
