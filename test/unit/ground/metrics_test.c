/* metrics_test.c - the numbers, their OpenMetrics text, and the table in docs/OPERATIONS.md. */

#include "ground/metrics.h"

#include "test.h"
#include "manual.h"

#include <pthread.h>

static char *openmetrics(void)
{
    struct buf out = {0};
    metrics_put_openmetrics(&out);
    buf_byte(&out, 0);
    return (char *)out.data;
}

TEST(counters_add_and_gauges_are_set)
{
    uint64_t before = metric_get(METRIC_REQUESTS);
    metric_add(METRIC_REQUESTS, 3);
    metric_add(METRIC_REQUESTS, 2);
    ck_assert_uint_eq(metric_get(METRIC_REQUESTS), before + 5);
    metric_set(METRIC_PENDING, 7);
    metric_set(METRIC_PENDING, 4);
    ck_assert_uint_eq(metric_get(METRIC_PENDING), 4);
    ck_assert_str_eq(metric_name(METRIC_DELIVERED), "delivered_total");
}

TEST(the_text_of_a_counter_a_gauge_and_a_unit)
{
    metric_set(METRIC_PENDING, 42);
    metric_set(METRIC_RECEIVED_BYTES, 1234);
    char *text = openmetrics();
    ck_assert_ptr_nonnull(strstr(text, "# TYPE convex_sidecar_pending gauge\n"
                                       "# HELP convex_sidecar_pending Documents kept"));
    ck_assert_ptr_nonnull(strstr(text, "\nconvex_sidecar_pending 42\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE convex_sidecar_received_bytes counter\n"
                                       "# UNIT convex_sidecar_received_bytes bytes\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nconvex_sidecar_received_bytes_total 1234\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "# UNIT convex_sidecar_oldest_pending_age_seconds seconds\n"));
    ck_assert_ptr_nonnull(strstr(text, "# UNIT convex_sidecar_pending_bytes bytes\n"));
    ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
    free(text);
}

/* OpenMetrics 1.0: every family has TYPE and HELP before its one sample; counters end in _total. */
TEST(every_line_is_in_order)
{
    char *text = openmetrics(), *rest = text, family[200] = "", type[20] = "";
    int samples = 0, helps = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && strcmp(line, "# EOF") != 0;) {
        char name[200], value[200];
        if (strncmp(line, "# TYPE ", 7) == 0) {
            ck_assert_int_eq(sscanf(line, "# TYPE %199s %19s", family, type), 2);
            ck_assert(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0);
        } else if (strncmp(line, "# ", 2) == 0) {
            ck_assert_int_eq(sscanf(line, "# %*s %199s %199s", name, value), 2);
            ck_assert_str_eq(name, family);
            helps += strncmp(line, "# HELP ", 7) == 0;
        } else {
            ck_assert_int_eq(sscanf(line, "%199s %199s", name, value), 2);
            ck_assert_int_eq(strncmp(name, family, strlen(family)), 0);
            ck_assert_str_eq(name + strlen(family), strcmp(type, "counter") == 0 ? "_total" : "");
            samples++;
        }
    }
    ck_assert_int_eq(samples, METRIC_COUNT);
    ck_assert_int_eq(helps, METRIC_COUNT);
    ck_assert_str_eq(rest, "");
    free(text);
}

static void *count(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10000; i++)
        metric_add(METRIC_COMMITS, 1);
    return NULL;
}

TEST(threads_lose_no_count)
{
    pthread_t threads[4];
    uint64_t before = metric_get(METRIC_COMMITS);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(metric_get(METRIC_COMMITS), before + 40000);
}

TEST(the_manual_has_the_table)
{
    char *table = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&table, &len);
    metrics_print_reference(out);
    fclose(out);
    manual_has("docs/OPERATIONS.md", table, "c_src/ground/metrics.def");
    free(table);
}
