/*
 * arguments.c - reads the arguments of messages.
 *
 * The happy path: each pair of Opts is looked up by name in the message's table, and its value read
 * as the row says, into the caller's struct.
 *
 * What can go wrong: Opts is not a map or proplist, a name is unknown, a value does not fit.  The
 * first such fault ends the reading, and the answer names it.
 *
 * Pure; any thread.
 */

#include "intake/arguments.h"

#include "projection/projection.h"

#define SHOWN_NAME 64  /* bytes of an option's name in an answer */
#define SHOWN_KIND 200 /* and of a kind's */

enum err arguments_kind(const struct kinds *kinds, term name, const struct kind **kind,
                        struct fault *fault)
{
    struct slice text = term_text(name);

    *kind = text.data != NULL ? kinds_find(kinds, text) : NULL;
    if (*kind != NULL)
        return ERR_OK;
    snprintf(fault->path, sizeof fault->path, "%.*s",
             (int)(text.len > SHOWN_KIND ? SHOWN_KIND : text.len),
             text.data != NULL ? (const char *)text.data : "");
    return ERR_UNKNOWN_KIND;
}

enum err arguments_refuse(struct fault *fault, struct slice name, const char *why)
{
    char path[SHOWN_NAME + sizeof "opts."];

    snprintf(path, sizeof path, "opts.%.*s", (int)(name.len > SHOWN_NAME ? SHOWN_NAME : name.len),
             (const char *)name.data);
    return fault_say(fault, path, "%s", why);
}

static bool read_number(const struct argument *a, term value, int64_t *out)
{
    return term_integer(value, out) && *out >= a->min && *out <= a->max;
}

/* {1, 2}, or [1, 2], which travels as STRING_EXT (tag, length, bytes) when both are bytes. */
static bool read_range(const struct argument *a, term value, int64_t out[2])
{
    enum term_type type = term_type(value);

    if (term_arity(value) != 2)
        return false;
    if (type == TERM_STRING) {
        const uint8_t *bytes = term_raw(value).data + 3;
        out[0] = bytes[0];
        out[1] = bytes[1];
    } else if (type == TERM_TUPLE || (type == TERM_LIST && term_is_proper(value))) {
        if (!read_number(a, term_items(value), &out[0]) ||
            !read_number(a, term_next(term_items(value)), &out[1]))
            return false;
    } else {
        return false;
    }
    return out[0] <= out[1];
}

static bool read_choice(const struct argument *a, term value, unsigned *out)
{
    struct slice text = term_text(value);
    const char *choice = a->choices;

    for (unsigned place = 1; text.data != NULL; place++) {
        size_t len = strcspn(choice, "|");
        if (slice_eq(text, slice_of(choice, len))) {
            *out = place;
            return true;
        }
        if (choice[len] == '\0')
            break;
        choice += len + 1;
    }
    return false;
}

static bool read_value(const struct argument *a, term value, void *out)
{
    bool is_nil = term_is_nil_atom(value);

    switch (a->type) {
    case ARGUMENT_FLAG:
        *(bool *)out = term_is(value, "true");
        return *(bool *)out || term_is(value, "false");
    case ARGUMENT_NUMBER:
        return read_number(a, value, out);
    case ARGUMENT_RANGE:
        return read_range(a, value, out);
    case ARGUMENT_CHOICE:
        return read_choice(a, value, out);
    case ARGUMENT_TEXT:
        *(struct slice *)out = term_text(value);
        return !is_nil && ((struct slice *)out)->data != NULL;
    case ARGUMENT_ID:
        *(struct slice *)out = is_nil ? slice_str("") : term_text(value);
        return is_nil || term_type(value) == TERM_BINARY;
    case ARGUMENT_TERM:
        *(term *)out = is_nil ? NULL : value;
        return true;
    }
    return false;
}

static enum err read_pair(term key, term value, const struct argument *table, size_t count,
                          void *target, struct fault *fault)
{
    struct slice name = term_text(key);

    if (name.data == NULL)
        return arguments_refuse(fault, slice_str(""), "option names are atoms or binaries");
    for (const struct argument *a = table; a < table + count; a++)
        if (slice_is(name, a->name))
            return read_value(a, value, (char *)target + a->offset)
                       ? ERR_OK
                       : arguments_refuse(fault, name, a->wanted);
    return arguments_refuse(fault, name, "there is no such option");
}

enum err arguments_options(term opts, const struct argument *table, size_t count, void *target,
                           struct fault *fault)
{
    bool is_map = term_type(opts) == TERM_MAP;
    bool is_list =
        term_type(opts) == TERM_NIL || (term_type(opts) == TERM_LIST && term_is_proper(opts));
    uint32_t n = term_arity(opts);
    enum err e = ERR_OK;

    if (!is_map && !is_list)
        return arguments_refuse(fault, slice_str(""), "a map or a proplist is wanted");
    term at = n > 0 ? term_items(opts) : NULL;
    for (uint32_t k = 0; k < n && e == ERR_OK; k++) {
        term key = is_map ? at : term_element(at, 0);
        if (!is_map && (key == NULL || term_arity(at) != 2))
            return arguments_refuse(fault, slice_str(""), "pairs {Option, Value} are wanted");
        term value = term_next(key);
        e = read_pair(key, value, table, count, target, fault);
        at = term_next(value);
    }
    return e;
}
