/* sinks_test.c - the table of sinks: what each needs, and that the option knows the same names. */

#include "config/config.h"
#include "sidecar/sinks.h"
#include "sink/sink.h"
#include "store/kept_for.h"

#include "test.h"
#include "temp_dir.h"

static struct config *read_text(const char *text)
{
    struct config *c = config_new();
    struct fault fault = {0};

    ck_assert_msg(config_read_text(c, "test", text, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_msg(config_finish(c, &fault) == ERR_OK, "%s", fault.why);
    return c;
}

TEST(a_sink_says_what_it_needs)
{
    static const char url[] = "[sink] base_url: type = http needs http://HOST[:PORT] or https://, "
                              "without user, query or fragment";
    static const char *const cases[][2] = {
        {"[sink]\ntype = file\n", "[sink] file: type = file needs the path to write to"},
        {"[sink]\ntype = http\n", url},
        {"[sink]\ntype = http\nbase_url = ftp://x\n", url},
        {"[sink]\ntype = http\nbase_url = http://\n", url},
        {"[sink]\ntype = http\nbase_url = http://u:p@host\n", url},
        {"[sink]\ntype = http\nbase_url = http://host?a=b\n", url},
        {"[sink]\ntype = http\nbase_url = http://host#a\n", url},
        {"[sink]\ntype = http\nbase_url = host:3210\n", url},
        {"[sink]\ntype = http\nbase_url = http://a b\n", url},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = read_text(cases[i][0]);
        struct fault fault = {0};
        ck_assert_int_eq(sinks_check(c, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.path, "configuration");
        ck_assert_str_eq(fault.why, cases[i][1]);
        config_free(c);
    }
}

TEST(what_it_needs_is_enough)
{
    static const char *const cases[] = {
        "", "[sink]\ntype = noop\n", "[sink]\ntype = file\nfile = /x\n",
        "[sink]\ntype = http\nbase_url = http://[::1]:3210\n",
        "[sink]\ntype = http\nbase_url = https://convex.example/\n"};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = read_text(cases[i]);
        struct fault fault = {0};
        ck_assert_msg(sinks_check(c, &fault) == ERR_OK, "%s", fault.why);
        config_free(c);
    }
}

TEST(files_that_cannot_be_used_are_found_without_a_start)
{
    struct temp_dir dir = temp_dir_make();
    static const struct {
        const char *text, *at; /* of the fault; NULL: it fits */
    } cases[] = {
        {"[sink]\ntype = noop\n", NULL},
        {"[sink]\ntype = file\nfile = %s/out\n", NULL},
        {"[sink]\ntype = file\nfile = %s/none/out\n", "sink.file"},
        {"[sink]\ntype = file\nfile = %s\n", "sink.file"},
        {"[sink]\ntype = http\nbase_url = http://a\nadmin_key_file = %s/none\n", "admin_key_file"},
        {"[sink]\ntype = http\nbase_url = http://a\nadmin_key_file = %s\n", "admin_key_file"},
        {"[sink]\ntype = http\nbase_url = https://a\nca_file = %s/none\n", "ca_file"},
        {"[sink]\ntype = http\nbase_url = https://a\n", NULL},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300], path[100];
        struct fault fault = {0};
        snprintf(text, sizeof text, cases[i].text, dir.path);
        struct config *c = read_text(text);
        ck_assert_int_eq(sinks_try(c, &fault), cases[i].at == NULL ? ERR_OK : ERR_INVALID);
        ck_assert_str_eq(fault.path, cases[i].at == NULL ? "" : cases[i].at);
        snprintf(path, sizeof path, "%s/out", dir.path);
        ck_assert_int_ne(access(path, F_OK), 0);
        config_free(c);
    }
    temp_dir_remove(&dir);
}

TEST(the_option_takes_the_names_of_the_table_and_a_store_can_record_them)
{
    const char *const *names = sinks_names();
    char text[100], listed[100] = "";

    for (size_t i = 0; names[i] != NULL; i++) {
        snprintf(text, sizeof text, "[sink]\ntype = %s\n", names[i]);
        config_free(read_text(text));
        ck_assert(kept_for_is_name(slice_str(names[i])));
        snprintf(listed + strlen(listed), sizeof listed - strlen(listed), "%s%s", i ? "|" : "",
                 names[i]);
    }
    struct config *c = config_new();
    struct fault fault = {0};
    ck_assert_int_eq(config_read_text(c, "test", "[sink]\ntype = x\n", &fault), ERR_INVALID);
    snprintf(text, sizeof text, "[sink] type = x: one of %s is wanted", listed);
    ck_assert_str_eq(fault.why, text);
    config_free(c);
}

static struct verdict said;

static void on_answer(void *arg, const struct sink_answer *a)
{
    (void)arg;
    said = a->overall;
}

/* What becomes of one document at the sink of ${text}. */
static enum verdict_kind send_one(const char *text)
{
    struct config *c = read_text(text);
    struct sink *sink = NULL;
    struct fault fault = {0};
    struct pending p = {.id = slice_str("a"), .kind = slice_str("k"), .json = slice_str("{}")};

    ck_assert_msg(sinks_open(c, &sink, &fault) == ERR_OK, "%s", fault.why);
    ck_assert_ptr_null(sinks_open_audit(c, NULL));
    ck_assert_str_eq(sinks_batch_mutation(c), "");
    struct sink_call *call = sink->ops->begin(sink);
    ck_assert(sink->ops->add(call, &p));
    sink->ops->send(call, on_answer, NULL);
    sink->ops->close(sink);
    config_free(c);
    return said.kind;
}

TEST(the_chosen_sink_is_opened)
{
    struct temp_dir dir = temp_dir_make();
    char text[400], path[300], line[200] = "";

    snprintf(path, sizeof path, "%s/out", dir.path);
    snprintf(text, sizeof text, "[sink]\ntype = file\nfile = %s\n", path);
    ck_assert_int_eq(send_one("[sink]\ntype = noop\n"), VERDICT_DONE);
    ck_assert_ptr_null(fopen(path, "r"));
    ck_assert_int_eq(send_one(text), VERDICT_DONE);
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    ck_assert_ptr_nonnull(strstr(line, "\"document_id\":\"a\""));
    fclose(f);
    temp_dir_remove(&dir);
}

TEST(only_convex_has_batches)
{
    struct config *c =
        read_text("[sink]\ntype = http\nbase_url = http://a\nbatch_mutation = m:b\n");

    ck_assert_str_eq(sinks_batch_mutation(c), "m:b");
    config_free(c);
    c = read_text("[sink]\ntype = noop\nbatch_mutation = m:b\n");
    ck_assert_str_eq(sinks_batch_mutation(c), "");
    config_free(c);
}
