/*
 * caller.c - a caller: whoever waits for one answer.
 *
 * The happy path: a call was read; its pid and tag are copied, the connection is
 * held, and whoever makes the answer returns the caller, once, from any thread, at
 * any time.
 *
 * What can go wrong: the connection is gone by then.  The answer is dropped (the
 * caller's monitor has told it already), and the last caller frees the connection.
 *
 * Any thread.
 */

#include "dist/caller.h"

#include "dist/dist.h"
#include "dist/frame.h"

/* The slices lie in bytes. */
struct caller {
    struct link *l;          /* held */
    struct slice self, from; /* empty: a client of the control socket */
    struct slice tag;        /* of a client of the control socket: its Ref */
    uint8_t bytes[];
};

static struct slice keep(uint8_t **to, struct slice s)
{
    struct slice kept = slice_of(*to, s.len);

    memcpy(*to, s.data, s.len);
    *to += s.len;
    return kept;
}

struct caller *caller_new(struct link *l, struct slice self, const struct message *m)
{
    struct slice from = term_raw(m->from), tag = term_raw(m->tag);
    struct caller *c = base_alloc(sizeof *c + self.len + from.len + tag.len);
    uint8_t *to = c->bytes;

    c->l = link_hold(l);
    c->self = keep(&to, self);
    c->from = keep(&to, from);
    c->tag = keep(&to, tag);
    return c;
}

struct caller *caller_new_guest(struct link *l, term ref)
{
    struct slice tag = term_raw(ref);
    struct caller *c = base_alloc(sizeof *c + tag.len);
    uint8_t *to = c->bytes;

    c->l = link_hold(l);
    c->tag = keep(&to, tag);
    return c;
}

static bool is_guest(const struct caller *c)
{
    return c->from.len == 0;
}

void caller_reply(struct caller *c, struct cork *cork, struct slice answer)
{
    struct buf *b = link_begin(c->l);

    if (b != NULL) {
        if (is_guest(c))
            frame_put_answer(b, "reply", c->tag, answer);
        else
            message_put_reply(b, c->self, c->from, c->tag, answer);
        link_end(c->l, cork);
    }
    link_drop(c->l);
    free(c);
}

bool dist_caller_is_gone(const struct caller *c)
{
    return link_is_gone(c->l);
}

size_t dist_caller_unsent(const struct caller *c)
{
    return link_unsent(c->l);
}

bool caller_part(struct caller *c, struct slice part)
{
    struct buf *b = is_guest(c) ? link_begin(c->l) : NULL;

    if (b == NULL)
        return false;
    frame_put_answer(b, "more", c->tag, part);
    link_end(c->l, NULL);
    return true;
}

void caller_too_large(struct caller *c, struct cork *cork, size_t size, size_t max)
{
    struct buf b = {0};
    char why[100];

    snprintf(why, sizeof why, "message of %zu bytes; node.max_message_bytes is %zu", size, max);
    term_put_tuple(&b, 2);
    term_put_atom(&b, "error");
    term_put_tuple(&b, 3);
    term_put_atom(&b, "invalid");
    term_put_text(&b, "");
    term_put_text(&b, why);
    caller_reply(c, cork, buf_view(&b));
    buf_free(&b);
}

/* A tag without a reference has no monitor: such a caller waits until its timeout. */
void caller_refuse(struct link *l, struct cork *cork, const struct message *m, const char *reason)
{
    struct slice ref = message_exit_ref(m->tag);
    struct buf *b = ref.data != NULL ? link_begin(l) : NULL;

    if (b != NULL) {
        message_put_exit(b, term_raw(m->name), term_raw(m->from), ref, reason);
        link_end(l, cork);
    }
}
