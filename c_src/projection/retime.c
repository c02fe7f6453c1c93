/*
 * retime.c - a finished document with another projected_at.
 *
 * The happy path: the text is ours, canonical JSON, and the value of its key projected_at is
 * replaced; all other bytes stay.
 *
 * What can go wrong: the text comes from a disk and may be anything; then it is left unchanged,
 * and whoever sends it finds what is wrong with it.
 *
 * Any thread: there is no state here.
 */

#include "projection/retime.h"

#include "ground/time_text.h"
#include "json/json_skip.h"
#include "projection/draft.h"

/* Where the value of projected_at begins and ends; false: not found. */
static bool find_time(struct slice json, size_t *value, size_t *end)
{
    size_t key = 1;

    if (json.len == 0 || json.data[0] != '{')
        return false;
    while (key < json.len && json.data[key] == '"') {
        size_t key_end = json_skip_string(json, key);
        if (key_end == 0 || key_end >= json.len || json.data[key_end] != ':')
            return false;
        *value = key_end + 1;
        *end = json_skip_value(json, *value);
        if (*end == 0)
            return false;
        if (slice_is(slice_of(json.data + key + 1, key_end - key - 2), DRAFT_PROJECTED_AT))
            return true;
        key = *end + 1; /* after the comma */
    }
    return false;
}

void retime(struct slice json, int64_t us, struct buf *out)
{
    size_t value, end;
    char time[32];

    if (!find_time(json, &value, &end)) {
        buf_slice(out, json);
        return;
    }
    time_text_put(us, time);
    buf_slice(out, slice_of(json.data, value));
    buf_printf(out, "\"%s\"", time);
    buf_slice(out, slice_of(json.data + end, json.len - end));
}
