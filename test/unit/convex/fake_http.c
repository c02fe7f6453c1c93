/*
 * fake_http.c - the http room without a network, for a test to include.
 *
 * It keeps what it was asked, and a test answers call by call with fake_http_answer; http_close
 * answers the rest with HTTP_ABANDONED, as the real one.
 */

#include "ground/buf.h"
#include "convex/http.h"

#define FAKE_HTTP_CALLS 64

static struct {
    unsigned opened, closed, waits, distrusted;
    bool closing, is_in_the_clear;
    char base_url[200], extra_header[100], user_agent[100];
    char authorization[5000]; /* "" for none */
    unsigned authorizations;  /* how often it was set */
    struct {
        char path[100];
        char *body; /* NULL for a GET, terminated */
        bool answered;
        http_done *done;
        void *arg;
    } calls[FAKE_HTTP_CALLS];
    unsigned count;
} fake_http;

struct http {
    int unused;
};

enum err http_open(const struct http_options *options, struct http **h, struct fault *fault)
{
    if (strncmp(options->base_url, "http", 4) != 0) {
        snprintf(fault->path, sizeof fault->path, "base_url");
        snprintf(fault->why, sizeof fault->why, "is none");
        return ERR_INVALID;
    }
    fake_http.opened++;
    snprintf(fake_http.base_url, sizeof fake_http.base_url, "%s", options->base_url);
    snprintf(fake_http.user_agent, sizeof fake_http.user_agent, "%s", options->user_agent);
    snprintf(fake_http.extra_header, sizeof fake_http.extra_header, "%s", options->extra_header);
    *h = base_alloc(sizeof **h);
    return ERR_OK;
}

static void fake_http_answer_with(unsigned i, const struct http_answer *answer)
{
    struct http_answer whole = *answer;

    PRE(i < fake_http.count && !fake_http.calls[i].answered);
    fake_http.calls[i].answered = true;
    if (fake_http.calls[i].body)
        whole.request = slice_str(fake_http.calls[i].body);
    fake_http.calls[i].done(fake_http.calls[i].arg, &whole);
}

/* Answer call ${i}: status 0 is a connection that broke. */
static void fake_http_answer(unsigned i, long status, const char *body)
{
    struct http_answer answer = {.end = status ? HTTP_ANSWERED : HTTP_BROKEN,
                                 .status = status,
                                 .body = slice_str(body),
                                 .took_us = 1234};

    fake_http_answer_with(i, &answer);
}

/* Forget all calls, free what they hold. */
static void fake_http_reset(void)
{
    for (unsigned i = 0; i < fake_http.count; i++)
        free(fake_http.calls[i].body);
    memset(&fake_http, 0, sizeof fake_http);
}

void http_close(struct http *h)
{
    struct http_answer answer = {.end = HTTP_ABANDONED, .detail = "given up on shutdown"};

    if (h == NULL)
        return;
    fake_http.closing = true;
    for (unsigned i = 0; i < fake_http.count; i++)
        if (!fake_http.calls[i].answered)
            fake_http_answer_with(i, &answer);
    fake_http.closing = false;
    fake_http.closed++;
    free(h);
}

bool http_is_in_the_clear(const struct http *h)
{
    (void)h;
    return fake_http.is_in_the_clear;
}

void http_set_authorization(struct http *h, const char *value)
{
    (void)h;
    fake_http.authorizations++;
    snprintf(fake_http.authorization, sizeof fake_http.authorization, "%s", value ? value : "");
}

static void fake_http_note(const char *path, char *body, http_done *done, void *arg)
{
    unsigned i = fake_http.count++;

    PRE(i < FAKE_HTTP_CALLS && !fake_http.closing);
    snprintf(fake_http.calls[i].path, sizeof fake_http.calls[i].path, "%s", path);
    fake_http.calls[i].body = body;
    fake_http.calls[i].done = done;
    fake_http.calls[i].arg = arg;
}

void http_post_json(struct http *h, const char *path, struct slice body, http_done *done, void *arg)
{
    (void)h;
    fake_http_note(path, base_strndup(body.data, body.len), done, arg);
    free((void *)body.data);
}

void http_get(struct http *h, const char *path, http_done *done, void *arg)
{
    (void)h;
    fake_http_note(path, NULL, done, arg);
}

void http_distrust(struct http *h, const struct http_answer *answer)
{
    (void)h, (void)answer;
    fake_http.distrusted++;
}

void http_wait(struct http *h, int wake_fd, int timeout_ms)
{
    (void)h, (void)wake_fd, (void)timeout_ms;
    fake_http.waits++;
}
