/* survey_test.c - what LMDB cannot get through is found before anybody dies of it. */

#include "store/survey.h"
#include "store/page_meta.h"

#include "test.h"
#include "ground/fake_log.c"
#include "store/store_kit.h"
#include "temp_dir.h"

static enum err try(const char *dir, struct fault *fault)
{
    *fault = (struct fault){0};
    return survey_try(dir, fault);
}

static void check_bad(const char *dir, const char *part)
{
    struct fault fault;

    ck_assert_int_eq(try(dir, &fault), ERR_STORE);
    ck_assert_msg(strstr(fault.why, part) != NULL, "\"%s\" is not in \"%s\"", part, fault.why);
}

TEST(a_sound_store_is_got_through_and_each_page_accounted_for)
{
    struct temp_dir d = temp_dir_make();
    struct fault fault;
    enum err e;

    ck_assert_int_eq(try(d.path, &fault), ERR_NOT_FOUND);
    kit_make_store(d.path, 1500);
    e = try(d.path, &fault);
    ck_assert_msg(e == ERR_OK, "%s", fault.why);
    temp_dir_remove(&d);
}

/* The newest page of that kind with ${text} on it. */
static uint64_t page_with(const char *dir, unsigned kind, const char *text)
{
    uint8_t page[KIT_PAGE];

    for (uint64_t no = kit_pages(dir); no-- > 2;) {
        kit_read_page(dir, no, page);
        if (page[10] == kind && memmem(page, sizeof page, text, strlen(text)) != NULL)
            return no;
    }
    ck_abort_msg("no page with %s", text);
}

/* Cursors go from leaf to leaf and never see a branch's key; a search does. */
TEST(a_branch_that_leads_astray_is_found)
{
    struct temp_dir d = temp_dir_make();
    uint8_t page[KIT_PAGE];

    kit_make_store(d.path, 1500);
    uint64_t no = page_with(d.path, PAGE_BRANCH, "many:0");
    kit_read_page(d.path, no, page);
    uint8_t *at = memmem(page, sizeof page, "many:0", 6);
    kit_write(d.path, no * KIT_PAGE + (uint64_t)(at - page), "A", 1);
    check_bad(d.path, "ids: a search does not find what lies on page");
    temp_dir_remove(&d);
}

/* Read, it is sound; LMDB aborts when the value goes. */
TEST(a_large_value_whose_pages_are_called_something_else_is_found)
{
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 3);
    uint64_t no = page_with(d.path, PAGE_OVERFLOW, "xxxx");
    kit_write(d.path, no * KIT_PAGE + 10, "\xff", 1);
    check_bad(d.path, "is not the large value it should be");
    temp_dir_remove(&d);
}

/* Read, it is sound; LMDB writes over other entries when something is put there. */
TEST(a_page_with_another_end_than_its_entries_is_found)
{
    struct temp_dir d = temp_dir_make();
    uint8_t page[KIT_PAGE];

    kit_make_store(d.path, 20);
    uint64_t no = page_with(d.path, PAGE_LEAF, "{\"id\":\"many:0010\"");
    kit_read_page(d.path, no, page);
    uint16_t upper = (uint16_t)(page_u16(page + 14) - 64);
    kit_write(d.path, no * KIT_PAGE + 14, &upper, sizeof upper);
    check_bad(d.path, "is not the page it should be");
    temp_dir_remove(&d);
}

TEST(a_page_that_is_gone_kills_somebody_else)
{
    static const uint8_t zeros[KIT_PAGE];
    struct temp_dir d = temp_dir_make();

    kit_make_store(d.path, 1500);
    kit_write(d.path, page_with(d.path, PAGE_LEAF, "{\"id\":\"many:1000\"") * KIT_PAGE, zeros,
              sizeof zeros);
    check_bad(d.path, "LMDB fails after pending/");
    int fd = kit_open_file(d.path);
    ck_assert_int_eq(ftruncate(fd, 2 * KIT_PAGE), 0); /* the first two say where the roots are */
    close(fd);
    check_bad(d.path, ": Bus error");
    temp_dir_remove(&d);
}
