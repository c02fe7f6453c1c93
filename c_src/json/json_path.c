/*
 * json_path.c - where a refused value lies: "metadata.x[3]".
 *
 * A path is only made when something is refused, so none of this needs to be fast.  It is made
 * while the functions that found the value return: each prepends its own step.
 *
 * What can go wrong: the path grows longer than the field of the fault; then its end is replaced by
 * "...".  Keys come from outside: one that is not a plain name is shown as ["..."], cut if it is
 * long, with '?' for what is not printable ASCII or would end the quotes.
 *
 * Any thread: a fault belongs to its owner.
 */

#include "json/json.h"

#define KEY_SHOWN_BYTES 64

static bool is_name(struct slice key)
{
    if (key.len == 0 || key.len > KEY_SHOWN_BYTES)
        return false;
    for (size_t i = 0; i < key.len; i++) {
        uint8_t c = key.data[i], letter = c | 0x20;

        if (!(letter >= 'a' && letter <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

static void prepend(struct fault *fault, const char *step)
{
    const char *dot = fault->path[0] == 0 || fault->path[0] == '[' ? "" : ".";

    fault_at(fault, "%s%s%s", step, dot, fault->path);
}

void json_path_key(struct fault *fault, struct slice key)
{
    char step[KEY_SHOWN_BYTES + 16];
    size_t n = 0;

    if (is_name(key)) {
        snprintf(step, sizeof step, "%.*s", SLICE_ARG(key));
        prepend(fault, step);
        return;
    }
    bool is_utf8 = json_is_utf8(key);
    size_t shown = slice_cut(key, KEY_SHOWN_BYTES).len;
    step[n++] = '[';
    step[n++] = '"';
    for (size_t i = 0; i < shown; i++) {
        uint8_t c = key.data[i];
        bool is_shown = c >= 0x80 ? is_utf8 : c >= 0x20 && c != 0x7f && c != '"';

        step[n++] = is_shown ? (char)c : '?';
    }
    snprintf(step + n, sizeof step - n, "%s\"]", shown < key.len ? "..." : "");
    prepend(fault, step);
}

void json_path_index(struct fault *fault, size_t index)
{
    char step[32];

    snprintf(step, sizeof step, "[%zu]", index);
    prepend(fault, step);
}
