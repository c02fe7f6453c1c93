/*
 * caller.c - somebody who waits for one answer.
 *
 * The happy path: a call was read; its pid and tag are copied, the connection is
 * held, and whoever makes the answer gives the caller back, once, from any
 * thread, at any time.
 *
 * What can go wrong: the connection is gone by then.  The answer is dropped, the
 * caller knows already (its monitor told it), and the last caller frees what is
 * left of the connection.
 *
 * Any thread.
 */

#include "dist/caller.h"

/* The slices lie in bytes. */
struct caller {
    struct link *l; /* held */
    struct slice self, name, from, tag;
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
    struct slice name = term_raw(m->name), from = term_raw(m->from), tag = term_raw(m->tag);
    struct caller *c = base_alloc(sizeof *c + self.len + name.len + from.len + tag.len);
    uint8_t *to = c->bytes;

    c->l = link_hold(l);
    c->self = keep(&to, self);
    c->name = keep(&to, name);
    c->from = keep(&to, from);
    c->tag = keep(&to, tag);
    return c;
}

static void caller_free(struct caller *c)
{
    link_drop(c->l);
    free(c);
}

void caller_reply(struct caller *c, struct slice answer)
{
    struct buf *b = link_begin(c->l);

    if (b != NULL) {
        message_put_reply(b, c->self, c->from, c->tag, answer);
        link_end(c->l);
    }
    caller_free(c);
}

/* A tag without a reference belongs to no monitor: such a caller waits for its timeout. */
static void send_exit(struct link *l, struct slice name, struct slice from, term tag,
                      const char *reason)
{
    struct slice ref = message_exit_ref(tag);
    struct buf *b = ref.data != NULL ? link_begin(l) : NULL;

    if (b != NULL) {
        message_put_exit(b, name, from, ref, reason);
        link_end(l);
    }
}

void caller_exit(struct caller *c, const char *reason)
{
    send_exit(c->l, c->name, c->from, c->tag.data, reason);
    caller_free(c);
}

void caller_refuse(struct link *l, const struct message *m, const char *reason)
{
    send_exit(l, term_raw(m->name), term_raw(m->from), m->tag, reason);
}
