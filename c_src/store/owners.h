/* owners.h - which document each pending version belongs to, by the checkpoints of format 1. */

#ifndef OWNERS_H
#define OWNERS_H

#include "ground/base.h"

/* The owner frees it with owners_free; {0} is empty. */
struct owners {
    struct owner *list;
    size_t count, room;
    bool is_sorted;
};

/** owners_note(o, no, id): A checkpoint says that ${no} is the pending version of ${id}. */
void owners_note(struct owners *o, uint64_t no, struct slice id);
/** owners_deny(o, no, id, json): Whether a checkpoint names ${no} for another document, none
 * does for ${id}, and ${json}, the document, does not have that id either. */
bool owners_deny(struct owners *o, uint64_t no, struct slice id, struct slice json);
void owners_free(struct owners *o);

#endif
