/* The table of kinds: the runtime's two, those of the configuration, and what is refused. */

#include "projection/kind_slot.h"
#include "projection/projection.h"
#include "test.h"

static void set(struct kinds *k, const char *name, const char *key, const char *value)
{
    struct fault fault;
    ck_assert_msg(kinds_set(k, name, key, value, &fault) == ERR_OK, "%s: %s", key, fault.why);
}

static void refused(struct kinds *k, const char *name, const char *key, const char *value,
                    const char *path)
{
    struct fault fault = {0};
    ck_assert_msg(kinds_set(k, name, key, value, &fault) == ERR_INVALID, "%s = \"%s\" was taken",
                  key, value);
    ck_assert_str_eq(fault.path, path);
    ck_assert_str_ne(fault.why, "");
}

static void finish_refused(struct kinds *k, const char *path, const char *why)
{
    struct fault fault = {0};
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, path);
    ck_assert_msg(strstr(fault.why, why) != NULL, "why is \"%s\"", fault.why);
    kinds_free(k);
}

/* A third kind, complete. */
static struct kinds *with_job(void)
{
    struct kinds *k = kinds_new();
    set(k, "job", "prefix", "app/job:");
    set(k, "job", "entity", "job");
    set(k, "job", "id_field", "job_id");
    set(k, "job", "mutation", "app/jobs:upsert");
    set(k, "job", "fields", " state\tinfo:map  zone ");
    return k;
}

/* All texts one behind the other, values as their numbers: the document's shape. */
static void shape(const struct kind *kind, char *out, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < kind->slot_count; i++) {
        const struct kind_slot *s = &kind->slots[i];
        ck_assert_uint_eq(s->len, strlen(s->text));
        len += (size_t)snprintf(out + len, size - len, "%s", s->text);
        if (s->value == SLOT_FIELD)
            len += (size_t)snprintf(out + len, size - len, "<%s>", kind->fields[s->field].name);
        else if (s->value != SLOT_LITERAL)
            len += (size_t)snprintf(out + len, size - len, "%d", (int)s->value);
        ck_assert_uint_lt(len, size);
    }
}

TEST(built_in_kinds)
{
    struct kinds *k = kinds_new();
    struct fault fault;
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);

    const struct kind *run = kinds_find(k, slice_str("run_summary"));
    ck_assert_ptr_nonnull(run);
    ck_assert_ptr_eq(run, kinds_at(k, 0));
    ck_assert_str_eq(run->prefix, "runtime/run_summary:");
    ck_assert_str_eq(run->entity, "run");
    ck_assert_str_eq(run->id_field, "run_id");
    ck_assert_str_eq(run->mutation, "runtime:upsertRunSummary");
    ck_assert_str_eq(run->fields[0].name, "thread_id");

    const struct kind *worker = kinds_find(k, slice_str("codex_worker_summary"));
    ck_assert_ptr_nonnull(worker);
    ck_assert_str_eq(worker->prefix, "runtime/codex_worker_summary:");
    ck_assert_str_eq(worker->entity, "codex_worker");
    ck_assert_str_eq(worker->id_field, "worker_id");
    ck_assert_str_eq(worker->mutation, "runtime:upsertCodexWorkerSummary");
    ck_assert_uint_gt(worker->field_count, 1);
    for (size_t i = 0; i < worker->field_count; i++)
        ck_assert_int_eq(worker->fields[i].is_map, strcmp(worker->fields[i].name, "metadata") == 0);

    ck_assert_ptr_null(kinds_find(k, slice_str("run_summar")));
    ck_assert_ptr_null(kinds_find(k, slice_str("run_summary2")));
    ck_assert_ptr_null(kinds_find(k, slice_str("")));
    kinds_free(k);
    kinds_free(NULL);
}

TEST(configured_kind_is_laid_out_in_canonical_order)
{
    struct kinds *k = with_job();
    struct fault fault;
    char text[1024];
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    const struct kind *job = kinds_find(k, slice_str("job"));
    ck_assert_uint_eq(job->field_count, 3);
    ck_assert(job->fields[1].is_map && !job->fields[0].is_map);
    shape(job, text, sizeof text);
    char wanted[1024];
    snprintf(
        wanted, sizeof wanted,
        "{\"document_id\":%d,\"event_count\":%d,\"info\":<info>,\"job_id\":%d,\"kind\":\"job\","
        "\"latest_event_at\":%d,\"latest_event_type\":%d,\"latest_seq\":%d,"
        "\"projected_at\":%d,\"projection_hash\":%d,\"projection_version\":%d,"
        "\"runtime_source\":{\"entity\":\"job\",\"job_id\":%d,\"row_version\":%d,\"seq\":%d,"
        "\"seq_range\":%d},"
        "\"state\":<state>,\"zone\":<zone>}",
        SLOT_DOCUMENT_ID, SLOT_EVENT_COUNT, SLOT_ENTITY_ID, SLOT_EVENT_AT, SLOT_EVENT_TYPE,
        SLOT_SEQ, SLOT_PROJECTED_AT, SLOT_HASH, SLOT_VERSION, SLOT_ENTITY_ID, SLOT_ROW_VERSION,
        SLOT_SEQ, SLOT_SEQ_RANGE);
    ck_assert_str_eq(text, wanted);
    kinds_free(k);
}

