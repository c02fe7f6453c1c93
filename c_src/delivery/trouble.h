/* trouble.h - what one document is accused of, and what the next answer makes of it. */

/* Private to delivery/. */

#ifndef TROUBLE_H
#define TROUBLE_H

#include "ground/base.h"

/*
 * A version dies of two refusals, at least one of them alone, and a witness: another document of
 * its kind written in a call that was sent between the two, or in the transaction of one of them.
 * One that was there already is not a witness: nothing was tried.  Calls are numbered as they are
 * sent (ordinals); evidence is compared by those numbers, never by time.
 */
enum trouble_state {
    TROUBLE_NONE,    /* travels in company */
    TROUBLE_LONE,    /* travels alone: refused in company, searched for, or lately in trouble */
    TROUBLE_REFUSED, /* refused alone, at `heard`: waits for a witness */
    TROUBLE_TRIAL,   /* refused, and a witness came: alone once more */
    TROUBLE_FAILING  /* its outcome was unknown when it was sent alone */
};

enum trouble_event {
    TROUBLE_BESIDE,      /* refused, and another of its kind was written in the same answer */
    TROUBLE_AMONG,       /* refused in company, and none of its kind was written */
    TROUBLE_ALONE,       /* refused when sent alone (a control beside it, if any, was done) */
    TROUBLE_WHOLE,       /* sent alone, in a call that can hold several, and that was refused */
    TROUBLE_WITH_OTHERS, /* refused when sent alone, and so was the control beside it */
    TROUBLE_UNKNOWN,     /* sent alone, and its outcome is unknown */
    TROUBLE_SOUGHT,      /* a search has come down to it */
    TROUBLE_NEWER        /* another version of it is pending */
};

struct trouble {
    enum trouble_state state;
    bool is_short;  /* on trial without having been refused alone */
    uint32_t alone; /* failures when sent alone, of this version */
    uint64_t heard; /* the last ordinal given when the state was entered or renewed */
};

/* What is known of a document's kind and of the endpoint, as ordinals. */
struct evidence {
    uint64_t accepted; /* one of the kind was written in a call sent as late as this */
    uint64_t proven;   /* one of them was found bad when this was the last one given */
    uint64_t now;      /* the last one given */
};

/** trouble_refresh(t, e): What ${e} makes of it: a witness came, or all evidence is void. */
void trouble_refresh(struct trouble *t, const struct evidence *e);
/** trouble_hear(t, event, e): Take ${event}, after trouble_refresh.  True: it dies. */
bool trouble_hear(struct trouble *t, enum trouble_event event, const struct evidence *e);
/** trouble_wait_ms(t, max_ms): The lone wait: 1 s, doubling with each failure alone. */
int64_t trouble_wait_ms(const struct trouble *t, int64_t max_ms);
/** trouble_text(s): Its text for people. */
const char *trouble_text(enum trouble_state s);

#endif
