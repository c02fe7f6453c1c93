/*
 * history.c - the last hour, in fixed memory.
 *
 * The happy path: each HISTORY_STEP_S seconds the counters are read, and their rise since the last
 * reading becomes a sample: rates, levels, and the quantiles of the times observed meanwhile. The
 * oldest sample is overwritten.
 *
 * What can go wrong: no tick comes for a while (the machine slept): rates are then over the time
 * that really passed.  One thread ticks, any reads; a lock is held for the copy of a sample.
 */

#include "status/history.h"

#include "ground/log.h"
#include "ground/metrics.h"
#include "ground/time_text.h"
#include "json/json.h"

#include <pthread.h>

#define COLUMN_LIST(X)                                                                             \
    X(T)         /* seconds since 1970 */                                                          \
    X(KEPT)      /* a second */                                                                    \
    X(DELIVERED) /* a second */                                                                    \
    X(CALLS)     /* a second */                                                                    \
    X(REFUSED)   /* requests answered busy or with an error, a second */                           \
    X(PENDING)                                                                                     \
    X(OLDEST) /* seconds */                                                                        \
    X(DEAD)                                                                                        \
    X(CALL_P50) /* seconds */                                                                      \
    X(CALL_P99)                                                                                    \
    X(CONFIRMED_P50) /* kept to confirmed, seconds */                                              \
    X(CONFIRMED_P99)                                                                               \
    X(STOPPED) /* 1: delivery was stopped or paused at its end */

enum column {
#define X(name) COLUMN_##name,
    COLUMN_LIST(X)
#undef X
        COLUMN_COUNT
};

static const char *const names[] = {
#define X(name) #name,
    COLUMN_LIST(X)
#undef X
};

/* The counters at the last reading. */
struct look {
    uint64_t kept, delivered, calls, refused;
    struct metric_pile call_time, confirmed_time;
};

struct history {
    /* of the thread that ticks */
    struct look last;
    int64_t last_us;
    /* under lock */
    pthread_mutex_t lock;
    float samples[HISTORY_SAMPLES][COLUMN_COUNT];
    double times[HISTORY_SAMPLES]; /* COLUMN_T, which a float cannot hold */
    uint64_t count;
};

static void look(struct look *l)
{
    l->kept = metric_get(METRIC_KEPT);
    l->delivered = metric_get(METRIC_DELIVERED);
    l->calls = metric_get(METRIC_CALLS);
    l->refused = metric_get(METRIC_BUSY) + metric_get(METRIC_REFUSED);
    metric_pile_get(HISTOGRAM_CALL_TIME, &l->call_time);
    metric_pile_get(HISTOGRAM_KEPT_TO_CONFIRMED, &l->confirmed_time);
}

struct history *history_new(int64_t now_us)
{
    struct history *h = base_alloc(sizeof *h);

    PRE(pthread_mutex_init(&h->lock, NULL) == 0);
    look(&h->last);
    h->last_us = now_us;
    return h;
}

void history_free(struct history *h)
{
    if (h != NULL)
        pthread_mutex_destroy(&h->lock);
    free(h);
}

/* The quantile ${q} of what was observed between two readings. */
static float quantile(const struct metric_pile *from, const struct metric_pile *to, double q)
{
    struct metric_pile between = {0};

    for (size_t i = 0; i <= METRIC_BUCKET_COUNT; i++)
        between.count[i] = to->count[i] - from->count[i];
    return (float)metric_pile_quantile(&between, q);
}

static void sample(const struct look *from, const struct look *to, double seconds,
                   float row[COLUMN_COUNT])
{
    row[COLUMN_KEPT] = (float)((double)(to->kept - from->kept) / seconds);
    row[COLUMN_DELIVERED] = (float)((double)(to->delivered - from->delivered) / seconds);
    row[COLUMN_CALLS] = (float)((double)(to->calls - from->calls) / seconds);
    row[COLUMN_REFUSED] = (float)((double)(to->refused - from->refused) / seconds);
    row[COLUMN_PENDING] = (float)metric_get(METRIC_PENDING);
    row[COLUMN_OLDEST] = (float)metric_get(METRIC_OLDEST_PENDING_SECONDS);
    row[COLUMN_DEAD] = (float)metric_get(METRIC_DEAD);
    row[COLUMN_CALL_P50] = quantile(&from->call_time, &to->call_time, 0.5);
    row[COLUMN_CALL_P99] = quantile(&from->call_time, &to->call_time, 0.99);
    row[COLUMN_CONFIRMED_P50] = quantile(&from->confirmed_time, &to->confirmed_time, 0.5);
    row[COLUMN_CONFIRMED_P99] = quantile(&from->confirmed_time, &to->confirmed_time, 0.99);
    row[COLUMN_STOPPED] = (float)(metric_get(METRIC_STOPPED) | metric_get(METRIC_PAUSED));
}

void history_tick(struct history *h, int64_t now_us, int64_t wall_us)
{
    float row[COLUMN_COUNT] = {0};
    struct look now;

    if (now_us - h->last_us < HISTORY_STEP_S * 1000000LL)
        return;
    look(&now);
    sample(&h->last, &now, (double)(now_us - h->last_us) / 1e6, row);
    h->last = now;
    h->last_us = now_us;
    pthread_mutex_lock(&h->lock);
    size_t at = h->count++ % HISTORY_SAMPLES;
    memcpy(h->samples[at], row, sizeof row);
    h->times[at] = (double)wall_us / 1e6;
    pthread_mutex_unlock(&h->lock);
}

static void put_columns(struct buf *out)
{
    for (enum column c = 0; c < COLUMN_COUNT; c++) {
        buf_str(out, c ? ",\"" : "\"");
        for (const char *at = names[c]; *at; at++)
            buf_byte(out, (uint8_t)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at));
        buf_byte(out, '"');
    }
}

static void put_samples(struct history *h, struct buf *out)
{
    pthread_mutex_lock(&h->lock);
    uint64_t first = h->count > HISTORY_SAMPLES ? h->count - HISTORY_SAMPLES : 0;
    for (uint64_t i = first; i < h->count; i++) {
        buf_printf(out, "%s[%.0f", i > first ? "," : "", h->times[i % HISTORY_SAMPLES]);
        for (enum column c = COLUMN_T + 1; c < COLUMN_COUNT; c++)
            buf_printf(out, ",%.6g", (double)h->samples[i % HISTORY_SAMPLES][c]);
        buf_byte(out, ']');
    }
    pthread_mutex_unlock(&h->lock);
}

struct listing {
    struct buf *json;
    bool has_some;
};

static void put_line(void *arg, int64_t at_us, const char *text)
{
    struct listing *l = arg;
    char at[32];

    time_text_put(at_us, at);
    buf_printf(l->json, "%s[\"%s\",", l->has_some ? "," : "", at);
    json_put_shown(l->json, slice_str(text));
    buf_byte(l->json, ']');
    l->has_some = true;
}

void history_put_json(struct history *h, bool with_log, struct buf *out)
{
    struct listing lines = {out, false};

    buf_printf(out, "{\"step_s\":%d,\"columns\":[", HISTORY_STEP_S);
    put_columns(out);
    buf_str(out, "],\"samples\":[");
    put_samples(h, out);
    buf_str(out, with_log ? "],\"log\":[" : "],\"log\":null}");
    if (!with_log)
        return;
    log_recent(put_line, &lines);
    buf_str(out, "]}");
}
