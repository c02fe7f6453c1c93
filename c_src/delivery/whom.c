/*
 * whom.c - what the identity that the other side reports means (docs/adr/0011).
 *
 * The happy path: the same deployment, and a mark that we asked for.
 *
 * A mark is a number that stands among the documents, so that whatever restores or removes them
 * takes it along.  Lower than ours: what was confirmed since it was raised may be gone.  None, or
 * another deployment: all may be gone.  Higher than we ever asked for: somebody else asked, in our
 * name: this store was restored or copied, and what it knows is old.
 *
 * If the functions report no identity, only the address can be compared.
 *
 * Pure.
 */

#include "delivery/whom.h"

static bool has_moved(const struct destination_known *known, const char *address)
{
    return known->address[0] != '\0' && strcmp(known->address, address) != 0;
}

enum whom whom_judge(const struct destination_known *known, const struct sink_peer *peer,
                     const char *address)
{
    bool is_lower = peer->mark < 0 || (uint64_t)peer->mark < known->mark;

    if (peer->functions == 0)
        return WHOM_UNKNOWN;
    if (peer->functions < 2)
        return has_moved(known, address) ? WHOM_MOVED : WHOM_SAME;
    if (peer->mark > 0 && (uint64_t)peer->mark > known->wanted)
        return WHOM_AHEAD;
    if (known->deployment[0] == '\0')
        return has_moved(known, address) ? WHOM_OTHER : WHOM_FIRST;
    if (strcmp(peer->deployment, known->deployment) != 0)
        return WHOM_OTHER;
    if (known->mark > 0 && is_lower)
        return peer->mark < 0 ? WHOM_CLEARED : WHOM_RESTORED;
    return WHOM_SAME;
}

bool whom_is_new(enum whom w)
{
    return w == WHOM_CLEARED || w == WHOM_OTHER || w == WHOM_MOVED;
}

static const char *why_of(enum whom w, const struct destination_known *known, const char *address)
{
    switch (w) {
    case WHOM_RESTORED:
        return "the deployment was restored to an earlier state";
    case WHOM_CLEARED:
        return "the deployment was wiped: our mark is gone with the documents";
    case WHOM_MOVED:
        return "base_url leads to another deployment, perhaps: its functions do not say who they "
               "are";
    case WHOM_AHEAD:
        return "this store was restored or copied, or another sidecar has one of the same name";
    default:
        return has_moved(known, address) ? "base_url leads to another deployment"
                                         : "another deployment answers, or this one was made anew";
    }
}

static bool says_anything_new(const struct destination_known *known, const struct sink_peer *peer,
                              const char *address)
{
    return strcmp(known->address, address) != 0 ||
           strcmp(known->deployment, peer->deployment) != 0 ||
           known->functions != (unsigned)peer->functions;
}

/* Functions that say nothing leave what is known of the deployment as it is: they may be the new
 * ones' predecessors. */
static void name_peer(const struct destination_known *known, const struct sink_peer *peer,
                      const char *address, enum whom w, struct destination_change *c)
{
    bool says_who = peer->functions >= 2;

    snprintf(c->address, sizeof c->address, "%s", address);
    snprintf(c->deployment, sizeof c->deployment, "%s",
             says_who          ? peer->deployment
             : w == WHOM_MOVED ? ""
                               : known->deployment);
    c->functions = (unsigned)peer->functions;
    c->what |= DESTINATION_PEER;
}

bool whom_change(enum whom w, const struct destination_known *known, const struct sink_peer *peer,
                 const char *address, struct destination_change *c)
{
    uint64_t mark = peer->mark > 0 ? (uint64_t)peer->mark : 0;

    *c = (struct destination_change){0};
    if (w == WHOM_UNKNOWN)
        return false;
    if (w != WHOM_SAME || says_anything_new(known, peer, address))
        name_peer(known, peer, address, w, c);
    if (peer->functions >= 2 && w != WHOM_AHEAD && mark != known->mark) {
        c->what |= DESTINATION_MARK;
        c->mark = mark;
    }
    if (w == WHOM_SAME || w == WHOM_FIRST)
        return c->what != 0;
    c->what |= DESTINATION_DOUBT | (w == WHOM_AHEAD ? DESTINATION_NEW_ID : 0u);
    c->from = w == WHOM_RESTORED ? mark : 0;
    c->above = mark;
    snprintf(c->why, sizeof c->why, "%s", why_of(w, known, address));
    return true;
}

const char *whom_text(enum whom w)
{
    static const char *const texts[] = {
        [WHOM_UNKNOWN] = "unknown",   [WHOM_SAME] = "same",     [WHOM_FIRST] = "first",
        [WHOM_RESTORED] = "restored", [WHOM_CLEARED] = "wiped", [WHOM_OTHER] = "another",
        [WHOM_MOVED] = "moved",       [WHOM_AHEAD] = "ahead",
    };

    return texts[w];
}
