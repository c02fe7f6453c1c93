/* gate_test.c - what may become a pending version, and what of the store may be sent. */

#include "projection/gate.h"

#include "ground/time_text.h"
#include "test.h"

static const struct kind runs = {.prefix = (char *)(uintptr_t) "runs:"};
static struct fault fault;

static enum err version(const char *id, const char *kind, bool is_removal, const char *json,
                        int64_t at_us)
{
    fault = (struct fault){0};
    return gate_version(slice_str(id), slice_str(kind), is_removal, slice_str(json), at_us, &fault);
}

static enum err document(const char *id)
{
    fault = (struct fault){0};
    return gate_document_id(&runs, slice_str(id), &fault);
}

TEST(a_documents_id_is_its_prefix_and_an_entitys_id)
{
    char id[400] = "runs:";

    ck_assert_int_eq(document("runs:1"), ERR_OK);
    ck_assert_int_eq(document("runs:\xe2\x82\xac \xf0\x9f\x98\x80"), ERR_OK);
    ck_assert_int_eq(document("run:1"), ERR_NOT_OWNED);
    ck_assert_str_eq(fault.why, "does not begin with \"runs:\"");
    ck_assert_int_eq(gate_document_id(NULL, slice_str("runs:1"), &fault), ERR_NOT_OWNED);
    ck_assert_int_eq(document("runs:"), ERR_INVALID);
    ck_assert_str_eq(fault.path, "document_id");
    memset(id + 5, 'x', 300);
    ck_assert_int_eq(document(id), ERR_OK);
    id[305] = 'x';
    ck_assert_int_eq(document(id), ERR_INVALID);
    ck_assert_str_eq(fault.why, "an entity's id has at most 300 bytes, this one has 301");
}

TEST(the_first_bad_byte_is_named)
{
    static const struct {
        const char *id, *why;
    } bad[] = {
        {"runs:\xff", "is not UTF-8: byte 5 is 0xff"},
        {"runs:12345678\xe2\x82", "is not UTF-8: byte 13 is 0xe2"},
        {"runs:a\tb", "has the control character U+0009 at byte 6"},
        {"runs:\xc3\xa9\xc2\x9f", "has the control character U+009F at byte 7"},
        {"runs:123456789012\x7f", "has the control character U+007F at byte 17"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(document(bad[i].id), ERR_INVALID);
        ck_assert_str_eq(fault.path, "document_id");
        ck_assert_str_eq(fault.why, bad[i].why);
    }
    ck_assert_int_eq(gate_entity_id(slice_of("a\0b", 3), &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "entity_id");
    ck_assert_str_eq(fault.why, "has the control character U+0000 at byte 1");
}

TEST(any_bytes_may_be_looked_up_but_too_many)
{
    char id[500];

    memset(id, 0xff, sizeof id);
    ck_assert_int_eq(gate_lookup(slice_of(id, 400), &fault), ERR_OK);
    ck_assert_int_eq(gate_lookup(slice_of(id, 401), &fault), ERR_INVALID);
    ck_assert_str_eq(fault.path, "document_id");
}

TEST(what_no_call_could_carry_is_not_let_out)
{
    ck_assert_int_eq(version("runs:1", "run", false, "{}", 1), ERR_OK);
    ck_assert_int_eq(version("runs:\n", "run", true, "", 1), ERR_OK); /* an older clear */
    ck_assert_int_eq(version("runs:\xff", "run", true, "", 1), ERR_INVALID);
    ck_assert_str_eq(fault.path, "document_id");
    ck_assert_int_eq(version("runs:1", "r\xff", true, "", 1), ERR_INVALID);
    ck_assert_str_eq(fault.path, "kind");
    ck_assert_int_eq(version("runs:1", "run", false, "", 1), ERR_INVALID);
    ck_assert_int_eq(version("runs:1", "run", false, "[]", 1), ERR_INVALID);
    ck_assert_int_eq(version("runs:1", "run", false, "{\"\xff\":1}", 1), ERR_INVALID);
    ck_assert_str_eq(fault.path, "summary");
    ck_assert_int_eq(version("runs:1", "run", true, "", TIME_TEXT_MAX_US), ERR_OK);
    ck_assert_int_eq(version("runs:1", "run", true, "", TIME_TEXT_MAX_US + 1), ERR_INVALID);
    ck_assert_int_eq(version("runs:1", "run", true, "", INT64_MIN), ERR_INVALID);
    ck_assert_str_eq(fault.path, "projected_at");
}

TEST(a_version_is_projected_later_and_before_the_year_10000)
{
    static const struct {
        int64_t after_us, wanted_us, us;
    } good[] = {{0, 5, 5},
                {4, 5, 5},
                {5, 5, 6},
                {9, 5, 10},
                {TIME_TEXT_MAX_US - 1, 5, TIME_TEXT_MAX_US},
                {0, TIME_TEXT_MAX_US, TIME_TEXT_MAX_US}};
    static const struct {
        int64_t after_us, wanted_us;
    } bad[] = {{TIME_TEXT_MAX_US, 5},  {TIME_TEXT_MAX_US + 1, 5}, {INT64_MAX, 5},
               {INT64_MAX, INT64_MAX}, {0, TIME_TEXT_MAX_US + 1}, {0, 0},
               {0, INT64_MIN},         {INT64_MIN, INT64_MIN}};
    int64_t us;

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(gate_time(good[i].after_us, good[i].wanted_us, &us, &fault), ERR_OK);
        ck_assert_int_eq(us, good[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ck_assert_int_eq(gate_time(bad[i].after_us, bad[i].wanted_us, &us, &fault), ERR_INVALID);
        ck_assert_str_eq(fault.path, "projected_at");
    }
}
