/*
 * message.c - the messages of the distribution protocol.
 *
 * The happy path: a message is checked once, control tuple and payload, and the
 * result is a struct of pointers into it.  Of the many control messages only a few
 * reach a node without processes: messages to a registered name, in which
 * gen_server's calls and casts travel, and signals that need no action.
 *
 * Replies go to the alias in the tag ([alias | Ref], since OTP 24): a reply that
 * comes after the caller's timeout is then dropped by the BEAM, whereas one sent
 * to the pid would stay in the caller's mailbox for ever.
 *
 * What can go wrong: malformed bytes (the caller ends the connection) and
 * unknown forms (counted, dropped).
 *
 * Pure; any thread.
 */

#include "dist/message.h"

#define PASS_THROUGH 112
#define VERSION      131
#define SMALL_TUPLE  104

/* The control messages that mean something here. */
enum {
    SEND = 2,
    REG_SEND = 6,
    SEND_TT = 12,
    REG_SEND_TT = 16,
    MONITOR_P_EXIT = 21,
    ALIAS_SEND = 33,
    UNLINK_ID = 35,
    UNLINK_ID_ACK = 36
};

static struct slice behind(struct slice s, size_t n)
{
    return slice_of(s.data + n, s.len - n);
}

static bool is_pid(term t)
{
    return t != NULL && term_type(t) == TERM_PID;
}

static bool is_atom(term t)
{
    return t != NULL && term_type(t) == TERM_ATOM;
}

/* The control tuple and its operation; ${rest} is what follows it. */
static enum err read_control(struct slice bytes, term *control, int64_t *operation,
                             struct slice *rest, struct fault *fault)
{
    size_t used;

    if (bytes.len < 2 || bytes.data[0] != PASS_THROUGH || bytes.data[1] != VERSION)
        return fault_say(fault, "", "no pass-through message");
    bytes = behind(bytes, 2);
    if (term_check_some(bytes, 1, &used, fault) != ERR_OK)
        return ERR_INVALID;
    *control = bytes.data;
    term first = term_element(*control, 0);
    if (first == NULL || !term_integer(first, operation))
        return fault_say(fault, "", "the control message is no tuple with an operation");
    *rest = behind(bytes, used);
    return ERR_OK;
}

/* The name in a message to a registered name; NULL for any other message. */
static term registered(term control, int64_t operation)
{
    if (operation != REG_SEND && operation != REG_SEND_TT)
        return NULL;
    term name = term_element(control, 3);
    return is_atom(name) ? name : NULL;
}

static void read_payload(term payload, struct message *m)
{
    term label = term_element(payload, 0), second = term_element(payload, 1);
    uint32_t arity = label != NULL ? term_arity(payload) : 0;

    if (arity == 2 && term_is(label, "$gen_cast")) {
        m->kind = MESSAGE_CAST;
        m->request = second;
    } else if (arity == 3 && term_is(label, "$gen_call") && is_pid(term_element(second, 0)) &&
               term_arity(second) == 2) {
        m->kind = MESSAGE_CALL;
        m->from = term_element(second, 0);
        m->tag = term_element(second, 1);
        m->request = term_element(payload, 2);
    }
}

static void read_unlink(term control, struct message *m)
{
    m->id = term_element(control, 1);
    m->sender = term_element(control, 2);
    m->receiver = term_element(control, 3);
    m->kind =
        m->id != NULL && is_pid(m->sender) && is_pid(m->receiver) ? MESSAGE_UNLINK : MESSAGE_SIGNAL;
}

enum err message_read(struct slice bytes, struct message *m, struct fault *fault)
{
    term control, payload = NULL;
    int64_t operation;
    struct slice rest;

    *m = (struct message){.kind = MESSAGE_SIGNAL};
    if (read_control(bytes, &control, &operation, &rest, fault) != ERR_OK)
        return ERR_INVALID;
    if (rest.len > 0 && term_check(rest, &payload, fault) != ERR_OK)
        return ERR_INVALID;
    if (operation == UNLINK_ID)
        read_unlink(control, m);
    if (operation == SEND || operation == SEND_TT || operation == REG_SEND ||
        operation == REG_SEND_TT) {
        m->kind = MESSAGE_UNKNOWN;
        m->name = registered(control, operation);
    }
    if (m->name != NULL && payload != NULL)
        read_payload(payload, m);
    return ERR_OK;
}

