/* file_sink_test.c - lines, torn tails, a full disk, rotation. */

#include "test.h"

#include "sink/file_sink.h"

#include "ground/clock.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[128];
static struct verdict said;
static int64_t took_us;
static unsigned answers;

/* ---- a clock that goes on by a millisecond each time, and a disk whose syncs are counted ------
 */

static int64_t now_us = 1000000;

int64_t clock_mono_us(void)
{
    return now_us += 1000;
}

int64_t clock_wall_us(void)
{
    return now_us;
}

static unsigned directory_syncs, file_syncs;
static bool sync_fails;

int fsync(int fd)
{
    struct stat st;

    directory_syncs += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    errno = EIO;
    return sync_fails ? -1 : 0;
}

int fdatasync(int fd)
{
    (void)fd;
    file_syncs++;
    errno = EIO;
    return sync_fails ? -1 : 0;
}

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    ck_assert_ptr_nonnull(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/file_sink_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/out.jsonl", dir);
    answers = 0;
}

static void teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(dir), 0);
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static const char *read_file(void)
{
    static char text[65536];
    FILE *f = fopen(path, "r");

    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

static void answered(void *arg, const struct sink_answer *a)
{
    ck_assert_uint_eq(a->count, *(size_t *)arg);
    said = a->overall;
    took_us = a->took_us;
    answers++;
}

static struct sink *open_sink(void)
{
    struct sink *s;
    struct fault fault = {0};

    ck_assert_msg(file_sink_open(path, &s, &fault) == ERR_OK, "%s", fault.why);
    return s;
}

static enum verdict_kind send_one(struct sink *s, const char *id, const char *json)
{
    size_t count = 1;
    struct pending p = {.no = 1,
                        .id = slice_str(id),
                        .kind = slice_str("run_summary"),
                        .json = slice_str(json),
                        .version = {.op = *json ? OUTBOX_UPSERT : OUTBOX_REMOVE, .seq = 7}};
    struct sink_call *c = s->ops->begin(s);

    ck_assert(s->ops->add(c, &p));
    s->ops->send(c, answered, &count);
    return said.kind;
}

#define LINE_A                                                                                     \
    "{\"op\":\"upsert\",\"kind\":\"run_summary\",\"document_id\":\"a\",\"seq\":7,\"summary\":{"    \
    "\"x\":1}}\n"

TEST(a_document_is_a_line)
{
    struct stat st;

    setup();
    struct sink *s = open_sink();
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_int_eq(send_one(s, "q\"\\\n", ""), VERDICT_DONE);
    ck_assert_uint_eq(answers, 2);
    ck_assert_str_eq(read_file(), LINE_A "{\"op\":\"remove\",\"kind\":\"run_summary\","
                                         "\"document_id\":\"q\\\"\\\\\\u000a\",\"seq\":7}\n");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    s->ops->close(s);
    s = open_sink(); /* appends */
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_ptr_nonnull(strstr(read_file(), "\"seq\":7}\n" LINE_A));
    s->ops->close(s);
    teardown();
}

TEST(a_torn_line_is_ended_first)
{
    setup();
    write_file("{\"op\":\"ups");
    struct sink *s = open_sink();
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_str_eq(read_file(), "{\"op\":\"ups\n" LINE_A LINE_A);
    s->ops->close(s);
    teardown();
}

/* The file may not grow beyond one line and a bit: a part is written, then nothing, then all. */
TEST(a_full_disk_is_again_and_never_swallows_a_good_line)
{
    struct rlimit limit, unlimited;

    setup();
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    struct sink *s = open_sink();
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    limit = unlimited;
    limit.rlim_cur = strlen(LINE_A) + 10;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_AGAIN);
    char wanted[200];
    snprintf(wanted, sizeof wanted, "%s: No space left on device", path);
    ck_assert_str_eq(said.why, wanted);
    ck_assert(said.is_endpoints);
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_AGAIN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_str_eq(read_file(), LINE_A "{\"op\":\"ups\n" LINE_A);
    s->ops->close(s);
    teardown();
}

TEST(reload_opens_the_path_again)
{
    struct fault fault = {0};
    char old[160];

    setup();
    struct sink *s = open_sink();
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    snprintf(old, sizeof old, "%s.1", path);
    ck_assert_int_eq(rename(path, old), 0);
    ck_assert_int_eq(s->ops->reload(s, &fault), ERR_OK);
    ck_assert_str_eq(read_file(), "");
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_str_eq(read_file(), LINE_A);
    ck_assert_int_eq(unlink(path), 0); /* a directory there: the old file goes on */
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(s->ops->reload(s, &fault), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(fault.why, path));
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_int_eq(rmdir(path), 0);
    s->ops->close(s);
    unlink(old);
    teardown();
}

