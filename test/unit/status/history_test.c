/* history_test.c - the last hour in fixed memory. */

#include "status/history.h"

#include "ground/log.h"
#include "ground/metrics.h"
#include "test.h"

#define SECOND 1000000LL

static char *json_of(struct history *h, bool with_log)
{
    struct buf out = {0};

    history_put_json(h, with_log, &out);
    buf_byte(&out, 0);
    return (char *)out.data;
}

TEST(a_sample_is_what_happened_since_the_last_one)
{
    struct history *h = history_new(0);

    metric_add(METRIC_KEPT, 40);
    metric_add(METRIC_DELIVERED, 20);
    metric_set(METRIC_PENDING, 20);
    for (int i = 0; i < 10; i++)
        metric_observe(HISTOGRAM_CALL_TIME, 400000);
    history_tick(h, 9 * SECOND, 0); /* too early */
    history_tick(h, 20 * SECOND, 1795000000 * SECOND);
    char *json = json_of(h, false);
    ck_assert_str_eq(json, "{\"step_s\":10,\"columns\":[\"t\",\"kept\",\"delivered\",\"calls\","
                           "\"refused\",\"pending\",\"oldest\",\"dead\",\"call_p50\",\"call_p99\","
                           "\"confirmed_p50\",\"confirmed_p99\",\"stopped\"],\"samples\":["
                           "[1795000000,2,1,0,0,20,0,0,0.375,0.4975,0,0,0]],\"log\":null}");
    free(json);
    history_tick(h, 30 * SECOND, 1795000010 * SECOND);
    json = json_of(h, false);
    ck_assert_ptr_nonnull(strstr(json, ",[1795000010,0,0,0,0,20,0,0,0,0,0,0,0]]"));
    free(json);
    history_free(h);
}

TEST(each_column_has_its_metric)
{
    struct history *h = history_new(0);

    metric_add(METRIC_KEPT, 10);
    metric_add(METRIC_DELIVERED, 20);
    metric_add(METRIC_CALLS, 30);
    metric_add(METRIC_BUSY, 16);
    metric_add(METRIC_REFUSED, 24);
    metric_set(METRIC_PENDING, 5);
    metric_set(METRIC_OLDEST_PENDING_SECONDS, 6);
    metric_set(METRIC_DEAD, 7);
    for (int i = 0; i < 10; i++)
        metric_observe(HISTOGRAM_KEPT_TO_CONFIRMED, 400000);
    history_tick(h, 10 * SECOND - 1, 0); /* too early */
    history_tick(h, 10 * SECOND, 8 * SECOND);
    for (int i = 0; i < 2; i++) {
        metric_set(METRIC_STOPPED, i == 0);
        metric_set(METRIC_PAUSED, i == 1);
        history_tick(h, (20 + 10 * i) * SECOND, (9 + i) * SECOND);
    }
    char *json = json_of(h, false);
    char *samples = strstr(json, "\"samples\":");
    ck_assert_str_eq(samples, "\"samples\":[[8,1,2,3,4,5,6,7,0,0,0.375,0.4975,0],"
                              "[9,0,0,0,0,5,6,7,0,0,0,0,1],[10,0,0,0,0,5,6,7,0,0,0,0,1]],"
                              "\"log\":null}");
    free(json);
    history_free(h);
}

TEST(after_an_hour_the_oldest_gives_way)
{
    struct history *h = history_new(0);

    for (int64_t i = 1; i <= HISTORY_SAMPLES + 2; i++)
        history_tick(h, i * HISTORY_STEP_S * SECOND, i * SECOND);
    char *json = json_of(h, false);
    ck_assert_ptr_nonnull(strstr(json, "\"samples\":[[3,"));
    ck_assert_ptr_nonnull(strstr(json, ",[362,"));
    free(json);
    history_free(h);
    history_free(NULL);
}

TEST(log_lines_come_when_they_are_kept_and_asked_for)
{
    static const char *const events[] = {/* the log limits how often one comes */
                                         "test.line0", "test.line1", "test.line2", "test.line3",
                                         "test.line4"};
    struct history *h = history_new(0);

    log_event(LOG_INFO, "test.before", "%s", "");
    log_keep(true);
    for (int i = 0; i < 50; i++)
        log_event(LOG_INFO, events[i / 10], "n=%d why=\"a \\\" b\"", i);
    log_keep(false);
    log_event(LOG_INFO, "test.later", "%s", "");
    char *json = json_of(h, true);
    ck_assert_ptr_nonnull(strstr(json, "\"log\":[[\"2"));
    ck_assert_ptr_nonnull(strstr(json, ",\"info test.line1 n=10 why=\\\"a \\\\\\\" b\\\"\"]"));
    ck_assert_ptr_nonnull(strstr(json, "n=49 "));
    ck_assert_ptr_null(strstr(json, "n=9 "));
    ck_assert_ptr_null(strstr(json, "test.before"));
    ck_assert_ptr_null(strstr(json, "test.later"));
    free(json);
    json = json_of(h, false);
    ck_assert_ptr_null(strstr(json, "test.line"));
    free(json);
    history_free(h);
}
