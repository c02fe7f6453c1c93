/*
 * link_test.c - framing, ticks, drained messages, unread answers, over socketpairs.
 *
 * A link runs on a thread of its own; the test is the peer at the other end.  What the link hands
 * over is written down as text: "[abc]" a message, "<5:ab>" an oversized one with its head, "."
 * the end of what one read brought.
 */

#include "dist/link.h"
#include "ground/clock.h"

#include "test.h"
#include "beat_kit.h"

#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MEGA 1048576

/* ---- a clock that jumps, and a socket that fails ----------------------------------------------
 */

static _Atomic int64_t jumped_ms;
static atomic_int
    next_error; /* of the next recv with MSG_DONTWAIT by another thread than the test's */
static pthread_t test_thread;

int64_t clock_mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + jumped_ms * 1000;
}

int64_t clock_wall_us(void)
{
    return clock_mono_us();
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    int error = pthread_equal(pthread_self(), test_thread) ? 0 : atomic_exchange(&next_error, 0);

    if (error != 0) {
        errno = error;
        return -1;
    }
    return recvfrom(fd, data, len, flags, NULL, NULL);
}

struct rig {
    struct link *l;
    int peer; /* the test's end */
    struct cork cork;
    pthread_t thread;
    const char *why;
    /* under lock */
    pthread_mutex_t lock;
    struct buf seen;
    size_t handed_bytes;
    bool quiet;             /* count only */
    bool echo;              /* answer each message with itself */
    struct slice malformed; /* this one is refused */
};

static bool on_message(void *arg, struct slice bytes)
{
    struct rig *r = arg;

    pthread_mutex_lock(&r->lock);
    r->handed_bytes += bytes.len;
    if (!r->quiet)
        buf_printf(&r->seen, "[%.*s]", SLICE_ARG(bytes));
    bool good = r->malformed.data == NULL || !slice_eq(bytes, r->malformed);
    pthread_mutex_unlock(&r->lock);
    struct buf *b = r->echo ? link_begin(r->l) : NULL;
    if (b != NULL) {
        buf_slice(b, bytes);
        link_end(r->l, &r->cork);
    }
    return good;
}

static void on_oversized(void *arg, struct slice head, size_t size)
{
    struct rig *r = arg;

    pthread_mutex_lock(&r->lock);
    buf_printf(&r->seen, "<%zu:%.*s>", size, (int)(head.len < 2 ? head.len : 2), head.data);
    r->handed_bytes += head.len;
    pthread_mutex_unlock(&r->lock);
}

static void on_gathered(void *arg)
{
    struct rig *r = arg;

    pthread_mutex_lock(&r->lock);
    if (!r->quiet)
        buf_byte(&r->seen, '.');
    pthread_mutex_unlock(&r->lock);
}

static void *run(void *arg)
{
    struct rig *r = arg;
    const struct link_events events = {r, on_message, on_oversized, on_gathered};

    r->why = link_run(r->l, &r->cork, &events);
    return NULL;
}

static void rig_start(struct rig *r, size_t max_message, size_t max_unsent)
{
    const struct link_options options = {max_message, max_unsent};
    int s[2];

    test_thread = pthread_self();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    r->peer = s[1];
    r->l = link_new(s[0], &options);
    ck_assert_ptr_nonnull(r->l);
    pthread_mutex_init(&r->lock, NULL);
    ck_assert_int_eq(pthread_create(&r->thread, NULL, run, r), 0);
}

/* The peer closes, or has been left; returns why the link ended. */
static const char *rig_stop(struct rig *r)
{
    if (r->peer >= 0)
        close(r->peer);
    pthread_join(r->thread, NULL);
    ck_assert_ptr_null(link_begin(r->l));
    link_drop(r->l);
    buf_free(&r->seen);
    pthread_mutex_destroy(&r->lock);
    return r->why;
}

