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
    ck_assert_msg(strstr(text, table) != NULL, "%s lacks this table, as %s has it now:\n%s", page,
                  source, table);
    free(text);
}

#endif
