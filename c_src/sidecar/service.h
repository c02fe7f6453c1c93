/* service.h - what the service manager (systemd) is told, and what it wants to hear. */

#ifndef SERVICE_H
#define SERVICE_H

#include "ground/base.h"

/** service_forget(): What the environment says of a service manager is about somebody else's unit:
 * all that follows does nothing.  Before any thread. */
void service_forget(void);

/** service_ready(node, sink): Started, and how it shows in the manager's status. */
void service_ready(const char *node, const char *sink);
/** service_stopping(): The end has begun. */
void service_stopping(void);

/** service_watchdog_ms(): How often service_alive is wanted; -1: never. */
int service_watchdog_ms(void);
void service_alive(void);

#endif