static void say(struct rig *r, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = send(r->peer, p, len, MSG_NOSIGNAL);
        ck_assert_msg(n > 0, "send: %s", strerror(errno));
        p += n;
        len -= (size_t)n;
    }
}

static void put_frame(struct buf *b, const char *text)
{
    buf_be32(b, (uint32_t)strlen(text));
    buf_str(b, text);
}

static void hear(struct rig *r, void *data, size_t len)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = recv(r->peer, p, len, 0);
        ck_assert_msg(n > 0, "recv: %zd %s", n, n < 0 ? strerror(errno) : "closed");
        p += n;
        len -= (size_t)n;
    }
}

/* Wait until at least ${bytes} of messages (and heads) have been handed over. */
static void wait_handed(struct rig *r, size_t bytes)
{
    int64_t end_ms = clock_mono_ms() + 20000;
    size_t handed = 0;

    while (handed < bytes && clock_mono_ms() < end_ms) {
        pthread_mutex_lock(&r->lock);
        handed = r->handed_bytes;
        pthread_mutex_unlock(&r->lock);
        poll(NULL, 0, 1);
    }
    ck_assert_uint_ge(handed, bytes);
}

/* What was seen, without the dots, which depend on how the reads fell. */
static void check_seen(struct rig *r, const char *text)
{
    char got[4096];
    size_t n = 0;

    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->seen.len && n < sizeof got - 1; i++)
        if (r->seen.data[i] != '.')
            got[n++] = (char)r->seen.data[i];
    pthread_mutex_unlock(&r->lock);
    got[n] = '\0';
    ck_assert_str_eq(got, text);
}

TEST(messages_are_whole_wherever_the_stream_is_split)
{
    struct buf stream = {0};

    put_frame(&stream, "a");
    buf_be32(&stream, 0);
    put_frame(&stream, "bcd");
    put_frame(&stream, "0123456789");
    buf_be32(&stream, 0);
    put_frame(&stream, "ef");
    for (size_t split = 0; split <= stream.len; split++) {
        struct rig r = {0};
        uint8_t ticks[8];
        rig_start(&r, 8, 100000); /* the fourth is larger */
        say(&r, stream.data, split);
        if (split > 4)
            wait_handed(&r, 1);
        say(&r, stream.data + split, stream.len - split);
        wait_handed(&r, 1 + 3 + 10 + 2);
        check_seen(&r, "[a][bcd]<10:01>[ef]");
        hear(&r, ticks, sizeof ticks);
        ck_assert_mem_eq(ticks, "\0\0\0\0\0\0\0\0", 8);
        ck_assert_str_eq(rig_stop(&r), "closed by the peer");
    }
    buf_free(&stream);
}

TEST(messages_come_byte_by_byte)
{
    struct rig r = {0};
    struct buf stream = {0};

    rig_start(&r, 8, 100000);
    put_frame(&stream, "abc");
    put_frame(&stream, "0123456789");
    put_frame(&stream, "de");
    for (size_t i = 0; i < stream.len; i++) {
        say(&r, stream.data + i, 1);
        poll(NULL, 0, 1);
    }
    wait_handed(&r, 3 + 10 + 2);
    check_seen(&r, "[abc]<10:01>[de]");
    buf_free(&stream);
    rig_stop(&r);
}

TEST(one_read_is_gathered_once_and_a_tick_not_at_all)
{
    struct rig r = {0};
    uint8_t tick[4];

    rig_start(&r, 8, 100000);
    say(&r, "\0\0\0\0", 4);
    hear(&r, tick, 4);
    say(&r, "\0\0\0\1a\0\0\0\1b\0\0\0\1c\0\0\0\0", 19);
    hear(&r, tick, 4); /* sent when all of that read was handed over */
    pthread_mutex_lock(&r.lock);
    ck_assert_slice(buf_view(&r.seen), "[a][b][c].");
    pthread_mutex_unlock(&r.lock);
    rig_stop(&r);
}

