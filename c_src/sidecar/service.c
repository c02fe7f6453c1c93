/*
 * service.c - what the service manager is told, and what it wants to hear.
 *
 * Without one, each of these does nothing.  Main's thread only.
 */

#include "sidecar/service.h"

#include <systemd/sd-daemon.h>

void service_forget(void)
{
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void service_ready(const char *node, const char *sink)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s, sink %s", node, sink);
}

void service_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

int service_watchdog_ms(void)
{
    uint64_t us = 0;

    return sd_watchdog_enabled(0, &us) > 0 ? (int)(us / 2000) : -1;
}

void service_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
}
