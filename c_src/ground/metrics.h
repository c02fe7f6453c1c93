/* metrics.h - counters and gauges; what they are is written in metrics.def, once. */

#ifndef METRICS_H
#define METRICS_H

#include "ground/base.h"
#include "ground/buf.h"

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "ground/metrics.def"
#undef METRIC
    METRIC_COUNT
};

/* Any thread, no lock.  To be shown: what a decision needs is asked of its owner, so metric_get is
 * for pages that print metrics, and for tests. */
void metric_add(enum metric m, uint64_t n);
void metric_set(enum metric m, uint64_t value);
uint64_t metric_get(enum metric m);
/** metric_name(m): "convex_sidecar_delivered_total" without the "convex_sidecar_" prefix. */
const char *metric_name(enum metric m);

/** metrics_put_openmetrics(out): All of them as OpenMetrics text, ending in "# EOF\n". */
void metrics_put_openmetrics(struct buf *out);
/** metrics_print_reference(out): The table of them for docs/OPERATIONS.md, as Markdown. */
void metrics_print_reference(FILE *out);

#endif
