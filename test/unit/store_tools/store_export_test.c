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
