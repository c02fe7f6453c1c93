/*
 * gate.c - the checks on every pending version, when it is made and when it is sent.
 *
 * The happy path: each request with a document's name (project, upsert, clear) has it checked here
 * first; each new version takes its time from gate_time; round_keep calls gate_version before a
 * version is pending, and delivery calls it again before it is sent.
 *
 * What can go wrong: a name, a text or a time that JSON, Convex or the store could not hold.  It is
 * refused with the reason; a pending version that cannot be sent becomes a dead letter.
 *
 * Any thread: there is no state here.
 */

#include "projection/gate.h"

#include "ground/time_text.h"
#include "json/json.h"

/* ---- names ------------------------------------------------------------------------ */

/* ${from}: the offset of ${text} in what the caller gave. */
static enum err check_text(struct slice text, size_t from, const char *path, struct fault *fault)
{
    size_t at = json_printable_len(text);

    if (at == text.len)
        return ERR_OK;
    if (at == json_utf8_len(text))
        return fault_say(fault, path, "is not UTF-8: byte %zu is 0x%02x", from + at, text.data[at]);
    unsigned code = text.data[at] < 0x80 ? text.data[at] : text.data[at + 1];
    return fault_say(fault, path, "has the control character U+%04X at byte %zu", code, from + at);
}

static enum err check_entity(struct slice id, size_t from, const char *path, struct fault *fault)
{
    if (id.len == 0)
        return fault_say(fault, path, from ? "names no entity after its prefix" : "is empty");
    if (id.len > GATE_MAX_ENTITY_ID)
        return fault_say(fault, path, "an entity's id has at most %d bytes, this one has %zu",
                         GATE_MAX_ENTITY_ID, id.len);
    return check_text(id, from, path, fault);
}

enum err gate_entity_id(struct slice id, struct fault *fault)
{
    return check_entity(id, 0, "entity_id", fault);
}

enum err gate_document_id(const struct kind *k, struct slice id, struct fault *fault)
{
    if (k == NULL || !slice_starts(id, slice_str(k->prefix)))
        return fault_fail(fault, ERR_NOT_OWNED, "document_id", "does not begin with \"%s\"",
                          k != NULL ? k->prefix : "the prefix of a configured kind");
    size_t prefix = strlen(k->prefix);
    return check_entity(slice_of(id.data + prefix, id.len - prefix), prefix, "document_id", fault);
}

enum err gate_lookup(struct slice id, struct fault *fault)
{
    if (id.len <= GATE_MAX_DOCUMENT_ID)
        return ERR_OK;
    return fault_say(fault, "document_id", "a document's id has at most %d bytes, this one has %zu",
                     GATE_MAX_DOCUMENT_ID, id.len);
}

/* ---- versions --------------------------------------------------------------------- */

static bool is_time(int64_t us)
{
    return us >= 0 && us <= TIME_TEXT_MAX_US;
}

enum err gate_version(struct slice id, struct slice kind, bool is_removal, struct slice json,
                      int64_t projected_at_us, struct fault *fault)
{
    if (!json_is_utf8(id))
        return fault_say(fault, "document_id", "is not UTF-8: byte %zu is 0x%02x",
                         json_utf8_len(id), id.data[json_utf8_len(id)]);
    if (!json_is_utf8(kind))
        return fault_say(fault, "kind", "is not UTF-8");
    if (!is_time(projected_at_us))
        return fault_say(fault, "projected_at", "is not in the years 1970 to 9999");
    if (!is_removal && (json.len == 0 || json.data[0] != '{' || !json_is_utf8(json)))
        return fault_say(fault, "summary", "is not a JSON object");
    return ERR_OK;
}

enum err gate_time(int64_t after_us, int64_t wanted_us, int64_t *us, struct fault *fault)
{
    bool is_late = after_us != 0 && wanted_us <= after_us;

    if (is_late && after_us >= TIME_TEXT_MAX_US)
        return fault_say(
            fault, "projected_at",
            "would leave the years 1970 to 9999: the document was projected at the end "
            "of 9999, so no later version can be ordered; mend it in Convex by hand");
    *us = is_late ? after_us + 1 : wanted_us;
    if (*us < 1 || *us > TIME_TEXT_MAX_US)
        return fault_say(fault, "projected_at", "would leave the years 1970 to 9999");
    return ERR_OK;
}
