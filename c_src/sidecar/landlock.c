/*
 * landlock.c - the files that this process may still reach.
 *
 * The happy path: a rule for each folder that is needed later, then the thread restricts itself
 * and every thread that it starts.  Rules are for folders, not files: a key, a certificate or
 * resolv.conf that is replaced has a new inode, and is found in the folder of the old one.
 *
 * What can go wrong: the kernel has no Landlock, or an older version with fewer rights; then only
 * the rights that it knows are given up.  A folder that does not exist needs no rule.
 *
 * Start-up only, before any thread.
 */

#include "sidecar/landlock.h"

#include "config/config.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the oldest header that we are built with. */
#define FS_REFER     (1ULL << 13)
#define FS_TRUNCATE  (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)

/* The first forbids every rename from one folder into another: a migration needs that. */
#define ABI_MIN 2

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE                                                                                      \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |                          \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_REFER | FS_TRUNCATE)
#define OF_A_FILE                                                                                  \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

/* What the C library, OpenSSL and curl read while they look up names and check certificates. */
static const char *const read_by_libraries[] = {
    "/etc",          "/usr/lib",
    "/usr/lib64",    "/usr/local/lib",
    "/usr/share",    "/usr/local/share",
    "/lib",          "/lib64",
    "/nix/store",    "/gnu/store",
    "/run/systemd",  "/run/resolvconf",
    "/run/nscd",     "/run/NetworkManager",
    "/var/run/nscd", "/proc/self",
    "/proc/sys",     "/sys/devices/system/cpu",
    "/dev/urandom",  "/dev/random",
};

struct rules {
    int fd;
    uint64_t handled; /* what is forbidden where no rule allows it */
};

static void allow(const struct rules *r, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {.allowed_access = access & r->handled};
    struct stat st;

    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &= OF_A_FILE;
    (void)syscall(SYS_landlock_add_rule, r->fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    close(rule.parent_fd);
}

static void allow_folder(const struct rules *r, const char *file, uint64_t access)
{
    char *copy = base_strndup(file, strlen(file));

    allow(r, dirname(copy), access);
    free(copy);
}

/* The folders of ${file} ("": none), and of the file that it links to. */
static void allow_folders_of(const struct rules *r, const char *file, uint64_t access)
{
    char real[PATH_MAX];

    if (file == NULL || *file == '\0')
        return;
    allow_folder(r, file, access);
    if (realpath(file, real) != NULL)
        allow_folder(r, real, access);
}

/* The folders that a variable names, ":" between them. */
static void allow_listed(const struct rules *r, const char *variable)
{
    const char *list = getenv(variable);
    char *copy = list ? base_strndup(list, strlen(list)) : NULL, *rest = copy;

    for (char *one; copy != NULL && (one = strsep(&rest, ":")) != NULL;)
        if (*one != '\0')
            allow(r, one, READ);
    free(copy);
}

static void allow_all(const struct rules *r, const struct config *c)
{
    for (size_t i = 0; i < sizeof read_by_libraries / sizeof *read_by_libraries; i++)
        allow(r, read_by_libraries[i], READ);
    allow(r, "/dev/null", READ | LANDLOCK_ACCESS_FS_WRITE_FILE);
    allow_folders_of(r, "/etc/resolv.conf", READ); /* often a link into another folder */
    allow_listed(r, "SSL_CERT_DIR");
    allow_listed(r, "LD_LIBRARY_PATH");
    allow_folders_of(r, getenv("SSL_CERT_FILE"), READ);
    allow_folders_of(r, getenv("OPENSSL_CONF"), READ);
    allow_folders_of(r, c->sink_admin_key_file, READ);
    allow_folders_of(r, c->sink_ca_file, READ);
    allow_folders_of(r, c->sink_file, WRITE);
    allow(r, c->store_dir, WRITE);
}

/* The rights on files that version ${abi} knows. */
static uint64_t known(long abi)
{
    uint64_t all = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

    return all | FS_REFER | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
}

int landlock_enter(const struct config *c)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct rules r = {.handled = known(abi)};
    const struct landlock_ruleset_attr attr = {.handled_access_fs = r.handled};

    if (abi < ABI_MIN)
        return 0;
    r.fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (r.fd < 0)
        return 0;
    allow_all(&r, c);
    bool is_on = syscall(SYS_landlock_restrict_self, r.fd, 0) == 0;
    close(r.fd);
    return is_on ? (int)abi : 0;
}
