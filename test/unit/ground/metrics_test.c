/* metrics_test.c - the numbers, and the table in docs/OPERATIONS.md. */

#include "ground/metrics.h"

#include "test.h"
#include "manual.h"

#include <pthread.h>

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

TEST(a_histogram_counts_each_time_once)
{
    struct metric_pile before, after, gathered = {0};

    metric_pile_get(HISTOGRAM_CALL_TIME, &before);
    metric_observe(HISTOGRAM_CALL_TIME, 100); /* the end of a bucket belongs to it */
    metric_observe(HISTOGRAM_CALL_TIME, 101);
    metric_observe(HISTOGRAM_CALL_TIME, -5); /* a clock that stepped back */
    metric_observe(HISTOGRAM_CALL_TIME, INT64_MAX / 4);
    metric_pile_add(&gathered, 250);
    metric_pile_add(&gathered, 700000);
    metric_observe_pile(HISTOGRAM_CALL_TIME, &gathered);
    metric_pile_get(HISTOGRAM_CALL_TIME, &after);
    ck_assert_uint_eq(after.count[0] - before.count[0], 2);
    ck_assert_uint_eq(after.count[1] - before.count[1], 2);
    ck_assert_uint_eq(after.count[METRIC_BUCKET_COUNT] - before.count[METRIC_BUCKET_COUNT], 1);
    ck_assert_uint_eq(after.sum_us - before.sum_us, 201 + INT64_MAX / 4 + 250 + 700000);
}

TEST(a_quantile_lies_within_its_bucket)
{
    struct metric_pile p = {0};

    ck_assert(metric_pile_quantile(&p, 0.5) == 0);
    for (int i = 0; i < 100; i++)
        metric_pile_add(&p, 400000); /* 0.25 to 0.5 s */
    ck_assert_double_eq_tol(metric_pile_quantile(&p, 0.5), 0.375, 1e-9);
    ck_assert_double_eq_tol(metric_pile_quantile(&p, 1), 0.5, 1e-9);
    metric_pile_add(&p, 7200000000);
    ck_assert_double_eq_tol(metric_pile_quantile(&p, 1), 3600, 1e-9); /* the longest it knows */
}

static const char *kind_name(const void *names, size_t i)
{
    return ((const char *const *)names)[i];
}

TEST(labels_are_bounded_by_the_kinds_that_are_named)
{
    static const char *const names[] = {"run_summary", "other_summary"};

    ck_assert_str_eq(metric_kind_name(0), "other");
    metrics_name_kinds(kind_name, names, 2);
    ck_assert_str_eq(metric_kind_name(1), "other_summary");
    ck_assert_str_eq(metric_kind_name(2), "other");
    ck_assert_ptr_null(metric_kind_name(3));
    metric_count(LABELLED_PROJECTIONS, "other_summary", 2);
    metric_count(LABELLED_PROJECTIONS, "never named", 2);
    metric_count(LABELLED_VERDICTS, NULL, 1);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_PROJECTIONS, 0, 2), 0);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_PROJECTIONS, 1, 2), 1);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_PROJECTIONS, 2, 2), 1);
    ck_assert_uint_eq(metric_labelled_get(LABELLED_VERDICTS, 0, 1), 1);
    for (int f = 0; f < LABELLED_COUNT; f++) {
        const char *values = metric_labelled_about((enum metric_labelled)f)->values;
        int bars = 0;
        for (const char *at = values; *at; at++)
            bars += *at == '|';
        ck_assert_int_lt(bars, METRIC_VALUES_MAX);
    }
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
