/* sidecar_test.c - all parts together: each wire carries what it should, and what is opened is
 * closed. */

#include "sidecar/sidecar.h"

#include "cli/cli_client.h"
#include "config/config.h"
#include "ground/clock.h"
#include "ground/log.h"
#include "test.h"
#include "temp_dir.h"
#include "term/term_text.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

/* The clock goes ahead when this test says so. */
static _Atomic int64_t ahead_us;

static int64_t read_us(clockid_t which)
{
    struct timespec t;

    ck_assert_int_eq(clock_gettime(which, &t), 0);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + ahead_us;
}

int64_t clock_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

struct site {
    struct temp_dir dir;
    char store[100];
    struct config *config;
    struct sidecar *sidecar;
    int observe_port;
};

static char said[1 << 16];

/* sidecar_say_ready with standard output caught in ${said}. */
static void catch_ready(struct sidecar *s)
{
    int ends[2], out = dup(STDOUT_FILENO);

    ck_assert_int_eq(pipe(ends), 0);
    fflush(stdout);
    dup2(ends[1], STDOUT_FILENO);
    sidecar_say_ready(s);
    dup2(out, STDOUT_FILENO);
    close(ends[1]);
    close(out);
    ssize_t n = read(ends[0], said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    close(ends[0]);
}

static struct config *configure(const char *dir, const char *more)
{
    struct config *c = config_new();
    struct fault fault = {0};
    char text[2000];

    snprintf(
        text, sizeof text,
        "[node]\nname = side@127.0.0.1\ncookie = secret\nepmd = false\nlisten_address = 127.0.0.1\n"
        "[store]\ndir = %s/store\n[observe]\nport = -1\n%s",
        dir, more);
    ck_assert_msg(config_read_text(c, "test.ini", text, &fault) == ERR_OK, "%s %s", fault.path,
                  fault.why);
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s %s", fault.path, fault.why);
    return c;
}

static void open_site(struct site *t, const char *more)
{
    struct fault fault = {0};
    int port = 0;
    long pid = 0;

    t->config = configure(t->dir.path, more);
    snprintf(t->store, sizeof t->store, "%s/store", t->dir.path);
    ck_assert_msg(sidecar_open(t->config, &t->sidecar, &fault) == ERR_OK, "%s %s", fault.path,
                  fault.why);
    catch_ready(t->sidecar);
    ck_assert_int_eq(sscanf(said, "ready node=side@127.0.0.1 port=%d pid=%ld observe_port=%d\n",
                            &port, &pid, &t->observe_port),
                     3);
    ck_assert_int_gt(port, 0);
    ck_assert_int_eq(pid, getpid());
}

static struct site start(const char *more)
{
    struct site t = {.dir = temp_dir_make()};

    open_site(&t, more);
    return t;
}

static uint64_t stop(struct site *t)
{
    uint64_t pending = sidecar_close(t->sidecar, 1000);

    config_free(t->config);
    return pending;
}

static void finish(struct site *t)
{
    stop(t);
    temp_dir_empty(t->store);
    rmdir(t->store);
    temp_dir_remove(&t->dir);
}

/* What it answers to ${request}, as text, in ${said}. */
static const char *ask(struct site *t, const char *request)
{
    struct buf b = {0}, message = {0};
    struct fault fault = {0};
    term answer;

    term_of(&b, request);
    enum err e = cli_client_call(t->store, slice_of(b.data + 1, b.len - 1), 10000, &message,
                                 &answer, &fault);
    ck_assert_msg(e == ERR_OK, "%s", fault.why);
    b.len = 0;
    term_text_show(&b, answer);
    snprintf(said, sizeof said, "%.*s", SLICE_ARG(buf_view(&b)));
    buf_free(&b);
    buf_free(&message);
    return said;
}

#define HAS(part) ck_assert_msg(strstr(said, part) != NULL, "%s is not in %s", part, said)

/* GET ${path}, all of the answer in ${said}. */
static void get(struct site *t, const char *path)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)t->observe_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t n = 0;

    ck_assert_int_eq(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    dprintf(fd, "GET %s HTTP/1.0\r\nHost: 127.0.0.1:%d\r\n\r\n", path, t->observe_port);
    for (ssize_t got; (got = read(fd, said + n, sizeof said - 1 - n)) > 0;)
        n += (size_t)got;
    said[n] = '\0';
    close(fd);
}

