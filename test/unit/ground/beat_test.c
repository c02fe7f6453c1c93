/* beat_test.c - a thread that stands still is named, one that rests or moves is not. */

#include "ground/beat.h"
#include "ground/clock.h"

#include "test.h"
#include "ground/fake_log.c"

#include <pthread.h>
#include <stdatomic.h>

/* A thread that does as it is told, one turn at a time. */
static struct {
    pthread_t thread;
    pthread_barrier_t turn;
    void (*do_this)(void);
} other;

static void *run(void *arg)
{
    (void)arg;
    beat_begin("other");
    for (;;) {
        pthread_barrier_wait(&other.turn);
        if (other.do_this == NULL)
            break;
        other.do_this();
        pthread_barrier_wait(&other.turn);
    }
    beat_end();
    return NULL;
}

static void start(void)
{
    ck_assert_int_eq(pthread_barrier_init(&other.turn, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&other.thread, NULL, run, NULL), 0);
}

static void turn(void (*do_this)(void))
{
    other.do_this = do_this;
    pthread_barrier_wait(&other.turn);
    if (do_this != NULL)
        pthread_barrier_wait(&other.turn);
    else
        pthread_join(other.thread, NULL);
}

static void nothing(void)
{
}

/* The clock is this test's: a second in each tick. */
static int64_t now_us = 1000000;

int64_t clock_mono_us(void)
{
    return now_us;
}

int64_t clock_wall_us(void)
{
    return now_us;
}

static void seconds(int n)
{
    for (int i = 0; i < n; i++)
        beats_tick(1000);
}

static void assert_stuck(const char *who)
{
    char name[BEAT_NAME] = "somebody";

    ck_assert_int_eq(beats_are_well(name), *who == '\0');
    ck_assert_str_eq(name, who);
}

TEST(a_thread_that_stands_still_is_named_once_and_moves_again)
{
    start();
    turn(beat);
    seconds(1);
    int said = fake_log_lines[LOG_ERROR];
    seconds(BEAT_STUCK_MS / 1000 - 1);
    assert_stuck("");
    seconds(1);
    assert_stuck("other");
    seconds(10);
    ck_assert_int_eq(fake_log_lines[LOG_ERROR], said + 1);
    turn(beat);
    seconds(1);
    assert_stuck("");
    turn(NULL);
    seconds(100);
    assert_stuck(""); /* it has ended */
}

TEST(who_rests_is_not_late)
{
    start();
    turn(beat_rest);
    seconds(100);
    assert_stuck("");
    turn(beat); /* and then it works */
    seconds(1 + BEAT_STUCK_MS / 1000);
    assert_stuck("other");
    turn(NULL);
}

/* SIGSTOP, a machine that sleeps: main saw none of that time pass. */
TEST(a_process_that_stood_still_as_a_whole_finds_nobody_late)
{
    start();
    turn(nothing);
    seconds(1);
    beats_tick(2000); /* the most that sidecar_tick makes of an hour */
    assert_stuck("");
    turn(NULL);
}

TEST(main_that_ticks_no_more_is_named)
{
    assert_stuck(""); /* it has not begun */
    seconds(1);
    now_us += BEAT_STUCK_MS * INT64_C(1000) - 1000;
    assert_stuck("");
    now_us += 1000;
    assert_stuck("main");
    seconds(1);
    assert_stuck("");
}
