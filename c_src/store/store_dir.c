/*
 * store_dir.c - the directory of a store, and who may be in it.
 *
 * The happy path: the directory is made with its parents, or is ours and no other
 * user may write to it; the file `lock` in it is locked with flock(2) and gets our pid,
 * for people.  The lock ends with the process, however that ends.  Every file there must
 * be a regular one: neither a link nor a pipe is opened.
 *
 * What can go wrong: another process has the lock, and is named; the directory can't
 * be made, is another user's, or is open to others; a file is not a regular one; there is
 * no space.  Each is reported, nothing else is done.  A tool that only reads may hold a directory
 * that can't be written to, since no sidecar can open it either.
 *
 * Any thread.
 */

#include "store/store_dir.h"

#include "ground/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE_BYTES 8192 /* of 126 readers, LMDB's default */
#define OPEN_FLAGS      (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

int store_dir_sync(const char *dir, int dir_fd)
{
    int up = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int bad = fsync(dir_fd) != 0 ? errno : 0;

    if (up >= 0 && fsync(up) != 0 && bad == 0)
        bad = errno;
    /* A parent that we may not read (0711) is the operator's, and existed before. */
    if (up >= 0)
        close(up);
    else
        log_event(LOG_DEBUG, "store.parent_not_synced", "dir=%s", dir);
    return bad;
}

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return errno;
    int bad = store_dir_sync(path, fd);
    close(fd);
    return bad;
}

/* Make ${path} and its parents, mode 0700; ${path} is changed meanwhile.  Returns 0 or errno. */
static int make_path(char *path)
{
    char *slash = strrchr(path, '/');

    if (mkdir(path, 0700) == 0)
        return sync_path(path);
    if (errno != ENOENT || slash == NULL || slash == path)
        return errno == EEXIST ? 0 : errno;
    *slash = '\0';
    int bad = make_path(path);
    *slash = '/';
    if (bad != 0)
        return bad;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return errno;
    return sync_path(path);
}

static enum err check_dir(int fd, const char *dir, struct fault *fault)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(errno));
    if (st.st_uid != geteuid())
        return fault_fail(fault, ERR_STORE, dir,
                          "this directory belongs to another user (uid %lu): chown it, or let "
                          "store.dir be one inside it, which the sidecar makes",
                          (unsigned long)st.st_uid);
    if ((st.st_mode & 022) != 0)
        return fault_fail(fault, ERR_STORE, dir,
                          "other users may write to this directory: chmod go-w it");
    return ERR_OK;
}

enum err store_dir_open(const char *dir, int *fd, struct fault *fault)
{
    char *path = base_strndup(dir, strlen(dir));
    int bad = strlen(dir) < PATH_MAX ? make_path(path) : ENAMETOOLONG;
    free(path);
    if (bad != 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(bad));
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(errno));
    enum err e = check_dir(*fd, dir, fault);
    if (e != ERR_OK)
        close(*fd);
    return e;
}

/* ---- files ---------------------------------------------------------------- */

/*
 * A pipe would block, a link could lead elsewhere.  A second hard link is fine for data.mdb (some
 * backups make one), but not for a file that is overwritten unread.
 */
static enum err check_file(const char *dir, const char *name, const struct stat *st,
                           struct fault *fault)
{
    bool is_file = S_ISREG(st->st_mode);

    if (is_file && (st->st_nlink == 1 || strcmp(name, "data.mdb") == 0))
        return ERR_OK;
    return fault_fail(fault, ERR_STORE, dir, "%s there is %s: look what it is, and move it", name,
                      is_file ? "a file that has another name, too" : "no regular file");
}

enum err store_dir_check(const char *dir, int dir_fd, struct fault *fault)
{
    static const char *const names[] = {"data.mdb", "lock.mdb"};
    struct stat st;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (fstatat(dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue; /* it will be made, or fails with its own reason */
        if (check_file(dir, names[i], &st, fault) != ERR_OK)
            return ERR_STORE;
        if (i == 0 && st.st_size == 0)
            log_event(LOG_WARNING, "store.empty",
                      "dir=%s why=\"data.mdb has 0 bytes: a start was cut short, or what it held "
                      "is gone\" then=\"begins anew\"",
                      dir);
    }
    return ERR_OK;
}

/* One process only: the lock ends with the process, the pid in the file is for people. */
static enum err lock(const char *dir, int fd, struct fault *fault)
{
    struct stat st;
    char pid[32] = "";

    if (fstat(fd, &st) != 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(errno));
    if (check_file(dir, "lock", &st, fault) != ERR_OK)
        return ERR_STORE;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int bad = errno;
        if (bad != EWOULDBLOCK)
            return fault_fail(fault, ERR_STORE, dir, "%s", strerror(bad));
        ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
        return fault_fail(fault, ERR_STORE, dir,
                          "in use by process %s; next: stop that one, or use another store",
                          pid[0] ? pid : "unknown");
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        log_event(LOG_DEBUG, "store.pid_not_written", "dir=%s", dir); /* the lock holds */
    return ERR_OK;
}

enum err store_dir_lock(const char *dir, int dir_fd, int *fd, struct fault *fault)
{
    *fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | OPEN_FLAGS, 0600);
    if (*fd < 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(errno));
    return lock(dir, *fd, fault);
}

enum err store_hold(const char *dir, int *fd, struct fault *fault)
{
    int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *fd = -1;
    if (dir_fd < 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(errno));
    *fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | OPEN_FLAGS, 0600);
    if (*fd < 0 && (errno == EROFS || errno == EACCES || errno == ENOSPC))
        *fd = openat(dir_fd, "lock", O_RDONLY | OPEN_FLAGS);
    int bad = *fd < 0 ? errno : 0;
    close(dir_fd);
    if (bad == ENOENT)
        return ERR_OK;
    if (bad != 0)
        return fault_fail(fault, ERR_STORE, dir, "%s", strerror(bad));
    enum err e = lock(dir, *fd, fault);
    if (e != ERR_OK)
        close(*fd);
    return e;
}

int store_dir_make_lock_file(int dir_fd)
{
    int fd = openat(dir_fd, "lock.mdb", O_RDWR | O_CREAT | OPEN_FLAGS, 0600);

    if (fd < 0)
        return errno;
    int bad = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
    close(fd);
    return bad;
}
