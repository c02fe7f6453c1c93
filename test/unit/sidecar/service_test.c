/* service_test.c - a service manager that listens, on a socket with a path and on one without. */

#include "sidecar/service.h"

#include "test.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Listen as ${name}, a path or @NAME, and say so in $NOTIFY_SOCKET. */
static int manager(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(at.sun_path, name, strlen(name));
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void assert_heard(int fd, const char *wanted)
{
    char got[500];
    ssize_t n = recv(fd, got, sizeof got - 1, 0);

    got[n < 0 ? 0 : n] = '\0';
    ck_assert_str_eq(got, wanted);
}

static void tell_all(int fd)
{
    ck_assert(service_is_managed());
    service_migrating(20, 300);
    assert_heard(fd, "EXTEND_TIMEOUT_USEC=30000000\n"
                     "STATUS=migrating the store: 20 of 300 records");
    service_ready("running\nsince today");
    assert_heard(fd, "READY=1\nSTATUS=running since today");
    service_alive(NULL);
    assert_heard(fd, "WATCHDOG=1");
    service_alive("stopped: a key");
    assert_heard(fd, "WATCHDOG=1\nSTATUS=stopped: a key");
    service_stopping();
    assert_heard(fd, "STOPPING=1");
    assert_heard(fd, "");
    close(fd);
}

TEST(a_manager_hears_each_state_once)
{
    char name[100];

    snprintf(name, sizeof name, "@service_test.%d", (int)getpid());
    tell_all(manager(name));
    snprintf(name, sizeof name, "/tmp/service_test.%d", (int)getpid());
    int fd = manager(name);
    tell_all(fd);
    service_stopping(); /* nobody listens any more */
    unlink(name);
}

TEST(without_a_manager_nothing_is_said)
{
    char name[200];

    snprintf(name, sizeof name, "@service_test_forgotten.%d", (int)getpid());
    int fd = manager(name);
    service_forget();
    ck_assert(!service_is_managed());
    service_ready("running");
    assert_heard(fd, "");
    close(fd);
    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = '\0'; /* longer than a socket's path can be */
    setenv("NOTIFY_SOCKET", name, 1);
    ck_assert(!service_is_managed());
    setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
    ck_assert(!service_is_managed());
    service_ready("running");
}

TEST(the_watchdog_is_fed_twice_in_its_time)
{
    char pid[20];

    unsetenv("WATCHDOG_PID");
    unsetenv("WATCHDOG_USEC");
    ck_assert_int_eq(service_watchdog_ms(), -1);
    setenv("WATCHDOG_USEC", "30000000", 1);
    ck_assert_int_eq(service_watchdog_ms(), 15000);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    ck_assert_int_eq(service_watchdog_ms(), 15000);
    setenv("WATCHDOG_PID", "1", 1);
    ck_assert_int_eq(service_watchdog_ms(), -1);
    unsetenv("WATCHDOG_PID");
    static const char *const odd[] = {"", "0", "-5", "soon", "10 s", "99999999999999999999"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        setenv("WATCHDOG_USEC", odd[i], 1);
        ck_assert_msg(service_watchdog_ms() == -1, "\"%s\"", odd[i]);
    }
}