#define UPSERT(id)                                                                                 \
    "(upsert, 'run_summary', 'runtime/run_summary:" id "', {run_id: '" id                          \
    "', status: 'running', projection_version: 'v1', projected_at: '2026-11-29T01:02:03Z', "       \
    "runtime_source: {entity: 'run', entity_id: '" id "', seq: 1}}, {})"

static void says(struct site *t, const char *request, const char *wanted)
{
    ck_assert_str_eq(ask(t, request), wanted);
}

TEST(what_is_sent_is_delivered_and_shown)
{
    struct site t = start("[sink]\ntype = noop\n");
    struct buf b = {0};

    ask(&t, "status");
    HAS("(ok, {");
    HAS("node: 'side@127.0.0.1'");
    HAS("sink: 'noop', base_url: '', batching: false, batch_mutation: ''");
    HAS("state: 'running'");
    HAS("/store', sandbox: 'off', draining: false, published: true, store_ok: true");
    says(&t, "peers", "(ok, [])");
    ask(&t, UPSERT("a"));
    ck_assert_msg(strncmp(said, "(ok, {", 6) == 0, "%s", said);
    says(&t, "(flush, 10000)", "(ok, {pending: 0})");
    ask(&t, "(explain, 'runtime/run_summary:a')");
    HAS("kind: 'run_summary', state: 'delivered', ");
    HAS("convex: {not_asked: 'the sink cannot be read back'}");
    sidecar_put_sentence(t.sidecar, &b);
    ck_assert_uint_gt(b.len, 14);
    ck_assert_int_eq(memcmp(b.data, "running since ", 14), 0);
    ck_assert(sidecar_is_drained(t.sidecar));
    says(&t, "reload", "(ok, reloaded)");
    says(&t, "(audit, all, {repair: false, after: ''})",
         "(error, (invalid, '', 'the sink cannot be read back'))");
    buf_free(&b);
    finish(&t);
}

TEST(over_http_it_says_the_same)
{
    struct site t = start("[sink]\ntype = noop\n");

    get(&t, "/status");
    HAS(" 200 OK");
    HAS("\"node\":\"side@127.0.0.1\"");
    HAS("\"state\":\"running\"");
    get(&t, "/readyz");
    HAS(" 200 OK");
    get(&t, "/history");
    HAS("{\"step_s\":10,");
    HAS(",\"log\":null}");
    get(&t, "/dead");
    HAS("\r\n\r\n[]");
    get(&t, "/metrics");
    HAS("convex_sidecar_store_ok 1");
    says(&t, "pause", "(ok, paused)");
    get(&t, "/readyz");
    HAS(" 503 ");
    HAS("delivery is paused; next: resume sends what waits");
    finish(&t);
    t = start("[sink]\ntype = noop\n[observe]\ndetails = true\n");
    get(&t, "/history");
    HAS(",\"log\":[");
    finish(&t);
}

TEST(what_waits_is_listed_while_it_is_paused)
{
    struct site t = start("[sink]\ntype = noop\n");

    says(&t, "pause", "(ok, paused)");
    ask(&t, "(changes, 0)");
    HAS("state: 'paused', why: '', next: 'resume sends what waits', since: '");
    HAS("store_ok: true, kinds: [], mending: nil})");
    ask(&t, UPSERT("a"));
    ask(&t, "(pending, {troubled: false})");
    HAS("document_id: 'runtime/run_summary:a'");
    says(&t, "(pending, {troubled: true})", "(ok, [])");
    ask(&t, "(explain, 'runtime/run_summary:a')");
    HAS("delivery: {endpoint: 'paused', ");
    ck_assert(sidecar_is_drained(t.sidecar)); /* it stands still anyway */
    says(&t, "(adopt, {dry_run: true})", "(ok, {would_adopt: 'nothing is to be adopted'})");
    says(&t, "(adopt, {dry_run: false})", "(ok, {adopted: 'nothing is to be adopted'})");
    says(&t, "resume", "(ok, running)");
    says(&t, "(flush, 10000)", "(ok, {pending: 0})");
    sidecar_drain(t.sidecar);
    says(&t, UPSERT("c"), "(error, draining)");
    says(&t, "resume", "(ok, running)");
    ask(&t, UPSERT("c"));
    HAS("(ok, {");
    finish(&t);
}

