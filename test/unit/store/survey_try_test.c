/* survey_try_test.c - how long a store may take: a record at a time, by a clock that runs ahead. */

#include "ground/clock.h"
#include "store/survey.h"

#include "test.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS 12

/* Of both processes: the reading one, and ours. */
static struct {
    atomic_uint given, taken; /* records read; those that the clock has waited for */
} * both;

/* How many records there are, after which LMDB walks in a circle; RECORDS: it does not. */
static unsigned circle_after, looks;
static int64_t now_us, step_us;

/* The clock steps at each look; at every other one it waits until one more record was read. */
int64_t clock_mono_us(void)
{
    if (looks++ % 2 == 0) {
        while (both->given == both->taken && both->given < circle_after)
            sched_yield();
        both->taken = both->given;
    }
    return now_us += both->given < RECORDS ? step_us : 0;
}

int64_t clock_wall_us(void)
{
    return 0;
}

/* ---- a store whose reader we are ---- */

struct survey {
    const struct survey_visitor *visitor;
};

enum err survey_open(const char *dir, enum survey_by by, const struct survey_visitor *visitor,
                     struct survey **s, struct fault *fault)
{
    (void)dir, (void)by, (void)fault;
    *s = base_alloc(sizeof **s);
    (*s)->visitor = visitor;
    return ERR_OK;
}

void survey_close(struct survey *s)
{
    free(s);
}

void survey_table(struct survey *s, enum store_table t)
{
    uint64_t no = 7;
    struct survey_entry e = {.table = t, .key = slice_of(&no, sizeof no)};

    if (t != STORE_PENDING)
        return;
    for (; both->given < circle_after; both->given++) {
        s->visitor->entry(s->visitor->arg, &e);
        if (both->given < circle_after - 1)
            while (both->taken < both->given)
                sched_yield();
    }
    while (circle_after < RECORDS)
        pause();
}

void survey_account(struct survey *s)
{
    (void)s;
}

static enum err try_with(unsigned records, int64_t step_ms, struct fault *fault)
{
    both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(both, MAP_FAILED);
    circle_after = records;
    looks = 0;
    now_us = 0;
    step_us = step_ms * 1000;
    *fault = (struct fault){0};
    enum err e = survey_try("/nowhere", fault);
    munmap(both, sizeof *both);
    return e;
}

TEST(a_store_may_take_long_as_long_as_records_come)
{
    struct fault fault;

    ck_assert_int_eq(try_with(RECORDS, 7000, &fault), ERR_OK);
    ck_assert_int_gt(now_us, 60 * 1000000LL);
}

TEST(a_walk_in_a_circle_is_ended_after_half_a_minute)
{
    struct fault fault;

    ck_assert_int_eq(try_with(2, 5000, &fault), ERR_STORE);
    ck_assert_str_eq(fault.why, "LMDB stands still after pending/7");
    ck_assert_int_eq(waitpid(-1, NULL, 0), -1);
    ck_assert_int_eq(errno, ECHILD);
}
