/* publish_test.c - when the name is registered again, with an epmd and a clock of the test's. */

#include "dist/epmd.h"
#include "dist/publish.h"
#include "ground/clock.h"
#include "ground/fake_log.c"

#include "test.h"

#include <sys/socket.h>
#include <unistd.h>

static int64_t now_ms = 50000;
static int epmds_end; /* of the connection that stands */
static bool refuses;
static unsigned asked;

int64_t clock_mono_us(void)
{
    return now_ms * 1000;
}

int64_t clock_wall_us(void)
{
    return now_ms * 1000;
}

enum err epmd_register(const char *alive, int port, int *fd, struct fault *fault)
{
    int s[2];

    asked++;
    ck_assert_str_eq(alive, "sidecar");
    ck_assert_int_eq(port, 4711);
    if (refuses)
        return fault_fail(fault, ERR_SYSTEM, NULL, "it is taken");
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
    epmds_end = s[1];
    *fd = s[0];
    return ERR_OK;
}

static struct publish *open_it(void)
{
    struct publish *p = NULL;
    struct fault fault = {0};

    ck_assert_int_eq(publish_open("sidecar", 4711, &p, &fault), ERR_OK);
    ck_assert_uint_eq(asked, 1);
    ck_assert(publish_stands(p));
    ck_assert_int_ge(publish_fd(p), 0);
    ck_assert_int_eq(publish_due_ms(p), INT64_MAX);
    return p;
}

static void assert_lost_until(const struct publish *p, int64_t due_ms)
{
    ck_assert(!publish_stands(p));
    ck_assert_int_eq(publish_fd(p), -1);
    ck_assert_int_eq(publish_due_ms(p), due_ms);
}

TEST(while_epmd_is_there_nothing_is_asked)
{
    struct publish *p = open_it();
    char byte;

    now_ms += 100000;
    publish_tend(p);
    ck_assert(publish_stands(p));
    ck_assert_uint_eq(asked, 1);
    publish_close(p); /* takes the name back */
    ck_assert_int_eq(recv(epmds_end, &byte, 1, MSG_DONTWAIT), 0);
    close(epmds_end);
}

TEST(an_epmd_that_was_there_for_long_is_asked_at_once)
{
    struct publish *p = open_it();

    now_ms += 2000;
    close(epmds_end);
    publish_tend(p);
    ck_assert_uint_eq(asked, 2);
    ck_assert(publish_stands(p));
    ck_assert_int_eq(publish_due_ms(p), INT64_MAX);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1);
    ck_assert_str_eq(fake_log_last, "dist.epmd_back name=sidecar port=4711");
    publish_close(p);
}

TEST(one_that_goes_again_is_asked_two_seconds_after_it_came)
{
    struct publish *p = open_it();

    now_ms += 1999;
    close(epmds_end);
    publish_tend(p);
    assert_lost_until(p, 52000);
    ck_assert_str_eq(fake_log_last, "dist.epmd_lost name=sidecar: new BEAM nodes cannot find us "
                                    "until it is back");
    ck_assert_uint_eq(asked, 1);
    now_ms = 52000;
    publish_tend(p);
    ck_assert_uint_eq(asked, 2);
    ck_assert(publish_stands(p));
    now_ms = 53000; /* two seconds since it came, not since the first */
    close(epmds_end);
    publish_tend(p);
    assert_lost_until(p, 54000);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 1); /* within ten seconds */
    publish_close(p);
}

TEST(one_that_refuses_is_asked_every_two_seconds)
{
    struct publish *p = open_it();

    now_ms += 3000;
    refuses = true;
    close(epmds_end);
    publish_tend(p);
    assert_lost_until(p, 55000);
    ck_assert_uint_eq(asked, 2);
    ck_assert_str_eq(fake_log_last, "dist.not_published name=sidecar why=\"it is taken\"");
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 2);
    now_ms = 54999;
    publish_tend(p);
    ck_assert_uint_eq(asked, 2);
    now_ms = 55000;
    publish_tend(p);
    ck_assert_uint_eq(asked, 3);
    assert_lost_until(p, 57000);
    ck_assert_int_eq(fake_log_lines[LOG_WARNING], 2);
    refuses = false;
    now_ms = 57000;
    publish_tend(p);
    ck_assert(publish_stands(p));
    ck_assert_int_eq(publish_due_ms(p), INT64_MAX);
    publish_close(p);
    close(epmds_end);
}

TEST(one_that_talks_is_none)
{
    struct publish *p = open_it();

    ck_assert_int_eq(write(epmds_end, "x", 1), 1);
    publish_tend(p);
    assert_lost_until(p, 52000);
    publish_close(p);
    close(epmds_end);
}

TEST(without_a_name_nobody_is_told)
{
    struct publish *p = NULL;
    struct fault fault = {0};

    ck_assert(publish_stands(NULL));
    ck_assert_int_eq(publish_fd(NULL), -1);
    ck_assert_int_eq(publish_due_ms(NULL), INT64_MAX);
    publish_close(NULL);
    refuses = true;
    ck_assert_int_eq(publish_open("sidecar", 4711, &p, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "it is taken");
    ck_assert_ptr_null(p);
}
