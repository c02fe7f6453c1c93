/* secret_file_test.c - who could read a secret besides us. */

#include "ground/secret_file.h"

#include "test.h"
#include "temp_dir.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[100];

static const char *fault_of(uid_t uid, gid_t gid, mode_t mode)
{
    int fd = open(path, O_RDONLY | O_CREAT | O_NONBLOCK, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchown(fd, uid, gid), 0);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    const char *why = secret_file_fault(fd, path);
    close(fd);
    return why;
}

TEST(a_file_of_ours_is_for_us_alone)
{
    struct temp_dir d = temp_dir_make();

    snprintf(path, sizeof path, "%s/key", d.path);
    ck_assert_ptr_null(fault_of(geteuid(), getegid(), 0600));
    ck_assert_ptr_null(fault_of(geteuid(), getegid(), 0400));
    ck_assert_str_eq(fault_of(geteuid(), getegid(), 0440),
                     "can be reached by group or others: chmod 600");
    ck_assert_str_eq(fault_of(geteuid(), getegid(), 0604),
                     "can be reached by group or others: chmod 600");
    temp_dir_remove(&d);
}

/* As uid 65534 in the groups 65534 and 4711, looking through a descriptor that root has opened. */
static int look_as_nobody(int fd)
{
    const gid_t group = 4711;
    pid_t child = fork();
    int status;

    if (child == 0) {
        if (setgroups(1, &group) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
            _exit(9);
        _exit(secret_file_fault(fd, path) == NULL ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(the_secret_of_a_container_may_be_readable_by_our_group)
{
    static const struct {
        uid_t uid;
        gid_t gid;
        mode_t mode;
        int refused;
    } cases[] = {
        {0, 4711, 0440, 0}, {0, 65534, 0640, 0}, {0, 4712, 0440, 1},    {0, 4711, 0444, 1},
        {0, 4711, 0460, 1}, {0, 0, 0400, 0},     {4713, 4711, 0440, 1},
    };
    struct temp_dir d = temp_dir_make();

    snprintf(path, sizeof path, "%s/key", d.path);
    for (size_t i = 0; geteuid() == 0 && i < sizeof cases / sizeof *cases; i++) {
        fault_of(cases[i].uid, cases[i].gid, cases[i].mode);
        int fd = open(path, O_RDONLY);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(look_as_nobody(fd), cases[i].refused);
        close(fd);
    }
    temp_dir_remove(&d);
}

TEST(a_credential_is_guarded_by_the_service_manager)
{
    struct temp_dir d = temp_dir_make();

    snprintf(path, sizeof path, "%s/key", d.path);
    setenv("CREDENTIALS_DIRECTORY", d.path, 1);
    ck_assert_ptr_null(fault_of(geteuid(), getegid(), 0440));
    ck_assert_str_eq(fault_of(geteuid(), getegid(), 0444), "can be reached by others");
    ck_assert_str_eq(fault_of(geteuid(), getegid(), 0460), "can be reached by others");
    unsetenv("CREDENTIALS_DIRECTORY");
    temp_dir_remove(&d);
}
