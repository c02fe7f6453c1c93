/* tap_words_test.c - {tap, Opts}: an answer that goes on, until nobody reads it. */

#include "test.h"

#include "dist/fake_dist.c"
#include "ground/tap.h"
#include "intake/tap_words.h"

#include "intake/wall.h"

#include <unistd.h>

static struct tap_words *words;

static void begin(void)
{
    words = tap_words_new();
}

static void end(void)
{
    tap_words_free(words);
    fake_dist_reset();
}

static struct caller *look_on(const char *opts, bool takes_parts)
{
    struct caller *c = kit_caller();
    struct buf b = {0};

    c->takes_parts = takes_parts;
    tap_words_take(words, &kit_session, c, term_of(&b, opts));
    buf_free(&b);
    return c;
}

static void tell(enum tap_event event, const char *kind, const char *id, int64_t seq,
                 const char *why)
{
    tap_tell(event, slice_str(kind), slice_str(id), seq, why);
}

/* Wait until ${c} has been sent ${text}. */
static void await_part(struct caller *c, const char *text)
{
    for (int i = 0;; i++) {
        pthread_mutex_lock(&kit_told_lock);
        bool has = c->parts && strstr(c->parts, text) != NULL;
        pthread_mutex_unlock(&kit_told_lock);
        if (has)
            return;
        ck_assert_msg(i < 20000, "never: %s; %s", text, c->parts);
        usleep(1000);
    }
}

#define EMPTY "{dropped: 0, events: []} "
#define EVENT(event, kind, seq, id, why)                                                           \
    "{at: '2026-02-19T20:00:00.000000Z', event: '" event "', kind: '" kind "', seq: " seq          \
    ", document_id: '" id "', why: '" why "'}"

TEST(what_happens_is_passed_on)
{
    begin();
    struct caller *all = look_on("{}", true), *one = look_on("{id: 'a'}", true),
                  *kind = look_on("[(kind, run)]", true);
    ck_assert_int_eq(strncmp(all->parts, EMPTY, strlen(EMPTY)), 0); /* at once: it takes parts */
    tell(TAP_KEPT, "run", "a", 5, NULL);
    tell(TAP_DEAD, "worker", "b", 6, "no");
    await_part(all, EVENT("kept", "run", "5", "a", ""));
    await_part(all, EVENT("dead", "worker", "6", "b", "no"));
    await_part(one, EVENT("kept", "run", "5", "a", ""));
    await_part(kind, EVENT("kept", "run", "5", "a", ""));
    ck_assert_ptr_null(strstr(one->parts, "'b'"));
    ck_assert_ptr_null(strstr(kind->parts, "'b'"));
    ck_assert_ptr_null(kit_answer_now(all));
    tap_words_free(words); /* ends them all */
    ck_assert_str_eq(kit_answer_now(all), "(ok, {dropped: 0})");
    ck_assert_str_eq(kit_answer_now(one), "(ok, {dropped: 0})");
    ck_assert(!tap_is_open());
    fake_dist_reset();
    tap_words_free(NULL);
}

TEST(who_cannot_be_told_is_told_so)
{
    begin();
    ck_assert_str_eq(kit_answer_now(look_on("{}", false)),
                     "(error, (invalid, '', 'is for the control socket: a call of a BEAM has one "
                     "answer'))");
    ck_assert_str_eq(kit_answer_now(look_on("{id: 7}", true)),
                     "(error, (invalid, 'opts.id', 'a document id is wanted'))");
    ck_assert_str_eq(kit_answer_now(look_on("{kind: 7}", true)),
                     "(error, (invalid, 'opts.kind', 'a kind is wanted'))");
    ck_assert(!tap_is_open());
    end();
}

TEST(who_leaves_makes_room)
{
    struct caller *c[TAP_COUNT];

    begin();
    for (int i = 0; i < TAP_COUNT; i++) {
        c[i] = look_on("{}", true);
        ck_assert_ptr_null(kit_answer_now(c[i]));
    }
    ck_assert_str_eq(kit_answer_now(look_on("{}", true)), "(error, busy)");
    c[1]->is_gone = true;
    ck_assert_str_eq(kit_answer(c[1]), "(ok, {dropped: 0})");
    struct caller *again;
    do /* its tap is closed before it is answered, its thread a moment later */
        again = look_on("{}", true);
    while (kit_answer_now(again) != NULL);
    tell(TAP_SENT, "run", "a", 1, "");
    await_part(again, EVENT("sent", "run", "1", "a", ""));
    for (int i = 0; i < 3; i++) /* all places are under way again */
        ck_assert_str_eq(kit_answer_now(look_on("{}", true)), "(error, busy)");
    end();
}

TEST(who_does_not_read_loses_what_there_is_no_room_for)
{
    begin();
    struct caller *c = look_on("{}", true);
    c->unsent = 262144; /* nothing is taken from its tap */
    usleep(50000);
    for (int i = 0; i < TAP_RECORDS + 7; i++)
        tell(TAP_KEPT, "run", "a", i, "");
    usleep(50000);
    ck_assert_str_eq(c->parts, EMPTY);
    c->unsent = 262143;
    await_part(c, "{dropped: 7, events: [");
    await_part(c, "seq: 1023,");
    ck_assert_ptr_null(strstr(c->parts, "seq: 1024,"));
    c->is_gone = true;
    ck_assert_str_eq(kit_answer(c), "(ok, {dropped: 7})");
    end();
}
