/*
 * sandbox.c - what the process gives up for good.
 *
 * The happy path: no executed program may gain privileges (no_new_privs), capabilities are
 * dropped, files are restricted (landlock.c), and system calls that the program never makes fail
 * with EPERM (seccomp, in all threads).
 *
 * What can go wrong: the kernel, or the sandbox that we run in already, does not allow it.  Then
 * the rest is done all the same, the log says what is missing, and the status what is in force.
 *
 * The filter is a list of forbidden calls, and allows unknown ones: libraries use those of new
 * kernels.  It never kills, and never touches clone, clone3, mmap and futex, on which the C
 * library lives.
 *
 * Start-up only, before any thread.
 */

#include "sidecar/sandbox.h"

#include "config/config.h"
#include "ground/log.h"
#include "sidecar/landlock.h"
#include "store/store_dir.h"

#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PRIVILEGED_PORTS 1024

static char in_force[120] = "off";

/* By name: calls that this libseccomp does not know are left out. */
static const char *const forbidden[] = {
    /* other programs, and other processes' memory */
    "execve",
    "execveat",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "userfaultfd",
#ifndef __SANITIZE_ADDRESS__ /* the leak check is a tracer */
    "ptrace",
#endif
    /* mounts */
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "name_to_handle_at",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "acct",
    /* namespaces, but for those of clone */
    "unshare",
    "setns",
    /* the kernel itself */
    "bpf",
    "perf_event_open",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "syslog",
    "iopl",
    "ioperm",
    "modify_ldt",
    "lookup_dcookie",
    "uselib",
    "nfsservctl",
    "vhangup",
    "fanotify_init",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    /* keys, clocks, names */
    "add_key",
    "request_key",
    "keyctl",
    "settimeofday",
    "clock_settime",
    "clock_settime64",
    "sethostname",
    "setdomainname",
};

static bool forbid_calls(scmp_filter_ctx filter)
{
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++) {
        int call = seccomp_syscall_resolve_name(forbidden[i]);
        if (call != __NR_SCMP_ERROR &&
            seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0) != 0)
            return false;
    }
    /* TCP, local sockets, and the netlink that the resolver asks for our addresses. */
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                            SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0)) == 0;
}

/* SSB: do not enable its slow mitigation, as kernels before 5.16 would. */
static bool enter_seccomp(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

    if (filter == NULL)
        return false;
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    bool is_on = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM)) == 0 &&
                 seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 && forbid_calls(filter) &&
                 seccomp_load(filter) == 0;
    seccomp_release(filter);
    return is_on;
}

/* What is still needed: to bind a port below 1024. */
static bool binds_low_port(const struct config *c)
{
    return c->observe_port > 0 && c->observe_port < PRIVILEGED_PORTS;
}

/* False: some could not be dropped. */
static bool drop_capabilities(bool binds)
{
    uint32_t kept = binds ? 1U << CAP_NET_BIND_SERVICE : 0;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long cap = 0; cap < 64; cap++) /* a service manager may forbid this one */
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (syscall(SYS_capget, &head, data) != 0)
        return false;
    kept &= data[0].permitted;
    if (data[0].permitted == kept && data[1].permitted == 0)
        return true;
    data[0] = (struct __user_cap_data_struct){.permitted = kept, .effective = kept};
    data[1] = (struct __user_cap_data_struct){0};
    return syscall(SYS_capset, &head, data) == 0;
}

static void note(bool is_on, const char *what, char *lacking, size_t size)
{
    char *to = is_on ? in_force : lacking;
    size_t room = is_on ? sizeof in_force : size, len = strlen(to);

    snprintf(to + len, room - len, "%s%s", len > 0 ? " " : "", what);
}

static enum err make_store_dir(const struct config *c, struct fault *fault)
{
    int fd;
    enum err e = store_dir_open(c->store_dir, &fd, fault);

    if (e == ERR_OK)
        close(fd);
    return e;
}

enum err sandbox_enter(const struct config *c, struct fault *fault)
{
    char lacking[sizeof in_force] = "", landlock[32];

    if (!c->process_sandbox)
        return ERR_OK;
    enum err e = make_store_dir(c, fault);
    if (e != ERR_OK)
        return e;
    in_force[0] = '\0';
    note(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs", lacking, sizeof lacking);
    bool binds = binds_low_port(c);
    note(drop_capabilities(binds), binds ? "capabilities=net_bind_service" : "no_capabilities",
         lacking, sizeof lacking);
    int abi = landlock_enter(c);
    snprintf(landlock, sizeof landlock, abi > 0 ? "landlock=%d" : "landlock", abi);
    note(abi > 0, landlock, lacking, sizeof lacking);
    note(enter_seccomp(), "seccomp", lacking, sizeof lacking);
    log_event(*lacking ? LOG_WARNING : LOG_INFO, *lacking ? "sandbox.partial" : "sandbox.on",
              "in_force=\"%s\" lacking=\"%s\"", in_force, lacking);
    return ERR_OK;
}

const char *sandbox_text(void)
{
    return in_force;
}
