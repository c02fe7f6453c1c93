/*
 * frame.c - the frames of the control socket.
 *
 * What can go wrong: bytes that are not a call.  The fault says why; the caller ends the
 * connection.
 *
 * Pure; any thread.
 */

#include "dist/frame.h"

#define VERSION     131
#define SMALL_TUPLE 104

static bool is_ref(term t)
{
    int64_t v;

    return t != NULL && term_integer(t, &v);
}

enum err frame_read_call(struct slice bytes, term *ref, term *request, struct fault *fault)
{
    term t;

    if (term_check(bytes, &t, fault) != ERR_OK)
        return ERR_INVALID;
    *ref = term_element(t, 1);
    *request = term_element(t, 2);
    if (term_is(term_element(t, 0), "call") && term_arity(t) == 3 && is_ref(*ref))
        return ERR_OK;
    return fault_say(fault, "", "a frame is {call, Ref, Request}, Ref an integer");
}

bool frame_read_head(struct slice head, term *ref)
{
    struct fault ignored;
    size_t used;

    if (head.len < 3 || head.data[0] != VERSION || head.data[1] != SMALL_TUPLE || head.data[2] != 3)
        return false;
    if (term_check_some(slice_of(head.data + 3, head.len - 3), 2, &used, &ignored) != ERR_OK)
        return false;
    *ref = term_next(head.data + 3);
    return term_is(head.data + 3, "call") && is_ref(*ref);
}

void frame_put_answer(struct buf *b, const char *word, struct slice ref, struct slice answer)
{
    term_put_version(b);
    term_put_tuple(b, 3);
    term_put_atom(b, word);
    term_put_raw(b, ref);
    term_put_raw(b, answer);
}

void frame_put_text(struct buf *b, const char *word, const char *text)
{
    term_put_version(b);
    term_put_tuple(b, 2);
    term_put_atom(b, word);
    term_put_text(b, text);
}
