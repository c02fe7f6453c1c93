/*
 * message_test.c - distribution messages as a BEAM sends them, and the answers it expects.
 */

#include "dist/message.h"

#include "test.h"

static void put_pid(struct buf *b, const char *node, uint32_t id)
{
    buf_byte(b, 88); /* NEW_PID */
    term_put_atom(b, node);
    buf_be32(b, id);
    buf_be32(b, 0);
    buf_be32(b, 77);
}

static void put_ref(struct buf *b, uint32_t id)
{
    buf_byte(b, 90); /* NEWER_REFERENCE of one word */
    buf_be16(b, 1);
    term_put_atom(b, "e@h");
    buf_be32(b, 77);
    buf_be32(b, id);
}

/* [alias | Ref] */
static void put_alias(struct buf *b, uint32_t id)
{
    term_put_list(b, 1);
    term_put_atom(b, "alias");
    put_ref(b, id);
}

static void put_reg_send(struct buf *b, const char *name)
{
    buf_byte(b, 112);
    term_put_version(b);
    term_put_tuple(b, 4);
    term_put_integer(b, 6);
    put_pid(b, "e@h", 1);
    term_put_atom(b, "");
    term_put_atom(b, name);
    term_put_version(b);
}

/* {'$gen_call', {Pid, Tag}, Request}, the tag in the form 0 to 3. */
static void put_call(struct buf *b, const char *name, int form)
{
    put_reg_send(b, name);
    term_put_tuple(b, 3);
    term_put_atom(b, "$gen_call");
    term_put_tuple(b, 2);
    put_pid(b, "e@h", 2);
    if (form == 0) {
        put_alias(b, 5);
    } else if (form == 1) {
        put_ref(b, 5);
    } else if (form == 2) {
        term_put_list(b, 1);
        put_alias(b, 5);
        put_ref(b, 6);
    } else {
        term_put_integer(b, 5);
    }
    term_put_text(b, "request");
}

static struct slice encoded(struct buf *b, void (*put)(struct buf *, uint32_t), uint32_t id)
{
    buf_free(b);
    put(b, id);
    return buf_view(b);
}

TEST(a_call_is_taken_apart)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;

    put_call(&b, "srv", 0);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_CALL);
    ck_assert(term_is(m.name, "srv"));
    ck_assert_int_eq(term_type(m.from), TERM_PID);
    ck_assert_int_eq(term_type(m.tag), TERM_LIST);
    ck_assert_slice(term_text(m.request), "request");
    buf_free(&b);
}

TEST(a_cast_is_taken_apart)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;

    put_reg_send(&b, "srv");
    term_put_tuple(&b, 2);
    term_put_atom(&b, "$gen_cast");
    term_put_text(&b, "request");
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_CAST);
    ck_assert_slice(term_text(m.request), "request");
    buf_free(&b);
}

TEST(other_messages_are_unknown)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;

    put_reg_send(&b, "srv");
    term_put_text(&b, "plain");
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_UNKNOWN);
    buf_free(&b);
    put_reg_send(&b, "srv"); /* {'$gen_call', NoPair, Request} */
    term_put_tuple(&b, 3);
    term_put_atom(&b, "$gen_call");
    term_put_integer(&b, 1);
    term_put_integer(&b, 2);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_UNKNOWN);
    buf_free(&b);
}

TEST(a_signal_needs_nothing_and_an_unlink_its_acknowledgement)
{
    struct buf b = {0}, ack = {0}, pid = {0};
    struct message m;
    struct fault fault;

    buf_str(&b, "\x70\x83");
    term_put_tuple(&b, 3);
    term_put_integer(&b, 1);
    put_pid(&b, "e@h", 1);
    put_pid(&b, "c@h", 0);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_SIGNAL);
    buf_free(&b);
    buf_str(&b, "\x70\x83");
    term_put_tuple(&b, 4);
    term_put_integer(&b, 35);
    term_put_integer(&b, 4711);
    put_pid(&b, "e@h", 1);
    put_pid(&b, "c@h", 0);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_UNLINK);
    message_put_unlinked(&ack, &m);
    term t;
    ck_assert_int_eq(term_check(slice_of(ack.data + 1, ack.len - 1), &t, &fault), ERR_OK);
    int64_t v;
    ck_assert(term_integer(term_element(t, 0), &v) && v == 36);
    ck_assert(term_integer(term_element(t, 1), &v) && v == 4711);
    put_pid(&pid, "c@h", 0);
    ck_assert(slice_eq(term_raw(term_element(t, 2)), buf_view(&pid)));
    buf_free(&pid);
    buf_free(&ack);
    buf_free(&b);
}

