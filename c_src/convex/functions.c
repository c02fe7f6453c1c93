/*
 * functions.c - what the deployed functions support (docs/adr/0011).
 *
 * The happy path: attach is asked and answers version 2, which deployment, which mutations take a
 * control, and the mark of our store.  From then on calls of these functions carry a number and our
 * store's id, and their answers say the number again.
 *
 * What can go wrong: argument validators are strict, so one unknown field fails the whole call.
 * Hence nothing is sent that attach did not name, and attach alone decides what that is: no such
 * function, a refusal, or a value of another shape means version 1, or the user's own functions,
 * which support none of this.
 *
 * Call numbers: 21 random bits for each process, then a 32-bit counter, so that an answer to
 * another process does not match either; a float64 holds 53 bits exactly.
 *
 * Delivery thread only.
 */

#include "convex/functions.h"

#include "ground/hex.h"
#include "json/json.h"

#include <sys/random.h>

#define COUNTER_BITS 32
#define CHANCE_MASK  0x1fffff

struct functions {
    /* fixed after new */
    char attach[CONVEX_PATH_BYTES]; /* its beginning is the module, with the colon */
    size_t module_len;
    /* of the delivery thread */
    uint64_t last_number;
    char controls[FUNCTIONS_CONTROLS][CONVEX_PATH_BYTES];
    size_t control_count;
    struct sink_peer peer;
};

static void put_random(void *out, size_t len)
{
    PRE(getrandom(out, len, 0) == (ssize_t)len);
}

/* The module of ${path} with its colon; 0 when it has none (or is too long to be one). */
static size_t module_len(const char *path)
{
    const char *colon = strrchr(path, ':');

    return colon && (size_t)(colon - path) < CONVEX_PATH_BYTES - 16 ? (size_t)(colon - path) + 1
                                                                    : 0;
}

struct functions *functions_new(const char *mutation)
{
    struct functions *f = base_alloc(sizeof *f);
    uint32_t chance;

    f->module_len = module_len(mutation);
    snprintf(f->attach, sizeof f->attach, "%.*sattach", (int)f->module_len, mutation);
    put_random(&chance, sizeof chance);
    f->last_number = (uint64_t)(chance & CHANCE_MASK) << COUNTER_BITS;
    f->peer.mark = -1;
    return f;
}

void functions_free(struct functions *f)
{
    free(f);
}

const struct sink_peer *functions_peer(const struct functions *f)
{
    return &f->peer;
}

void functions_path(const struct functions *f, const char *name, char out[CONVEX_PATH_BYTES])
{
    snprintf(out, CONVEX_PATH_BYTES, "%.*s%s", (int)f->module_len, f->attach, name);
}

/* ---- what a call may carry ------------------------------------------------------------------- */

/* Whether ${path} is ${name} of the module that attach speaks for. */
static bool is_ours(const struct functions *f, const char *path, const char *name)
{
    return f->module_len > 0 && strncmp(path, f->attach, f->module_len) == 0 &&
           strcmp(path + f->module_len, name) == 0;
}

bool functions_has_batch_control(const struct functions *f, const char *path)
{
    return f->peer.functions >= 2 && is_ours(f, path, "upsertBatch");
}

/* Functions do not know the name of their module; it may differ from the one they report. */
bool functions_has_control(const struct functions *f, const char *path)
{
    for (size_t i = 0; f->peer.functions >= 2 && i < f->control_count; i++) {
        size_t len = module_len(f->controls[i]);
        if (len > 0 && is_ours(f, path, f->controls[i] + len))
            return true;
    }
    return false;
}

uint64_t functions_number(struct functions *f, const char *path)
{
    if (f->peer.functions < 2)
        return 0;
    if (!is_ours(f, path, "upsertBatch") && !is_ours(f, path, "remove") &&
        !functions_has_control(f, path))
        return 0;
    uint64_t count = (f->last_number + 1) & UINT32_MAX;
    f->last_number = (f->last_number & ~(uint64_t)UINT32_MAX) | (count ? count : 1);
    return f->last_number;
}

static void put_store(const struct sink_store *us, struct buf *b)
{
    buf_str(b, "\"store\":");
    json_put_string(b, slice_str(us->id));
}

