/* manual.h - files of the repository that must say what a table in the code says. */

#ifndef MANUAL_H
#define MANUAL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The path of ${file}, which is named from the repository's root: this header is in test/unit/. */
static inline void manual_path(const char *file, char *out, size_t size)
{
    const char *end = strrchr(__FILE__, '/');

    snprintf(out, size, "%.*s/../../%s", (int)(end - __FILE__), __FILE__, file);
}

/* ${page} contains ${table} word for word; ${source} is where the table comes from. */
static inline void manual_has(const char *page, const char *table, const char *source)
{
    char path[500], *text = NULL;
    size_t size = 0;

    manual_path(page, path, sizeof path);
    FILE *in = fopen(path, "r");
    ck_assert_msg(in != NULL, "%s cannot be read", path);
    ck_assert_int_gt(getdelim(&text, &size, '\0', in), 0);
    fclose(in);
    if (strstr(text, table) == NULL)
        fprintf(stderr, "%s\n", table);
    ck_assert_msg(strstr(text, table) != NULL, "%s lacks the table above, as %s has it now", page,
                  source);
    free(text);
}

/* ${file} is ${text} to the byte; with TEST_UPDATE=1 it is written, ${test} is who does. */
static inline void manual_is(const char *file, const char *text, const char *test)
{
    char path[500], *have = NULL;
    size_t size = 0;

    manual_path(file, path, sizeof path);
    FILE *f = fopen(path, getenv("TEST_UPDATE") != NULL ? "w+" : "r");
    ck_assert_msg(f != NULL, "%s cannot be opened", path);
    if (getenv("TEST_UPDATE") != NULL) {
        fputs(text, f);
        rewind(f);
    }
    ck_assert_int_gt(getdelim(&have, &size, '\0', f), 0);
    fclose(f);
    ck_assert_msg(strcmp(have, text) == 0,
                  "%s is not what the program prints; TEST_UPDATE=1 %s writes it", file, test);
    free(have);
}

#endif
