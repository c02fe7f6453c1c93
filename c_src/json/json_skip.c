/*
 * json_skip.c - skipping over JSON text without parsing it.
 *
 * The happy path: strings are skipped as a whole, brackets are counted, and the first comma or
 * brace outside of both ends a value.
 *
 * What can go wrong: the text is damaged.  Nothing is read past its end.
 *
 * Any thread.
 */

#include "json/json_skip.h"

size_t json_skip_string(struct slice json, size_t at)
{
    if (at >= json.len || json.data[at] != '"')
        return 0;
    for (size_t i = at + 1; i < json.len; i++) {
        if (json.data[i] == '\\')
            i++;
        else if (json.data[i] == '"')
            return i + 1;
    }
    return 0;
}

size_t json_skip_value(struct slice json, size_t at)
{
    size_t depth = 0;

    for (size_t i = at; i < json.len; i++) {
        uint8_t c = json.data[i];
        if (c == '"') {
            i = json_skip_string(json, i);
            if (i-- == 0)
                return 0;
        } else if (depth == 0 && (c == ',' || c == '}')) {
            return i;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 0;
}
