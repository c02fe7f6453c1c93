/*
 * metrics.c - counters, gauges and histograms.
 *
 * One number for each METRIC of metrics.def, a row of buckets for each HISTOGRAM, a number for each
 * label of a LABELLED.  They are written where things happen, by any thread, with relaxed atomics:
 * a reader may see two of them a moment apart, never a torn one.  How they are printed is
 * up to exposition.
 *
 * Nothing can go wrong here.
 */

#include "ground/metrics.h"

#include <stdatomic.h>

#define PREFIX "convex_sidecar_"

static const struct metric_about about[METRIC_COUNT] = {
#define METRIC(id, name, type, help) {name, #type, help},
#include "ground/metrics.def"
};

static const struct metric_about histograms_about[HISTOGRAM_COUNT] = {
#define HISTOGRAM(id, name, help) {name, "histogram", help},
#include "ground/metrics.def"
};

static const struct metric_labelled_about labelled_about[LABELLED_COUNT] = {
#define LABELLED(id, name, type, by_kind, label, values, help)                                     \
    {{name, #type, help}, by_kind, label, values},
#include "ground/metrics.def"
};

static const int64_t bucket_ends[METRIC_BUCKET_COUNT] = METRIC_BUCKETS;

static _Atomic uint64_t values[METRIC_COUNT];
static _Atomic uint64_t counts[HISTOGRAM_COUNT][METRIC_BUCKET_COUNT + 1], sums_us[HISTOGRAM_COUNT];
static _Atomic uint64_t labelled[LABELLED_COUNT][METRIC_KINDS_MAX + 1][METRIC_VALUES_MAX];

/* fixed before any thread */
static const char *kinds[METRIC_KINDS_MAX];
static size_t kind_count;

static void add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

void metric_add(enum metric m, uint64_t n)
{
    PRE(m < METRIC_COUNT);
    add(&values[m], n);
}

void metric_set(enum metric m, uint64_t value)
{
    PRE(m < METRIC_COUNT);
    atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

uint64_t metric_get(enum metric m)
{
    PRE(m < METRIC_COUNT);
    return get(&values[m]);
}

/* ---- histograms ---------------------------------------------------------------------- */

static size_t bucket_of(int64_t us)
{
    size_t i = 0;

    while (i < METRIC_BUCKET_COUNT && us > bucket_ends[i])
        i++;
    return i;
}

void metric_pile_add(struct metric_pile *p, int64_t us)
{
    p->count[bucket_of(us)]++;
    p->sum_us += us > 0 ? (uint64_t)us : 0;
}

void metric_observe(enum metric_histogram h, int64_t us)
{
    PRE(h < HISTOGRAM_COUNT);
    add(&counts[h][bucket_of(us)], 1);
    add(&sums_us[h], us > 0 ? (uint64_t)us : 0);
}

void metric_observe_pile(enum metric_histogram h, const struct metric_pile *p)
{
    PRE(h < HISTOGRAM_COUNT);
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        if (p->count[i] > 0)
            add(&counts[h][i], p->count[i]);
    add(&sums_us[h], p->sum_us);
}

void metric_pile_get(enum metric_histogram h, struct metric_pile *p)
{
    PRE(h < HISTOGRAM_COUNT);
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        p->count[i] = get(&counts[h][i]);
    p->sum_us = get(&sums_us[h]);
}

double metric_pile_quantile(const struct metric_pile *p, double q)
{
    double all = 0, below = 0;
    size_t i;

    for (i = 0; i <= METRIC_BUCKET_COUNT; i++)
        all += (double)p->count[i];
    for (i = 0; i < METRIC_BUCKET_COUNT && below + (double)p->count[i] < q * all; i++)
        below += (double)p->count[i];
    if (all == 0 || i == METRIC_BUCKET_COUNT)
        return all == 0 ? 0 : (double)bucket_ends[METRIC_BUCKET_COUNT - 1] / 1e6;
    double from = i > 0 ? (double)bucket_ends[i - 1] : 0, to = (double)bucket_ends[i];
    return (from + (to - from) * (q * all - below) / (double)p->count[i]) / 1e6;
}

/* ---- by label ------------------------------------------------------------------------ */

void metrics_name_kinds(const char *(*name)(const void *arg, size_t i), const void *arg,
                        size_t count)
{
    kind_count = count < METRIC_KINDS_MAX ? count : METRIC_KINDS_MAX;
    for (size_t i = 0; i < kind_count; i++)
        kinds[i] = name(arg, i);
}

const char *metric_kind_name(size_t i)
{
    return i < kind_count ? kinds[i] : i == kind_count ? "other" : NULL;
}

size_t metric_kind_no(const void *name, size_t len)
{
    size_t no = 0;

    while (no < kind_count &&
           (strlen(kinds[no]) != len || (len > 0 && memcmp(kinds[no], name, len) != 0)))
        no++;
    return no;
}

void metric_count_at(enum metric_labelled f, size_t no, unsigned value, uint64_t n)
{
    PRE(f < LABELLED_COUNT && no <= METRIC_KINDS_MAX && value < METRIC_VALUES_MAX);
    if (n > 0)
        add(&labelled[f][no][value], n);
}

void metric_count(enum metric_labelled f, const char *kind, unsigned value)
{
    PRE(f < LABELLED_COUNT);
    metric_count_at(f, labelled_about[f].by_kind ? metric_kind_no(kind, strlen(kind)) : 0, value,
                    1);
}

void metric_labelled_set(enum metric_labelled f, size_t no, unsigned value, uint64_t n)
{
    PRE(f < LABELLED_COUNT && no <= METRIC_KINDS_MAX && value < METRIC_VALUES_MAX);
    atomic_store_explicit(&labelled[f][no][value], n, memory_order_relaxed);
}

uint64_t metric_labelled_get(enum metric_labelled f, size_t kind_no, unsigned value)
{
    PRE(f < LABELLED_COUNT && kind_no <= METRIC_KINDS_MAX && value < METRIC_VALUES_MAX);
    return get(&labelled[f][kind_no][value]);
}

/* ---- what they are ------------------------------------------------------------------- */

const struct metric_about *metric_about(enum metric m)
{
    PRE(m < METRIC_COUNT);
    return &about[m];
}

const struct metric_about *metric_histogram_about(enum metric_histogram h)
{
    PRE(h < HISTOGRAM_COUNT);
    return &histograms_about[h];
}

const struct metric_labelled_about *metric_labelled_about(enum metric_labelled f)
{
    PRE(f < LABELLED_COUNT);
    return &labelled_about[f];
}

const char *metric_name(enum metric m)
{
    return metric_about(m)->name;
}

static void print_row(const struct metric_about *a, const char *labels, FILE *out)
{
    fprintf(out, "| `" PREFIX "%s` | %s | %s%s |\n", a->name, a->type, a->help, labels);
}

void metrics_print_reference(FILE *out)
{
    fputs("| metric | type | meaning |\n| --- | --- | --- |\n", out);
    for (enum metric m = 0; m < METRIC_COUNT; m++)
        print_row(&about[m], "", out);
    for (enum metric_histogram h = 0; h < HISTOGRAM_COUNT; h++)
        print_row(&histograms_about[h], "", out);
    for (enum metric_labelled f = 0; f < LABELLED_COUNT; f++) {
        char labels[100];
        const char *label = labelled_about[f].label;
        snprintf(labels, sizeof labels, *label ? " (labels: %s`%s`)" : " (labels: %s%s)",
                 labelled_about[f].by_kind ? *label ? "`kind`, " : "`kind`" : "", label);
        print_row(&labelled_about[f].is, labels, out);
    }
}
