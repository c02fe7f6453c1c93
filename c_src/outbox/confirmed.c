/*
 * confirmed.c - how long documents took to be confirmed.
 *
 * Two times end with a confirmation: one begins when the document was kept, by our own clock, the
 * other at the inserted_at of its last event, by the runtime's clock.  The clocks may differ: a
 * document confirmed before its last event is counted separately.
 *
 * What can go wrong: a document without a fold, or an event without a time, has no second time.
 * Runs on the store thread only, inside a round.
 */

#include "outbox/confirmed.h"

#include "ground/metrics.h"
#include "ground/time_text.h"
#include "outbox/round_inside.h"
#include "projection/fold.h"

static bool appended_at(const struct checkpoint_record *c, int64_t *us)
{
    struct fold f = {0};
    struct fault ignored;

    if (c->cp.fold.len == 0 || fold_read(c->cp.fold, &f, &ignored) != ERR_OK)
        return false;
    struct slice json = f.inserted_at_json; /* a JSON string, with its quotes, or null */
    return json.len > 2 && json.data[0] == '"' &&
           time_text_parse(slice_of(json.data + 1, json.len - 2), us);
}

void confirmed_note(struct round_tally *t, const struct checkpoint_record *c, int64_t now_us)
{
    int64_t appended_us;

    t->confirmed++;
    metric_pile_add(&t->kept_to_confirmed, now_us - c->pending_kept_at_us);
    if (c->cp.pending.op != OUTBOX_UPSERT || !appended_at(c, &appended_us))
        return;
    if (appended_us > now_us)
        t->confirmed_early++;
    else
        metric_pile_add(&t->append_to_confirmed, now_us - appended_us);
}

void confirmed_count(const struct round_tally *t, int64_t now_us)
{
    if (t->confirmed == 0)
        return;
    metric_set(METRIC_LAST_CONFIRMED, now_us > 0 ? (uint64_t)now_us / 1000000 : 0);
    metric_add(METRIC_CONFIRMED_EARLY, t->confirmed_early);
    metric_observe_pile(HISTOGRAM_KEPT_TO_CONFIRMED, &t->kept_to_confirmed);
    metric_observe_pile(HISTOGRAM_APPEND_TO_CONFIRMED, &t->append_to_confirmed);
}
