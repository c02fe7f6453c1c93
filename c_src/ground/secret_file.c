/*
 * secret_file.c - whether a file is fit to hold a secret.
 *
 * The happy path: a regular file that we own and that group and others cannot access.  Two more
 * kinds of file are accepted:
 *   a credential of the service manager, which protects it itself: by an access control list that
 *   shows as group bits, and under PrivateUsers= with an owner unknown here (systemd.exec(5));
 *   a file owned by root that only a group of ours may read: the secret of a container, whose mode
 *   and group the orchestrator sets and its user cannot change.
 *
 * What can go wrong: somebody else can access it.  The fault says what to change.
 *
 * Any thread.
 */

#include "ground/secret_file.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_credential(const char *path)
{
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    size_t n = dir ? strlen(dir) : 0;

    return n > 0 && strncmp(path, dir, n) == 0 && path[n] == '/';
}

static bool is_our_group(gid_t gid)
{
    int count = getgroups(0, NULL);
    bool is_ours = gid == getegid();

    if (is_ours || count <= 0)
        return is_ours;
    gid_t *groups = base_alloc((size_t)count * sizeof *groups);
    count = getgroups(count, groups);
    for (int i = 0; i < count; i++)
        is_ours |= groups[i] == gid;
    free(groups);
    return is_ours;
}

const char *secret_file_fault(int fd, const char *path)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return "cannot be looked at";
    if (!S_ISREG(st.st_mode))
        return "is no regular file";
    if (is_credential(path))
        return st.st_mode & (S_IWGRP | S_IRWXO) ? "can be reached by others" : NULL;
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return "belongs to neither this user nor root";
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return NULL;
    if (st.st_uid == geteuid())
        return "can be reached by group or others: chmod 600";
    if ((st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) == 0 && is_our_group(st.st_gid))
        return NULL;
    return "can be reached by others: of root's files, those of mode 0440 with a group of this "
           "user "
           "will do (Kubernetes: defaultMode: 0440 and fsGroup; Docker: mode and gid of the "
           "secret)";
}
