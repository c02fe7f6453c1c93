/*
 * drift.c - what an audit finds.
 *
 * The happy path: checkpoints and what Convex holds come as two streams in byte order of the
 * document ids; drift_next merges them, and drift_judge says for each id what is wrong: nearly
 * always nothing.
 *
 * Nothing can go wrong here: no I/O, no clock, no store.  Portions that are out of order make
 * wrong pairs; the audit checks every finding a second time, by id, before it reports it, so a
 * wrong order costs time and never causes a false finding.
 *
 * Any thread.
 */

#include "audit/drift.h"

const char *drift_text(enum drift f)
{
    switch (f) {
#define X(name, text)                                                                              \
    case name:                                                                                     \
        return text;
        DRIFT_LIST(X)
#undef X
    case DRIFT_COUNT:
        break;
    }
    return "?";
}

/* ---- judging -------------------------------------------------------------------------------- */

/* Both sides hold a version. */
static enum drift judge_pair(const struct drift_ours *ours, const struct drift_theirs *theirs)
{
    const uint8_t *said = theirs->has_hash ? theirs->hash : theirs->actual;

    if (!theirs->is_intact || memcmp(said, theirs->actual, sizeof theirs->actual) != 0)
        return DRIFT_ALTERED;
    if (theirs->seq != ours->seq)
        return theirs->seq < ours->seq ? DRIFT_STALE : DRIFT_AHEAD;
    if (memcmp(said, ours->hash, sizeof ours->hash) == 0)
        return DRIFT_NONE;
    /* Two versions may share a seq: the time of projection tells which is older. */
    return theirs->projected_at_us > 0 && theirs->projected_at_us < ours->projected_at_us
               ? DRIFT_STALE
               : DRIFT_ALTERED;
}

enum drift drift_judge(const struct drift_ours *ours, const struct drift_theirs *theirs)
{
    bool stands = theirs != NULL && !theirs->is_removed;
    bool delivered = ours != NULL && ours->is_delivered;

    if (!stands)
        return delivered ? DRIFT_MISSING : DRIFT_NONE;
    if (delivered)
        return judge_pair(ours, theirs);
    /* Nothing confirmed: on its way, or known as a dead letter; otherwise it should not be there.
     */
    return ours != NULL && (ours->is_pending || ours->is_dead) ? DRIFT_NONE : DRIFT_ORPHANED;
}

bool drift_is_still(const struct drift_ours *before, const struct drift_ours *after)
{
    return !before->is_pending && !after->is_pending &&
           before->is_delivered == after->is_delivered && before->is_dead == after->is_dead &&
           before->last_projected_us == after->last_projected_us &&
           (!before->is_delivered || before->revision == after->revision);
}

/* ---- the merge ------------------------------------------------------------------------------ */

void drift_feed_ours(struct drift_merge *m, const struct drift_ours *items, size_t count,
                     bool is_last)
{
    PRE(m->our_at == m->our_count);
    m->ours = items;
    m->our_count = count;
    m->our_at = 0;
    m->ours_end = is_last;
}

void drift_feed_theirs(struct drift_merge *m, const struct drift_theirs *items, size_t count,
                       bool is_last)
{
    PRE(m->their_at == m->their_count);
    m->theirs = items;
    m->their_count = count;
    m->their_at = 0;
    m->theirs_end = is_last;
}

enum drift_step drift_next(struct drift_merge *m, const struct drift_ours **o,
                           const struct drift_theirs **t)
{
    bool has_ours = m->our_at < m->our_count, has_theirs = m->their_at < m->their_count;

    if (!has_ours && !m->ours_end)
        return DRIFT_WANT_OURS;
    if (!has_theirs && !m->theirs_end)
        return DRIFT_WANT_THEIRS;
    if (!has_ours && !has_theirs)
        return DRIFT_END;
    int order = !has_ours     ? 1
                : !has_theirs ? -1
                              : slice_order(m->ours[m->our_at].id, m->theirs[m->their_at].id);
    *o = order <= 0 ? &m->ours[m->our_at++] : NULL;
    *t = order >= 0 ? &m->theirs[m->their_at++] : NULL;
    return DRIFT_PAIR;
}

/* ---- the report ----------------------------------------------------------------------------- */

void drift_add_line(struct drift_report *r, struct drift_line line)
{
    r->count[line.finding]++;
    r->repaired += line.is_repaired ? 1 : 0;
    if (r->line_count == DRIFT_LINES_MAX) {
        free(line.id);
        return;
    }
    if (r->lines == NULL)
        r->lines = base_alloc(DRIFT_LINES_MAX * sizeof *r->lines);
    r->lines[r->line_count++] = line;
}

uint64_t drift_findings(const struct drift_report *r)
{
    uint64_t sum = 0;

    for (size_t f = DRIFT_NONE + 1; f < DRIFT_COUNT; f++)
        sum += r->count[f];
    return sum;
}

void drift_report_clear(struct drift_report *r)
{
    for (size_t i = 0; i < r->line_count; i++)
        free(r->lines[i].id);
    free(r->lines);
    free(r->next);
    *r = (struct drift_report){0};
}
