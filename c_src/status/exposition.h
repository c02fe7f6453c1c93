/* exposition.h - the metrics as Prometheus reads them. */

/* Private to status/. */

#ifndef EXPOSITION_H
#define EXPOSITION_H

#include "ground/base.h"
#include "ground/buf.h"

enum exposition { EXPOSITION_OPENMETRICS, EXPOSITION_TEXT };

/** exposition_wanted(accept): What a client whose Accept header is ${accept} (NULL: none) takes:
 * Prometheus' text format when it asks for text/plain and not for OpenMetrics, else OpenMetrics. */
enum exposition exposition_wanted(const char *accept);
/** exposition_type(format): Its Content-Type. */
const char *exposition_type(enum exposition format);
/** exposition_put(format, out): All metrics, the build and the process.  Any thread. */
void exposition_put(enum exposition format, struct buf *out);

#endif
