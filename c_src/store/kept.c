/*
 * kept.c - a verdict as a value of its own.
 *
 * The happy path: dispatch makes one of the version it sends, which borrows the
 * reader's view; the verdict must outlive that view, so it copies what it needs, the id
 * and the projection_version, behind itself: one block, as there is one for every
 * document sent.  outbox_settle takes it, and frees it once it is on disk.
 *
 * Nothing can go wrong here but memory (base.h).  Everything else of this room is
 * types: who keeps what is said in kept.h, who may change it in outbox.h.
 *
 * Any thread.
 */

#include "store/kept.h"

struct settlement *settlement_new(const struct pending *p)
{
    struct slice version = p->version.version;
    struct settlement *s = base_alloc(sizeof *s + p->id.len + 1 + version.len);
    char *version_text = s->texts + p->id.len + 1;

    s->no = p->no;
    s->revision = p->version.revision;
    s->sent = p->version;
    if (version.len > 0)
        memcpy(version_text, version.data, version.len);
    s->sent.version = slice_of(version_text, version.len);
    memcpy(s->texts, p->id.data, p->id.len);
    s->id = s->texts;
    s->id_len = p->id.len;
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
