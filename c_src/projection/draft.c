/*
 * draft.c - a document that is being made: one text that grows, and the pieces in it.
 *
 * The happy path: what a request brings is appended to the draft's text and
 * remembered as a piece (where, how long, how heavy); pieces are offsets, so the
 * text may move while it grows.  The checks that prepare and adopt share are
 * here as well.
 *
 * What can go wrong: a name, version or time that breaks its rule; the caller
 * gets the fault and frees the draft.  No state of its own: a draft belongs to
 * one thread at a time.
 */

#include "ground/time_text.h"
#include "json/json.h"
#include "projection/draft.h"
#include "projection/fold.h"

#define MAX_VERSION   63
#define MAX_TIME_TEXT 64
#define NUMBER_WEIGHT 9   /* crates/value/src/size.rs */
#define USUAL_TEXT    768 /* enough for the pieces of most documents: grown once */

bool draft_is_seq(int64_t v)
{
    return v >= 0 && v <= FOLD_MAX_SEQ;
}

struct draft *draft_new(const struct kind *k, const struct kind_slot *slots, size_t slot_count,
                        size_t field_count)
{
    struct draft *d = base_alloc(sizeof *d + field_count * sizeof d->fields[0]);
    d->kind = k;
    d->slots = slots;
    d->slot_count = slot_count;
    d->field_count = field_count;
    buf_reserve(&d->text, USUAL_TEXT);
    return d;
}

void draft_free(struct draft *d)
{
    if (d == NULL)
        return;
    buf_free(&d->out);
    buf_free(&d->text);
    free(d);
}

size_t draft_bytes(const struct draft *d)
{
    return sizeof *d + d->field_count * sizeof d->fields[0] + d->text.cap + d->out.cap;
}

void draft_swap_out(struct draft *d, struct buf *out)
{
    struct buf given = *out;
    *out = d->out;
    d->out = given;
}

struct slice draft_view(const struct draft *d, struct piece p)
{
    return slice_of(d->text.data + p.at, p.len);
}

struct piece draft_since(const struct draft *d, size_t at)
{
    return (struct piece){at, d->text.len - at, d->text.len - at};
}

struct piece draft_put_raw(struct draft *d, struct slice s)
{
    size_t at = d->text.len;
    buf_slice(&d->text, s);
    return draft_since(d, at);
}

struct piece draft_put_string(struct draft *d, struct slice s)
{
    size_t at = d->text.len;
    json_put_string(&d->text, s);
    return draft_since(d, at);
}

struct piece draft_put_number(struct draft *d, int64_t v)
{
    size_t at = d->text.len;
    json_put_integer(&d->text, v);
    return (struct piece){at, d->text.len - at, NUMBER_WEIGHT};
}

struct slice draft_id(const struct draft *d)
{
    return draft_view(d, d->id);
}

enum err draft_check_version(struct slice version, struct fault *fault)
{
    if (version.len >= 1 && version.len <= MAX_VERSION && json_is_printable(version))
        return ERR_OK;
    return fault_say(fault, "projection_version", "must be 1 to %d bytes of printable UTF-8",
                     MAX_VERSION);
}

/* Whether ${s}, a time, is in the form of RFC 3339, which is all that Convex's functions read. */
static bool is_rfc3339(struct slice s)
{
    const uint8_t *end = s.data + s.len;
    if (s.data[10] != 'T' || memchr(s.data, ',', s.len) != NULL)
        return false;
    return end[-1] == 'Z' || (end[-3] == ':' && (end[-6] == '+' || end[-6] == '-'));
}

bool draft_take_time(struct draft *d, struct piece p)
{
    struct slice s = draft_view(d, p);
    if (s.len < 2 || s.len > MAX_TIME_TEXT || s.data[0] != '"')
        return false;
    struct slice text = slice_of(s.data + 1, s.len - 2);
    if (!time_text_parse(text, &d->own_time_us) || d->own_time_us < 1)
        return false;
    d->own_time = (struct piece){p.at, p.len, p.len};
    if (!is_rfc3339(text)) {
        char plain[32];
        time_text_put(d->own_time_us, plain);
        d->own_time = draft_put_string(d, slice_str(plain));
    }
    return true;
}
