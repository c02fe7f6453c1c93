/*
 * message_test.c - distribution messages as a BEAM sends them, and the answers it expects.
 */

#include "dist/message.h"

#include "test.h"
#include "edge.h"

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
        enum err e = message_read(edge_slice(b.data, len), &m, &fault);
        if (len == control)
            ck_assert(e == ERR_OK && m.kind == MESSAGE_UNKNOWN);
        else
            ck_assert_msg(e == ERR_INVALID, "a call cut to %zu bytes", len);
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
        bool found = message_read_head(edge_slice(b.data, len), &m);
        ck_assert_int_eq(found, len >= b.len - request);
        if (found) {
            ck_assert_int_eq(m.kind, MESSAGE_CALL);
            ck_assert(term_is(m.name, "srv") && m.request == NULL);
            ck_assert_int_eq(term_type(m.from), TERM_PID);
            ck_assert_int_eq(term_type(m.tag), TERM_LIST);
        }
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

/* ---- every operation, and payloads that are nearly a call ---------------------------------------
 */

/* {Operation, ${more} elements...} of which the third is the name; then ${payload}, if any. */
static struct slice control_of(struct buf *b, int64_t operation, uint32_t arity, const char *name,
                               bool has_payload)
{
    b->len = 0;
    buf_byte(b, 112);
    term_put_version(b);
    term_put_tuple(b, arity);
    term_put_integer(b, operation);
    for (uint32_t i = 1; i < arity; i++) {
        if (i == 3 && name)
            term_put_atom(b, name);
        else
            put_pid(b, "e@h", i);
    }
    if (has_payload) {
        term_put_version(b);
        term_put_tuple(b, 2);
        term_put_atom(b, "$gen_cast");
        term_put_text(b, "x");
    }
    return edge_slice(b->data, b->len);
}

TEST(which_operations_are_messages)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;

    for (int64_t operation = 0; operation < 40; operation++) {
        bool to_name = operation == 6 || operation == 16;
        enum message_kind wanted = to_name                             ? MESSAGE_CAST
                                   : operation == 2 || operation == 12 ? MESSAGE_UNKNOWN
                                   : operation == 35                   ? MESSAGE_UNLINK
                                                                       : MESSAGE_SIGNAL;
        /* an unlink's receiver is a pid where a name stands elsewhere */
        struct slice bytes = control_of(&b, operation, 5, operation == 35 ? NULL : "srv", true);
        ck_assert_int_eq(message_read(bytes, &m, &fault), ERR_OK);
        ck_assert_msg(m.kind == wanted, "operation %d: %d", (int)operation, m.kind);
        ck_assert_int_eq(m.name != NULL, to_name);
        if (to_name) { /* a name that is no atom is nobody's */
            ck_assert_int_eq(message_read(control_of(&b, operation, 5, NULL, true), &m, &fault),
                             ERR_OK);
            ck_assert(m.kind == MESSAGE_UNKNOWN && m.name == NULL);
            ck_assert_int_eq(message_read(control_of(&b, operation, 3, NULL, true), &m, &fault),
                             ERR_OK);
            ck_assert(m.kind == MESSAGE_UNKNOWN && m.name == NULL);
            ck_assert_int_eq(message_read(control_of(&b, operation, 5, "srv", false), &m, &fault),
                             ERR_OK);
            ck_assert(m.kind == MESSAGE_UNKNOWN && m.name != NULL);
        }
    }
    /* an unlink without a receiver, or of whom it is not said, needs nothing */
    for (uint32_t arity = 1; arity < 4; arity++) {
        ck_assert_int_eq(message_read(control_of(&b, 35, arity, NULL, false), &m, &fault), ERR_OK);
        ck_assert_int_eq(m.kind, MESSAGE_SIGNAL);
    }
    ck_assert_int_eq(message_read(control_of(&b, 35, 4, "atom", false), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_SIGNAL);
    b.len = 0;
    buf_str(&b, "\x70\x83");
    term_put_tuple(&b, 4);
    term_put_integer(&b, 35);
    term_put_integer(&b, 1);
    term_put_atom(&b, "no_pid");
    put_pid(&b, "e@h", 1);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, MESSAGE_SIGNAL);
    buf_free(&b);
}

TEST(a_control_message_is_a_tuple_with_an_operation)
{
    struct buf b = {0};
    struct message m;
    struct fault fault = {0};

    buf_str(&b, "\x70\x83");
    term_put_tuple(&b, 2);
    term_put_atom(&b, "six");
    term_put_atom(&b, "x");
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "the control message is no tuple with an operation");
    b.len = 2;
    term_put_integer(&b, 6);
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_INVALID);
    b.len = 2;
    b.data[1] = 130;
    term_put_tuple(&b, 1);
    term_put_integer(&b, 1);
    fault.why[0] = '\0';
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_INVALID);
    ck_assert_str_eq(fault.why, "no pass-through message");
    buf_free(&b);
}

