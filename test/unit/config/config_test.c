/* config_test.c - options from each place, every kind of fault with its words, the cookie. */

#include "config/config.h"

#include "ground/log.h"
#include "config/option.h"
#include "projection/projection.h"
#include "test.h"
#include "manual.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/config_test.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void remove_dir(void)
{
    ck_assert_int_eq(rmdir(dir), 0);
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

/* Reading ${text} fails at ${line} with exactly ${why}. */
static void assert_refused(const char *text, int line, const char *why)
{
    struct config *c = config_new();
    struct fault fault = {0};
    char path[50];
    ck_assert_int_eq(config_read_text(c, "test.ini", text, &fault), ERR_INVALID);
    snprintf(path, sizeof path, "test.ini:%d", line);
    ck_assert_str_eq(fault.path, path);
    ck_assert_str_eq(fault.why, why);
    config_free(c);
}

static struct config *read_text(const char *text)
{
    struct config *c = config_new();
    struct fault fault = {0};
    enum err e = config_read_text(c, "test.ini", text, &fault);
    ck_assert_msg(e == ERR_OK, "%s: %s", fault.path, fault.why);
    return c;
}

TEST(defaults)
{
    struct config *c = config_new();
    struct fault fault = {0};
    ck_assert_str_eq(c->node_name, "convex_sidecar@127.0.0.1");
    ck_assert_str_eq(c->node_cookie, "");
    ck_assert_int_eq(c->delivery_max_in_flight, 8);
    ck_assert_int_eq(c->store_limit_bytes, 4294967296);
    ck_assert(c->projection_hash);
    ck_assert_str_eq(c->sink_type, "noop");
    ck_assert_str_eq(c->source, "");
    ck_assert_int_eq(config_finish(c, &fault), ERR_OK);
    config_free(c);
    config_free(NULL);
}

TEST(a_text_sets_every_type)
{
    struct config *c = read_text("; comment\n"
                                 "# comment\n"
                                 "[node]\n"
                                 "name = a@b.example ; inline comment\n"
                                 "  max_message_bytes = 2m\n"
                                 "[observe]\n"
                                 "port=-1\n"
                                 "[sink]\r\n"
                                 "type: http\r\n"
                                 "base_url = http://127.0.0.1:3210\r\n"
                                 "admin_key = local|0123\r\n"
                                 "batch_mutation =\n"
                                 "[projection]\n"
                                 "hash = no\n"
                                 "[store]\n"
                                 "queue_bytes = 3G");
    ck_assert_str_eq(c->node_name, "a@b.example");
    ck_assert_int_eq(c->node_max_message_bytes, 2097152);
    ck_assert_int_eq(c->observe_port, -1);
    ck_assert_str_eq(c->sink_type, "http");
    ck_assert_str_eq(c->sink_base_url, "http://127.0.0.1:3210");
    ck_assert_str_eq(c->sink_admin_key, "local|0123");
    ck_assert_str_eq(c->sink_batch_mutation, "");
    ck_assert(!c->projection_hash);
    ck_assert_int_eq(c->store_queue_bytes, (int64_t)3 << 30);
    config_free(c);
}

TEST(later_places_win)
{
    struct config *c = read_text("[sink]\nbase_url = http://a\n[delivery]\nprobe_ms = 100\n");
    struct fault fault = {0};
    setenv("CONVEX_SIDECAR_SINK_BASE_URL", "http://b", 1);
    setenv("CONVEX_SIDECAR_DELIVERY_PROBE_MS", "200", 1);
    ck_assert_int_eq(config_read_environment(c, &fault), ERR_OK);
    ck_assert_int_eq(config_read_text(c, "standard input", "[sink]\nbase_url = http://c\n", &fault),
                     ERR_OK);
    ck_assert_str_eq(c->sink_base_url, "http://c");
    ck_assert_int_eq(c->delivery_probe_ms, 200);
    unsetenv("CONVEX_SIDECAR_SINK_BASE_URL");
    unsetenv("CONVEX_SIDECAR_DELIVERY_PROBE_MS");
    config_free(c);
}

TEST(bad_values_say_what_is_wanted)
{
    assert_refused("[delivery]\n\nmax_in_flight = 0\n", 3,
                   "[delivery] max_in_flight = 0: a number from 1 to 256 is wanted");
    assert_refused("[delivery]\nmax_in_flight = 257", 2,
                   "[delivery] max_in_flight = 257: a number from 1 to 256 is wanted");
    assert_refused("[delivery]\nmax_in_flight = 8 or so\n", 2,
                   "[delivery] max_in_flight = 8 or so: a number from 1 to 256 is wanted");
    assert_refused("[delivery]\nmax_in_flight =\n", 2,
                   "[delivery] max_in_flight = : a number from 1 to 256 is wanted");
    assert_refused("[delivery]\nmax_in_flight = 99999999999999999999\n", 2,
                   "[delivery] max_in_flight = 99999999999999999999: a number from 1 to 256 is "
                   "wanted");
    assert_refused("[delivery]\nmax_in_flight = 1k\n", 2,
                   "[delivery] max_in_flight = 1k: a number from 1 to 256 is wanted");
    assert_refused("[sink]\nbatch_bytes = 1x\n", 2,
                   "[sink] batch_bytes = 1x: a size from 64k to 15m is wanted");
    assert_refused("[sink]\nbatch_bytes = 16m\n", 2,
                   "[sink] batch_bytes = 16m: a size from 64k to 15m is wanted");
    assert_refused("[sink]\nbatch_bytes = 9007199254740993g\n", 2,
                   "[sink] batch_bytes = 9007199254740993g: a size from 64k to 15m is wanted");
    assert_refused("[sink]\nbatch_bytes = -1k\n", 2,
                   "[sink] batch_bytes = -1k: a size from 64k to 15m is wanted");
    assert_refused("[projection]\nhash = maybe\n", 2,
                   "[projection] hash = maybe: true or false is wanted");
    assert_refused("[log]\nlevel = inf\n", 2,
                   "[log] level = inf: one of error|warning|info|debug is wanted");
    assert_refused("[log]\nlevel =\n", 2,
                   "[log] level = : one of error|warning|info|debug is wanted");
    assert_refused("[log]\nlevel = error|info\n", 2,
                   "[log] level = error|info: one of error|warning|info|debug is wanted");
}

TEST(secrets_are_not_repeated_in_faults)
{
    assert_refused("[node]\ncookie = se\001cret\n", 2,
                   "[node] cookie: at most 8000 bytes of UTF-8 without control characters are "
                   "wanted");
}

TEST(values_that_are_no_utf8_are_refused_by_name)
{
    struct config *c = config_new();
    struct fault fault = {0};

    assert_refused("[sink]\nbatch_mutation = a:\xe9\n", 2,
                   "[sink] batch_mutation: at most 8000 bytes of UTF-8 without control characters "
                   "are wanted");
    ck_assert_int_eq(config_set_store(c, "/var/\xe9", &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "--store");
    ck_assert_ptr_nonnull(strstr(fault.why, "[store] dir: "));
    ck_assert_int_eq(config_set_store(c, "/var/\xc3\xa9", &fault), ERR_OK);
    ck_assert_str_eq(c->store_dir, "/var/\xc3\xa9");
    config_free(c);
}

TEST(unknown_names_are_errors_with_a_guess)
{
    assert_refused("[delivery]\nmax_inflight = 3\n", 2,
                   "[delivery] max_inflight: there is no such option; did you mean [delivery] "
                   "max_in_flight?");
    assert_refused("[sinks]\ntype = http\n", 2,
                   "[sinks] type: there is no such option; did you mean [sink] type?");
    assert_refused("[sink]\nadminkey = x\n", 2,
                   "[sink] adminkey: there is no such option; did you mean [sink] admin_key?");
    assert_refused("[sink]\nsomething_else = x\n", 2,
                   "[sink] something_else: there is no such option; priv/sidecar.ini lists all");
    assert_refused("type = http\n", 1,
                   "[] type: there is no such option; priv/sidecar.ini lists all");
}

TEST(lines_that_are_none)
{
    assert_refused("[sink]\ntype\n", 2, "neither [section] nor key = value");
    assert_refused("\n[sink\n", 2, "neither [section] nor key = value");
    assert_refused("[sink]\ntype = http\n\ntype = file\n", 4, "[sink] type is given a second time");
    assert_refused("[kind.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n", 1,
                   "a section's name has at most 49 bytes");
    /* Of 49 bytes it is one, though nobody's; blanks before it do not count. */
    char longest[100];
    for (int len = 49; len <= 50; len++) {
        struct config *c = config_new();
        struct fault fault = {0};
        snprintf(longest, sizeof longest, " \t[%0*d]\nx = 1\n", len, 0);
        ck_assert_int_eq(config_read_text(c, "test.ini", longest, &fault), ERR_INVALID);
        ck_assert_int_eq(strcmp(fault.why, "a section's name has at most 49 bytes") == 0,
                         len == 50);
        config_free(c);
    }
    /* The first fault counts. */
    assert_refused("[log]\nlevel = x\nnonsense\n", 2,
                   "[log] level = x: one of error|warning|info|debug is wanted");
}

/* A text of one option whose line has ${len} bytes in all. */
static char *line_of(size_t len)
{
    char *text = base_alloc(len + 100);
    strcpy(text, "[sink]\nbase_url = ");
    size_t head = strlen("base_url = "), at = strlen(text);
    memset(text + at, 'x', len - head);
    strcpy(text + at + len - head, "\n[sink]\nfile = after\n");
    return text;
}

TEST(long_lines_are_read_whole_or_refused)
{
    char *fits = line_of(7900), *over = line_of(8192), *far_over = line_of(100000);
    char *last = line_of(8190), *first_over = line_of(8191);
    assert_refused(first_over, 2, "a line has at most 8190 bytes");
    memset(last + strlen("[sink]\n"), ';', strlen("base_url = ")); /* a value is shorter */
    struct config *whole = read_text(last);
    ck_assert_str_eq(whole->sink_file, "after");
    config_free(whole);
    free(last);
    free(first_over);
    struct config *c = read_text(fits);
    ck_assert_uint_eq(strlen(c->sink_base_url), 7900 - strlen("base_url = "));
    ck_assert_str_eq(c->sink_file, "after");
    config_free(c);
    assert_refused(over, 2, "a line has at most 8190 bytes");
    assert_refused(far_over, 2, "a line has at most 8190 bytes");
    free(fits);
    free(over);
    free(far_over);
}

TEST(kinds_of_ones_own)
{
    struct config *c = read_text("[kind.invoice_summary]\n"
                                 "prefix = runtime/invoice_summary:\n"
                                 "entity = invoice\n"
                                 "id_field = invoice_id\n"
                                 "mutation = runtime:upsertInvoiceSummary\n"
                                 "fields = status amount extra:map\n");
    struct fault fault = {0};
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s: %s", fault.path, fault.why);
    const struct kind *k = kinds_find(c->kinds, slice_str("invoice_summary"));
    ck_assert_ptr_nonnull(k);
    ck_assert_str_eq(k->prefix, "runtime/invoice_summary:");
    ck_assert_uint_eq(k->field_count, 3);
    ck_assert_ptr_nonnull(kinds_find(c->kinds, slice_str("run_summary")));
    config_free(c);
}

TEST(a_bad_kind_is_a_fault_with_its_line)
{
    struct config *c = config_new();
    struct fault fault = {0};
    ck_assert_int_eq(config_read_text(c, "f", "[kind.x]\nprefx = a:\n", &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "f:2");
    ck_assert_int_eq(strncmp(fault.why, "[kind.x] prefx: ", 16), 0);
    ck_assert_uint_gt(strlen(fault.why), 16);
    config_free(c);

    c = read_text("[kind.unfinished]\nentity = x\n");
    ck_assert_int_eq(config_finish(c, &fault), ERR_INVALID);
    ck_assert_ptr_nonnull(strstr(fault.why, "unfinished"));
    config_free(c);
}

TEST(a_file_and_its_faults)
{
    struct config *c = config_new();
    struct fault fault = {0};
    make_dir();
    const char *path = write_file("a.ini", "[sink]\nfile = /x\n", 0644);
    ck_assert_int_eq(config_read_file(c, path, &fault), ERR_OK);
    ck_assert_str_eq(c->source, path);
    ck_assert_str_eq(c->sink_file, "/x");
    write_file("a.ini", "[sink]\nfile = /x\nfle = /y\n", 0644);
    ck_assert_int_eq(config_read_file(c, path, &fault), ERR_INVALID);
    char wanted[250];
    snprintf(wanted, sizeof wanted, "%s:3", path);
    ck_assert_str_eq(fault.path, wanted);
    unlink(path);
    ck_assert_int_eq(config_read_file(c, path, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "No such file or directory");
    ck_assert_int_eq(config_read_file(c, dir, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "Is a directory");
    remove_dir();
    config_free(c);
}

TEST(a_file_with_a_nul_or_too_much_is_refused)
{
    struct config *c = config_new();
    struct fault fault = {0};
    make_dir();
    const char *path = write_file("a.ini", "[sink]\n", 0644);
    int fd = open(path, O_WRONLY | O_APPEND);
    ck_assert_int_eq(write(fd, "file = a\0b\n", 11), 11);
    ck_assert_int_eq(config_read_file(c, path, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "holds a NUL byte");
    ck_assert_int_eq(ftruncate(fd, 1048577), 0);
    close(fd);
    ck_assert_int_eq(config_read_file(c, path, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "is too large");
    unlink(path);
    remove_dir();
    config_free(c);
}

/* What config_read says of ${text} on standard input. */
static enum err read_managed(const char *text, size_t len, struct fault *fault)
{
    struct config *c = config_new();
    int ends[2], kept = dup(STDIN_FILENO);

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], text, len), (ssize_t)len);
    close(ends[1]);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    enum err e = config_read(c, NULL, true, fault);
    ck_assert_int_eq(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
    config_free(c);
    return e;
}

/* A file, then the environment, then standard input, which is read by a managed one alone. */
TEST(each_place_is_read)
{
    static const char text[] = "[sink]\nbase_url = http://c\n.\n";
    struct fault fault = {0};
    int kept = dup(STDIN_FILENO);

    make_dir();
    const char *path = write_file("x.ini", "[sink]\nbase_url = http://a\n", 0600);
    for (int places = 0; places < 3; places++) {
        static const char *const wanted[] = {"http://a", "http://b", "http://c"};
        struct config *c = config_new();
        int ends[2];
        ck_assert_int_eq(pipe(ends), 0);
        ck_assert_int_eq(write(ends[1], text, sizeof text - 1), sizeof text - 1);
        close(ends[1]);
        dup2(ends[0], STDIN_FILENO);
        close(ends[0]);
        if (places > 0)
            setenv("CONVEX_SIDECAR_SINK_BASE_URL", "http://b", 1);
        ck_assert_int_eq(config_read(c, path, places == 2, &fault), ERR_OK);
        ck_assert_str_eq(c->sink_base_url, wanted[places]);
        config_free(c);
    }
    unsetenv("CONVEX_SIDECAR_SINK_BASE_URL");
    dup2(kept, STDIN_FILENO);
    close(kept);
    unlink(path);
    remove_dir();
}

TEST(a_nul_on_standard_input_is_refused)
{
    static const char good[] = "[log]\nlevel = info\n.\n";
    static const char bad[] = "[log]\nlevel = info\n\0[sink]\ntype = bogus\n.\n";
    struct fault fault = {0};

    ck_assert_int_eq(read_managed(good, sizeof good - 1, &fault), ERR_OK);
    ck_assert_int_eq(read_managed(bad, sizeof bad - 1, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "standard input");
    ck_assert_str_eq(fault.why, "the configuration holds a NUL byte");
}

TEST(environment_faults_name_the_variable)
{
    static const char *const cases[][3] = {
        {"CONVEX_SIDECAR_SINK_BASEURL", "x",
         "there is no such option; did you mean CONVEX_SIDECAR_SINK_BASE_URL?"},
        {"CONVEX_SIDECAR_KIND_X_PREFIX", "x",
         "kinds are not read from the environment; put them into a [kind.NAME] section"},
        {"CONVEX_SIDECAR_LOG_LEVEL", "loud",
         "[log] level = loud: one of error|warning|info|debug is wanted"},
        {"CONVEX_SIDECAR_", "x", "there is no such option; priv/sidecar.ini lists all"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = config_new();
        struct fault fault = {0};
        setenv(cases[i][0], cases[i][1], 1);
        ck_assert_int_eq(config_read_environment(c, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.path, cases[i][0]);
        ck_assert_str_eq(fault.why, cases[i][2]);
        unsetenv(cases[i][0]);
        config_free(c);
    }
}

TEST(secrets_leave_the_environment)
{
    static char variable[] = "CONVEX_SIDECAR_SINK_ADMIN_KEY=local|s3cret";
    struct config *c = config_new();
    struct fault fault = {0};
    ck_assert_int_eq(putenv(variable), 0);
    setenv("CONVEX_SIDECAR_NODE_COOKIE", "monster", 1);
    setenv("CONVEX_SIDECAR_SINK_TYPE", "file", 1);
    ck_assert_int_eq(config_read_environment(c, &fault), ERR_OK);
    ck_assert_str_eq(c->sink_admin_key, "local|s3cret");
    ck_assert_str_eq(c->node_cookie, "monster");
    ck_assert_ptr_null(getenv("CONVEX_SIDECAR_SINK_ADMIN_KEY"));
    ck_assert_ptr_null(getenv("CONVEX_SIDECAR_NODE_COOKIE"));
    ck_assert_str_eq(getenv("CONVEX_SIDECAR_SINK_TYPE"), "file");
    ck_assert_ptr_null(memmem(variable, sizeof variable, "s3cret", 6)); /* where it lay */
    unsetenv("CONVEX_SIDECAR_SINK_TYPE");
    config_free(c);
}

TEST(the_type_of_the_sink_follows_from_base_url)
{
    struct config *c = read_text("[sink]\nbase_url = http://127.0.0.1:3210\nadmin_key = a\n");
    struct fault fault = {0};

    ck_assert_int_eq(config_finish(c, &fault), ERR_OK);
    ck_assert_str_eq(c->sink_type, "http");
    config_free(c);
    c = read_text("[sink]\ntype = noop\nbase_url = http://127.0.0.1:3210\n");
    ck_assert_int_eq(config_finish(c, &fault), ERR_OK);
    ck_assert_str_eq(c->sink_type, "noop");
    config_free(c);
}

TEST(what_must_fit_together)
{
    static const char *const cases[][2] = {
        {"[node]\nname = sidecar\n",
         "[node] name: name@host is wanted, as in convex_sidecar@127.0.0.1"},
        {"[node]\nname = a@b@c\n",
         "[node] name: name@host is wanted, as in convex_sidecar@127.0.0.1"},
        {"[node]\nname = @b\n", "[node] name: name@host is wanted, as in convex_sidecar@127.0.0.1"},
        {"[node]\nname = a@\n", "[node] name: name@host is wanted, as in convex_sidecar@127.0.0.1"},
        {"[node]\nregistered_name = Sidecar\n",
         "[node] registered_name: a plain atom is wanted: a small letter, then letters, digits, _ "
         "or @"},
        {"[node]\nlisten_address = localhost\n",
         "[node] listen_address: an IPv4 address is wanted"},
        {"[node]\ncookie = a\ncookie_file = b\n",
         "[node] cookie and cookie_file: give one of them"},
        {"[node]\ncookie = a b\n", "[node] cookie: 1 to 255 printable characters without blanks"},
        {"[sink]\nadmin_key = a\n", "[sink] base_url: it is missing, though admin_key is given; "
                                    "write where Convex is, or type = noop "
                                    "to deliver nowhere"},
        {"[sink]\nadmin_key_file = a\n", "[sink] base_url: it is missing, though admin_key_file is "
                                         "given; write where Convex is, or "
                                         "type = noop to deliver nowhere"},
        {"[sink]\ntype = noop\nadmin_key = a\nadmin_key_file = b\n",
         "[sink] admin_key and admin_key_file: give one of them"},
        {"[delivery]\nbackoff_min_ms = 200\nbackoff_max_ms = 100\n",
         "[delivery] backoff_min_ms is above backoff_max_ms"},
        {"[observe]\nport = -1\naddress = everywhere\n",
         "[observe] address: an IPv4 or IPv6 address is wanted"},
        {"[store]\ndir =\n", "[store] dir: a directory is wanted"},
        {"[projection]\nversion =\n",
         "[projection] version: 1 to 63 printable characters without blanks"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = read_text(cases[i][0]);
        struct fault fault = {0};
        ck_assert_int_eq(config_finish(c, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.path, "configuration");
        ck_assert_str_eq(fault.why, cases[i][1]);
        config_free(c);
    }
}

TEST(what_fits)
{
    struct config *c = read_text("[sink]\ntype = http\nbase_url = https://convex.example:3210/\n"
                                 "[node]\nlisten_address = 127.0.0.2\n"
                                 "[observe]\nport = 9000\naddress = ::1\n");
    struct fault fault = {0};
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s: %s", fault.path, fault.why);
    config_free(c);
}

TEST(noop_beside_a_deployment_fits_when_it_is_written)
{
    struct config *c = read_text("[sink]\ntype = noop\nbase_url = http://127.0.0.1:3210\n");
    struct fault fault = {0};
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s: %s", fault.path, fault.why);
    config_free(c);
    c = read_text("[sink]\nbase_url = http://127.0.0.1:3210\n");
    setenv("CONVEX_SIDECAR_SINK_TYPE", "http", 1);
    ck_assert_int_eq(config_read_environment(c, &fault), ERR_OK);
    unsetenv("CONVEX_SIDECAR_SINK_TYPE");
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s: %s", fault.path, fault.why);
    config_free(c);
}

TEST(credentials_of_the_service_manager)
{
    struct config *c = read_text("[sink]\ntype = noop\nadmin_key_file = credentials:admin_key\n");
    struct fault fault = {0};
    unsetenv("CREDENTIALS_DIRECTORY");
    ck_assert_int_eq(config_finish(c, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "credentials:admin_key");
    setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1);
    ck_assert_int_eq(config_finish(c, &fault), ERR_OK);
    ck_assert_str_eq(c->sink_admin_key_file, "/run/credentials/x/admin_key");
    config_free(c);
    c = read_text("[sink]\ntype = noop\nadmin_key_file = credentials:../x\n");
    ck_assert_int_eq(config_finish(c, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "a credential's name has no / in it");
    unsetenv("CREDENTIALS_DIRECTORY");
    config_free(c);
}

/* The cookie of a configuration in which cookie_file is ${path}. */
static enum err cookie_of(const char *path, char *cookie, struct fault *fault)
{
    char text[300];
    snprintf(text, sizeof text, "[node]\ncookie_file = %s\n", path);
    struct config *c = read_text(text);
    enum err e = config_read_cookie(c, fault);
    snprintf(cookie, 300, "%s", c->node_cookie);
    config_free(c);
    return e;
}

TEST(the_cookie_file)
{
    struct fault fault = {0};
    char cookie[300];
    make_dir();
    const char *path = write_file("cookie", "MONSTER\n", 0600);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_OK);
    ck_assert_str_eq(cookie, "MONSTER");

    write_file("cookie", "MONSTER", 0400);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_OK);
    chmod(path, 0640);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, path);
    ck_assert_str_eq(fault.why, "can be reached by group or others: chmod 600");
    chmod(path, 0604);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_INVALID);

    chmod(path, 0600);
    write_file("cookie", "two words\n", 0600);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "a cookie has 1 to 255 printable characters without blanks");
    write_file("cookie", "\n", 0600);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_INVALID);
    char big[300];
    memset(big, 'x', 299);
    big[299] = '\0';
    write_file("cookie", big, 0600);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "is too large");
    unlink(path);
    ck_assert_int_eq(cookie_of(path, cookie, &fault), ERR_SYSTEM);
    ck_assert_int_eq(cookie_of(dir, cookie, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "is no regular file");
    remove_dir();
}

TEST(the_cookie_at_home_and_the_one_given)
{
    struct fault fault = {0};
    struct config *c = config_new();
    const char *saved = getenv("HOME");
    char *home = saved ? base_strndup(saved, strlen(saved)) : NULL;
    make_dir();
    const char *path = write_file(".erlang.cookie", "ATHOME", 0400);
    setenv("HOME", dir, 1);
    ck_assert_int_eq(config_read_cookie(c, &fault), ERR_OK);
    ck_assert_str_eq(c->node_cookie, "ATHOME");
    config_free(c);

    c = read_text("[node]\ncookie = given\n");
    ck_assert_int_eq(config_read_cookie(c, &fault), ERR_OK);
    ck_assert_str_eq(c->node_cookie, "given");
    config_free(c);

    unlink(path);
    c = config_new();
    unsetenv("HOME");
    ck_assert_int_eq(config_read_cookie(c, &fault), ERR_INVALID);
    config_free(c);
    remove_dir();
    if (home)
        setenv("HOME", home, 1);
    free(home);
}

TEST(a_credential_may_be_readable_by_its_group)
{
    struct fault fault = {0};
    char cookie[300];
    make_dir();
    const char *path = write_file("cookie", "MONSTER\n", 0440);
    setenv("CREDENTIALS_DIRECTORY", dir, 1);
    ck_assert_int_eq(cookie_of("credentials:cookie", cookie, &fault), ERR_OK);
    ck_assert_str_eq(cookie, "MONSTER");
    chmod(path, 0444);
    ck_assert_int_eq(cookie_of("credentials:cookie", cookie, &fault), ERR_INVALID);
    unsetenv("CREDENTIALS_DIRECTORY");
    unlink(path);
    remove_dir();
}

__attribute__((noinline)) static char *printed(void (*print)(const struct config *, FILE *),
                                               const struct config *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    print(c, out);
    fclose(out);
    return text;
}

static void print_reference(const struct config *c, FILE *out)
{
    (void)c;
    config_print_reference(out);
}

TEST(what_is_printed_can_be_read_again)
{
    struct config *c = read_text("[node]\ncookie = topsecret\n[store]\nlimit_bytes = 1025k\n"
                                 "[sink]\nadmin_key = othersecret\n");
    char *text = printed(config_print, c);
    ck_assert_ptr_nonnull(strstr(text, "limit_bytes = 1025k\n"));
    ck_assert_ptr_nonnull(strstr(text, "cookie = ***\n"));
    ck_assert_ptr_nonnull(strstr(text, "admin_key = ***\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n[kind.run_summary]\n"));
    ck_assert_ptr_null(strstr(text, "secret"));
    struct config *again = read_text(text);
    char *text_again = printed(config_print, again);
    ck_assert_str_eq(text, text_again);
    free(text);
    free(text_again);
    config_free(again);
    config_free(c);
}

/* Every line of the reference that is commented out with ; alone can be taken in. */
TEST(the_reference_states_the_defaults)
{
    char *text = printed(print_reference, NULL), *p = text;
    for (char *q = text; *q != '\0'; q++)
        if (!(q[0] == ';' && (q == text || q[-1] == '\n') && q[1] != ' '))
            *p++ = *q;
    *p = '\0';
    char *kinds = strstr(text, "[kind.");
    ck_assert_ptr_nonnull(kinds);
    *kinds = '\0';
    struct config *taken = read_text(text), *defaults = config_new();
    char *a = printed(config_print, taken), *b = printed(config_print, defaults);
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
    config_free(taken);
    config_free(defaults);
    free(text);
}

static void print_man(const struct config *c, FILE *out)
{
    (void)c;
    config_print_man(out);
}

/* TEST_UPDATE=1 writes them anew. */
TEST(the_sample_and_the_man_page_are_the_reference)
{
    char *text = printed(print_reference, NULL);
    manual_is("priv/sidecar.ini", text, "build/config/config_test");
    free(text);
    text = printed(print_man, NULL);
    manual_is("docs/man/convex_sidecar.ini.5", text, "build/config/config_test");
    free(text);
}
