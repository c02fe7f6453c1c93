/*
 * service.c - talks to the service manager (systemd).
 *
 * The notify protocol (sd_notify(3)) is one datagram of lines to the Unix socket that the manager
 * names in $NOTIFY_SOCKET, so no library is needed for it.
 *
 * Without a manager, or when it does not listen, each of these does nothing.  Main's thread only.
 */

#include "sidecar/service.h"

#include "ground/buf.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WATCHDOG_MAX_US 3600000000ULL

void service_forget(void)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

/* The manager's socket: a path, or @NAME for one without a file.  0: none, or an invalid name. */
static socklen_t manager_address(struct sockaddr_un *to)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t len = name ? strlen(name) : 0;

    if (len < 2 || len >= sizeof to->sun_path || (name[0] != '/' && name[0] != '@'))
        return 0;
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(to->sun_path, name, len);
    if (name[0] == '@')
        to->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* Never waits: a manager that is slow misses a line. */
static void tell(const struct buf *lines)
{
    struct sockaddr_un to;
    socklen_t len = manager_address(&to);
    int fd = len > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;

    if (fd < 0)
        return;
    ssize_t sent = sendto(fd, lines->data, lines->len, MSG_NOSIGNAL | MSG_DONTWAIT,
                          (struct sockaddr *)&to, len);
    (void)sent;
    close(fd);
}

/* ${first}, and STATUS= when ${status} is not NULL: on one line, as a newline would begin a field.
 */
static void tell_with_status(const char *first, const char *status)
{
    struct buf lines = {0};

    buf_str(&lines, first);
    if (status != NULL) {
        buf_str(&lines, "\nSTATUS=");
        for (; *status != '\0'; status++)
            buf_byte(&lines, *status == '\n' ? ' ' : (uint8_t)*status);
    }
    tell(&lines);
    buf_free(&lines);
}

bool service_is_managed(void)
{
    struct sockaddr_un to;

    return manager_address(&to) > 0;
}

void service_ready(const char *status)
{
    tell_with_status("READY=1", status);
}

void service_extend(const char *status)
{
    tell_with_status("EXTEND_TIMEOUT_USEC=30000000", status);
}

void service_migrating(uint64_t done, uint64_t of)
{
    char status[100];

    snprintf(status, sizeof status, "migrating the store: %llu of %llu records",
             (unsigned long long)done, (unsigned long long)of);
    service_extend(status);
}

void service_stopping(void)
{
    tell_with_status("STOPPING=1", NULL);
}

/* The positive number in the variable ${name}, up to ${max}; 0 for anything else. */
static uint64_t number_of(const char *name, uint64_t max)
{
    const char *text = getenv(name);
    char *end = NULL;

    errno = 0;
    unsigned long long v = text ? strtoull(text, &end, 10) : 0;
    return text && *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && v <= max ? v : 0;
}

int service_watchdog_ms(void)
{
    uint64_t us = number_of("WATCHDOG_USEC", WATCHDOG_MAX_US);
    bool for_another = getenv("WATCHDOG_PID") != NULL &&
                       number_of("WATCHDOG_PID", INT32_MAX) != (uint64_t)getpid();

    return us == 0 || for_another ? -1 : us < 2000 ? 1 : (int)(us / 2000);
}

void service_alive(const char *status)
{
    tell_with_status("WATCHDOG=1", status);
}
