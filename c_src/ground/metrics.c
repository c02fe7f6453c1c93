/*
 * metrics.c - counters and gauges, and how Prometheus reads them.
 *
 * One number for each line of metrics.def.  They are written where things happen, by any thread,
 * with relaxed atomics: a reader may see two of them a moment apart, never a torn one.  The text
 * is OpenMetrics 1.0 (github:prometheus/OpenMetrics): a counter's family is named without _total,
 * a name that ends in a unit says so.
 *
 * Nothing can go wrong here.
 */

#include "ground/metrics.h"

#include <stdatomic.h>

#define PREFIX "convex_sidecar_"

static const struct {
    const char *name, *type, *help;
} about[METRIC_COUNT] = {
#define METRIC(id, name, type, help) {name, #type, help},
#include "ground/metrics.def"
#undef METRIC
};

static _Atomic uint64_t values[METRIC_COUNT];

void metric_add(enum metric m, uint64_t n)
{
    PRE(m < METRIC_COUNT);
    atomic_fetch_add_explicit(&values[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, uint64_t value)
{
    PRE(m < METRIC_COUNT);
    atomic_store_explicit(&values[m], value, memory_order_relaxed);
}

uint64_t metric_get(enum metric m)
{
    PRE(m < METRIC_COUNT);
    return atomic_load_explicit(&values[m], memory_order_relaxed);
}

const char *metric_name(enum metric m)
{
    PRE(m < METRIC_COUNT);
    return about[m].name;
}

/* Whether the first ${len} characters of ${name} end in ${end}. */
static bool ends_in(const char *name, size_t len, const char *end)
{
    size_t n = strlen(end);

    return len >= n && memcmp(name + len - n, end, n) == 0;
}

/* The length of the family's name: a counter's without _total. */
static size_t family_len(enum metric m)
{
    size_t len = strlen(about[m].name);

    return ends_in(about[m].name, len, "_total") ? len - strlen("_total") : len;
}

/* The unit a family's name ends in, or NULL. */
static const char *unit_of(enum metric m)
{
    static const char *const units[] = {"_bytes", "_microseconds", "_seconds"};

    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (ends_in(about[m].name, family_len(m), units[i]))
            return units[i] + 1;
    return NULL;
}

static void put_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '"')
            buf_byte(out, '\\');
        buf_byte(out, (uint8_t)*text);
    }
}

static void put_one(struct buf *out, enum metric m)
{
    int len = (int)family_len(m);
    const char *name = about[m].name, *unit = unit_of(m);

    buf_printf(out, "# TYPE " PREFIX "%.*s %s\n", len, name, about[m].type);
    if (unit != NULL)
        buf_printf(out, "# UNIT " PREFIX "%.*s %s\n", len, name, unit);
    buf_printf(out, "# HELP " PREFIX "%.*s ", len, name);
    put_escaped(out, about[m].help);
    buf_printf(out, "\n" PREFIX "%s %llu\n", name, (unsigned long long)metric_get(m));
}

void metrics_put_openmetrics(struct buf *out)
{
    for (enum metric m = 0; m < METRIC_COUNT; m++)
        put_one(out, m);
    buf_str(out, "# EOF\n");
}

void metrics_print_reference(FILE *out)
{
    fputs("| metric | type | meaning |\n| --- | --- | --- |\n", out);
    for (enum metric m = 0; m < METRIC_COUNT; m++)
        fprintf(out, "| `" PREFIX "%s` | %s | %s |\n", about[m].name, about[m].type, about[m].help);
}