static void put_raise(const struct sink_store *us, struct buf *b)
{
    buf_str(b, ",\"raise\":{\"from\":");
    if (us->from < 0)
        buf_str(b, "null");
    else
        json_put_integer(b, us->from);
    buf_str(b, ",\"to\":");
    json_put_integer(b, us->to);
    buf_byte(b, '}');
}

/* A new name is proposed each time: a deployment that was created again must not get its old name.
 */
void functions_put_attach(const struct functions *f, const struct sink_store *us, struct buf *b)
{
    uint8_t chance[16];
    char propose[2 * sizeof chance + 1];

    buf_str(b, "{\"path\":");
    json_put_string(b, slice_str(f->attach));
    buf_str(b, ",\"format\":\"json\",\"args\":{");
    put_store(us, b);
    put_random(chance, sizeof chance);
    hex_put(chance, sizeof chance, propose);
    buf_printf(b, ",\"propose\":\"%s\"", propose);
    if (us->to > 0)
        put_raise(us, b);
    buf_str(b, "}}");
}

void functions_put_number(uint64_t number, const struct sink_store *us, bool raise, struct buf *b)
{
    buf_printf(b, ",\"call\":%llu,", (unsigned long long)number);
    put_store(us, b);
    if (raise)
        put_raise(us, b);
}

/* ---- what is learnt -------------------------------------------------------------------------- */

static struct sink_peer peer_of(const struct convex_echo *echo)
{
    struct sink_peer peer = {.functions = echo->functions, .mark = echo->mark};

    snprintf(peer.deployment, sizeof peer.deployment, "%s", echo->deployment);
    return peer;
}

void functions_sent(const struct functions *f, const struct sink_store *us,
                    struct functions_sent *sent)
{
    bool is_us = strcmp(f->peer.store, us->id) == 0;

    sent->mark = is_us ? f->peer.mark : -1;
    memcpy(sent->store, us->id, sizeof sent->store);
}

bool functions_learn(struct functions *f, const struct http_answer *answer,
                     const struct functions_sent *sent)
{
    struct sink_peer others = {.functions = 1, .mark = -1, .learnt = f->peer.learnt + 1};
    struct convex_echo echo;
    struct verdict verdict;

    (void)convex_answer_judge(answer, CONVEX_SINGLE, &verdict, NULL, 0);
    /* Answered by the function's side: also a 404 instead of its "Could not find". */
    if (answer->end != HTTP_ANSWERED ||
        (answer->status != 200 && answer->status != 404 && answer->status != 560) ||
        verdict.kind == VERDICT_UNKNOWN)
        return false;
    f->control_count = 0;
    memcpy(others.store, sent->store, sizeof others.store);
    if (verdict.kind != VERDICT_DONE ||
        !convex_answer_attached(answer, &echo, f->controls, FUNCTIONS_CONTROLS,
                                &f->control_count)) {
        f->peer = others;
        return true;
    }
    struct sink_peer now = peer_of(&echo);
    bool is_same = strcmp(now.deployment, f->peer.deployment) == 0;
    if (is_same && strcmp(sent->store, f->peer.store) == 0 && now.mark >= sent->mark &&
        now.mark < f->peer.mark)
        now.mark = f->peer.mark; /* it was raised since attach was asked */
    now.learnt = f->peer.learnt + 1;
    memcpy(now.store, sent->store, sizeof now.store);
    f->peer = now;
    return true;
}

/* Marks only rise, unless the deployment is restored; the answer to a call that was sent before a
 * raise was heard may come late. */
bool functions_hear(struct functions *f, const struct convex_echo *echo,
                    const struct functions_sent *sent, struct sink_peer *heard)
{
    *heard = peer_of(echo);
    /* sent before a rollback or under another store id; attach has answered since */
    if (f->peer.functions < 2 || strcmp(sent->store, f->peer.store) != 0)
        return true;
    heard->functions = f->peer.functions;
    if (strcmp(heard->deployment, f->peer.deployment) != 0 || heard->mark < sent->mark)
        return false;
    if (heard->mark > f->peer.mark)
        f->peer.mark = heard->mark;
    return true;
}
