/* metrics.h - counters, gauges and histograms; metrics.def lists and describes them. */

#ifndef METRICS_H
#define METRICS_H

#include "ground/base.h"

enum metric {
#define METRIC(id, name, type, help) METRIC_##id,
#include "ground/metrics.def"
    METRIC_COUNT
};

enum metric_histogram {
#define HISTOGRAM(id, name, help) HISTOGRAM_##id,
#include "ground/metrics.def"
    HISTOGRAM_COUNT
};

enum metric_labelled {
#define LABELLED(id, name, type, by_kind, label, values, help) LABELLED_##id,
#include "ground/metrics.def"
    LABELLED_COUNT
};

/* Any thread, no lock.  For display only: a decision asks the module that owns the fact, so
 * metric_get is for pages that print metrics, and for tests. */
void metric_add(enum metric m, uint64_t n);
void metric_set(enum metric m, uint64_t value);
uint64_t metric_get(enum metric m);

/* ---- histograms ---------------------------------------------------------------------- */

/* Upper bounds of the buckets, in microseconds; longer times fall into one more bucket. */
#define METRIC_BUCKETS                                                                             \
    {                                                                                              \
        100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,     \
            2500000, 5000000, 10000000, 30000000, 60000000, 300000000, 3600000000                  \
    }
enum { METRIC_BUCKET_COUNT = 20 };

/* Observations added up by one thread. */
struct metric_pile {
    uint64_t count[METRIC_BUCKET_COUNT + 1], sum_us;
};

/** metric_pile_add(p, us): One more; negative counts as zero.  The thread that owns the pile. */
void metric_pile_add(struct metric_pile *p, int64_t us);
/** metric_observe(h, us), metric_observe_pile(h, p): One observation, or all of ${p}.  Any thread.
 */
void metric_observe(enum metric_histogram h, int64_t us);
void metric_observe_pile(enum metric_histogram h, const struct metric_pile *p);
/** metric_pile_get(h, p): What was observed so far; for display only, as metric_get. */
void metric_pile_get(enum metric_histogram h, struct metric_pile *p);
/** metric_pile_quantile(p, q): The ${q}-quantile of ${p} in seconds, interpolated linearly
 * within its bucket; 0 for an empty pile. */
double metric_pile_quantile(const struct metric_pile *p, double q);

/* ---- by label ------------------------------------------------------------------------ */

enum { METRIC_KINDS_MAX = 64, METRIC_VALUES_MAX = 8 };

/** metrics_name_kinds(name, arg, count): Set the kinds' names: ${name} returns the i-th, static
 * text.  Call it before any thread starts; kinds beyond METRIC_KINDS_MAX count as "other". */
void metrics_name_kinds(const char *(*name)(const void *arg, size_t i), const void *arg,
                        size_t count);
/** metric_count(f, kind, value): Add one to the family's ${value}-th value, for ${kind} (ignored
 * if the family has no kinds).  Any thread. */
void metric_count(enum metric_labelled f, const char *kind, unsigned value);
/** metric_count_at(f, kind_no, value, n): Add ${n}, for the kind that metric_kind_no returned. */
void metric_count_at(enum metric_labelled f, size_t kind_no, unsigned value, uint64_t n);
/** metric_kind_no(name, len): The index under which a kind is counted: its own, or that of "other".
 */
size_t metric_kind_no(const void *name, size_t len);
/** metric_labelled_set(f, kind_no, value, n): Set a gauge. */
void metric_labelled_set(enum metric_labelled f, size_t kind_no, unsigned value, uint64_t n);
/** metric_labelled_get(f, kind_no, value): ${kind_no} is the index of metric_kind_name. */
uint64_t metric_labelled_get(enum metric_labelled f, size_t kind_no, unsigned value);
/** metric_kind_name(i): The i-th kind's name, "other" after the last; NULL after that. */
const char *metric_kind_name(size_t i);

/* ---- what they are ------------------------------------------------------------------- */

struct metric_about {
    const char *name; /* without the "convex_sidecar_" prefix */
    const char *type; /* counter, gauge or histogram */
    const char *help;
};

struct metric_labelled_about {
    struct metric_about is;
    bool by_kind;
    const char *label, *values; /* "a|b|c" */
};

const struct metric_about *metric_about(enum metric m);
const struct metric_about *metric_histogram_about(enum metric_histogram h);
const struct metric_labelled_about *metric_labelled_about(enum metric_labelled f);
/** metric_name(m): For example "delivered_total". */
const char *metric_name(enum metric m);
/** metrics_print_reference(out): Print the table of all metrics for docs/OPERATIONS.md, as
 * Markdown. */
void metrics_print_reference(FILE *out);

#endif
