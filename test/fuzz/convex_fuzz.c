/*
 * convex_fuzz.c - whatever comes as an answer of Convex, it means something: verdicts whose reasons
 * are one line of text, what functions say of themselves, a page of digests or a refusal.
 *
 * The first byte says which status and what was asked; the rest is the body.
 */

#include "audit/digests.h"
#include "convex/convex_answer.h"
#include "convex/functions.h"
#include "json/json.h"

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DOCUMENTS = 3 };

/* ---- a network that answers with the input --------------------------------------------- */

struct http {
    http_done *done;
    void *arg;
};

static struct http_answer now;

enum err http_open(const struct http_options *options, struct http **h, struct fault *fault)
{
    (void)options, (void)fault;
    *h = base_alloc(sizeof **h);
    return ERR_OK;
}

void http_close(struct http *h)
{
    free(h);
}

void http_set_authorization(struct http *h, const char *value)
{
    (void)h, (void)value;
}

bool http_is_in_the_clear(const struct http *h)
{
    (void)h;
    return false;
}

void http_get(struct http *h, const char *path, http_done *done, void *arg)
{
    (void)path;
    h->done = done;
    h->arg = arg;
}

void http_post_json(struct http *h, const char *path, struct slice body, http_done *done, void *arg)
{
    free((void *)body.data);
    http_get(h, path, done, arg);
}

void http_distrust(struct http *h, const struct http_answer *answer)
{
    (void)h, (void)answer;
}

void http_wait(struct http *h, int wake_fd, int timeout_ms)
{
    (void)wake_fd, (void)timeout_ms;
    h->done(h->arg, &now);
}

/* ---- what is asked ----------------------------------------------------------------------- */

static void check(const struct verdict *v)
{
    PRE(memchr(v->why, 0, sizeof v->why) != NULL);
    PRE(json_is_printable(slice_str(v->why)));
    PRE(v->kind == VERDICT_DONE || v->why[0] != '\0');
}

static void judge(const struct http_answer *answer, enum convex_call call, size_t count)
{
    struct verdict overall = {0}, each[DOCUMENTS] = {0};
    struct convex_echo echo = {0};

    bool differ = convex_answer_judge(answer, call, &overall, each, count);
    for (size_t i = 0; differ && i < count; i++)
        check(&each[i]);
    if (!differ)
        check(&overall);
    memset(&overall, 0, sizeof overall);
    differ = convex_answer_judge_numbered(answer, call, 7, &echo, &overall, each, count);
    if (!differ)
        check(&overall);
    PRE(memchr(echo.deployment, 0, sizeof echo.deployment) != NULL);
}

static void learn(const struct http_answer *answer)
{
    static const struct sink_store us = {0};
    struct functions *f = functions_new("runtime:upsertBatch");
    struct functions_sent sent;

    for (int i = 0; i < 2; i++) { /* unknown at first, then with what was learnt */
        functions_sent(f, &us, &sent);
        (void)functions_learn(f, answer, &sent);
    }
    (void)functions_has_control(f, "runtime:upsertRunSummary");
    (void)functions_number(f, "runtime:upsertBatch");
    (void)convex_answer_is_done(answer);
    functions_free(f);
}

/* A page of digests, and those of two documents. */
static void ask(void)
{
    static struct digests_options options = {.query = "runtime:listDigests", .admin_key = "key"};
    const struct slice ids[] = {slice_str("a"), slice_str("b")};
    struct digests *d = NULL;
    struct digests_page page;
    struct fault fault = {0};

    if (options.wake_fd == 0) /* always readable: nobody waits before he asks again */
        options.wake_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    PRE(digests_open(&options, &d, &fault) == ERR_OK);
    for (size_t count = 0; count <= 2; count += 2) {
        const struct digests_ask a = {"run_summary", slice_of("", 0), ids, count};
        if (digests_get(d, &a, &page, &fault) == ERR_SINK)
            PRE(fault.why[0] != '\0');
    }
    digests_close(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const long statuses[] = {200, 200, 200, 200, 560, 400, 401, 404, 429, 503, 302};

    if (size == 0)
        return 0;
    now = (struct http_answer){.end = HTTP_ANSWERED,
                               .status = statuses[data[0] % (sizeof statuses / sizeof *statuses)],
                               .body = slice_of(data + 1, size - 1),
                               .request = slice_str("{}")};
    judge(&now, CONVEX_BATCH, DOCUMENTS);
    judge(&now, CONVEX_SINGLE, 1);
    learn(&now);
    ask();
    return 0;
}
