/* wake.h - a descriptor that one thread rings and another waits for with poll(2). */

#ifndef WAKE_H
#define WAKE_H

#include "ground/base.h"

/** wake_open(): A new descriptor, not yet rung, to be closed with close(2); -1: errno says why. */
int wake_open(void);
/** wake_ring(fd): Make ${fd} readable; any thread, never waits, errno is left as it was. */
void wake_ring(int fd);
/** wake_drain(fd): Whether it was rung since the last drain; it is no longer readable. */
bool wake_drain(int fd);

#endif
