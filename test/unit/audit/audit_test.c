/* audit_test.c - the audit's thread: when it stands still, and when it only waits. */

#include "audit/audit.h"
#include "ground/beat.h"
#include "projection/projection.h"

#include "test.h"
#include "beat_kit.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* ---- an http room that answers when it may ---- */

static struct {
    http_done *done;
    void *arg;
    pthread_mutex_t gate; /* held: nobody comes back from it */
    atomic_bool may_answer;
    atomic_uint waits;
} web = {.gate = PTHREAD_MUTEX_INITIALIZER};

struct http {
    int unused;
};

enum err http_open(const struct http_options *options, struct http **h, struct fault *fault)
{
    (void)options, (void)fault;
    *h = base_alloc(sizeof **h);
    return ERR_OK;
}

void http_close(struct http *h)
{
    ck_assert(h == NULL || web.done == NULL);
    free(h);
}

void http_set_authorization(struct http *h, const char *value)
{
    (void)h, (void)value;
}

void http_post_json(struct http *h, const char *path, struct slice body, http_done *done, void *arg)
{
    (void)h, (void)path;
    free((void *)body.data);
    web.done = done;
    web.arg = arg;
}

void http_wait(struct http *h, int fd, int timeout_ms)
{
    static const char text[] = "{\"status\":\"success\",\"value\":{\"digests\":[],\"next\":null}}";
    const struct http_answer answer = {
        .end = HTTP_ANSWERED, .status = 200, .body = slice_str(text)};
    http_done *done = web.done;

    (void)h, (void)fd;
    ck_assert_int_le(timeout_ms, BEAT_WAIT_MS);
    web.waits++;
    pthread_mutex_lock(&web.gate);
    pthread_mutex_unlock(&web.gate);
    if (!web.may_answer) {
        poll(NULL, 0, 1); /* in place of ${timeout_ms} */
        return;
    }
    web.done = NULL;
    done(web.arg, &answer);
}

/* ---- an audit that is asked to look ---- */

static const struct kind kind = {.name = "run_summary", .prefix = "runtime/run_summary:"};
static atomic_uint looked;

static void take_look(void *arg, const struct drift_theirs *theirs, const struct fault *fault)
{
    (void)arg;
    ck_assert_ptr_null(theirs);
    ck_assert_str_eq(fault->why, "");
    looked++;
}

static struct audit *look_begun(void)
{
    const struct audit_options options = {
        .digests = {.query = "runtime:listDigests", .admin_key = "key|1"}};
    struct fault fault = {0};
    struct audit *a = audit_open(&options);
    int tries = 0;

    web.waits = 0;
    web.may_answer = false;
    looked = 0;
    ck_assert_int_eq(
        audit_look(a, &kind, slice_str("runtime/run_summary:a"), take_look, NULL, &fault), ERR_OK);
    while (web.waits == 0)
        beat_kit_nap(&tries, "it asks");
    return a;
}

static void look_ended(struct audit *a)
{
    int tries = 0;

    web.may_answer = true;
    while (looked == 0)
        beat_kit_nap(&tries, "it has looked");
    audit_stop(a);
    audit_close(a);
}

/* More seconds than a thread may stand still. */
static void seconds_pass(bool well)
{
    char who[BEAT_NAME];

    for (int i = 0; i < 2 * BEAT_STUCK_MS / 1000; i++) {
        unsigned before = web.waits;
        int tries = 0;
        while (!well && web.waits == before)
            beat_kit_nap(&tries, "it asks again");
        beats_tick(1000);
        ck_assert_msg(beats_are_well(who), "%s", who);
    }
}

TEST(an_audit_thread_that_is_held_up_stands_still)
{
    pthread_mutex_lock(&web.gate);
    struct audit *a = look_begun();
    beat_kit_stands("audit");
    pthread_mutex_unlock(&web.gate);
    beat_kit_moves();
    look_ended(a);
}

TEST(one_that_waits_for_convex_or_for_work_does_not)
{
    struct audit *a = look_begun();

    seconds_pass(false);
    look_ended(a);

    const struct audit_options options = {0};
    a = audit_open(&options);
    seconds_pass(true);
    audit_stop(a);
    audit_close(a);
}
