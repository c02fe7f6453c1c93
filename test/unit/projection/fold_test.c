/* The fold on disk: what is written comes back, and whatever else lies there is refused. */

#include "projection/fold.h"
#include "test.h"

static struct buf packed(const char *type, const char *at)
{
    struct buf b = {0};
    struct fold f = {.seq = 300,
                     .event_count = 298,
                     .type_json = slice_str(type),
                     .inserted_at_json = slice_str(at)};
    fold_put(&b, &f);
    return b;
}

static void refused(struct slice bytes, const char *why)
{
    struct fold f;
    struct fault fault = {0};
    ck_assert_int_eq(fold_read(bytes, &f, &fault), ERR_INVALID);
    ck_assert_msg(strstr(fault.why, why) != NULL, "why is \"%s\"", fault.why);
    ck_assert_str_eq(fault.path, "");
}

TEST(round_trip)
{
    struct buf b = packed("\"a\\n\\u001f\\\"\"", "null");
    struct fold f;
    struct fault fault;
    ck_assert_int_eq(fold_read(buf_view(&b), &f, &fault), ERR_OK);
    ck_assert_int_eq(f.seq, 300);
    ck_assert_int_eq(f.event_count, 298);
    ck_assert_slice(f.type_json, "\"a\\n\\u001f\\\"\"");
    ck_assert_slice(f.inserted_at_json, "null");
    buf_free(&b);
}

TEST(every_size_comes_back)
{
    static const int64_t seqs[] = {1,     127,   128,        255,        256,
                                   65535, 65536, 4294967295, 4294967296, FOLD_MAX_SEQ};
    static const size_t lens[] = {2, 31, 32, 255, 256, FOLD_MAX_TEXT};
    char text[FOLD_MAX_TEXT];
    struct buf b = {0};
    memset(text, 'x', sizeof text);
    text[0] = '"';
    for (size_t i = 0; i < sizeof seqs / sizeof seqs[0]; i++)
        for (size_t n = 0; n < sizeof lens / sizeof lens[0]; n++) {
            text[lens[n] - 1] = '"';
            struct fold back, f = {seqs[i], seqs[i], slice_of(text, lens[n]), slice_str("null")};
            struct fault fault = {0};
            b.len = 0;
            fold_put(&b, &f);
            ck_assert_msg(fold_read(buf_view(&b), &back, &fault) == ERR_OK, "%s", fault.why);
            ck_assert(back.seq == seqs[i] && back.event_count == seqs[i]);
            ck_assert(slice_eq(back.type_json, f.type_json));
            text[lens[n] - 1] = 'x';
        }
    buf_free(&b);
}

TEST(empty_is_empty)
{
    struct buf b = {0};
    struct fold f = {.seq = 1};
    struct fault fault;
    ck_assert_int_eq(fold_read(slice_of(NULL, 0), &f, &fault), ERR_OK);
    ck_assert_int_eq(f.seq, 0);
    fold_put(&b, &f);
    ck_assert_uint_eq(b.len, 0);
}

TEST(every_truncation_is_refused)
{
    struct buf b = packed("\"run.delta\"", "\"2026-02-19T20:00:00Z\"");
    for (size_t len = 1; len < b.len; len++) {
        uint8_t *exact = malloc(len); /* so that a sanitizer sees a read behind it */
        memcpy(exact, b.data, len);
        refused(slice_of(exact, len), "broken");
        free(exact);
    }
    buf_byte(&b, 0xc0);
    refused(buf_view(&b), "behind its end");
    buf_free(&b);
}

TEST(every_changed_byte_is_refused_or_harmless)
{
    struct buf b = packed("\"run.delta\\u0001\"", "\"2026-02-19T20:00:00Z\"");
    for (size_t i = 0; i < b.len; i++) {
        uint8_t old = b.data[i];
        for (unsigned v = 0; v < 256; v++) {
            struct fold f;
            struct fault fault = {0};
            b.data[i] = (uint8_t)v;
            enum err e = fold_read(buf_view(&b), &f, &fault);
            ck_assert(e == ERR_OK || (e == ERR_INVALID && fault.why[0] != '\0'));
            if (e == ERR_OK)
                ck_assert(f.seq >= 1 && f.event_count >= 1 && f.event_count <= f.seq);
        }
        b.data[i] = old;
    }
    buf_free(&b);
}

TEST(other_shapes_are_refused)
{
    refused(slice_str("\x93\x01\x01\xa2\"\""), "array of four");
    refused(slice_str("\x81\x01\x01"), "array of four");
    refused(slice_str("\x01"), "array of four");
    refused(slice_str("\xc1"), "array of four");
    refused(slice_str("\xdd\x7f\xff\xff\xff"), "array of four"); /* claims 2^31 elements */
    refused(slice_of("\x94\x00\x01\xa2\"\"\xa4null", 11), "seq");
    refused(slice_str("\x94\xdd\x7f\xff\xff\xff"), "seq");
    refused(slice_str("\x94\xff\x01\xa2\"\"\xa4null"), "seq");
    refused(slice_of("\x94\xcf\x00\x20\x00\x00\x00\x00\x00\x00\x01\xa2\"\"\xa4null", 19), "seq");
    refused(slice_str("\x94\x02\x03\xa2\"\"\xa4null"), "event_count");
    refused(slice_str("\x94\x02\x02\xa4null\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xc0\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa3\"\"\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa3\"\x1f\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa3\"\xff\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa3\"\\\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa4\"\\x\"\xa4null"), "event type");
    refused(slice_of("\x94\x02\x02\xa4\"\\\0\"\xa4null", 13), "event type");
    refused(slice_str("\x94\x02\x02\xa6\"\\u00\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xda\xff\xff\"\""), "event type");
    refused(slice_str("\x94\x02\x02\xdb\x7f\xff\xff\xff\"\""), "event type");
    refused(slice_str("\x94\x02\x02\xa1\"\xa4null"), "event type");
    refused(slice_str("\x94\x02\x02\xa2\"\"\xa4nul0"), "event time");
    refused(slice_str("\x94\x02\x02\xa2\"\"\x01"), "event time");
}
