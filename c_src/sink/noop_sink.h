/*
 * noop_sink.h - writes nothing, and confirms everything (the default, as in the runtime) or
 * nothing.
 */

#ifndef NOOP_SINK_H
#define NOOP_SINK_H

#include "sink/sink.h"

/**
 * noop_sink_open(stop_why):
 * A sink whose every call is done at once; with ${stop_why} (borrowed until close) one that answers
 * VERDICT_REFUSED to everything, by nature of the endpoint, for documents that nobody may have.
 * Freed by ops->close.
 */
struct sink *noop_sink_open(const char *stop_why);

#endif
