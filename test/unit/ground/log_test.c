/* log_test.c - what reaches standard error, and what happens when nobody reads it. */

#include "ground/clock.h"
#include "ground/log.h"

#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The clock, and how far it was put on. */
static int64_t put_on_us;

static int64_t now_us(clockid_t which)
{
    struct timespec t;

    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_mono_us(void)
{
    return now_us(CLOCK_MONOTONIC) + put_on_us;
}

int64_t clock_wall_us(void)
{
    return now_us(CLOCK_REALTIME);
}

static int saved_stderr = -1;

/* Standard error becomes ${fd} until release(). */
static void redirect(int fd)
{
    saved_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(saved_stderr, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
}

static void release(void)
{
    ck_assert_int_ge(dup2(saved_stderr, STDERR_FILENO), 0);
    close(saved_stderr);
    unsetenv("JOURNAL_STREAM");
    log_open(LOG_INFO);
}

static int temp_file(void)
{
    char path[] = "/tmp/log_test.XXXXXX";
    int fd = mkostemp(path, O_APPEND);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    return fd;
}

/* All of ${fd} so far, terminated, in a buffer of its own. */
static char *contents(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = base_alloc((size_t)size + 1);
    ck_assert_int_eq(pread(fd, text, (size_t)size, 0), size);
    return text;
}

TEST(a_line_is_level_event_and_values)
{
    int fd = temp_file();
    redirect(fd);
    log_event(LOG_INFO, "dist.up", "port=%d", 4711);
    log_event(LOG_ERROR, "sidecar.stopped", "%s", "");
    log_event(LOG_DEBUG, "not.shown", "x=1");
    log_open(LOG_ERROR);
    log_event(LOG_WARNING, "not.shown", "x=2");
    release();
    char *text = contents(fd);
    ck_assert_str_eq(text, "info dist.up port=4711\nerror sidecar.stopped\n");
    free(text);
    close(fd);
}

TEST(what_is_not_printable_is_escaped)
{
    int fd = temp_file();
    redirect(fd);
    log_event(LOG_INFO, "e", "v=%s", "a\nb\x1b[31m\x7f\xc3\xa4\\");
    release();
    char *text = contents(fd);
    ck_assert_str_eq(text, "info e v=a\\nb\\x1b[31m\\x7f\\xc3\\xa4\\\n");
    free(text);
    close(fd);
}

TEST(a_long_line_is_cut_and_says_so)
{
    int fd = temp_file();
    char *big = base_alloc(10001);
    memset(big, '\n', 10000); /* each becomes two */
    redirect(fd);
    log_event(LOG_INFO, "long.escaped", "v=%s", big);
    memset(big, 'x', 10000);
    log_event(LOG_INFO, "long.plain", "v=%s", big);
    release();
    char *text = contents(fd), *second = strchr(text, '\n') + 1;
    ck_assert_uint_le((size_t)(second - text), 2048);
    ck_assert_uint_gt((size_t)(second - text), 2000);
    ck_assert(strncmp(second - 4, "...\n", 4) == 0);
    ck_assert_uint_le(strlen(second), 2048);
    ck_assert_uint_gt(strlen(second), 2000);
    ck_assert_str_eq(second + strlen(second) - 4, "...\n");
    free(text);
    free(big);
    close(fd);
}

TEST(the_journal_gets_a_priority_and_others_do_not)
{
    int fd = temp_file();
    struct stat s;
    char stream[64];
    ck_assert_int_eq(fstat(fd, &s), 0);
    redirect(fd);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)s.st_dev,
             (unsigned long long)s.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_open(LOG_DEBUG);
    log_event(LOG_ERROR, "e", "x=%d", 1);
    log_event(LOG_WARNING, "w", "x=%d", 2);
    log_event(LOG_INFO, "i", "x=%d", 3);
    log_event(LOG_DEBUG, "d", "x=%d", 4);
    setenv("JOURNAL_STREAM", "1:1", 1); /* a child of a service, its standard error elsewhere */
    log_open(LOG_INFO);
    log_event(LOG_INFO, "i", "x=%d", 5);
    release();
    char *text = contents(fd);
    ck_assert_str_eq(text, "<3>error e x=1\n<4>warning w x=2\n<6>info i x=3\n<7>debug d x=4\n"
                           "info i x=5\n");
    free(text);
    close(fd);
}

TEST(errno_survives_and_can_be_shown)
{
    int fd = temp_file();
    redirect(fd);
    errno = ENOSPC;
    log_event(LOG_ERROR, "store.failed", "why=\"%m\"");
    int after = errno;
    release();
    ck_assert_int_eq(after, ENOSPC);
    char *text = contents(fd);
    ck_assert_str_eq(text, "error store.failed why=\"No space left on device\"\n");
    free(text);
    close(fd);
}

TEST(a_reader_that_does_not_read_costs_lines_not_time)
{
    int ends[2];
    char some[4096];
    uint64_t lines = 0;
    ck_assert_int_eq(pipe(ends), 0);
    redirect(ends[1]);
    log_open(LOG_DEBUG);
    for (int i = 0; i < 20000; i++) /* far more than a pipe holds: would block for ever */
        log_event(LOG_DEBUG, "flood", "i=%05d", i); /* debug: all of them */
    ck_assert_int_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    for (ssize_t n; (n = read(ends[0], some, sizeof some)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            lines += some[i] == '\n';
    log_event(LOG_INFO, "after", "x=%d", 1);
    release();
    ssize_t n = read(ends[0], some, sizeof some - 1);
    ck_assert_int_gt(n, 0);
    some[n] = '\0';
    char wanted[100];
    snprintf(wanted, sizeof wanted, "warning log.dropped lines=%llu\ninfo after x=1\n",
             (unsigned long long)(20000 - lines));
    ck_assert_str_eq(some, wanted);
    ck_assert_uint_gt(lines, 0);
    close(ends[0]);
    close(ends[1]);
}

#define THREADS 4
#define LINES   500

static void *writer(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_DEBUG, "thread", "n=%d i=%d pad=%0100d", *(int *)arg, i, i);
    return NULL;
}

TEST(lines_of_many_threads_do_not_mix)
{
    int fd = temp_file(), numbers[THREADS], count = 0;
    pthread_t threads[THREADS];
    redirect(fd);
    log_open(LOG_DEBUG);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, writer, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    release();
    char *text = contents(fd), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; count++) {
        int n, i, pad, end = 0;
        ck_assert_int_eq(sscanf(line, "debug thread n=%d i=%d pad=%d%n", &n, &i, &pad, &end), 3);
        ck_assert_int_eq(i, pad);
        ck_assert_int_eq(line[end], '\0');
    }
    ck_assert_int_eq(count, THREADS * LINES);
    free(text);
    close(fd);
}

TEST(quoting)
{
    char out[64], small[12];
    ck_assert_str_eq(log_quote(slice_str("plain text"), out, sizeof out), "\"plain text\"");
    ck_assert_str_eq(log_quote(slice_str("a\"b\\c\n\xff"), out, sizeof out),
                     "\"a\\\"b\\\\c\\n\\xff\"");
    ck_assert_str_eq(log_quote(slice_of("", 0), out, sizeof out), "\"\"");
    ck_assert_str_eq(log_quote(slice_of("a\0b", 3), out, sizeof out), "\"a\\x00b\"");
    ck_assert_str_eq(log_quote(slice_str("0123456789abcdef"), small, sizeof small),
                     "\"012345...\"");
    ck_assert_uint_lt(strlen(small), sizeof small);
    /* An escape that does not fit is left out whole. */
    ck_assert_str_eq(log_quote(slice_str("01234\x01\x01"), small, sizeof small), "\"01234...\"");
}

TEST(levels_by_name)
{
    enum log_level level = LOG_DEBUG;
    ck_assert(log_level_parse("error", &level) && level == LOG_ERROR);
    ck_assert(log_level_parse("warning", &level) && level == LOG_WARNING);
    ck_assert(log_level_parse("info", &level) && level == LOG_INFO);
    ck_assert(log_level_parse("debug", &level) && level == LOG_DEBUG);
    ck_assert(!log_level_parse("Info", &level) && !log_level_parse("", &level));
    ck_assert_int_eq(level, LOG_DEBUG);
}

static size_t count_of(const char *text, const char *part)
{
    size_t n = 0;

    while ((text = strstr(text, part)) != NULL) {
        n++;
        text += strlen(part);
    }
    return n;
}

TEST(a_flood_of_one_event_is_held_back_and_counted)
{
    int fd = temp_file();
    redirect(fd);
    log_open(LOG_DEBUG);
    for (int i = 0; i < LOG_BURST + 25; i++) {
        log_event(LOG_WARNING, "flood.one", "i=%d", i);
        log_event(LOG_DEBUG, "flood.debug", "i=%d", i);
    }
    log_event(LOG_WARNING, "other.event", "%s", "");
    log_tick(); /* its time is not over */
    put_on_us += LOG_BURST_MS * 1000LL;
    log_tick();
    log_event(LOG_WARNING, "flood.one", "i=last");
    release();
    char *text = contents(fd);
    ck_assert_uint_eq(count_of(text, "flood.one i="), LOG_BURST + 1);
    ck_assert_uint_eq(count_of(text, "flood.debug i="), LOG_BURST + 25);
    ck_assert_uint_eq(count_of(text, "other.event"), 1);
    ck_assert_uint_eq(count_of(text, "warning log.limited event=flood.one lines=25\n"), 1);
    ck_assert_uint_eq(count_of(text, "log.limited"), 1);
    free(text);
    close(fd);
}

TEST(repeats_are_limited)
{
    int64_t last = 0, other = 0;
    ck_assert(log_limited(&last, 60000));
    ck_assert(!log_limited(&last, 60000));
    ck_assert(!log_limited(&last, 60000));
    ck_assert(log_limited(&other, 60000));
    ck_assert(log_limited(&last, 0)); /* the period is over at once */
}