TEST(a_kind_may_have_an_interval_of_its_own)
{
    struct kinds *k = with_job();
    struct fault fault;

    set(k, "run_summary", "min_interval_ms", "60000");
    set(k, "job", "min_interval_ms", "0");
    refused(k, "job", "min_interval_ms", "60001", "kind.job.min_interval_ms");
    refused(k, "job", "min_interval_ms", "-1", "kind.job.min_interval_ms");
    refused(k, "job", "min_interval_ms", "", "kind.job.min_interval_ms");
    refused(k, "job", "min_interval_ms", "1s", "kind.job.min_interval_ms");
    refused(k, "job", "min_interval_ms", "99999999999999999999", "kind.job.min_interval_ms");
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    ck_assert_int_eq(kinds_find(k, slice_str("run_summary"))->min_interval_ms, 60000);
    ck_assert_int_eq(kinds_find(k, slice_str("job"))->min_interval_ms, 0);
    ck_assert_int_eq(kinds_find(k, slice_str("codex_worker_summary"))->min_interval_ms, -1);
    kinds_free(k);
}

TEST(id_field_may_stand_first_or_last)
{
    struct fault fault;
    char text[1024];
    struct kinds *k = with_job();
    set(k, "job", "id_field", "aid");
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    shape(kinds_find(k, slice_str("job")), text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "{\"aid\":4,\"document_id\":"));
    ck_assert_ptr_nonnull(
        strstr(text, "\"runtime_source\":{\"aid\":4,\"entity\":\"job\",\"row_version\":"));
    kinds_free(k);

    k = with_job();
    set(k, "job", "id_field", "zz");
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    shape(kinds_find(k, slice_str("job")), text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, ",\"seq_range\":6,\"zz\":4},\"state\":"));
    ck_assert_ptr_nonnull(strstr(text, "\"zone\":<zone>,\"zz\":4}"));
    kinds_free(k);
}

TEST(weights_are_those_of_convex)
{
    struct kinds *k = with_job();
    struct fault fault;
    size_t weight = 0;
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    const struct kind *job = kinds_find(k, slice_str("job"));
    for (size_t i = 0; i < job->slot_count; i++)
        weight += job->slots[i].weight;
    /* object 2 + sum(len(key) + 1); a string 2 + len (crates/value/src/size.rs) */
    size_t document = 2 +
                      strlen("document_id"
                             "event_count"
                             "info"
                             "job_id"
                             "kind"
                             "latest_event_at"
                             "latest_event_type"
                             "latest_seq"
                             "projected_at"
                             "projection_hash"
                             "projection_version"
                             "runtime_source"
                             "state"
                             "zone") +
                      14;
    size_t source = 2 +
                    strlen("entity"
                           "job_id"
                           "row_version"
                           "seq"
                           "seq_range") +
                    5;
    ck_assert_uint_eq(weight, document + source + (2 + strlen("job")) * 2);
    kinds_free(k);
}

TEST(setting_again_replaces)
{
    struct kinds *k = kinds_new();
    const size_t count = kinds_count(k);
    struct fault fault;
    set(k, "run_summary", "mutation", "mine:put");
    set(k, "run_summary", "fields", "status");
    ck_assert_int_eq(kinds_finish(k, &fault), ERR_OK);
    const struct kind *run = kinds_find(k, slice_str("run_summary"));
    ck_assert_str_eq(run->mutation, "mine:put");
    ck_assert_uint_eq(run->field_count, 1);
    ck_assert_uint_eq(kinds_count(k), count);
    kinds_free(k);
}

