/* exposition_test.c - the metrics as text, in both formats. */

#include "status/exposition.h"

#include "ground/metrics.h"
#include "ground/process.h"
#include "test.h"

#include <ctype.h>
#include <time.h>
#include <unistd.h>

static char *printed(enum exposition format)
{
    struct buf out = {0};

    exposition_put(format, &out);
    buf_byte(&out, 0);
    return (char *)out.data;
}

static void assert_has(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

TEST(the_format_is_what_the_client_accepts)
{
    ck_assert_int_eq(exposition_wanted(NULL), EXPOSITION_OPENMETRICS);
    ck_assert_int_eq(exposition_wanted("*/*"), EXPOSITION_OPENMETRICS);
    ck_assert_int_eq(exposition_wanted("text/plain;version=0.0.4"), EXPOSITION_TEXT);
    ck_assert_int_eq(exposition_wanted("Text/Plain"), EXPOSITION_TEXT);
    /* Prometheus' own */
    ck_assert_int_eq(
        exposition_wanted("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"),
        EXPOSITION_OPENMETRICS);
}

TEST(a_counter_a_gauge_and_a_unit)
{
    metric_set(METRIC_PENDING, 42);
    metric_set(METRIC_RECEIVED_BYTES, 1234);
    char *text = printed(EXPOSITION_OPENMETRICS);
    assert_has(text, "# TYPE convex_sidecar_pending gauge\n"
                     "# HELP convex_sidecar_pending Documents kept");
    assert_has(text, "\nconvex_sidecar_pending 42\n");
    assert_has(text, "# TYPE convex_sidecar_received_bytes counter\n"
                     "# UNIT convex_sidecar_received_bytes bytes\n");
    assert_has(text, "\nconvex_sidecar_received_bytes_total 1234\n");
    assert_has(text, "# UNIT convex_sidecar_oldest_pending_age_seconds seconds\n");
    ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
    free(text);
    text = printed(EXPOSITION_TEXT);
    assert_has(text, "# TYPE convex_sidecar_received_bytes_total counter\n"
                     "# HELP convex_sidecar_received_bytes_total Bytes");
    ck_assert_ptr_null(strstr(text, "# UNIT"));
    ck_assert_ptr_null(strstr(text, "# EOF"));
    free(text);
}

TEST(a_histogram_adds_up)
{
    metric_observe(HISTOGRAM_COMMIT_TIME, 400);
    metric_observe(HISTOGRAM_COMMIT_TIME, 1200000);
    char *text = printed(EXPOSITION_TEXT);
    assert_has(text, "# TYPE convex_sidecar_commit_seconds histogram\n");
    assert_has(text, "convex_sidecar_commit_seconds_bucket{le=\"0.00025\"} 0\n"
                     "convex_sidecar_commit_seconds_bucket{le=\"0.0005\"} 1\n");
    assert_has(text, "convex_sidecar_commit_seconds_bucket{le=\"1.0\"} 1\n"
                     "convex_sidecar_commit_seconds_bucket{le=\"2.5\"} 2\n");
    assert_has(text, "convex_sidecar_commit_seconds_bucket{le=\"+Inf\"} 2\n"
                     "convex_sidecar_commit_seconds_sum 1.2004\n"
                     "convex_sidecar_commit_seconds_count 2\n");
    free(text);
}

static const char *odd_name(const void *arg, size_t i)
{
    (void)i;
    return arg;
}

TEST(labels_are_escaped_and_have_a_line_each)
{
    metrics_name_kinds(odd_name, "a\\\"b", 1);
    metric_count(LABELLED_PROJECTIONS, "a\\\"b", 2);
    metric_count(LABELLED_VERDICTS, NULL, 0);
    char *text = printed(EXPOSITION_TEXT);
    assert_has(text,
               "convex_sidecar_projections_total{kind=\"a\\\\\\\"b\",reason=\"idempotent\"} 1\n");
    assert_has(text, "convex_sidecar_projections_total{kind=\"other\",reason=\"none\"} 0\n");
    assert_has(text, "# TYPE convex_sidecar_kind_failing_documents gauge\n");
    assert_has(text, "convex_sidecar_kind_failing_documents{kind=\"other\"} 0\n");
    assert_has(text, "convex_sidecar_kind_state{kind=\"other\",state=\"stopped\"} 0\n");
    assert_has(text, "convex_sidecar_endpoint_state{state=\"paused\"} 0\n");
    assert_has(text, "convex_sidecar_answered_documents_total{verdict=\"done\"} 1\n");
    free(text);
}

TEST(the_build_and_the_process)
{
    struct process_facts f;

    process_read(&f);
    ck_assert(f.start_seconds > (double)time(NULL) - 600 &&
              f.start_seconds < (double)time(NULL) + 5);
    ck_assert_uint_gt(f.resident_bytes, 100000);
    ck_assert_uint_ge(f.virtual_bytes, f.resident_bytes);
    ck_assert(f.threads == 1 && f.max_fds > 0);
    uint64_t before = f.open_fds;
    int fd = dup(STDERR_FILENO);
    process_read(&f);
    ck_assert_uint_eq(f.open_fds, before + 1);
    close(fd);
    char *text = printed(EXPOSITION_OPENMETRICS);
    assert_has(text, "\nconvex_sidecar_build_info{version=\"" SIDECAR_VERSION "\",compiler=\"");
    assert_has(text, "# TYPE process_cpu_seconds counter\n");
    assert_has(text, "\nprocess_cpu_seconds_total ");
    free(text);
}

/* promtool has the last word on the text format, where it is installed. */
TEST(promtool_finds_nothing)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        puts("promtool is not installed: skipped");
        return;
    }
    char *text = printed(EXPOSITION_TEXT);
    FILE *tool = popen("promtool check metrics 2>&1 | grep . >&2 && exit 1 || exit 0", "w");
    ck_assert_ptr_nonnull(tool);
    fputs(text, tool);
    ck_assert_int_eq(pclose(tool), 0);
    free(text);
}

/* OpenMetrics 1.0: every family has TYPE and HELP before its samples, and is not taken up again. */
TEST(every_line_is_in_order)
{
    char *text = printed(EXPOSITION_OPENMETRICS), *rest = text, family[200] = "", type[20] = "";
    int families = 0, helps = 0;

    for (char *line; (line = strsep(&rest, "\n")) != NULL && strcmp(line, "# EOF") != 0;) {
        char name[200] = "";
        if (sscanf(line, "# TYPE %199s %19s", family, type) == 2) {
            families++;
        } else if (strncmp(line, "# ", 2) == 0) {
            ck_assert_int_eq(sscanf(line, "# %*s %199s", name), 1);
            ck_assert_str_eq(name, family);
            helps += strncmp(line, "# HELP ", 7) == 0;
        } else {
            ck_assert_int_eq(sscanf(line, "%199[a-z_]", name), 1);
            ck_assert_int_eq(strncmp(name, family, strlen(family)), 0);
            const char *end = name + strlen(family);
            if (strcmp(type, "counter") == 0)
                ck_assert_str_eq(end, "_total");
            else if (strcmp(type, "gauge") == 0)
                ck_assert_str_eq(end, "");
            else
                ck_assert(strcmp(end, "_bucket") == 0 || strcmp(end, "_sum") == 0 ||
                          strcmp(end, "_count") == 0);
        }
    }
    ck_assert_int_eq(families, METRIC_COUNT + HISTOGRAM_COUNT + LABELLED_COUNT + 1 + 7);
    ck_assert_int_eq(helps, families);
    ck_assert_str_eq(rest, "");
    free(text);
}
