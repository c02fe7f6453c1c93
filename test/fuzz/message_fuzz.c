/*
 * message_fuzz.c - no bytes from a peer make message_read or frame_read_call go astray; what they
 * take can be answered.
 *
 * The parts of a message must lie inside it, a call must give a reply and an exit that
 * message_read takes again, and the lenient reader of a head must agree on who asks.
 */

#include "dist/frame.h"
#include "dist/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice bytes, term t)
{
    PRE(t == NULL || (t >= bytes.data && term_next(t) <= bytes.data + bytes.len));
}

static void answer(const struct message *m)
{
    static const uint8_t ok[] = {119, 2, 'o', 'k'};
    struct slice self = term_raw(m->from), tag = term_raw(m->tag);
    struct slice ref = message_exit_ref(m->tag);
    struct message again;
    struct fault fault;
    struct buf b = {0};

    message_put_reply(&b, self, term_raw(m->from), tag, slice_of(ok, sizeof ok));
    PRE(message_read(buf_view(&b), &again, &fault) == ERR_OK);
    b.len = 0;
    if (ref.data != NULL) {
        message_put_exit(&b, term_raw(m->name), term_raw(m->from), ref, "noproc");
        PRE(message_read(buf_view(&b), &again, &fault) == ERR_OK);
    }
    buf_free(&b);
}

/* The control socket's frames: a call's head is read alike when its rest is not there. */
static void frame(struct slice bytes)
{
    term ref, request, head_ref;
    struct fault fault;

    if (frame_read_call(bytes, &ref, &request, &fault) != ERR_OK)
        return;
    inside(bytes, ref);
    inside(bytes, request);
    if (bytes.data[1] == 104) /* the lenient reader knows small tuples alone */
        PRE(frame_read_head(slice_of(bytes.data, (size_t)(request - bytes.data)), &head_ref) &&
            head_ref == ref);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct message m = {0}, head = {0};
    struct fault fault;

    frame(bytes);
    if (message_read(bytes, &m, &fault) == ERR_OK) {
        inside(bytes, m.name);
        inside(bytes, m.from);
        inside(bytes, m.tag);
        inside(bytes, m.request);
        if (m.kind == MESSAGE_CALL)
            answer(&m);
    }
    if (message_read_head(bytes, &head))
        PRE(head.from != NULL && head.tag != NULL);
    return 0;
}