TEST(an_oversized_message_is_drained_and_its_head_shown)
{
    struct rig r = {0};
    size_t size = 3 * MEGA + 17;
    struct buf stream = {0};

    rig_start(&r, MEGA, MEGA);
    buf_be32(&stream, (uint32_t)size);
    buf_reserve(&stream, size);
    memset(stream.data + 4, 'x', size);
    stream.len = 4 + size;
    put_frame(&stream, "after");
    say(&r, stream.data, stream.len);
    wait_handed(&r, LINK_HEAD_BYTES + 5);
    check_seen(&r, "<3145745:xx>[after]");
    buf_free(&stream);
    rig_stop(&r);
}

TEST(a_large_message_grows_the_buffer_and_small_ones_follow)
{
    struct rig r = {.quiet = true, .echo = true};
    size_t size = 9 * MEGA;
    struct buf stream = {0};
    uint8_t *back = base_alloc(4 + size);

    rig_start(&r, 16 * MEGA, 32 * MEGA);
    buf_be32(&stream, (uint32_t)size);
    buf_reserve(&stream, size);
    for (size_t i = 0; i < size; i++)
        stream.data[4 + i] = (uint8_t)(i * 7 >> 3);
    stream.len = 4 + size;
    for (int round = 0; round < 2; round++) {
        say(&r, stream.data, stream.len);
        say(&r, "\0\0\0\1z", 5);
        hear(&r, back, 4 + size);
        ck_assert_mem_eq(back, stream.data, 4 + size);
        hear(&r, back, 5);
        ck_assert_mem_eq(back, "\0\0\0\1z", 5);
    }
    free(back);
    buf_free(&stream);
    rig_stop(&r);
}

/* Many threads answer while ticks come: no byte of one may fall into another. */
struct writer {
    struct link *l;
    unsigned char letter;
    bool is_corked;
};

static void *write_many(void *arg)
{
    struct writer *w = arg;
    struct cork cork = {0};

    for (size_t i = 0; i < 2000; i++) {
        struct buf *b = link_begin(w->l);
        if (b != NULL) {
            size_t n = 1 + i % 300;
            buf_reserve(b, n);
            memset(b->data + b->len, w->letter, n);
            b->len += n;
            link_end(w->l, w->is_corked ? &cork : NULL);
        }
        if (i % 16 == 15)
            link_uncork(&cork);
    }
    return NULL;
}

