/* unix_socket_test.c - a socket in a folder: whose it is, who may come, and how long one waits. */

#include "ground/unix_socket.h"

#include "test.h"
#include "temp_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static struct temp_dir dir;

static int open_dir(void)
{
    dir = temp_dir_make();
    int fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void remove_dir(int fd)
{
    close(fd);
    temp_dir_empty(dir.path);
    temp_dir_remove(&dir);
}

TEST(who_listens_is_found_and_called)
{
    int fd = open_dir(), listener = unix_socket_listen(fd, "s");
    struct stat st;
    uid_t owner = 12345;

    ck_assert_int_ge(listener, 0);
    ck_assert_int_eq(fstatat(fd, "s", &st, AT_SYMLINK_NOFOLLOW), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    ck_assert_uint_ne((unsigned)fcntl(listener, F_GETFD) & FD_CLOEXEC, 0);
    int found = unix_socket_find(fd, "s", &owner);
    ck_assert_int_ge(found, 0);
    ck_assert_uint_eq(owner, geteuid());
    int caller = unix_socket_connect(found, 1000), taken = accept(listener, NULL, NULL);
    ck_assert_int_ge(caller, 0);
    ck_assert_int_ge(taken, 0);
    ck_assert_int_eq(write(caller, "x", 1), 1);
    close(taken);
    close(caller);
    close(found);
    /* A name that is left of one that was killed is taken. */
    close(listener);
    listener = unix_socket_listen(fd, "s");
    ck_assert_int_ge(listener, 0);
    close(listener);
    remove_dir(fd);
}

TEST(what_is_no_socket_or_not_there_is_said)
{
    int fd = open_dir();
    uid_t owner;

    ck_assert_int_eq(unix_socket_find(fd, "s", &owner), -1);
    ck_assert_int_eq(errno, ENOENT);
    close(openat(fd, "s", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ck_assert_int_eq(unix_socket_find(fd, "s", &owner), -1);
    ck_assert_int_eq(errno, ENOTSOCK);
    ck_assert_int_eq(mkdirat(fd, "d", 0700), 0);
    ck_assert_int_eq(unix_socket_listen(fd, "d"), -1); /* a folder is not taken away */
    ck_assert_int_eq(unlinkat(fd, "d", AT_REMOVEDIR), 0);
    remove_dir(fd);
}

/* Where nobody accepts, a caller waits as long as it says, and no longer. */
TEST(a_call_waits_as_long_as_it_says)
{
    static const int waits[] = {0, 200};
    int fd = open_dir(), listener = unix_socket_listen(fd, "s"), callers[100], count = 0;
    uid_t owner;
    int found = unix_socket_find(fd, "s", &owner);

    while (count < 100 && (callers[count] = unix_socket_connect(found, 0)) >= 0)
        count++;
    ck_assert_int_eq(count, 33); /* the backlog, and one */
    for (int i = 0; i < 2; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        ck_assert_int_eq(unix_socket_connect(found, waits[i]), -1);
        ck_assert_int_eq(errno, EAGAIN);
        clock_gettime(CLOCK_MONOTONIC, &to);
        ck_assert_int_ge((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000,
                         waits[i] - 10);
    }
    for (int i = 0; i < count; i++)
        close(callers[i]);
    close(found);
    close(listener);
    remove_dir(fd);
}

/* Who closed its standard input gets descriptor 0, which is as good as any. */
TEST(descriptor_0_is_one)
{
    int fd = open_dir(), kept = dup(STDIN_FILENO);
    uid_t owner;

    close(STDIN_FILENO);
    int listener = unix_socket_listen(fd, "s");
    ck_assert_int_eq(listener, 0);
    int moved = dup(listener);
    close(listener);
    ck_assert_int_eq(unix_socket_find(fd, "s", &owner), 0);
    int found = dup(0);
    close(0);
    ck_assert_int_eq(unix_socket_connect(found, 1000), 0);
    close(0);
    close(found);
    close(moved);
    dup2(kept, STDIN_FILENO);
    close(kept);
    remove_dir(fd);
}
