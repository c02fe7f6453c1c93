/* noop_sink_test.c - everything is done, or stopped, inside send. */

#include "test.h"

#include "sink/noop_sink.h"

#include <sys/eventfd.h>
#include <unistd.h>

static struct sink_answer got;
static unsigned answers;

static void answered(void *arg, const struct sink_answer *a)
{
    ck_assert_ptr_eq(arg, &got);
    got = *a;
    answers++;
}

static void told(void *arg, const struct verdict *v)
{
    *(enum verdict_kind *)arg = v->kind;
}

TEST(a_call_is_done_at_once)
{
    struct sink *s = noop_sink_open();
    struct pending p = {.no = 1, .id = slice_str("a")};
    struct sink_call *c = s->ops->begin(s);

    for (size_t i = 0; i < s->max_documents; i++)
        ck_assert(s->ops->add(c, &p));
    ck_assert(!s->ops->add(c, &p));
    ck_assert(!s->ops->add_control(c, slice_str("run_summary")));
    answers = 0;
    s->ops->send(c, answered, &got);
    ck_assert_uint_eq(answers, 1);
    ck_assert_uint_eq(got.count, s->max_documents);
    ck_assert_ptr_null(got.each);
    ck_assert_int_eq(got.overall.kind, VERDICT_DONE);
    s->ops->close(s);
}

TEST(it_waits_for_the_wake_and_for_the_time)
{
    struct sink *s = noop_sink_open();
    struct fault fault = {0};
    enum verdict_kind kind = VERDICT_REFUSED;
    int fd = eventfd(1, EFD_CLOEXEC);

    s->ops->wait(s, fd, -1); /* readable: returns */
    uint64_t n;
    ck_assert_int_eq(read(fd, &n, sizeof n), sizeof n);
    s->ops->wait(s, fd, 1); /* not readable: returns when its time is over */
    s->ops->ask(s, SINK_CONTROL, slice_str(""), told, &kind);
    ck_assert_int_eq(kind, VERDICT_DONE);
    ck_assert_int_eq(s->ops->reload(s, &fault), ERR_OK);
    close(fd);
    s->ops->close(s);
}
