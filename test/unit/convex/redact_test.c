/* redact_test.c - a repeated secret is overwritten, however it is written, and nothing else is. */

#include "convex/redact.h"

#include "test.h"

static const char *redacted(const char *text, const char *secret)
{
    static char out[200];

    snprintf(out, sizeof out, "%s", text);
    redact_text((uint8_t *)out, strlen(out), secret);
    return out;
}

TEST(a_secret_is_overwritten_wherever_it_stands)
{
    ck_assert_str_eq(redacted("S3/cret", "S3/cret"), "*******");
    ck_assert_str_eq(redacted("a S3/cretS3/cret b", "S3/cret"), "a ************** b");
    ck_assert_str_eq(redacted("{\"m\":\"name|S3\\/cret.\"}", "S3/cret"),
                     "{\"m\":\"name|********.\"}");
    ck_assert_str_eq(redacted("\\u00533/c\\u0072et", "S3/cret"), "*****************");
    ck_assert_str_eq(redacted("S3\\u002Fcret", "S3/cret"), "************");
    ck_assert_str_eq(redacted("x\\\"y\\\\z", "\"y\\"), "x*****z");
}

TEST(what_is_not_the_secret_stays)
{
    ck_assert_str_eq(redacted("", "S3/cret"), "");
    ck_assert_str_eq(redacted("S3/cre", "S3/cret"), "S3/cre");
    ck_assert_str_eq(redacted("s3/cret S3/crett S3", "S3/cret"), "s3/cret *******t S3");
    ck_assert_str_eq(redacted("\\u00533/c\\u0072e", "S3/cret"), "\\u00533/c\\u0072e");
    ck_assert_str_eq(redacted("S3/c\\u00", "S3/cret"), "S3/c\\u00");
    ck_assert_str_eq(redacted("S3/c\\", "S3/cret"), "S3/c\\");
}