/* What waits for one sink goes to another only when that is said. */
TEST(another_sink_is_adopted)
{
    struct site t = {.dir = temp_dir_make()};
    char to_file[200];

    snprintf(to_file, sizeof to_file, "[sink]\ntype = file\nfile = %s/lines\n", t.dir.path);
    open_site(&t, to_file);

    ask(&t, UPSERT("a"));
    says(&t, "(flush, 10000)", "(ok, {pending: 0})");
    says(&t, "pause", "(ok, paused)");
    ask(&t, UPSERT("b"));
    ck_assert_uint_eq(stop(&t), 1);
    open_site(&t, "[sink]\ntype = noop\n");
    ask(&t, "status");
    HAS("sink: 'noop'");
    HAS("state: 'stopped'");
    says(&t, "(adopt, {dry_run: true})",
         "(ok, {would_adopt: 'sink noop: what waits here for file is confirmed to it'})");
    ask(&t, "status");
    HAS("state: 'stopped'");
    says(&t, "(adopt, {dry_run: false})",
         "(ok, {adopted: 'sink noop: what waits here for file is confirmed to it'})");
    says(&t, "(flush, 10000)", "(ok, {pending: 0})");
    ask(&t, "status");
    HAS("destination: {sink: 'noop'");
    says(&t, "(adopt, {dry_run: true})", "(ok, {would_adopt: 'nothing is to be adopted'})");
    finish(&t);
}

/* A start that the store may end is over after a minute. */
TEST(ticks_keep_the_history_and_end_the_start)
{
    struct site t = start("[sink]\ntype = noop\n[observe]\ndetails = true\n");
    char starting[200];

    stop(&t);
    open_site(&t, "[sink]\ntype = noop\n");
    snprintf(starting, sizeof starting, "%s/starting", t.store);
    sidecar_tick(t.sidecar);
    ck_assert_int_eq(access(starting, F_OK), 0);
    sidecar_reload(t.sidecar);
    get(&t, "/history");
    HAS("\"samples\":[],");
    ahead_us += 61000000;
    sidecar_tick(t.sidecar);
    ck_assert_int_ne(access(starting, F_OK), 0);
    get(&t, "/history");
    HAS("\"samples\":[[");
    get(&t, "/healthz");
    HAS(" 200 OK"); /* a process that stood still finds nobody late */
    finish(&t);
}

static char swept[1000];

/* A VM's offer to sweep; its answer comes when a sweep is wanted. */
static void *offer(void *arg)
{
    struct buf b = {0}, message = {0};
    struct fault fault = {0};
    term answer;

    term_of(&b, swept[0] == '\0' ? "(sweep, {vm: 'vm@h', running: 0, done: 0})"
                                 : "(sweep, {vm: 'vm@h', running: 0, done: 1})");
    swept[0] = '\0';
    if (cli_client_call(arg, slice_of(b.data + 1, b.len - 1), 20000, &message, &answer, &fault) ==
        ERR_OK) {
        b.len = 0;
        term_text_show(&b, answer);
        snprintf(swept, sizeof swept, "%.*s", SLICE_ARG(buf_view(&b)));
    }
    buf_free(&b);
    buf_free(&message);
    return NULL;
}

/* Tick until the status has ${part}. */
static void tick_until(struct site *t, const char *part)
{
    for (int i = 0; i < 1000 && strstr(ask(t, "status"), part) == NULL; i++) {
        sidecar_tick(t->sidecar);
        usleep(10000);
    }
    HAS(part);
}

