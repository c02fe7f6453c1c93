/* service.h - talks to the service manager (systemd). */

#ifndef SERVICE_H
#define SERVICE_H

#include "ground/base.h"

/** service_forget(): The service manager in the environment is for another process's unit: make all
 * functions below do nothing.  Before any thread. */
void service_forget(void);

/** service_is_managed(): Whether there is a manager to talk to. */
bool service_is_managed(void);

/** service_ready(status): Started; ${status} is a sentence about the state, for the manager's
 * status. */
void service_ready(const char *status);
/** service_extend(status): The start takes longer, because of ${status}. */
void service_extend(const char *status);
/** service_migrating(done, of): The store is being brought to this format: more time is needed. */
void service_migrating(uint64_t done, uint64_t of);
/** service_stopping(): The shutdown has begun. */
void service_stopping(void);

/** service_watchdog_ms(): How often service_alive is wanted; -1: never. */
int service_watchdog_ms(void);
/** service_alive(status): At work; ${status} as for service_ready, NULL: as before. */
void service_alive(const char *status);

#endif
