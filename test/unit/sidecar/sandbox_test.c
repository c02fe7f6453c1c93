/* sandbox_test.c - what is given up is gone, and what is needed later still works. */

#include "config/config.h"
#include "ground/thread.h"
#include "sidecar/sandbox.h"

#include "test.h"
#include "temp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct temp_dir dir;
static char store[100], keys[100], other[100];

static char *in(const char *folder, const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return good;
}

static bool reads(const char *path, const char *text)
{
    char got[20] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && read(fd, got, sizeof got - 1) > 0 && strcmp(got, text) == 0;

    if (fd >= 0)
        close(fd);
    return good;
}

static void make_world(void)
{
    dir = temp_dir_make();
    snprintf(store, sizeof store, "%s/store", dir.path);
    snprintf(keys, sizeof keys, "%s/keys", dir.path);
    snprintf(other, sizeof other, "%s/other", dir.path);
    ck_assert_int_eq(mkdir(keys, 0700), 0);
    ck_assert_int_eq(mkdir(other, 0700), 0);
    ck_assert(write_file(in(keys, "key"), "one"));
    ck_assert(write_file(in(other, "file"), "precious"));
}

static void remove_world(void)
{
    const char *folders[] = {store, keys, other};

    for (size_t i = 0; i < 3; i++)
        if (access(folders[i], F_OK) == 0) {
            temp_dir_empty(folders[i]);
            ck_assert_int_eq(rmdir(folders[i]), 0);
        }
    temp_dir_remove(&dir);
}

/* What ${part} returns in a process that is in the sandbox: 0 is well. */
static int inside(int (*part)(void), const char *more)
{
    char text[600];
    struct fault fault = {0};
    int status;
    pid_t child = fork();

    if (child == 0) {
        struct config *c = config_new();
        snprintf(text, sizeof text, "[store]\ndir = %s\n[sink]\nadmin_key_file = %s/key\n%s", store,
                 keys, more);
        if (config_read_text(c, "test", text, &fault) != ERR_OK ||
            sandbox_enter(c, &fault) != ERR_OK)
            _exit(99);
        status = part();
        config_free(c);
        _exit(status);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define IS_EPERM(call) (errno = 0, (call) < 0 && errno == EPERM)

static int try_calls(void)
{
    char *const args[] = {NULL};

    if (strstr(sandbox_text(), "seccomp") == NULL)
        return 0; /* a kernel, or another sandbox, that does not let us */
    return !IS_EPERM(execve("/bin/false", args, args)) ? 1
#ifndef __SANITIZE_ADDRESS__
           : !IS_EPERM(ptrace(PTRACE_TRACEME, 0, NULL, NULL)) ? 2
#endif
           : !IS_EPERM(mount("none", "/", "tmpfs", 0, NULL))              ? 3
           : !IS_EPERM(syscall(SYS_bpf, 0, NULL, 0))                      ? 4
           : !IS_EPERM(syscall(SYS_keyctl, 0, 0, 0, 0, 0))                ? 5
           : !IS_EPERM(syscall(SYS_finit_module, -1, "", 0))              ? 6
           : !IS_EPERM(unshare(CLONE_FILES))                              ? 7
           : !IS_EPERM(syscall(SYS_setns, -1, 0))                         ? 8
           : socket(AF_PACKET, SOCK_RAW, 0) >= 0 || errno != EAFNOSUPPORT ? 9
                                                                          : 0;
}

static void *try_in_thread(void *arg)
{
    *(int *)arg = try_calls();
    return NULL;
}

/* Threads are begun, and are bound as well. */
static int try_calls_everywhere(void)
{
    pthread_t thread;
    int there = 50;

    if (pthread_create(&thread, NULL, try_in_thread, &there) != 0)
        return 51;
    pthread_join(thread, NULL);
    return there != 0 ? 10 + there : try_calls();
}

static void *name_of_thread(void *name)
{
    pthread_getname_np(pthread_self(), name, 16);
    return NULL;
}

static int name_a_thread(void)
{
    pthread_t thread;
    char name[16] = "";

    if (!thread_start(&thread, "looker", name_of_thread, name))
        return 51;
    pthread_join(thread, NULL);
    return strcmp(name, "looker") != 0;
}

static int look_at_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    if (syscall(SYS_capget, &head, data) != 0)
        return 98;
    return (data[0].permitted | data[1].permitted | data[0].effective | data[0].inheritable) != 0;
}

static int use_files(void)
{
    if (strstr(sandbox_text(), "landlock") == NULL)
        return 0;
    if (!write_file(in(store, "data"), "x") || rename(in(store, "data"), in(store, "data2")) != 0 ||
        !reads(in(store, "data2"), "x"))
        return 1;
    /* As a migration does: a copy in a folder of its own, the old one under a second name. */
    if (mkdir(in(store, "new"), 0700) != 0 || !write_file(in(store, "new/data"), "y") ||
        link(in(store, "data2"), in(store, "data3")) != 0 ||
        rename(in(store, "new/data"), in(store, "data2")) != 0 || rmdir(in(store, "new")) != 0 ||
        !reads(in(store, "data2"), "y"))
        return 5;
    if (!reads(in(keys, "key"), "one"))
        return 2;
    if (write_file(in(keys, "new"), "x") || open(in(keys, "key"), O_WRONLY) >= 0)
        return 3;
    if (open(in(other, "file"), O_RDONLY) >= 0 || write_file(in(other, "new"), "x"))
        return 4;
    return 0;
}

/* Somebody outside replaces the key as editors do, and as Kubernetes does. */
static int follow_a_rotated_key(void)
{
    for (int i = 0; i < 5000; i++) {
        if (reads(in(keys, "key"), "two"))
            return 0;
        usleep(1000);
    }
    return 1;
}

static int resolve(void)
{
    static const char *const names[] = {"localhost", "ip6-localhost", "ip6-loopback", "vm"};
    int found = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct addrinfo *a;
        if (getaddrinfo(names[i], "80", NULL, &a) != 0)
            continue;
        freeaddrinfo(a);
        found |= 1 << i;
    }
    return found;
}