TEST(what_is_in_doubt_after_a_sweep_can_be_believed)
{
    struct site t = start("[sink]\ntype = noop\n");
    static const char believed[] = "what is left in doubt is believed to stand there";
    char to_file[200], answer[200];
    pthread_t vm;

    ask(&t, UPSERT("a"));
    says(&t, "(flush, 10000)", "(ok, {pending: 0})");
    stop(&t);
    snprintf(to_file, sizeof to_file, "[sink]\ntype = file\nfile = %s/lines\n", t.dir.path);
    open_site(&t, to_file);
    ask(&t, "status");
    HAS("doubt: {why: 'it was confirmed by another sink'");
    says(&t, "(adopt, {dry_run: true})", "(ok, {would_adopt: 'nothing is to be adopted'})");
    ck_assert_int_eq(pthread_create(&vm, NULL, offer, t.store), 0);
    tick_until(&t, "swept_by: 'vm@h'");
    pthread_join(vm, NULL);
    ck_assert_str_eq(swept, "(ok, {sweep: 1, why: 'it was confirmed by another sink'})");
    ck_assert_int_eq(pthread_create(&vm, NULL, offer, t.store), 0);
    tick_until(&t, "swept: true");
    snprintf(answer, sizeof answer, "(ok, {would_adopt: '%s'})", believed);
    says(&t, "(adopt, {dry_run: true})", answer);
    ask(&t, "status");
    HAS("swept: true");
    snprintf(answer, sizeof answer, "(ok, {adopted: '%s'})", believed);
    says(&t, "(adopt, {dry_run: false})", answer);
    tick_until(&t, "doubt: nil");
    finish(&t);
    pthread_join(vm, NULL);
}

static void check_fails(const char *more, const char *why)
{
    struct temp_dir d = temp_dir_make();
    struct config *c = configure(d.path, more);
    struct sidecar *s = NULL;
    struct fault fault = {0};
    char path[100];

    ck_assert_int_ne(sidecar_open(c, &s, &fault), ERR_OK);
    ck_assert_ptr_null(s);
    ck_assert_msg(strstr(fault.why, why) != NULL, "%s", fault.why);
    config_free(c);
    snprintf(path, sizeof path, "%s/store", d.path);
    temp_dir_empty(path);
    rmdir(path);
    temp_dir_remove(&d);
}

TEST(what_cannot_be_opened_is_said_and_all_is_closed)
{
    check_fails("[sink]\ntype = file\nfile = /nonexistent/lines\n", "No such file");
    check_fails("[observe]\naddress = 192.0.2.1\n", "");
    ck_assert_uint_eq(sidecar_close(NULL, 0), 0);
}

/* Nobody listens there: what is kept waits, and is tried again. */
TEST(convex_that_is_not_there_is_waited_for)
{
    struct site t = start("[sink]\ntype = http\nbase_url = http://127.0.0.1:9\nadmin_key = a|b\n");

    ask(&t, UPSERT("a"));
    for (int i = 0; i < 1000 && strstr(ask(&t, "status"), "state: 'waiting'") == NULL; i++)
        usleep(10000);
    HAS("state: 'waiting'");
    HAS("sink: 'http', base_url: 'http://127.0.0.1:9', batching: true, batch_mutation: "
        "'runtime:upsertBatch'");
    HAS("why: 'not sent: Failed to connect to 127.0.0.1 port 9");
    ck_assert(!sidecar_is_drained(t.sidecar));
    ask(&t, "(pending, {troubled: false})");
    HAS("document_id: 'runtime/run_summary:a'");
    says(&t, "(adopt, {dry_run: true})", "(ok, {would_adopt: 'nothing is to be adopted'})");
    ask(&t, "(audit, status)");
    HAS("(ok, {state: 'idle', ");
    get(&t, "/readyz");
    HAS(" 200 OK"); /* as long as it may pass */
    ck_assert_uint_eq(stop(&t), 1);
    temp_dir_empty(t.store);
    rmdir(t.store);
    temp_dir_remove(&t.dir);
}
