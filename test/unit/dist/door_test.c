/* door_test.c - who knocks, who gives way, who is let in, and whose time is over. */

#include "dist/door.h"
#include "ground/fake_log.c"
#include "ground/metrics.h"

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int others[DOOR_PLACES + 1]; /* the strangers' own ends, by when they came */
static size_t came;
static struct pollfd polled[DOOR_PLACES];

static struct door *open_door(rlim_t files)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = files < limit.rlim_max ? files : limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    came = 0;
    return door_new(7000);
}

static void knock(struct door *d, int64_t now_ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(0x7f000001 + (uint32_t)came)};
    int s[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    others[came++] = s[1];
    door_knock(d, s[0], &a, now_ms);
}

static void speak(struct door *d, size_t who)
{
    ck_assert_int_eq(write(others[who], "x", 1), 1);
    size_t count = door_watch(d, polled);
    ck_assert_int_ge(poll(polled, (nfds_t)count, 0), 1);
    door_look(d, polled);
}

/* Whether the stranger still has a connection. */
static bool is_there(size_t who)
{
    char byte;

    return recv(others[who], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void let_in(struct door *d, size_t who)
{
    struct stranger s;

    ck_assert(door_waits(d));
    door_take(d, &s);
    ck_assert(s.has_spoken);
    ck_assert_uint_eq(ntohl(s.address.sin_addr.s_addr), 0x7f000001 + who);
    ck_assert(is_there(who));
    close(s.fd);
}

static void go_home(struct door *d)
{
    door_free(d);
    for (size_t i = 0; i < came; i++) {
        ck_assert(!is_there(i));
        close(others[i]);
    }
}

TEST(they_are_let_in_in_the_order_they_came)
{
    struct door *d = open_door(4096);

    ck_assert(!door_waits(d) && door_has_room(d));
    for (int i = 0; i < 4; i++)
        knock(d, 1000 + i);
    ck_assert(!door_waits(d));
    speak(d, 2);
    speak(d, 1);
    let_in(d, 1);
    let_in(d, 2);
    ck_assert(!door_waits(d));
    ck_assert_uint_eq(door_watch(d, polled), 2);
    speak(d, 3);
    let_in(d, 3);
    ck_assert(is_there(0));
    go_home(d);
}

TEST(who_has_spoken_is_not_polled_for_again)
{
    struct door *d = open_door(4096);

    knock(d, 1);
    knock(d, 2);
    speak(d, 0);
    ck_assert_uint_eq(door_watch(d, polled), 2);
    ck_assert_int_eq(polled[0].fd, -1);
    ck_assert_int_ge(polled[1].fd, 0);
    ck_assert_int_eq(polled[1].events, POLLIN);
    door_look(d, polled); /* nothing new */
    let_in(d, 0);
    ck_assert(!door_waits(d));
    go_home(d);
}

TEST(whose_time_is_over_is_turned_away)
{
    struct door *d = open_door(4096);
    uint64_t failed = metric_get(METRIC_HANDSHAKES_FAILED);

    ck_assert_int_eq(door_due_ms(d), INT64_MAX);
    for (int i = 0; i < 3; i++)
        knock(d, 100 + i);
    speak(d, 0);
    ck_assert_int_eq(door_due_ms(d), 7101);
    door_expire(d, 7100);
    ck_assert(is_there(1));
    door_expire(d, 7101);
    ck_assert(is_there(0) && !is_there(1) && is_there(2));
    ck_assert_str_eq(fake_log_last, "dist.peer_refused address=127.0.0.2 node=\"\" why=\"no "
                                    "handshake in time\"");
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    ck_assert_int_eq(door_due_ms(d), 7102);
    door_expire(d, 10000);
    ck_assert(!is_there(2));
    ck_assert_int_eq(door_due_ms(d), INT64_MAX);
    ck_assert_uint_eq(metric_get(METRIC_HANDSHAKES_FAILED), failed + 2);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1); /* a line in ten seconds */
    let_in(d, 0);                                     /* whoever has spoken has time */
    go_home(d);
}

TEST(who_has_been_silent_longest_gives_way)
{
    struct door *d = open_door(4096);

    ck_assert(!door_yield(d));
    for (int i = 0; i < 3; i++)
        knock(d, i);
    speak(d, 0);
    ck_assert(door_yield(d));
    ck_assert(is_there(0) && !is_there(1) && is_there(2));
    ck_assert_str_eq(fake_log_last, "dist.peer_refused address=127.0.0.2 node=\"\" why=\"said "
                                    "nothing, and others knocked\"");
    ck_assert(door_yield(d));
    ck_assert(!is_there(2));
    ck_assert(!door_yield(d)); /* only one is left, and has spoken */
    go_home(d);
}

/* A quarter of the descriptors, and DOOR_PLACES at most. */
static void assert_places(rlim_t files, size_t places)
{
    struct door *d = open_door(4 * DOOR_PLACES + 400); /* room for both ends */
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 4 * DOOR_PLACES + 4) { /* a system that gives fewer cannot show it */
        door_free(d);
        return;
    }
    door_free(d);
    limit.rlim_cur = files;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    d = door_new(7000);
    limit.rlim_cur =
        4 * DOOR_PLACES + 400 < limit.rlim_max ? 4 * DOOR_PLACES + 400 : limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (size_t i = 0; i < places; i++) {
        knock(d, (int64_t)i);
        ck_assert(door_has_room(d)); /* for silent ones give way */
    }
    ck_assert(is_there(0));
    knock(d, 5000);
    ck_assert(!is_there(0) && is_there(1));
    ck_assert_uint_eq(door_watch(d, polled), places);
    for (size_t i = 1; i < places; i++)
        speak(d, i);
    ck_assert(door_has_room(d));
    speak(d, places);
    ck_assert(!door_has_room(d)); /* all have spoken */
    let_in(d, 1);
    ck_assert(door_has_room(d));
    go_home(d);
}

TEST(there_are_so_many_places)
{
    assert_places(80, 20);
    assert_places(83, 20);
    assert_places(84, 21);
    assert_places(4 * DOOR_PLACES - 1, DOOR_PLACES - 1);
    assert_places(4 * DOOR_PLACES + 8, DOOR_PLACES);
}

TEST(nobody_is_no_door)
{
    door_free(NULL);
}