TEST(answers_of_many_threads_do_not_mix)
{
    struct rig r = {0};
    struct writer writers[3];
    pthread_t threads[3];
    unsigned messages = 0, ticks = 0;
    uint8_t head[4], body[512];

    rig_start(&r, 1000, 64 * MEGA);
    for (unsigned i = 0; i < 3; i++) {
        writers[i] = (struct writer){r.l, (unsigned char)('a' + i), i == 2};
        pthread_create(&threads[i], NULL, write_many, &writers[i]);
    }
    for (unsigned i = 0; i < 500; i++)
        say(&r, "\0\0\0\0", 4);
    while (messages < 6000 || ticks < 500) {
        hear(&r, head, 4);
        uint32_t n = be32(head);
        ck_assert_uint_le(n, 300);
        if (n == 0) {
            ticks++;
            continue;
        }
        hear(&r, body, n);
        for (uint32_t i = 1; i < n; i++)
            ck_assert_uint_eq(body[i], body[0]);
        messages++;
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    rig_stop(&r);
}

TEST(corked_answers_leave_at_uncork)
{
    struct rig r = {0};
    struct cork cork = {0};
    uint8_t got[10];

    rig_start(&r, 1000, MEGA);
    for (int i = 0; i < 2; i++) {
        struct buf *b = link_begin(r.l);
        ck_assert_ptr_nonnull(b);
        buf_byte(b, (uint8_t)('a' + i));
        link_end(r.l, &cork);
    }
    ck_assert_int_eq(recv(r.peer, got, sizeof got, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);
    link_uncork(&cork);
    ck_assert_uint_eq(cork.count, 0);
    ck_assert_int_eq(recv(r.peer, got, sizeof got, MSG_DONTWAIT), 10);
    ck_assert_mem_eq(got, "\0\0\0\1a\0\0\0\1b", 10);
    rig_stop(&r);
}

/* A link nobody reads: its thread would send what is corked, were it on its way to sleep. */
struct pair {
    struct link *l;
    int peer;
};

static struct pair pair_open(void)
{
    const struct link_options options = {1000, 4 * MEGA};
    int s[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    struct pair p = {link_new(s[0], &options), s[1]};
    ck_assert_ptr_nonnull(p.l);
    return p;
}

static void pair_close(struct pair *p)
{
    link_drop(p->l);
    close(p->peer);
}

static void cork_one(struct pair *p, struct cork *cork, size_t size)
{
    struct buf *b = link_begin(p->l);

    ck_assert_ptr_nonnull(b);
    buf_reserve(b, size);
    memset(b->data + b->len, 'y', size);
    b->len += size;
    link_end(p->l, cork);
}

/* Whether something came; what it was is thrown away. */
static bool has_come(struct pair *p)
{
    uint8_t got[64];
    bool any = false;

    while (recv(p->peer, got, sizeof got, MSG_DONTWAIT) > 0)
        any = true;
    return any;
}

TEST(a_cork_holds_as_many_connections_as_it_has_places_for)
{
    static struct pair pairs[CORK_LINKS + 2];
    struct cork cork = {0};

    for (size_t i = 0; i < CORK_LINKS + 2; i++) {
        pairs[i] = pair_open();
        cork_one(&pairs[i], &cork, 5);
    }
    ck_assert_uint_eq(cork.count, CORK_LINKS);
    for (size_t i = 0; i < CORK_LINKS + 2; i++)
        ck_assert_int_eq(has_come(&pairs[i]), i >= CORK_LINKS);
    cork_one(&pairs[CORK_LINKS - 1], &cork, 5); /* it has its place */
    ck_assert(!has_come(&pairs[CORK_LINKS - 1]));
    link_uncork(&cork);
    for (size_t i = 0; i < CORK_LINKS; i++)
        ck_assert(has_come(&pairs[i]));
    for (size_t i = 0; i < CORK_LINKS + 2; i++)
        pair_close(&pairs[i]);
}

TEST(a_cork_holds_back_so_many_bytes_of_a_connection_and_no_more)
{
    struct pair p = pair_open();
    struct cork cork = {0};

    cork_one(&p, &cork, 200000);
    ck_assert(!has_come(&p));
    cork_one(&p, &cork, 200000);
    ck_assert(has_come(&p));
    link_uncork(&cork);
    pair_close(&p);
}

static bool answer(struct rig *r, size_t size)
{
    struct buf *b = link_begin(r->l);

    if (b == NULL)
        return false;
    buf_reserve(b, size);
    memset(b->data + b->len, 'y', size);
    b->len += size;
    link_end(r->l, NULL);
    return true;
}

TEST(a_peer_that_does_not_read_is_cut_off)
{
    struct rig r = {0};
    size_t answers = 0;

    rig_start(&r, 1000, 2 * MEGA);
    while (answer(&r, 100000))
        ck_assert_uint_lt(answers++, 200); /* the socket's buffer and 2 MB hold far fewer */
    ck_assert_uint_ge(answers, 20);
    ck_assert_str_eq(rig_stop(&r), "answers were not read");
}

TEST(one_answer_above_the_limit_is_no_fault)
{
    struct rig r = {0};
    size_t size = 5 * MEGA;
    uint8_t *got = base_alloc(4 + size);

    rig_start(&r, 1000, MEGA);
    for (int round = 0; round < 5; round++) { /* the reading thread waits by then: it is woken */
        ck_assert(answer(&r, size));
        hear(&r, got, 4 + size);
        ck_assert_uint_eq(be32(got), size);
        ck_assert_uint_eq(got[3 + size], 'y');
        ck_assert(answer(&r, 1));
        hear(&r, got, 5);
    }
    free(got);
    ck_assert_str_eq(rig_stop(&r), "closed by the peer");
}

TEST(a_slow_reader_gets_everything)
{
    struct rig r = {0};
    uint8_t got[5000];
    size_t heard = 0;

    rig_start(&r, 1000, 16 * MEGA);
    for (int i = 0; i < 100; i++)
        ck_assert(answer(&r, 49996));
    while (heard < 100 * 50000) {
        hear(&r, got, sizeof got);
        heard += sizeof got;
        if (heard % 500000 == 0)
            poll(NULL, 0, 1);
    }
    ck_assert_int_eq(recv(r.peer, got, 1, MSG_DONTWAIT), -1);
    rig_stop(&r);
}

TEST(a_malformed_message_ends_the_connection)
{
    struct rig r = {.malformed = slice_str("bad")};
    char byte;

    rig_start(&r, 1000, MEGA);
    say(&r, "\0\0\0\3bad\0\0\0\1x", 12);
    ck_assert_int_eq(recv(r.peer, &byte, 1, 0), 0);
    check_seen(&r, "[bad]");
    ck_assert_str_eq(rig_stop(&r), "malformed message");
}

TEST(shutdown_ends_it_with_the_first_reason)
{
    struct rig r = {0};

    rig_start(&r, 1000, MEGA);
    link_shutdown(r.l, "first");
    link_shutdown(r.l, "second");
    ck_assert(!answer(&r, 1));
    ck_assert_str_eq(rig_stop(&r), "first");
}

TEST(what_a_cork_holds_of_a_connection_that_is_gone_goes_nowhere)
{
    struct rig r = {0};
    struct cork cork = {0};

    rig_start(&r, 1000, MEGA);
    struct buf *b = link_begin(r.l);
    ck_assert_ptr_nonnull(b);
    buf_byte(b, 'a');
    link_end(r.l, &cork);
    ck_assert_uint_eq(cork.count, 1);
    rig_stop(&r); /* the cork alone holds the link now */
    link_uncork(&cork);
    ck_assert_uint_eq(cork.count, 0);
}

TEST(answers_after_the_end_go_nowhere)
{
    struct rig r = {0};

    rig_start(&r, 1000, MEGA);
    struct link *held = link_hold(r.l);
    ck_assert_str_eq(rig_stop(&r), "closed by the peer");
    r.l = held;
    ck_assert(!answer(&r, 1));
    link_drop(held);
    link_drop(NULL);
}

TEST(a_reading_thread_that_a_handler_holds_up_stands_still)
{
    struct rig r = {0};

    rig_start(&r, MEGA, MEGA);
    pthread_mutex_lock(&r.lock);
    ck_assert_int_eq(write(r.peer, "\0\0\0\1x", 5), 5);
    beat_kit_stands("reading");
    pthread_mutex_unlock(&r.lock);
    beat_kit_moves();
    rig_stop(&r);
}

/* ---- bounds -----------------------------------------------------------------------------------
 */

TEST(a_message_of_just_the_limit_is_handed_over)
{
    struct rig r = {0};

    rig_start(&r, 8, MEGA);
    say(&r,
        "\0\0\0\x08"
        "01234567"
        "\0\0\0\x09"
        "012345678",
        12 + 13);
    wait_handed(&r, 8 + 9);
    check_seen(&r, "[01234567]<9:01>");
    rig_stop(&r);
}

TEST(a_cork_holds_back_262144_bytes_and_not_one_more)
{
    for (size_t more = 0; more <= 1; more++) {
        struct pair p = pair_open();
        struct cork cork = {0};
        cork_one(&p, &cork, 262144 - 4 + more);
        ck_assert_int_eq(has_come(&p), more);
        link_uncork(&cork);
        ck_assert_int_eq(has_come(&p), !more);
        pair_close(&p);
    }
}

/* Answers that nobody reads, until ${unsent} bytes of them are left with us. */
static void leave_unsent(struct pair *p, size_t unsent)
{
    while (link_unsent(p->l) == 0)
        cork_one(p, NULL, 1);
    ck_assert_uint_lt(link_unsent(p->l) + 4, unsent);
    cork_one(p, NULL, unsent - link_unsent(p->l) - 4);
    ck_assert_uint_eq(link_unsent(p->l), unsent);
}

TEST(so_many_bytes_may_be_unread_before_an_answer_and_not_one_more)
{
    for (size_t more = 0; more <= 1; more++) {
        struct pair p = pair_open(); /* 4 MiB */
        leave_unsent(&p, 4 * MEGA + more);
        ck_assert(!link_is_gone(p.l));
        cork_one(&p, NULL, 10);
        ck_assert_int_eq(link_is_gone(p.l), more);
        ck_assert_uint_eq(link_unsent(p.l), more ? 0 : 4 * MEGA + 14);
        if (more)
            ck_assert_ptr_null(link_begin(p.l));
        pair_close(&p);
    }
}

/* ---- who holds it, and how it ends ------------------------------------------------------------
 */

TEST(who_waits_for_an_answer_holds_it)
{
    struct pair p = pair_open();

    ck_assert(!link_is_waited_for(p.l));
    struct link *held = link_hold(p.l);
    ck_assert_ptr_eq(held, p.l);
    ck_assert(link_is_waited_for(p.l));
    link_drop(held);
    ck_assert(!link_is_waited_for(p.l) && !link_is_gone(p.l));
    link_shutdown(p.l, "over");
    ck_assert(link_is_gone(p.l));
    pair_close(&p);
}

static const char *ended_by(int error)
{
    struct rig r = {0};

    rig_start(&r, 1000, MEGA);
    next_error = error;
    say(&r, "\0\0\0\1x", 5);
    char byte;
    while (error != EINTR && recv(r.peer, &byte, 1, 0) > 0)
        ;
    if (error == EINTR)
        wait_handed(&r, 1);
    return rig_stop(&r);
}

TEST(each_error_of_the_socket_has_its_words)
{
    ck_assert_str_eq(ended_by(ECONNRESET), "reset by the peer");
    ck_assert_str_eq(ended_by(EPIPE), "reset by the peer");
    ck_assert_str_eq(ended_by(ETIMEDOUT), "the peer's machine does not answer");
    ck_assert_str_eq(ended_by(EIO), "the connection failed");
    ck_assert_str_eq(ended_by(EINTR), "closed by the peer"); /* it went on */
}

TEST(a_peer_that_closes_with_answers_unread_resets)
{
    struct rig r = {0};

    rig_start(&r, 1000, MEGA);
    ck_assert(answer(&r, 5));
    ck_assert_str_eq(rig_stop(&r), "reset by the peer");
}

TEST(one_that_has_ended_stands_still_no_more)
{
    struct rig r = {0};
    char who[BEAT_NAME];

    rig_start(&r, 1000, MEGA);
    rig_stop(&r);
    for (int i = 0; i < 2 * BEAT_STUCK_MS / 1000; i++) {
        beats_tick(1000);
        ck_assert_msg(beats_are_well(who), "%s", who);
    }
}

/* ---- a sign of life while a long message comes -------------------------------------------------
 */

/* Begin a message of 100 bytes, and more of it each time. */
static void say_part(struct rig *r, size_t bytes)
{
    char zeros[100] = {0};

    say(r, zeros, bytes);
}

static uint32_t hear_head(struct rig *r)
{
    uint8_t head[4];

    hear(r, head, 4);
    return be32(head);
}

TEST(a_peer_that_sends_for_long_hears_from_us_each_second)
{
    struct rig r = {.echo = true, .quiet = true};
    char back[100];

    rig_start(&r, 1000, MEGA);
    say(&r, "\0\0\0\x64", 4);
    jumped_ms += 1000;
    say_part(&r, 30);
    ck_assert_uint_eq(hear_head(&r), 0);
    say_part(&r, 30); /* within the second: nothing, the answer is the next that comes */
    jumped_ms += 900;
    say_part(&r, 40);
    ck_assert_uint_eq(hear_head(&r), 100);
    hear(&r, back, 100);
    jumped_ms += 950; /* since the answer it is not a second either */
    say(&r, "\0\0\0\x64", 4);
    say_part(&r, 50);
    say_part(&r, 50);
    ck_assert_uint_eq(hear_head(&r), 100);
    hear(&r, back, 100);
    jumped_ms += 5000; /* nothing is on its way: silence is no fault */
    say(&r, "\0\0\0\1x", 5);
    ck_assert_uint_eq(hear_head(&r), 1);
    hear(&r, back, 1);
    rig_stop(&r);
}

TEST(a_peer_whose_message_is_drained_hears_from_us_too)
{
    struct rig r = {0};
    struct buf stream = {0};

    rig_start(&r, 10, MEGA);
    buf_be32(&stream, LINK_HEAD_BYTES + 100);
    buf_reserve(&stream, LINK_HEAD_BYTES);
    memset(stream.data + 4, 'x', LINK_HEAD_BYTES);
    say(&r, stream.data, 4 + LINK_HEAD_BYTES);
    wait_handed(&r, LINK_HEAD_BYTES);
    jumped_ms += 1000;
    say_part(&r, 20);
    ck_assert_uint_eq(hear_head(&r), 0);
    buf_free(&stream);
    rig_stop(&r);
}

/* ---- what it keeps -----------------------------------------------------------------------------
 */

static size_t bytes_in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

/* Both buffers grew with one large message; after small ones they are small again. */
TEST(a_buffer_that_grew_is_given_back)
{
    struct rig r = {.echo = true, .quiet = true};
    size_t size = 6 * MEGA;
    uint8_t *large = base_alloc(4 + size), *back = base_alloc(4 + size);

    rig_start(&r, 16 * MEGA, 32 * MEGA);
    size_t before = bytes_in_use();
    large[1] = (uint8_t)(size >> 16);
    for (int i = 0; i < 2; i++) {
        say(&r, large, 4 + size);
        hear(&r, back, 4 + size);
        for (int small = 0; small < 2; small++) {
            say(&r, "\0\0\0\1z", 5);
            hear(&r, back, 5);
        }
        ck_assert_uint_lt(bytes_in_use(), before + MEGA);
    }
    free(large);
    free(back);
    rig_stop(&r);
}

/* ---- TCP ---------------------------------------------------------------------------------------
 */

static int tcp_pair(int s[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    s[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(s[1], (struct sockaddr *)&a, sizeof a), 0);
    s[0] = accept(listener, NULL, NULL);
    ck_assert_int_ge(s[0], 0);
    return close(listener);
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    ck_assert_int_eq(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

TEST(a_connection_is_not_delayed_and_a_dead_machine_is_found)
{
    const struct link_options options = {1000, MEGA};
    int s[2];

    tcp_pair(s);
    struct link *l = link_new(s[0], &options);
    ck_assert_int_ne(option_of(s[0], IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_ne(option_of(s[0], SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(option_of(s[0], IPPROTO_TCP, TCP_KEEPIDLE), 60);
    ck_assert_int_eq(option_of(s[0], IPPROTO_TCP, TCP_KEEPINTVL), 15);
    ck_assert_int_eq(option_of(s[0], IPPROTO_TCP, TCP_KEEPCNT), 4);
    link_drop(l); /* closes it */
    char byte;
    ck_assert_int_eq(recv(s[1], &byte, 1, 0), 0);
    close(s[1]);
}
