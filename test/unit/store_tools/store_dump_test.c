/* store_dump_test.c - each record as its line, whole. */

#include "store_tools/store_dump.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

/* 2026-11-29T01:02:03.000000Z */
#define AT 1795914123000000

static char *dump(const char *dir, uint64_t damaged)
{
    static char *text;
    struct fault fault = {0};
    uint64_t count = 99;
    size_t len = 0;

    free(text);
    FILE *out = open_memstream(&text, &len);
    ck_assert_msg(store_dump(dir, out, &count, &fault) == ERR_OK, "%s", fault.why);
    fclose(out);
    ck_assert_uint_eq(count, damaged);
    return text;
}

static struct store *open_raw(const char *dir)
{
    struct store *s = NULL;
    struct fault fault = {0};

    ck_assert_int_eq(store_open(dir, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    return s;
}

static void put(struct store *s, enum store_table t, struct slice key, struct buf *value)
{
    ck_assert_int_eq(store_put(s, t, key, buf_view(value)), ERR_OK);
    value->len = 0;
}

static const struct outbox_version upsert = {.op = OUTBOX_UPSERT,
                                             .reset = true,
                                             .seq = 3,
                                             .event_count = 4,
                                             .projected_at_us = AT,
                                             .revision = 5,
                                             .version = {(const uint8_t *)"v1", 2},
                                             .hash = {0xab, 0xcd}};
#define ZEROS "000000000000000000000000000000000000000000000000000000000000"
#define TIME  "\"2026-11-29T01:02:03.000000Z\""
#define UPSERT                                                                                     \
    "{\"op\":\"upsert\",\"reset\":true,\"seq\":3,\"event_count\":4,\"projected_at\":" TIME         \
    ",\"projection_hash\":\"abcd" ZEROS "\",\"revision\":5,\"projection_version\":\"v1\"}"
#define REMOVE                                                                                     \
    "{\"op\":\"remove\",\"reset\":false,\"seq\":7,\"event_count\":8,\"projected_at\":null"         \
    ",\"projection_hash\":\"0000" ZEROS "\",\"revision\":9,\"projection_version\":\"\"}"

/* The line that begins with ${begin} is ${wanted}. */
static void check_line(const char *text, const char *begin, const char *wanted)
{
    const char *at = strstr(text, begin);

    ck_assert_msg(at != NULL, "no %s in %s", begin, text);
    char *line = base_strndup(at, strcspn(at, "\n"));
    ck_assert_str_eq(line, wanted);
    free(line);
}

TEST(each_record_is_this_line)
{
    struct temp_dir d = temp_dir_make();
    struct buf b = {0};
    uint64_t no = LANE_LIVE + 11, bulk = 12, seven = 7, eight = 8, one = 1;
    struct outbox_version remove = {.op = OUTBOX_REMOVE, .seq = 7, .event_count = 8, .revision = 9};

    outbox_close(kit_outbox(d.path));
    struct store *s = open_raw(d.path);
    record_put_counters(&b, &(struct counters){21, 22, 23, 24, 25, 26, slice_str(""), 27});
    put(s, STORE_META, slice_str("counters"), &b);
    record_put_destination(&b, &(struct destination){.sink = slice_str("http"),
                                                     .address = slice_str("http://c"),
                                                     .store_id = {0xfe, 1},
                                                     .deployment = slice_str("dep"),
                                                     .mark = 31,
                                                     .mark_wanted = 32,
                                                     .raised_at_us = AT,
                                                     .functions = 2});
    put(s, STORE_META, slice_str("destination"), &b);
    record_put_doubt(&b, &(struct doubt){.from = 41,
                                         .to = 42,
                                         .since_us = AT,
                                         .why = slice_str("it was emptied"),
                                         .is_swept = true});
    put(s, STORE_META, slice_str("doubt"), &b);
    struct pending p = {.no = no,
                        .document = 7,
                        .id = slice_str("a:1"),
                        .kind = slice_str("k"),
                        .kept_at_us = AT,
                        .origin = ORIGIN_IMPORT,
                        .version = upsert,
                        .json = slice_str("{\"x\":1}")};
    ck_assert(rehash_json(p.json, p.version.hash));
    record_put_pending(&b, &p);
    put(s, STORE_PENDING, kit_key(&no), &b);
    p = (struct pending){.no = bulk,
                         .document = 8,
                         .id = slice_str("a:2"),
                         .kind = slice_str("l"),
                         .version = remove,
                         .attempts = 2,
                         .next_try_us = AT};
    record_put_pending(&b, &p);
    put(s, STORE_PENDING, kit_key(&bulk), &b);
    struct dead_letter l = {.document = 7,
                            .id = slice_str("a:1"),
                            .kind = slice_str("k"),
                            .json = slice_str("{\"x\":2}"),
                            .why = slice_str("no such field"),
                            .answer = slice_str("400"),
                            .version = upsert,
                            .attempts = 3,
                            .tries = 4,
                            .died_at_us = AT,
                            .next_try_us = AT + 1000000};
    record_put_dead(&b, &l); /* its document is not what its hash says */
    put(s, STORE_DEAD, kit_key(&seven), &b);
    struct checkpoint_record c = {.id = slice_str("a:1"),
                                  .reset_revision = 51,
                                  .cp = {.document = 7,
                                         .has_delivered = true,
                                         .has_pending = true,
                                         .is_dead = true,
                                         .pending_no = no,
                                         .delivered = upsert,
                                         .delivered_mark = 52,
                                         .kind = slice_str("k"),
                                         .fold = slice_str("abc"),
                                         .recent = slice_str(""),
                                         .last_projected_us = AT}};
    record_put_checkpoint(&b, &c);
    put(s, STORE_CHECKPOINTS, kit_key(&seven), &b);
    c = (struct checkpoint_record){.id = slice_str("a:2"),
                                   .cp = {.document = 8, .kind = slice_str("l")}};
    record_put_checkpoint(&b, &c);
    put(s, STORE_CHECKPOINTS, kit_key(&eight), &b);
    record_put_id(&b, slice_str("a:1"), 7);
    put(s, STORE_IDS, slice_str("a:1"), &b);
    record_put_quarantined(&b, &(struct quarantined){.no = 1,
                                                     .table = STORE_CHECKPOINTS,
                                                     .key = kit_key(&seven),
                                                     .value = slice_str("noise"),
                                                     .why = slice_str("its checksum"),
                                                     .at_us = AT});
    put(s, STORE_QUARANTINE, kit_key(&one), &b);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);

    const char *text = dump(d.path, 1);
    check_line(text, "{\"table\":\"meta\",\"next_no\"",
               "{\"table\":\"meta\",\"next_no\":21,\"next_revision\":23,\"next_document\":22,"
               "\"next_quarantine\":24,\"pending_bytes\":25,\"dead_bytes\":26}");
    check_line(text, "{\"table\":\"meta\",\"sink\"",
               "{\"table\":\"meta\",\"sink\":\"http\",\"address\":\"http://"
               "c\",\"store_id\":\"fe010000000000000000000000000000\",\"deployment\":\"dep\","
               "\"mark\":31,\"mark_wanted\":32,\"functions\":2,\"raised_at\":" TIME "}");
    check_line(
        text, "{\"table\":\"meta\",\"doubt_from\"",
        "{\"table\":\"meta\",\"doubt_from\":41,\"doubt_to\":42,\"swept\":true,\"since\":" TIME
        ",\"why\":\"it was emptied\"}");
    check_line(text, "{\"table\":\"meta\",\"format\"", "{\"table\":\"meta\",\"format\":2}");
    char wanted[1000];
    check_line(
        text, "{\"table\":\"pending\",\"no\":12",
        "{\"table\":\"pending\",\"no\":12,\"lane\":\"bulk\",\"origin\":\"live\",\"number\":8,"
        "\"id\":\"a:2\",\"kind\":\"l\",\"kept_at\":null,\"attempts\":2,\"next_try_at\":" TIME
        ",\"version\":" REMOVE ",\"document\":null}");
    const char *live =
        strstr(text, "{\"table\":\"pending\",\"no\":11,\"lane\":\"live\",\"origin\":\"");
    ck_assert_ptr_nonnull(live);
    snprintf(wanted, sizeof wanted, "%.*s", (int)strcspn(live, "\n"), live);
    ck_assert_ptr_nonnull(strstr(wanted,
                                 "\",\"number\":7,\"id\":\"a:1\",\"kind\":\"k\",\"kept_at\":" TIME
                                 ",\"version\":{\"op\":\"upsert\",\"reset\":true,\"seq\":3,"));
    ck_assert_ptr_nonnull(strstr(wanted, "\"projection_version\":\"v1\"},\"document\":{\"x\":1}}"));
    check_line(text, "{\"table\":\"dead\"",
               "{\"table\":\"dead\",\"number\":7,\"id\":\"a:1\",\"kind\":\"k\",\"died_at\":" TIME
               ",\"next_try_at\":\"2026-11-29T01:02:04.000000Z\",\"attempts\":3,\"tries\":4,"
               "\"why\":\"no such field\",\"answer\":\"400\",\"version\":" UPSERT
               ",\"document\":{\"$bytes\":\"eyJ4IjoyfQ==\"},\"damaged\":\"the document is not what "
               "its hash says\"}");
    check_line(text, "{\"table\":\"checkpoints\",\"number\":7",
               "{\"table\":\"checkpoints\",\"number\":7,\"id\":\"a:1\",\"kind\":\"k\",\"last_"
               "projected_at\":" TIME
               ",\"reset_revision\":51,\"dead\":true,\"pending_no\":11,\"delivered\":" UPSERT
               ",\"mark\":52,\"fold\":{\"$bytes\":\"YWJj\"}}");
    check_line(text, "{\"table\":\"checkpoints\",\"number\":8",
               "{\"table\":\"checkpoints\",\"number\":8,\"id\":\"a:2\",\"kind\":\"l\",\"last_"
               "projected_at\":null,\"reset_revision\":0,\"dead\":false,\"pending_no\":0,"
               "\"delivered\":null,\"fold\":{\"$bytes\":\"\"}}");
    check_line(text, "{\"table\":\"ids\"", "{\"table\":\"ids\",\"id\":\"a:1\",\"document\":7}");
    check_line(text, "{\"table\":\"quarantine\"",
               "{\"table\":\"quarantine\",\"number\":1,\"record\":\"checkpoints/7\",\"why\":\"its "
               "checksum\",\"at\":" TIME ",\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}");
    buf_free(&b);
    temp_dir_remove(&d);
}

TEST(a_record_that_cannot_be_read_is_its_bytes)
{
    static const char *const tables[] = {[STORE_PENDING] = "pending",
                                         [STORE_CHECKPOINTS] = "checkpoints",
                                         [STORE_DEAD] = "dead",
                                         [STORE_QUARANTINE] = "quarantine"};
    struct temp_dir d = temp_dir_make();
    struct buf b = {0};
    char begin[100];
    uint64_t no = 0x41;

    outbox_close(kit_outbox(d.path));
    struct store *s = open_raw(d.path);
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        if (tables[t] == NULL)
            continue;
        buf_str(&b, "noise");
        put(s, (enum store_table)t, kit_key(&no), &b);
    }
    buf_str(&b, "noise");
    put(s, STORE_IDS, slice_str("id\xff"), &b);
    static const char *const metas[] = {"counters", "destination", "doubt", "odd"};
    for (size_t i = 0; i < 4; i++) {
        buf_str(&b, "noise");
        put(s, STORE_META, slice_str(metas[i]), &b);
    }
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);
    const char *text = dump(d.path, 9);
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        if (tables[t] == NULL)
            continue;
        snprintf(begin, sizeof begin, "{\"table\":\"%s\",\"damaged\":\"", tables[t]);
        const char *at = strstr(text, begin);
        ck_assert_msg(at != NULL, "%s", begin);
        ck_assert_ptr_nonnull(
            strstr(at, "\",\"key\":\"A\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\\u0000\","
                       "\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}\n"));
    }
    ck_assert_ptr_nonnull(
        strstr(text, ",\"key\":{\"$bytes\":\"aWT/\"},\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}\n"));
    check_line(text, "{\"table\":\"meta\",\"damaged\":\"nobody",
               "{\"table\":\"meta\",\"damaged\":\"nobody knows "
               "it\",\"key\":\"odd\",\"bytes\":{\"$bytes\":\"bm9pc2U=\"}}");
    buf_free(&b);
    temp_dir_remove(&d);
}

TEST(an_output_that_is_full_is_said)
{
    struct temp_dir d = temp_dir_make();
    struct fault fault = {0};
    uint64_t damaged;

    kit_make_store(d.path, 3);
    FILE *out = fopen("/dev/full", "w");
    ck_assert_int_eq(store_dump(d.path, out, &damaged, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.path, "output");
    ck_assert_str_eq(fault.why, "No space left on device");
    fclose(out);
    ck_assert_int_eq(store_dump("/nonexistent", stdout, &damaged, &fault), ERR_NOT_FOUND);
    temp_dir_remove(&d);
}
