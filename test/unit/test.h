/*
 * test.h - a test exists by being written.
 *
 * Each test/unit/ROOM_test.c is a program: TEST(name) { ... } registers itself with Check and main
 * is below.  It is linked with all rooms but main as an archive, so a test that defines a room's
 * functions itself (by including a fake_ROOM.c) replaces that room.
 * CK_FORK=no runs all in one process (for gdb, valgrind, sanitizers); TEST_NAME=x runs one.
 */

#ifndef TEST_H
#define TEST_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define TEST_MAX 256
static const TTest *test_list[TEST_MAX];
static size_t test_count;

#define TEST(name)                                                                                 \
    static void name##_body(int);                                                                  \
    static const TTest name##_test = {#name, name##_body, __FILE__, __LINE__};                     \
    __attribute__((constructor)) static void name##_register(void)                                 \
    {                                                                                              \
        test_list[test_count++] = &name##_test;                                                    \
    }                                                                                              \
    static void name##_body(int test_index CK_ATTRIBUTE_UNUSED)

/* Asserts that read well with slices. */
#define ck_assert_slice(s, text)                                                                   \
    do {                                                                                           \
        struct slice s_ = (s);                                                                     \
        const char *t_ = (text);                                                                   \
        ck_assert_msg(s_.len == strlen(t_) && memcmp(s_.data, t_, s_.len) == 0,                    \
                      "got \"%.*s\", wanted \"%s\"", (int)s_.len, (const char *)s_.data, t_);      \
    } while (0)

int main(void)
{
    const char *only = getenv("TEST_NAME");
    Suite *suite = suite_create(__BASE_FILE__);
    TCase *tests = tcase_create("all");

    tcase_set_timeout(tests, 120);
    for (size_t i = 0; i < test_count; i++)
        if (only == NULL || strcmp(only, test_list[i]->name) == 0)
            tcase_add_test(tests, test_list[i]);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