bool message_read_head(struct slice head, struct message *m)
{
    term control;
    int64_t operation;
    struct slice rest;
    struct fault fault;
    size_t used;

    *m = (struct message){.kind = MESSAGE_UNKNOWN};
    if (read_control(head, &control, &operation, &rest, &fault) != ERR_OK)
        return false;
    m->name = registered(control, operation);
    if (m->name == NULL || rest.len < 3 || rest.data[0] != VERSION || rest.data[1] != SMALL_TUPLE ||
        rest.data[2] != 3)
        return false;
    rest = behind(rest, 3);
    if (term_check_some(rest, 2, &used, &fault) != ERR_OK)
        return false;
    term label = rest.data, caller = term_next(label);
    if (!term_is(label, "$gen_call") || !is_pid(term_element(caller, 0)) || term_arity(caller) != 2)
        return false;
    m->kind = MESSAGE_CALL;
    m->from = term_element(caller, 0);
    m->tag = term_element(caller, 1);
    return true;
}

/* The Ref of [alias | Ref]; NULL when ${t} is something else. */
static term alias_ref(term t)
{
    if (term_type(t) != TERM_LIST || term_arity(t) != 1 || !term_is(term_items(t), "alias"))
        return NULL;
    term tail = term_next(term_items(t));
    return term_type(tail) == TERM_REFERENCE ? tail : NULL;
}

/* gen:reply/2 knows two forms: [alias | Ref] and [[alias | Ref] | Anything]. */
static term reply_alias(term tag)
{
    term ref = alias_ref(tag);

    if (ref == NULL && term_type(tag) == TERM_LIST)
        ref = alias_ref(term_items(tag));
    return ref;
}

static void put_operation(struct buf *b, uint32_t arity, int64_t operation)
{
    buf_byte(b, PASS_THROUGH);
    term_put_version(b);
    term_put_tuple(b, arity);
    term_put_integer(b, operation);
}

void message_put_reply(struct buf *b, struct slice self, struct slice from, struct slice tag,
                       struct slice answer)
{
    term ref = reply_alias(tag.data);

    buf_reserve(b, self.len + from.len + 2 * tag.len + answer.len + 32);
    if (ref != NULL) {
        put_operation(b, 3, ALIAS_SEND);
        term_put_raw(b, self);
        term_put_raw(b, term_raw(ref));
    } else {
        put_operation(b, 3, SEND);
        term_put_atom(b, "");
        term_put_raw(b, from);
    }
    term_put_version(b);
    term_put_tuple(b, 2);
    term_put_raw(b, tag);
    term_put_raw(b, answer);
}

struct slice message_exit_ref(term tag)
{
    term ref = alias_ref(tag);

    if (ref == NULL && term_type(tag) == TERM_REFERENCE)
        ref = tag;
    /* multi_call's [[alias | Ref] | Monitor] */
    if (ref == NULL && reply_alias(tag) != NULL && term_arity(tag) == 1) {
        term tail = term_next(term_items(tag));
        ref = term_type(tail) == TERM_REFERENCE ? tail : NULL;
    }
    return ref != NULL ? term_raw(ref) : slice_of(NULL, 0);
}

void message_put_exit(struct buf *b, struct slice name, struct slice from, struct slice ref,
                      const char *reason)
{
    put_operation(b, 5, MONITOR_P_EXIT);
    term_put_raw(b, name);
    term_put_raw(b, from);
    term_put_raw(b, ref);
    term_put_atom(b, reason);
}

void message_put_unlinked(struct buf *b, const struct message *m)
{
    put_operation(b, 4, UNLINK_ID_ACK);
    term_put_raw(b, term_raw(m->id));
    term_put_raw(b, term_raw(m->receiver));
    term_put_raw(b, term_raw(m->sender));
}
