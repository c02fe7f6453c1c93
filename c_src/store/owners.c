/*
 * owners.c - numbers of pending versions, and a hash of the id that each belongs to.
 *
 * Format 1 has no checksums: a flipped bit in the id of a pending version makes it another
 * document's, and it would replace that document's own version.  But its number, which is its key,
 * is also in its document's checkpoint.
 *
 * One thread.  Memory: 16 bytes a pending version.
 */

#include "store/owners.h"

#include "ground/crc32c.h"

struct owner {
    uint64_t no;
    uint32_t hash;
};

void owners_note(struct owners *o, uint64_t no, struct slice id)
{
    if (o->count == o->room) {
        o->room = o->room ? 2 * o->room : 256;
        o->list = base_realloc(o->list, o->room * sizeof *o->list);
    }
    o->list[o->count++] = (struct owner){no, crc32c(0, id)};
    o->is_sorted = false;
}

static int by_no(const void *a, const void *b)
{
    uint64_t x = ((const struct owner *)a)->no, y = ((const struct owner *)b)->no;

    return (x > y) - (x < y);
}

/* Whether the document itself has that id: then it is the checkpoint's id that is damaged. */
static bool names_itself(struct slice json, struct slice id)
{
    const uint8_t *at = json.data, *end = json.data + json.len;

    while (id.len > 0 && json.len > id.len + 1 &&
           (at = memmem(at, (size_t)(end - at), id.data, id.len)) != NULL) {
        if (at > json.data && at[-1] == '"' && at + id.len < end && at[id.len] == '"')
            return true;
        at++;
    }
    return false;
}

bool owners_deny(struct owners *o, uint64_t no, struct slice id, struct slice json)
{
    const struct owner want = {.no = no};
    uint32_t hash = crc32c(0, id);

    if (o->count == 0)
        return false;
    if (!o->is_sorted)
        qsort(o->list, o->count, sizeof *o->list, by_no);
    o->is_sorted = true;
    const struct owner *found = bsearch(&want, o->list, o->count, sizeof want, by_no);
    if (found == NULL)
        return false;
    while (found > o->list && found[-1].no == no)
        found--;
    for (; found < o->list + o->count && found->no == no; found++)
        if (found->hash == hash)
            return false;
    return !names_itself(json, id);
}

void owners_free(struct owners *o)
{
    free(o->list);
    *o = (struct owners){0};
}