TEST(bad_settings_are_refused_and_change_nothing)
{
    struct kinds *k = kinds_new();
    const size_t count = kinds_count(k);
    char long_name[80];
    memset(long_name, 'n', sizeof long_name);
    long_name[64] = '\0';
    const size_t field_count = kinds_find(k, slice_str("run_summary"))->field_count;

    refused(k, "job", "prefx", "a:", "kind.job.prefx");
    refused(k, "", "prefix", "a:", "kind..prefix");
    refused(k, "jo-b", "prefix", "a:", "kind.jo-b.prefix");
    refused(k, "_control", "prefix", "a:", "kind._control.prefix");
    refused(k, "1job", "prefix", "a:", "kind.1job.prefix");
    ck_assert_int_eq(kinds_set(k, long_name, "prefix", "a:", &(struct fault){0}), ERR_INVALID);
    refused(k, "job", "prefix", "", "kind.job.prefix");
    refused(k, "job", "prefix", "app/job", "kind.job.prefix");
    refused(k, "job", "prefix", "app job:", "kind.job.prefix");
    refused(k, "job", "prefix", "\xc3\xa9:", "kind.job.prefix");
    refused(k, "job", "entity", "", "kind.job.entity");
    refused(k, "job", "entity", "a\"b", "kind.job.entity");
    refused(k, "job", "id_field", "a.b", "kind.job.id_field");
    refused(k, "job", "id_field", long_name, "kind.job.id_field");
    static const char *const mutations[] = {"",       "runtime", "runtime:", ":f",
                                            "a//b:f", "/a:f",    "a/:f",     "a-b:f",
                                            "a:f-",   "a:b:c",   "a: f"};
    for (size_t i = 0; i < sizeof mutations / sizeof mutations[0]; i++)
        refused(k, "job", "mutation", mutations[i], "kind.job.mutation");
    ck_assert_uint_eq(kinds_count(k), count);

    refused(k, "run_summary", "fields", "status status", "kind.run_summary.fields");
    refused(k, "run_summary", "fields", "status thread_id:int", "kind.run_summary.fields");
    refused(k, "run_summary", "fields", "status :map", "kind.run_summary.fields");
    refused(k, "run_summary", "fields", "$ref", "kind.run_summary.fields");
    ck_assert_uint_eq(kinds_find(k, slice_str("run_summary"))->field_count, field_count);
    kinds_free(k);
}

TEST(lengths_are_bounded)
{
    struct kinds *k = kinds_new();
    char text[64 * 1024] = "";
    memset(text, 'p', 99);
    strcpy(text + 99, ":");
    set(k, "job", "prefix", text);
    strcpy(text + 99, "p:");
    refused(k, "job", "prefix", text, "kind.job.prefix");

    size_t len = 0;
    for (int i = 0; i < KIND_MAX_FIELDS; i++)
        len += (size_t)sprintf(text + len, "f%d:map ", i);
    set(k, "job", "fields", text);
    ck_assert_uint_eq(kinds_find(k, slice_str("job"))->field_count, KIND_MAX_FIELDS);
    strcpy(text + len, "one_more");
    refused(k, "job", "fields", text, "kind.job.fields");
    memset(text, ' ', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    refused(k, "job", "fields", text, "kind.job.fields");
    kinds_free(k);
}

TEST(finish_wants_all_of_a_kind)
{
    static const char *const keys[] = {"prefix", "entity", "id_field", "mutation", "fields"};
    static const char *const values[] = {"a:", "a", "a_id", "a:b", "x"};
    for (size_t missing = 0; missing < 5; missing++) {
        struct kinds *k = kinds_new();
        char path[64];
        for (size_t i = 0; i < 5; i++)
            if (i != missing)
                set(k, "job", keys[i], values[i]);
        snprintf(path, sizeof path, "kind.job.%s", keys[missing]);
        finish_refused(k, path, "missing");
    }
}

TEST(finish_refuses_prefixes_inside_each_other)
{
    struct kinds *k = with_job();
    set(k, "job", "prefix", "runtime/run_summary:");
    finish_refused(k, "kind.run_summary.prefix", "job");
    k = with_job();
    set(k, "job", "prefix", "runtime/run_summary:job:");
    finish_refused(k, "kind.job.prefix", "run_summary");
}

TEST(finish_refuses_names_the_document_has)
{
    static const char *const names[] = {"document_id",       "kind",
                                        "latest_seq",        "event_count",
                                        "latest_event_type", "latest_event_at",
                                        "runtime_source",    "projection_version",
                                        "projected_at",      "projection_hash"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kinds *k = with_job();
        set(k, "job", "fields", names[i]);
        finish_refused(k, "kind.job.fields", names[i]);
        k = with_job();
        set(k, "job", "id_field", names[i]);
        finish_refused(k, "kind.job.id_field", names[i]);
    }
    struct kinds *k = with_job();
    set(k, "job", "fields", "state job_id");
    finish_refused(k, "kind.job.fields", "job_id");
    k = with_job();
    set(k, "job", "id_field", "entity");
    finish_refused(k, "kind.job.id_field", "entity");
    k = with_job();
    set(k, "job", "id_field", "seq_range");
    finish_refused(k, "kind.job.id_field", "seq_range");
}
