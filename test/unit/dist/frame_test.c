/* frame_test.c - the frames of the control socket, whole, cut short and of another shape. */

#include "dist/frame.h"

#include "test.h"
#include "edge.h"

static void put_call(struct buf *b, const char *word, uint32_t arity, bool has_ref)
{
    b->len = 0;
    term_put_version(b);
    term_put_tuple(b, arity);
    term_put_atom(b, word);
    if (arity > 1 && has_ref)
        term_put_integer(b, 77);
    else if (arity > 1)
        term_put_atom(b, "ref");
    for (uint32_t i = 2; i < arity; i++)
        term_put_text(b, "request");
}

static bool is_call(const struct buf *b)
{
    term ref, request;
    struct fault fault = {0};
    struct slice bytes = edge_slice(b->data, b->len);

    if (frame_read_call(bytes, &ref, &request, &fault) != ERR_OK) {
        ck_assert(fault.why[0]);
        return false;
    }
    int64_t number;
    ck_assert(term_integer(ref, &number) && number == 77);
    ck_assert_slice(term_text(request), "request");
    return true;
}

TEST(a_call_has_three_elements_and_a_number)
{
    struct buf b = {0};
    term ref, request;
    struct fault fault = {0};

    put_call(&b, "call", 3, true);
    ck_assert(is_call(&b));
    for (size_t len = 0; len < b.len; len++)
        ck_assert_int_eq(frame_read_call(edge_slice(b.data, len), &ref, &request, &fault),
                         ERR_INVALID);
    put_call(&b, "cast", 3, true);
    ck_assert(!is_call(&b));
    put_call(&b, "call", 2, true);
    ck_assert(!is_call(&b));
    put_call(&b, "call", 4, true);
    ck_assert(!is_call(&b));
    put_call(&b, "call", 1, true);
    ck_assert(!is_call(&b));
    put_call(&b, "call", 3, false);
    fault = (struct fault){0};
    ck_assert_int_eq(frame_read_call(buf_view(&b), &ref, &request, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "a frame is {call, Ref, Request}, Ref an integer");
    buf_free(&b);
}

TEST(a_head_is_enough_to_know_whom_to_answer)
{
    struct buf b = {0};
    term ref;
    size_t needed;

    put_call(&b, "call", 3, true);
    needed = b.len - (5 + strlen("request")); /* a binary has five bytes before its own */
    for (size_t len = 0; len <= b.len; len++) {
        struct slice head = edge_slice(b.data, len);
        ck_assert_msg(frame_read_head(head, &ref) == (len >= needed), "%zu of %zu", len, needed);
        int64_t number = 0;
        if (len >= needed)
            ck_assert(term_integer(ref, &number) && number == 77);
    }
    put_call(&b, "cast", 3, true);
    ck_assert(!frame_read_head(buf_view(&b), &ref));
    put_call(&b, "call", 3, false);
    ck_assert(!frame_read_head(buf_view(&b), &ref));
    put_call(&b, "call", 4, true);
    ck_assert(!frame_read_head(buf_view(&b), &ref));
    for (size_t i = 0; i < 3; i++) { /* version, tuple, its size */
        put_call(&b, "call", 3, true);
        b.data[i]++;
        ck_assert(!frame_read_head(buf_view(&b), &ref));
    }
    buf_free(&b);
}

TEST(answers_are_these_bytes)
{
    struct buf b = {0}, ref = {0}, answer = {0};
    static const uint8_t text[] = "\x83h\x02w\x07welcomem\x00\x00\x00\x03"
                                  "0.2";

    term_put_integer(&ref, 5);
    term_put_atom(&answer, "ok");
    frame_put_answer(&b, "reply", buf_view(&ref), buf_view(&answer));
    ck_assert_uint_eq(b.len, 3 + 7 + ref.len + answer.len);
    ck_assert_mem_eq(b.data, "\x83h\x03w\x05reply", 10);
    ck_assert_mem_eq(b.data + 10, ref.data, ref.len);
    ck_assert_mem_eq(b.data + 10 + ref.len, answer.data, answer.len);
    b.len = 0;
    frame_put_text(&b, "welcome", "0.2");
    ck_assert_uint_eq(b.len, sizeof text - 1);
    ck_assert_mem_eq(b.data, text, b.len);
    buf_free(&b);
    buf_free(&ref);
    buf_free(&answer);
}
