/*
 * kept.c - a verdict as a value of its own.
 *
 * The happy path: dispatch makes one from the version it sends, which borrows the
 * reader's view; the verdict must outlive that view, so it copies what it needs (id,
 * kind and projection_version) into the same block.  outbox_settle takes it, and frees
 * it once it is on disk.
 *
 * Nothing can go wrong here but memory (base.h).  The rest of this module is
 * types: kept.h says what is kept, outbox.h who may change it.
 *
 * Any thread.
 */

#include "store/kept.h"

const char *outbox_origin_text(enum outbox_origin o)
{
    static const char *const texts[] = {
#define X(name, text) text,
        OUTBOX_ORIGIN_LIST(X)
#undef X
    };

    PRE(o < ORIGIN_COUNT);
    return texts[o];
}

/* Put a copy of ${s} at *${at}, which is advanced. */
static struct slice keep(char **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.len);

    if (s.len > 0)
        memcpy(*at, s.data, s.len);
    *at += s.len;
    return copy;
}

struct settlement *settlement_new(const struct pending *p)
{
    struct slice version = p->version.version;
    struct settlement *s = base_alloc(sizeof *s + p->id.len + 1 + version.len + p->kind.len);
    char *at = s->texts;

    s->no = p->no;
    s->document = p->document;
    s->revision = p->version.revision;
    s->sent = p->version;
    s->id = at;
    s->id_len = keep(&at, p->id).len;
    *at++ = '\0';
    s->sent.version = keep(&at, version);
    s->kind = keep(&at, p->kind);
    return s;
}

void settlement_free(struct settlement *s)
{
    if (s == NULL)
        return;
    free(s->answer);
    free(s->why);
    free(s);
}
