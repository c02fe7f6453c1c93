/*
 * base.c - faults: what was wrong with an input, as text.
 *
 * Only refusals come here, so none of this needs to be fast.
 *
 * What can go wrong: a text longer than its field is cut between two characters and ends in "...".
 * It is built outside the fault and then copied in, since it may quote what the fault already says.
 *
 * Any thread: a fault belongs to its owner.
 */

#include "ground/base.h"

#define PLACE_BYTES sizeof((struct fault *)NULL)->why
_Static_assert(PLACE_BYTES == sizeof((struct fault *)NULL)->path, "put() fills either");

struct slice slice_cut(struct slice text, size_t bytes)
{
    if (text.len <= bytes)
        return text;
    while (bytes > 0 && (text.data[bytes] & 0xc0) == 0x80)
        bytes--;
    return slice_of(text.data, bytes);
}

static void put(char *place, const char *fmt, va_list args)
{
    char text[PLACE_BYTES];
    size_t len = (size_t)vsnprintf(text, sizeof text, fmt, args);

    if (len >= sizeof text) {
        len = slice_cut(slice_str(text), sizeof text - sizeof "...").len;
        memcpy(text + len, "...", sizeof "...");
    }
    memcpy(place, text, strlen(text) + 1);
}

void fault_at(struct fault *f, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put(f->path, fmt, args);
    va_end(args);
}

void fault_vsay(struct fault *f, const char *path, const char *fmt, va_list args)
{
    put(f->why, fmt, args);
    if (path != NULL)
        fault_at(f, "%s", path);
}

struct fault *fault_fill(struct fault *f, const char *path, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fault_vsay(f, path, fmt, args);
    va_end(args);
    return f;
}
