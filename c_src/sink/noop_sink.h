/* noop_sink.h - writes nothing, and confirms everything (the default, as in the runtime). */

#ifndef NOOP_SINK_H
#define NOOP_SINK_H

#include "sink/sink.h"

/** noop_sink_open(): A sink whose every call is done at once.  Freed by ops->close. */
struct sink *noop_sink_open(void);

#endif
