/*
 * kept.c - a verdict as a value of its own.
 *
 * The happy path: dispatch makes one of the version it sends, which borrows the
 * reader's view; the verdict must outlive that view, so it copies what it needs: the
 * id, and the projection_version into a place inside itself.  outbox_settle takes it,
 * and frees it once it is on disk.
 *
 * Nothing can go wrong here but memory (base.h).  Everything else of this room is
 * types: who keeps what is said in kept.h, who may change it in outbox.h.
 *
 * Any thread.
 */

#include "kept.h"

struct settlement *settlement_new(const struct pending *p)
{
    struct settlement *s = base_alloc(sizeof *s);

    PRE(p->version.version.len < sizeof s->version_text);
    s->no = p->no;
    s->revision = p->version.revision;
    s->sent = p->version;
    if (p->version.version.len > 0)
        memcpy(s->version_text, p->version.version.data, p->version.version.len);
    s->sent.version = slice_of(s->version_text, p->version.version.len);
    s->id = base_strndup(p->id.data, p->id.len);
    s->id_len = p->id.len;
    return s;
}

void settlement_free(struct settlement *s)
{
    if (s == NULL)
        return;
    free(s->answer);
    free(s->id);
    free(s);
}
