/* temp_dir.h - a directory under TMPDIR (/tmp) that is gone after the test. */

#ifndef TEMP_DIR_H
#define TEMP_DIR_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct temp_dir {
    char path[64];
};

static struct temp_dir temp_dir_make(void)
{
    const char *where = getenv("TMPDIR");
    struct temp_dir d;

    int n = snprintf(d.path, sizeof d.path, "%s/convex_sidecar_test_XXXXXX",
                     where != NULL ? where : "/tmp");
    ck_assert_int_lt(n, (int)sizeof d.path);
    ck_assert_ptr_nonnull(mkdtemp(d.path));
    return d;
}

/* One level deep, which is all a store has. */
static void temp_dir_empty(const char *path)
{
    DIR *dir = opendir(path);

    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
}

static void temp_dir_remove(struct temp_dir *d)
{
    temp_dir_empty(d->path);
    ck_assert_int_eq(rmdir(d->path), 0);
}

#endif