/* {Label, Caller, Request} to "srv": what is not just a call is unknown, whole or as a head. */
static void assert_payload(const char *label, uint32_t arity, bool has_pid, uint32_t caller_arity,
                           bool is_call)
{
    struct buf b = {0};
    struct message m;
    struct fault fault;

    put_reg_send(&b, "srv");
    term_put_tuple(&b, arity);
    term_put_atom(&b, label);
    for (uint32_t i = 1; i < arity; i++) {
        if (i != 1) {
            term_put_text(&b, "request");
            continue;
        }
        term_put_tuple(&b, caller_arity);
        for (uint32_t c = 0; c < caller_arity; c++)
            if (c == 0 && has_pid)
                put_pid(&b, "e@h", 2);
            else
                put_ref(&b, 5);
    }
    ck_assert_int_eq(message_read(buf_view(&b), &m, &fault), ERR_OK);
    ck_assert_int_eq(m.kind, is_call ? MESSAGE_CALL : MESSAGE_UNKNOWN);
    ck_assert_int_eq(message_read_head(buf_view(&b), &m), is_call);
    buf_free(&b);
}

TEST(what_is_nearly_a_call_is_none)
{
    assert_payload("$gen_call", 3, true, 2, true);
    assert_payload("$gen_cast", 3, true, 2, false);
    assert_payload("gen_call", 3, true, 2, false);
    assert_payload("$gen_call", 2, true, 2, false);
    assert_payload("$gen_call", 4, true, 2, false);
    assert_payload("$gen_call", 3, false, 2, false);
    assert_payload("$gen_call", 3, true, 1, false);
    assert_payload("$gen_call", 3, true, 3, false);
    assert_payload("$gen_call", 3, true, 0, false);
}

TEST(a_head_to_nobody_or_of_another_form_shows_nothing)
{
    struct buf b = {0};
    struct message m;

    put_call(&b, "srv", 0);
    size_t payload = 0;
    for (size_t i = 3; payload == 0; i++)
        if (b.data[i] == 131)
            payload = i;
    for (size_t i = 0; i < 3; i++) { /* version, tuple, its size */
        b.data[payload + i]++;
        ck_assert(!message_read_head(buf_view(&b), &m));
        b.data[payload + i]--;
    }
    ck_assert(message_read_head(buf_view(&b), &m));
    b.data[0]++;
    ck_assert(!message_read_head(buf_view(&b), &m));
    b.data[0]--;
    ck_assert(!message_read_head(control_of(&b, 2, 5, "srv", true), &m));
    buf_free(&b);
}

/* The whole of an answer, byte for byte. */
TEST(a_reply_is_these_bytes)
{
    struct buf call = {0}, b = {0}, wanted = {0}, self = {0}, ok = {0};
    struct message m;
    struct fault fault;

    for (int form = 1; form >= 0; form--) {
        b.len = wanted.len = self.len = ok.len = call.len = 0;
        put_call(&call, "srv", form);
        put_pid(&self, "c@h", 0);
        term_put_atom(&ok, "ok");
        ck_assert_int_eq(message_read(buf_view(&call), &m, &fault), ERR_OK);
        message_put_reply(&b, buf_view(&self), term_raw(m.from), term_raw(m.tag), buf_view(&ok));
        buf_byte(&wanted, 112);
        term_put_version(&wanted);
        term_put_tuple(&wanted, 3);
        term_put_integer(&wanted, form == 0 ? 33 : 2);
        if (form == 0) {
            put_pid(&wanted, "c@h", 0);
            put_ref(&wanted, 5);
        } else {
            term_put_atom(&wanted, "");
            put_pid(&wanted, "e@h", 2);
        }
        term_put_version(&wanted);
        term_put_tuple(&wanted, 2);
        term_put_raw(&wanted, term_raw(m.tag));
        term_put_atom(&wanted, "ok");
        ck_assert(slice_eq(buf_view(&b), buf_view(&wanted)));
    }
    b.len = wanted.len = 0;
    message_put_exit(&b, term_raw(m.name), term_raw(m.from), message_exit_ref(m.tag), "noproc");
    buf_byte(&wanted, 112);
    term_put_version(&wanted);
    term_put_tuple(&wanted, 5);
    term_put_integer(&wanted, 21);
    term_put_atom(&wanted, "srv");
    put_pid(&wanted, "e@h", 2);
    put_ref(&wanted, 5);
    term_put_atom(&wanted, "noproc");
    ck_assert(slice_eq(buf_view(&b), buf_view(&wanted)));
    buf_free(&call);
    buf_free(&b);
    buf_free(&wanted);
    buf_free(&self);
    buf_free(&ok);
}
