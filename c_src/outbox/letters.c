/*
 * letters.c - the committed dead letters, for other threads to read.
 *
 * The happy path: a view is taken, walked, and released.  The store thread goes on meanwhile.
 *
 * What can go wrong: the store has no view to give: no letter is shown.  A record is damaged: it is
 * skipped; whoever reads it in a round moves it.
 */

#include "outbox/letters.h"

#include "store/record.h"
#include "store/store.h"

struct letters {
    struct store_view *view;
};

struct letters *letters_new(struct store *s)
{
    struct letters *l = base_alloc(sizeof *l);

    l->view = store_view_open(s, STORE_DEAD);
    return l;
}

void letters_each(struct letters *l, bool (*visit)(void *arg, const struct dead_letter *d),
                  void *arg)
{
    uint64_t at = 0;
    struct slice key, value;
    bool more = true;

    while (more &&
           store_view_seek(l->view, slice_of(&at, sizeof at), true, &key, &value) == ERR_OK &&
           key.len == sizeof at) {
        struct dead_letter d = {0};
        struct fault fault;
        memcpy(&at, key.data, sizeof at);
        if (record_get_dead(key, value, &d, &fault) == ERR_OK)
            more = visit(arg, &d);
    }
    store_view_release(l->view);
}

void letters_close(struct letters *l)
{
    if (l == NULL)
        return;
    store_view_close(l->view);
    free(l);
}
