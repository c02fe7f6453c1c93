/* changes_test.c - who waits for a change of state, and when it is told. */

#include "status/changes.h"
#include "status/status.h"
#include "term/term.h"
#include "test.h"

/* ---- what lies around it ---------------------------------------------------------- */

struct caller {
    bool is_gone;
    int answers;
    char last[64]; /* the answer's second word, or its number */
};

static struct status_stand now;

void status_stand(const struct status *s, struct status_stand *stand)
{
    (void)s;
    *stand = now;
}

void status_put_stand(const struct status *s, int64_t number, struct buf *b)
{
    (void)s;
    term_put_integer(b, number);
}

void dist_reply(struct caller *caller, struct dist_session *session, struct slice answer)
{
    int64_t number;
    struct fault fault;
    size_t used;
    (void)session;
    ck_assert_int_eq(term_check_some(answer, 1, &used, &fault), ERR_OK);
    term second = term_element(answer.data, 1);

    caller->answers++;
    if (term_integer(second, &number)) {
        snprintf(caller->last, sizeof caller->last, "%lld", (long long)number);
    } else {
        struct slice text = term_text(second);
        snprintf(caller->last, sizeof caller->last, "%.*s", (int)text.len, (const char *)text.data);
    }
}

bool dist_caller_is_gone(const struct caller *caller)
{
    return caller->is_gone;
}

static struct changes *start(void)
{
    memset(&now, 0, sizeof now);
    now.is_well = true;
    return changes_new(NULL);
}

/* ---- tests --------------------------------------------------------------------------- */

TEST(who_knows_the_state_waits_for_another)
{
    struct changes *c = start();
    struct caller first = {0}, second = {0};

    changes_take(c, NULL, &first, 0);
    ck_assert_str_eq(first.last, "1");
    changes_take(c, NULL, &first, 1);
    changes_take(c, NULL, &second, 1);
    changes_tick(c);
    ck_assert_int_eq(first.answers + second.answers, 1);
    now.endpoint = DISPATCH_STOPPED;
    changes_tick(c);
    ck_assert_str_eq(first.last, "2");
    ck_assert_str_eq(second.last, "2");
    changes_tick(c);
    ck_assert_int_eq(first.answers + second.answers, 3);
    /* another process's number */
    changes_take(c, NULL, &first, 77);
    ck_assert_int_eq(first.answers, 3);
    changes_free(c);
}

TEST(each_part_of_the_state_counts)
{
    struct changes *c = start();
    struct caller caller = {0};
    int told = 0;

    changes_take(c, NULL, &caller, 0);
    for (int part = 0; part < 5; part++) {
        changes_take(c, NULL, &caller, part + 1);
        ck_assert_int_eq(caller.answers, ++told);
        switch (part) {
        case 0:
            now.endpoint = DISPATCH_WAITING;
            break;
        case 1:
            now.is_well = false;
            break;
        case 2:
            now.is_mending = true;
            break;
        case 3:
            snprintf(now.kinds[0].name, sizeof now.kinds[0].name, "run_summary");
            break;
        default:
            now.kinds[0].state = DISPATCH_STOPPED;
        }
        changes_tick(c);
    }
    ck_assert_str_eq(caller.last, "6");
    changes_free(c);
}

TEST(who_is_gone_leaves_its_place_and_more_than_there_is_place_for_are_busy)
{
    enum { MANY = 1024 }; /* WAITING_MAX */
    struct changes *c = start();
    static struct caller callers[MANY];
    struct caller late = {0};

    changes_tick(c);
    for (int i = 0; i < MANY; i++)
        changes_take(c, NULL, &callers[i], 1);
    changes_take(c, NULL, &late, 1);
    ck_assert_str_eq(late.last, "busy");
    callers[3].is_gone = true;
    changes_tick(c);
    ck_assert_int_eq(callers[3].answers, 1); /* given back */
    changes_take(c, NULL, &late, 1);
    ck_assert_int_eq(late.answers, 1);
    changes_free(c);
    ck_assert_str_eq(late.last, "draining");
    ck_assert_int_eq(callers[0].answers, 1);
}