TEST(malformed_messages_are_refused_at_every_length)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;
    size_t control = 0;

    put_reg_send(&b, "srv");
    control = b.len - 1; /* a message to a name that ends here has no payload: read, but unknown */
    buf_free(&b);
    put_call(&b, "srv", 0);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *exact = base_alloc(len); /* so that a sanitizer sees one byte too far */
        memcpy(exact, b.data, len);
        enum err e = message_read(slice_of(exact, len), &m, &fault);
        if (len == control)
            ck_assert(e == ERR_OK && m.kind == MESSAGE_UNKNOWN);
        else
            ck_assert_msg(e == ERR_INVALID, "a call cut to %zu bytes", len);
        free(exact);
    }
    buf_byte(&b, 0);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_INVALID);
    b.data[0] = 113;
    ck_assert_int_eq(message_read(slice_of(b.data, b.len - 1), &m, &fault), ERR_INVALID);
    buf_free(&b);
}

TEST(a_head_shows_the_caller_or_nothing)
{
    struct buf b = {0};
    struct message m;
    size_t request = sizeof "request" - 1 + 5;

    put_call(&b, "srv", 0);
    for (size_t len = 0; len <= b.len; len++) {
        uint8_t *exact = base_alloc(len);
        memcpy(exact, b.data, len);
        bool found = message_read_head(slice_of(exact, len), &m);
        ck_assert_int_eq(found, len >= b.len - request);
        if (found) {
            ck_assert_int_eq(m.kind, MESSAGE_CALL);
            ck_assert(term_is(m.name, "srv") && m.request == NULL);
        }
        free(exact);
    }
    buf_free(&b);
}

/* The control tuple and payload of an answer to a tag of the form. */
static term answered(struct buf *b, int form, term *control)
{
    struct buf call = {0}, self = {0}, answer = {0};
    struct message m;
    struct fault fault;
    size_t used;
    term payload;

    put_call(&call, "srv", form);
    put_pid(&self, "c@h", 0);
    term_put_atom(&answer, "ok");
    ck_assert_int_eq(message_read(buf_view(&call), &m, &fault), ERR_OK);
    message_put_reply(b, buf_view(&self), term_raw(m.from), term_raw(m.tag), buf_view(&answer));
    ck_assert_int_eq(b->data[0], 112);
    ck_assert_int_eq(b->data[1], 131);
    struct slice rest = slice_of(b->data + 2, b->len - 2);
    ck_assert_int_eq(term_check_some(rest, 1, &used, &fault), ERR_OK);
    *control = rest.data;
    rest = slice_of(rest.data + used, rest.len - used);
    ck_assert_int_eq(term_check(rest, &payload, &fault), ERR_OK);
    ck_assert(slice_eq(term_raw(term_element(payload, 0)), term_raw(m.tag)));
    ck_assert(term_is(term_element(payload, 1), "ok"));
    buf_free(&answer);
    buf_free(&self);
    buf_free(&call);
    return payload;
}

TEST(a_reply_goes_to_the_alias_where_there_is_one)
{
    for (int form = 0; form < 4; form++) {
        struct buf b = {0}, expected = {0};
        term control;
        int64_t operation;
        answered(&b, form, &control);
        ck_assert(term_integer(term_element(control, 0), &operation));
        bool alias = form == 0 || form == 2;
        ck_assert_int_eq(operation, alias ? 33 : 2);
        if (alias)
            put_ref(&expected, 5);
        else
            put_pid(&expected, "e@h", 2);
        ck_assert(slice_eq(term_raw(term_element(control, 2)), buf_view(&expected)));
        buf_free(&expected);
        buf_free(&b);
    }
}

TEST(an_exit_names_the_monitor)
{
    static const uint32_t refs[] = {5, 5, 6, 0};

    for (int form = 0; form < 4; form++) {
        struct buf call = {0}, expected = {0}, out = {0};
        struct message m;
        struct fault fault;
        term t;
        put_call(&call, "srv", form);
        ck_assert_int_eq(message_read(buf_view(&call), &m, &fault), ERR_OK);
        struct slice ref = message_exit_ref(m.tag);
        if (refs[form] == 0) {
            ck_assert_ptr_null(ref.data);
        } else {
            ck_assert(slice_eq(ref, encoded(&expected, put_ref, refs[form])));
            message_put_exit(&out, term_raw(m.name), term_raw(m.from), ref, "noproc");
            ck_assert_int_eq(term_check(slice_of(out.data + 1, out.len - 1), &t, &fault), ERR_OK);
            ck_assert_uint_eq(term_arity(t), 5);
            ck_assert(term_is(term_element(t, 1), "srv"));
            ck_assert(term_is(term_element(t, 4), "noproc"));
        }
        buf_free(&out);
        buf_free(&expected);
        buf_free(&call);
    }
}