TEST(what_is_no_file_is_refused_at_open)
{
    struct sink *s;
    struct fault fault = {0};

    ck_assert_int_eq(file_sink_open("/nonexistent/x", &s, &fault), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(fault.why, "/nonexistent/x"));
    ck_assert_int_eq(file_sink_open("/dev/null", &s, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "sink.file");
    ck_assert_str_eq(fault.why, "/dev/null: not a regular file");
}

TEST(a_path_is_tried_without_making_a_file)
{
    struct fault fault = {0};
    char other[160];

    setup();
    ck_assert_int_eq(file_sink_try(path, &fault), ERR_OK);
    ck_assert_int_eq(access(path, F_OK), -1);
    write_file("x");
    ck_assert_int_eq(file_sink_try(path, &fault), ERR_OK);
    ck_assert_int_eq(file_sink_try("/nonexistent/x", &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "/nonexistent/x: No such file or directory");
    snprintf(other, sizeof other, "%s/x", path); /* below what is no directory */
    ck_assert_int_eq(file_sink_try(other, &fault), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(fault.why, ": Not a directory"));
    ck_assert_int_eq(file_sink_try("/dev/null", &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "/dev/null: not a regular file");
    teardown();
}

TEST(what_is_new_is_on_disk_before_it_is_confirmed)
{
    setup();
    directory_syncs = file_syncs = 0;
    struct sink *s = open_sink();
    ck_assert_uint_eq(directory_syncs, 1); /* its name */
    ck_assert_uint_eq(file_syncs, 0);
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_uint_eq(file_syncs, 1);
    ck_assert_int_eq(took_us, 1000);
    sync_fails = true;
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_AGAIN);
    ck_assert_ptr_nonnull(strstr(said.why, ": Input/output error"));
    sync_fails = false;
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    ck_assert_str_eq(read_file(), LINE_A LINE_A LINE_A);
    s->ops->close(s);
    directory_syncs = 0;
    s = open_sink();
    ck_assert_uint_eq(directory_syncs, 0); /* it was there */
    s->ops->close(s);
    unlink(path);
    sync_fails = true;
    struct fault fault = {0};
    ck_assert_int_eq(file_sink_open(path, &s, &fault), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(fault.why, ": Input/output error"));
    sync_fails = false;
    teardown();
}

TEST(nothing_stays_open)
{
    struct fault fault = {0};
    unsigned before = open_files();

    setup();
    struct sink *s = open_sink();
    ck_assert_uint_eq(open_files(), before + 1);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(s->ops->reload(s, &fault), ERR_OK);
    ck_assert_uint_eq(open_files(), before + 1);
    s->ops->close(s);
    ck_assert_int_eq(file_sink_open("/dev/null", &s, &fault), ERR_INVALID);
    ck_assert_int_eq(file_sink_open("/nonexistent/x", &s, &fault), ERR_INVALID);
    ck_assert_uint_eq(open_files(), before);

    int input = dup(STDIN_FILENO); /* where that is closed, a file may be number 0 */
    close(STDIN_FILENO);
    s = open_sink();
    ck_assert_int_eq(send_one(s, "a", "{\"x\":1}"), VERDICT_DONE);
    s->ops->close(s);
    if (input >= 0) {
        ck_assert_int_eq(dup2(input, STDIN_FILENO), STDIN_FILENO);
        close(input);
    }
    teardown();
}

static void on_told(void *arg, const struct verdict *v)
{
    *(enum verdict_kind *)arg = v->kind;
}

TEST(it_answers_questions_takes_no_control_and_waits)
{
    enum verdict_kind kind = VERDICT_REFUSED;
    int fd = eventfd(1, EFD_CLOEXEC);

    setup();
    struct sink *s = open_sink();
    s->ops->ask(s, SINK_CONTROL, slice_str("run_summary"), on_told, &kind);
    ck_assert_int_eq(kind, VERDICT_DONE);
    struct sink_call *c = s->ops->begin(s);
    ck_assert(!s->ops->add_control(c, slice_str("run_summary")));
    s->ops->send(c, answered, &(size_t){0});
    s->ops->wait(s, fd, -1); /* readable: returns */
    close(fd);
    struct sink_peer peer;
    sink_peer(s, &peer);
    ck_assert_int_eq(peer.mark, -1);
    ck_assert_int_eq(peer.functions, 0);
    s->ops->close(s);
    teardown();
}

/* The body of two documents, the second of ${len} bytes: whether it fits. */
static bool fits_beside(struct sink *s, char *json, size_t len)
{
    struct pending p = {.id = slice_str("a"), .kind = slice_str("k"), .json = slice_str("{}")};
    struct sink_call *c = s->ops->begin(s);

    ck_assert(s->ops->add(c, &p));
    p.json = slice_of(json, len);
    bool fits = s->ops->add(c, &p);
    s->ops->send(c, answered, &(size_t){1 + fits});
    return fits;
}

TEST(a_call_ends_at_its_bytes_and_what_does_not_fit_leaves_nothing)
{
    const size_t max = 8u << 20, lines = strlen("{\"op\":\"upsert\",\"kind\":\"k\",\"document_"
                                                "id\":\"a\",\"seq\":0,\"summary\":}\n");
    char *json = base_alloc(max);
    struct stat st;

    setup();
    memset(json, '1', max);
    struct sink *s = open_sink();
    ck_assert(fits_beside(s, json, max - 1 - 2 * lines - 2)); /* a byte to end a torn line with */
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)max - 1);
    ck_assert(!fits_beside(s, json, max - 1 - 2 * lines - 1));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, (off_t)(max - 1 + lines + 2));
    s->ops->close(s);
    free(json);
    teardown();
}

TEST(a_call_is_bounded_and_its_first_document_always_fits)
{
    size_t size = 6u << 20;
    char *big = base_alloc(size + 3);
    struct pending p = {.id = slice_str("a"), .kind = slice_str("k")};

    setup();
    memset(big, ' ', size);
    big[0] = '{';
    big[size - 1] = '}';
    p.json = slice_of(big, size);
    struct sink *s = open_sink();
    struct sink_call *c = s->ops->begin(s);
    ck_assert(s->ops->add(c, &p));
    ck_assert(!s->ops->add(c, &p));
    s->ops->send(c, answered, &(size_t){1});
    c = s->ops->begin(s);
    p.json = slice_str("{}");
    for (size_t i = 0; i < s->max_documents; i++)
        ck_assert(s->ops->add(c, &p));
    ck_assert(!s->ops->add(c, &p));
    s->ops->send(c, answered, &(size_t){s->max_documents});
    s->ops->close(s);
    free(big);
    teardown();
}
