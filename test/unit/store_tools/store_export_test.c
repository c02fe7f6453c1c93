/* store_export_test.c - whatever the reasons of dead letters hold, each line of an export is JSON.
 */

#include "store_tools/store_export.h"

#include "test.h"
#include "ground/fake_log.c"
#include "json/json.h"
#include "store/store_kit.h"
#include "temp_dir.h"

static void ignore(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

TEST(a_reason_that_is_no_utf8_is_shown_as_text)
{
    struct temp_dir d = temp_dir_make();
    struct outbox *o = NULL;
    struct export_report report;
    struct fault fault = {0};
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    ck_assert_int_eq(kit_open(d.path, 1 << 28, 100, &o, &fault), ERR_OK);
    kit_put_real(o, "dead", 1, 10);
    kit_dead(o, "dead", "no \xff\xfe field");
    outbox_close(o);
    ck_assert_int_eq(store_export(d.path, 1, out, ignore, NULL, &report, &fault), ERR_OK);
    fclose(out);
    ck_assert_uint_eq(report.dead, 1);
    ck_assert_ptr_nonnull(strstr(text, "\"why\":\"no \\\\xff\\\\xfe field\""));
    ck_assert(json_is_utf8(slice_of(text, len)));
    free(text);
    temp_dir_remove(&d);
}

/* 2026-11-29T01:02:03.000000Z */
#define AT   1795914123000000
#define TIME "\"2026-11-29T01:02:03.000000Z\""

static char told[4096];

static void note(void *arg, const char *text)
{
    (void)arg;
    snprintf(told + strlen(told), sizeof told - strlen(told), "%s\n", text);
}

static void put(struct store *s, enum store_table t, uint64_t no, struct buf *value)
{
    ck_assert_int_eq(store_put(s, t, kit_key(&no), buf_view(value)), ERR_OK);
    value->len = 0;
}

static struct outbox_version upsert_of(struct slice json, bool reset)
{
    struct outbox_version v = {
        .op = OUTBOX_UPSERT, .reset = reset, .seq = 3, .projected_at_us = AT, .revision = 5};

    ck_assert(rehash_json(json, v.hash));
    return v;
}

TEST(each_line_is_this)
{
    struct temp_dir d = temp_dir_make();
    struct buf b = {0};
    struct fault fault = {0};
    struct store *s;
    struct slice json = slice_str("{\"x\":1}");
    struct export_report report;
    const struct outbox_version remove = {
        .op = OUTBOX_REMOVE, .projected_at_us = AT, .revision = 6};
    char *text = NULL;
    size_t len = 0;

    outbox_close(kit_outbox(d.path));
    ck_assert_int_eq(store_open(d.path, 1 << 24, &s, &fault), ERR_OK);
    ck_assert_int_eq(store_begin(s), ERR_OK);
    record_put_destination(&b, &(struct destination){.store_id = {0xfe, 1}});
    ck_assert_int_eq(store_put(s, STORE_META, slice_str("destination"), buf_view(&b)), ERR_OK);
    b.len = 0;
    record_put_pending(&b, &(struct pending){.no = 1,
                                             .document = 1,
                                             .id = slice_str("a:1"),
                                             .kind = slice_str("k"),
                                             .json = json,
                                             .version = upsert_of(json, true),
                                             .kept_at_us = AT + 1000000});
    put(s, STORE_PENDING, 1, &b);
    record_put_pending(&b, &(struct pending){.no = 2,
                                             .document = 2,
                                             .id = slice_str("a:2"),
                                             .kind = slice_str("k"),
                                             .version = remove,
                                             .kept_at_us = AT});
    put(s, STORE_PENDING, 2, &b);
    record_put_pending(&b, &(struct pending){.no = 3,
                                             .document = 3,
                                             .id = slice_str("a:\xff"),
                                             .kind = slice_str("k"),
                                             .json = json,
                                             .version = upsert_of(json, false),
                                             .kept_at_us = AT});
    put(s, STORE_PENDING, 3, &b);
    record_put_pending(&b, &(struct pending){.no = 4,
                                             .document = 4,
                                             .id = slice_str("a:4"),
                                             .kind = slice_str("k"),
                                             .json = slice_str("{\"x\":2}"),
                                             .version = upsert_of(json, false),
                                             .kept_at_us = AT});
    put(s, STORE_PENDING, 4, &b);
    record_put_pending(&b, &(struct pending){.no = 6,
                                             .document = 6,
                                             .id = slice_str("a:6"),
                                             .kind = slice_str("\xff"),
                                             .json = json,
                                             .version = upsert_of(json, false),
                                             .kept_at_us = AT});
    put(s, STORE_PENDING, 6, &b);
    buf_str(&b, "noise");
    put(s, STORE_PENDING, 5, &b);
    record_put_dead(&b, &(struct dead_letter){.document = 7,
                                              .id = slice_str("a:7"),
                                              .kind = slice_str("k"),
                                              .json = json,
                                              .version = upsert_of(json, false),
                                              .why = slice_str("refused"),
                                              .died_at_us = AT + 2000000});
    put(s, STORE_DEAD, 7, &b);
    record_put_dead(&b, &(struct dead_letter){.document = 8,
                                              .id = slice_str("a:8"),
                                              .kind = slice_str("k"),
                                              .json = slice_str("{\"x\":2}"),
                                              .version = upsert_of(json, false),
                                              .why = slice_str("refused"),
                                              .died_at_us = AT});
    put(s, STORE_DEAD, 8, &b);
    record_put_dead(&b, &(struct dead_letter){.document = 9,
                                              .id = slice_str("\xff"),
                                              .kind = slice_str("k"),
                                              .json = json,
                                              .version = upsert_of(json, false),
                                              .why = slice_str("refused"),
                                              .died_at_us = AT});
    put(s, STORE_DEAD, 9, &b);
    buf_str(&b, "noise");
    put(s, STORE_DEAD, 10, &b);
    ck_assert_int_eq(store_commit(s), ERR_OK);
    store_close(s);

    FILE *out = open_memstream(&text, &len);
    ck_assert_int_eq(store_export(d.path, AT, out, note, NULL, &report, &fault), ERR_OK);
    fclose(out);
    ck_assert_str_eq(
        text, "{\"convex_sidecar_export\":1,\"made_at\":" TIME
              ",\"store_id\":\"fe010000000000000000000000000000\",\"store_format\":2}\n"
              "{\"op\":\"upsert\",\"kind\":\"k\",\"document_id\":\"a:7\",\"state\":\"dead\","
              "\"projected_at\":" TIME ",\"died_at\":\"2026-11-29T01:02:05.000000Z\",\"why\":"
              "\"refused\",\"reset\":false,\"summary\":{\"x\":1}}\n"
              "{\"op\":\"upsert\",\"kind\":\"k\",\"document_id\":\"a:1\",\"state\":\"pending\","
              "\"projected_at\":" TIME
              ",\"kept_at\":\"2026-11-29T01:02:04.000000Z\",\"reset\":true,\"summary\":{\"x\":1}}\n"
              "{\"op\":\"remove\",\"kind\":\"k\",\"document_id\":\"a:2\",\"state\":\"pending\","
              "\"projected_at\":" TIME ",\"kept_at\":" TIME "}\n"
              "{\"end\":true,\"lines\":3}\n");
    ck_assert_str_eq(told,
                     "dead/8 is left out: its document is damaged, or its id is no text\n"
                     "dead/9 is left out: its document is damaged, or its id is no text\n"
                     "dead/10 is left out: damaged record: its checksum is another one\n"
                     "pending/3 is left out: its document is damaged, or its id is no text\n"
                     "pending/4 is left out: its document is damaged, or its id is no text\n"
                     "pending/5 is left out: damaged record: its checksum is another one\n"
                     "pending/6 is left out: its document is damaged, or its id is no text\n");
    ck_assert_uint_eq(report.pending, 2);
    ck_assert_uint_eq(report.dead, 1);
    ck_assert_uint_eq(report.left_out, 7);
    out = fopen("/dev/full", "w");
    ck_assert_int_eq(store_export(d.path, AT, out, note, NULL, &report, &fault), ERR_SYSTEM);
    ck_assert_str_eq(fault.why, "No space left on device");
    fclose(out);
    free(text);
    buf_free(&b);
    temp_dir_remove(&d);
}

TEST(a_damaged_page_is_left_out_and_said)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();
    struct export_report report;
    struct fault fault = {0};
    uint8_t page[KIT_PAGE];
    FILE *out = fopen("/dev/null", "w");

    kit_make_store(d.path, 200);
    for (uint64_t no = kit_pages(d.path); no-- > 2;) {
        kit_read_page(d.path, no, page);
        if (memmem(page, sizeof page, "{\"id\":\"many:0100\"", 17) != NULL)
            kit_write(d.path, no * KIT_PAGE, zeros, sizeof zeros);
    }
    ck_assert_int_eq(store_export(d.path, AT, out, note, NULL, &report, &fault), ERR_OK);
    ck_assert_uint_eq(report.left_out, 2); /* the page, and how many entries that costs */
    ck_assert_ptr_nonnull(strstr(told, "is not the page it should be\npending: "));
    ck_assert_ptr_nonnull(strstr(told, " entries were found, there should be 203\n"));
    ck_assert_int_eq(store_export("/nonexistent", AT, out, note, NULL, &report, &fault),
                     ERR_NOT_FOUND);
    fclose(out);
    temp_dir_remove(&d);
}
