/*
 * exposition.c - the metrics as Prometheus reads them.
 *
 * Two formats: OpenMetrics 1.0 (github:prometheus/OpenMetrics), where a counter's family is named
 * without _total and a name that ends in a unit says so, and Prometheus' older text format 0.0.4,
 * for scrapers and tools that ask for text/plain.
 *
 * Nothing can go wrong here.  Any thread.
 */

#include "status/exposition.h"

#include "ground/metrics.h"
#include "ground/process.h"

#include <inttypes.h>
#include <strings.h>

#define PREFIX "convex_sidecar_"

struct page {
    struct buf *out;
    bool is_open; /* OpenMetrics */
};

/* ---- what is asked for --------------------------------------------------------------- */

enum exposition exposition_wanted(const char *accept)
{
    bool wants_text = accept != NULL && strcasestr(accept, "text/plain") != NULL;

    return wants_text && strcasestr(accept, "application/openmetrics-text") == NULL
               ? EXPOSITION_TEXT
               : EXPOSITION_OPENMETRICS;
}

const char *exposition_type(enum exposition format)
{
    return format == EXPOSITION_TEXT ? "text/plain; version=0.0.4; charset=utf-8"
                                     : "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

/* ---- heads --------------------------------------------------------------------------- */

static bool ends_in(const char *name, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len >= n && memcmp(name + len - n, end, n) == 0;
}

/* The length of the family's name: in OpenMetrics a counter's is without _total. */
static size_t family_len(const struct page *p, const char *name)
{
    size_t len = strlen(name);

    return p->is_open && ends_in(name, len, "_total") ? len - strlen("_total") : len;
}

/* The unit a family's name ends in, or NULL. */
static const char *unit_of(const char *name, size_t len)
{
    static const char *const units[] = {"_bytes", "_seconds"};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ends_in(name, len, units[i]))
            return units[i] + 1;
    return NULL;
}

/* ${quotes}: those of a label's value and of OpenMetrics' help are escaped as well. */
static void put_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || (*text == '"' && quotes))
            buf_byte(out, '\\');
        buf_byte(out, (uint8_t)*text);
    }
}

static void put_head(const struct page *p, const char *prefix, const struct metric_about *a)
{
    int len = (int)family_len(p, a->name);
    const char *unit = unit_of(a->name, (size_t)len);

    buf_printf(p->out, "# TYPE %s%.*s %s\n", prefix, len, a->name, a->type);
    if (p->is_open && unit != NULL)
        buf_printf(p->out, "# UNIT %s%.*s %s\n", prefix, len, a->name, unit);
    buf_printf(p->out, "# HELP %s%.*s ", prefix, len, a->name);
    put_escaped(p->out, a->help, p->is_open);
    buf_byte(p->out, '\n');
}

/* ---- samples ------------------------------------------------------------------------- */

static void put_metrics(const struct page *p)
{
    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        put_head(p, PREFIX, metric_about(m));
        buf_printf(p->out, PREFIX "%s %" PRIu64 "\n", metric_name(m), metric_get(m));
    }
}

/* Microseconds as seconds, exactly and without trailing zeros. */
static void put_seconds(struct buf *out, uint64_t us)
{
    char text[40];
    int len = snprintf(text, sizeof text, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);

    while (text[len - 1] == '0' && text[len - 2] != '.')
        len--;
    buf_printf(out, "%.*s", len, text);
}

static void put_histogram(const struct page *p, enum metric_histogram h)
{
    static const int64_t ends[METRIC_BUCKET_COUNT] = METRIC_BUCKETS;
    const struct metric_about *a = metric_histogram_about(h);
    struct metric_pile pile;
    uint64_t count = 0;

    metric_pile_get(h, &pile);
    put_head(p, PREFIX, a);
    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++) {
        count += pile.count[i];
        buf_printf(p->out, PREFIX "%s_bucket{le=\"", a->name);
        if (i < METRIC_BUCKET_COUNT)
            put_seconds(p->out, (uint64_t)ends[i]);
        else
            buf_str(p->out, "+Inf");
        buf_printf(p->out, "\"} %" PRIu64 "\n", count);
    }
    buf_printf(p->out, PREFIX "%s_sum ", a->name);
    put_seconds(p->out, pile.sum_us);
    buf_printf(p->out, "\n" PREFIX "%s_count %" PRIu64 "\n", a->name, count);
}

/* A line for each value of ${f}, of the kind ${kind_no}. */
static void put_values(const struct page *p, enum metric_labelled f, size_t kind_no)
{
    const struct metric_labelled_about *a = metric_labelled_about(f);
    unsigned value = 0;

    for (const char *at = a->values; at != NULL; value++) {
        int len = (int)strcspn(at, "|");
        buf_printf(p->out, PREFIX "%s{", a->is.name);
        if (a->by_kind) {
            buf_str(p->out, "kind=\"");
            put_escaped(p->out, metric_kind_name(kind_no), true);
            buf_byte(p->out, '"');
        }
        if (*a->label)
            buf_printf(p->out, "%s%s=\"%.*s\"", a->by_kind ? "," : "", a->label, len, at);
        buf_printf(p->out, "} %" PRIu64 "\n", metric_labelled_get(f, kind_no, value));
        at = at[len] == '|' ? at + len + 1 : NULL;
    }
}

static void put_labelled(const struct page *p, enum metric_labelled f)
{
    const struct metric_labelled_about *a = metric_labelled_about(f);

    put_head(p, PREFIX, &a->is);
    for (size_t k = 0; metric_kind_name(k) != NULL && (a->by_kind || k == 0); k++)
        put_values(p, f, k);
}

/* ---- the build and the process --------------------------------------------------------- */

static void put_build(const struct page *p)
{
    const struct metric_about a = {"build_info", "gauge", "1, and what was built"};

    put_head(p, PREFIX, &a);
    buf_printf(p->out, PREFIX "build_info{version=\"%s\",compiler=\"", SIDECAR_VERSION);
    put_escaped(p->out, __VERSION__, true);
    buf_str(p->out, "\"} 1\n");
}

/* The names that all of Prometheus' own clients use. */
static void put_process(const struct page *p)
{
    struct process_facts f;

    process_read(&f);
    const struct {
        struct metric_about is;
        double value;
    } rows[] = {
        {{"cpu_seconds_total", "counter", "Processor time spent, in seconds"}, f.cpu_seconds},
        {{"start_time_seconds", "gauge", "When the process started, in seconds since 1970"},
         f.start_seconds},
        {{"resident_memory_bytes", "gauge", "Memory in use"}, (double)f.resident_bytes},
        {{"virtual_memory_bytes", "gauge", "Address space, with the mapped store"},
         (double)f.virtual_bytes},
        {{"threads", "gauge", "Threads"}, (double)f.threads},
        {{"open_fds", "gauge", "Descriptors in use"}, (double)f.open_fds},
        {{"max_fds", "gauge", "Descriptors it may use"}, (double)f.max_fds}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_head(p, "process_", &rows[i].is);
        buf_printf(p->out, "process_%s %.15g\n", rows[i].is.name, rows[i].value);
    }
}

void exposition_put(enum exposition format, struct buf *out)
{
    const struct page p = {out, format == EXPOSITION_OPENMETRICS};

    put_metrics(&p);
    for (enum metric_histogram h = 0; h < HISTOGRAM_COUNT; h++)
        put_histogram(&p, h);
    for (enum metric_labelled f = 0; f < LABELLED_COUNT; f++)
        put_labelled(&p, f);
    put_build(&p);
    put_process(&p);
    if (p.is_open)
        buf_str(out, "# EOF\n");
}
