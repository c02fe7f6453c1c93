/*
 * fake_dist.c - callers that are answered once, for a test to include.
 *
 * Whatever is asked or answered is a text of term_text.h.
 */

#include "dist/dist.h"
#include "term/term_text.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
/* ---- dist: callers that are answered once -------------------------------------------------------
 */

#define KIT_CALLERS 2000

struct caller {
    char *answer; /* heap, once it came */
    char *parts;  /* heap: those that came, a blank after each */
    unsigned answers;
    atomic_bool is_gone;
    bool takes_parts;
    atomic_size_t unsent;
};

struct dist_session {
    void *gathered;
};

static struct caller kit_callers[KIT_CALLERS];
static size_t kit_caller_count;
static struct dist_session kit_session;
__attribute__((unused)) static struct dist_session kit_answers; /* of a store thread */
static pthread_mutex_t kit_told_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t kit_told = PTHREAD_COND_INITIALIZER;

static char *kit_text_of(struct slice bytes)
{
    struct buf b = {0};
    size_t used;
    struct fault fault;

    ck_assert_msg(term_check_some(bytes, 1, &used, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_uint_eq(used, bytes.len);
    term_text_show(&b, bytes.data);
    buf_byte(&b, '\0');
    return (char *)b.data;
}

void dist_reply(struct caller *c, struct dist_session *session, struct slice answer)
{
    (void)session;
    pthread_mutex_lock(&kit_told_lock);
    ck_assert_uint_eq(c->answers, 0);
    c->answer = kit_text_of(answer);
    c->answers++;
    pthread_cond_broadcast(&kit_told);
    pthread_mutex_unlock(&kit_told_lock);
}

bool dist_part(struct caller *c, struct slice part)
{
    struct buf all = {0};

    if (!c->takes_parts || c->is_gone)
        return false;
    char *text = kit_text_of(part);
    pthread_mutex_lock(&kit_told_lock);
    buf_printf(&all, "%s%s ", c->parts ? c->parts : "", text);
    buf_byte(&all, '\0');
    free(c->parts);
    c->parts = (char *)all.data;
    pthread_cond_broadcast(&kit_told);
    pthread_mutex_unlock(&kit_told_lock);
    free(text);
    return true;
}

bool dist_caller_is_gone(const struct caller *c)
{
    return c->is_gone;
}

size_t dist_caller_unsent(const struct caller *c)
{
    return c->unsent;
}

void **dist_session_gathered(struct dist_session *s)
{
    return &s->gathered;
}

static struct caller *kit_caller(void)
{
    ck_assert_uint_lt(kit_caller_count, KIT_CALLERS);
    return &kit_callers[kit_caller_count++];
}

/* What ${c} was answered; NULL: nothing yet. */
static inline const char *kit_answer_now(struct caller *c)
{
    pthread_mutex_lock(&kit_told_lock);
    const char *answer = c->answer;
    pthread_mutex_unlock(&kit_told_lock);
    return answer;
}

static inline const char *kit_answer(struct caller *c)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&kit_told_lock);
    while (c->answer == NULL)
        ck_assert_msg(pthread_cond_timedwait(&kit_told, &kit_told_lock, &until) == 0,
                      "nothing was answered");
    pthread_mutex_unlock(&kit_told_lock);
    return c->answer;
}

/* Each was answered, just once; all are forgotten. */
static inline void fake_dist_reset(void)
{
    for (size_t i = 0; i < kit_caller_count; i++) {
        ck_assert_uint_eq(kit_callers[i].answers, 1);
        free(kit_callers[i].answer);
        free(kit_callers[i].parts);
    }
    kit_caller_count = 0;
    memset(kit_callers, 0, sizeof kit_callers);
}
