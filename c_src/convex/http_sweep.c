/*
 * http_sweep.c - deletes expired tombstones in Convex.
 *
 * The happy path: once a day runtime:sweep deletes those of each kind, a page a second, while
 * delivery goes on.  A tombstone keeps a late call, sent before the removal, from bringing the
 * document back; after days no call can be late, and the checkpoint here still refuses older
 * versions.
 *
 * What can go wrong: Convex does not answer, or refuses.  Then nothing is lost, and it is tried
 * again after an hour.  Functions before version 2 are not asked.
 *
 * Delivery thread only.
 */

#include "convex/http_sink_inside.h"

#include "ground/clock.h"
#include "ground/log.h"
#include "json/json.h"
#include "projection/projection.h"

#define DAY_MS     86400000
#define PAGE_MS    1000    /* between two pages */
#define FAILURE_MS 3600000 /* after one that failed */

static void log_failure(const struct verdict *verdict, const struct kind *kind)
{
    log_event(LOG_WARNING, "convex.sweep_failed", "kind=%s why=\"%s\"", kind->name, verdict->why);
}

static void on_swept(void *arg, const struct http_answer *answer)
{
    struct http_sink *s = arg;
    struct verdict verdict;
    int64_t wait_ms = PAGE_MS;

    s->sweep.is_out = false;
    (void)convex_answer_judge(answer, CONVEX_SINGLE, &verdict, NULL, 0);
    if (verdict.kind != VERDICT_DONE) {
        wait_ms = FAILURE_MS;
        if (!s->closing)
            log_failure(&verdict, kinds_at(s->kinds, s->sweep.kind));
    } else if (convex_answer_is_done(answer) && ++s->sweep.kind >= kinds_count(s->kinds)) {
        s->sweep.kind = 0;
        wait_ms = DAY_MS;
    }
    s->sweep.next_ms = clock_mono_ms() + wait_ms;
}

static void put_question(struct http_sink *s, struct buf *b)
{
    char path[CONVEX_PATH_BYTES];

    functions_path(s->functions, "sweep", path);
    buf_str(b, "{\"path\":");
    json_put_string(b, slice_str(path));
    buf_str(b, ",\"format\":\"json\",\"args\":{\"kind\":");
    json_put_string(b, slice_str(kinds_at(s->kinds, s->sweep.kind)->name));
    buf_str(b, ",\"before\":");
    json_put_integer(b, clock_wall_us() / 1000 - s->sweep.days * DAY_MS);
    buf_str(b, "}}");
}

void http_sweep_if_due(struct http_sink *s)
{
    struct buf body = {0};

    if (s->sweep.days == 0 || s->sweep.is_out || s->closing || kinds_count(s->kinds) == 0 ||
        functions_peer(s->functions)->functions < 2 || clock_mono_ms() < s->sweep.next_ms)
        return;
    put_question(s, &body);
    s->sweep.is_out = true;
    http_post_json(s->http, MUTATION_PATH, buf_view(&body), on_swept, s);
}