TEST(calls_that_are_never_made_answer_eperm_in_every_thread)
{
    make_world();
    ck_assert_int_eq(inside(try_calls_everywhere, ""), 0);
    remove_world();
}

TEST(threads_have_names)
{
    make_world();
    ck_assert_int_eq(inside(name_a_thread, ""), 0);
    remove_world();
}

TEST(no_capability_is_left_but_the_one_for_a_low_port)
{
    make_world();
    ck_assert_int_eq(inside(look_at_capabilities, ""), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(inside(look_at_capabilities, "[observe]\nport = 80\n"), 1);
    remove_world();
}

TEST(the_store_is_written_the_folders_of_secrets_read_and_nothing_else)
{
    make_world();
    ck_assert_int_eq(inside(use_files, ""), 0);
    remove_world();
}

TEST(a_key_that_is_replaced_is_still_read)
{
    make_world();
    pid_t child = fork();
    if (child == 0)
        _exit(inside(follow_a_rotated_key, ""));
    while (access(store, F_OK) != 0) /* it is inside, or nearly */
        usleep(1000);
    ck_assert(write_file(in(keys, "key.new"), "two"));
    ck_assert_int_eq(rename(in(keys, "key.new"), in(keys, "key")), 0);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    remove_world();
}

TEST(names_resolve_as_before)
{
    int before = resolve();

    make_world();
    ck_assert_int_ne(before, 0);
    ck_assert_int_eq(inside(resolve, ""), before);
    remove_world();
}

static int tell_what_is_in_force(void)
{
    return strcmp(sandbox_text(), "off") == 0;
}

/* What the kernel has is in force. */
static int lack_what_the_kernel_has(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    bool has_seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    bool has_landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* its version */) >= 2;

    return (has_seccomp && strstr(sandbox_text(), "seccomp") == NULL) +
           2 * (has_landlock && strstr(sandbox_text(), "landlock=") == NULL) +
           4 * (strstr(sandbox_text(), "no_new_privs") == NULL);
}

TEST(it_says_what_is_in_force)
{
    make_world();
    ck_assert_int_eq(inside(lack_what_the_kernel_has, ""), 0);
    ck_assert_int_eq(inside(tell_what_is_in_force, ""), 0);
    ck_assert_int_eq(inside(tell_what_is_in_force, "[process]\nsandbox = off\n"), 1);
    remove_world();
}

/* ---- folders that an option or a variable names -------------------------------- */

static const char *const named[] = {"certs", "more", "libs", "bundle", "openssl", "ca", "out"};
enum { NAMED = sizeof named / sizeof *named };

static char *at(const char *folder, const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s/%s", dir.path, folder, name);
    return path;
}

/* All can be read, the last one written alone; the number of the first that cannot, from 1. */
static int read_named(void)
{
    for (int i = 0; i < NAMED; i++) {
        bool is_out = i == NAMED - 1;
        if (!reads(at(named[i], "file"), "text"))
            return 1 + i;
        if (write_file(at(named[i], "new"), "x") != is_out)
            return 20 + i;
    }
    return 0;
}

static int read_linked(void)
{
    return !reads(in(other, "file"), "precious");
}

static int lacks_landlock(void)
{
    return strstr(sandbox_text(), "landlock") == NULL;
}

TEST(folders_that_are_named_are_read)
{
    char text[600], list[400];

    make_world();
    if (inside(lacks_landlock, "") != 0) {
        puts("the kernel has no Landlock: skipped");
        remove_world();
        return;
    }
    for (int i = 0; i < NAMED; i++) {
        char folder[200];
        snprintf(folder, sizeof folder, "%s/%s", dir.path, named[i]);
        ck_assert_int_eq(mkdir(folder, 0700), 0);
        ck_assert(write_file(at(named[i], "file"), "text"));
    }
    snprintf(text, sizeof text, "ca_file = %s/ca/file\ntype = file\nfile = %s/out/lines\n",
             dir.path, dir.path);
    ck_assert_int_eq(inside(read_named, text), 1); /* what no variable names is not read */
    snprintf(list, sizeof list, ":%s/certs::%s/more:/nonexistent", dir.path, dir.path);
    setenv("SSL_CERT_DIR", list, 1);
    snprintf(list, sizeof list, "%s/libs", dir.path);
    setenv("LD_LIBRARY_PATH", list, 1);
    setenv("SSL_CERT_FILE", at("bundle", "file"), 1);
    setenv("OPENSSL_CONF", at("openssl", "file"), 1);
    ck_assert_int_eq(inside(read_named, text), 0);
    /* A link leads to where the file is. */
    ck_assert_int_eq(symlink(in(other, "file"), at("bundle", "link")), 0);
    ck_assert_int_eq(inside(read_linked, ""), 1);
    setenv("SSL_CERT_FILE", at("bundle", "link"), 1);
    ck_assert_int_eq(inside(read_linked, ""), 0);
    unsetenv("SSL_CERT_DIR");
    unsetenv("LD_LIBRARY_PATH");
    unsetenv("SSL_CERT_FILE");
    unsetenv("OPENSSL_CONF");
    for (int i = 0; i < NAMED; i++) {
        char *folder = at(named[i], "");
        temp_dir_empty(folder);
        ck_assert_int_eq(rmdir(folder), 0);
    }
    remove_world();
}
