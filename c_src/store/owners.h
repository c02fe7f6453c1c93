/* owners.h - which document each pending version belongs to, say the checkpoints of format 1. */

#ifndef OWNERS_H
#define OWNERS_H

#include "ground/base.h"

/* The owner frees it with owners_free; {0} is empty. */
struct owners {
    struct owner *list;
    size_t count, room;
    bool is_sorted;
};

/** owners_note(o, no, id): A checkpoint says that ${no} is the version of ${id} that waits. */
void owners_note(struct owners *o, uint64_t no, struct slice id);
/** owners_deny(o, no, id, json): Whether a checkpoint says so of another document and none of
 * ${id}, and neither does ${json}, the document, which has its hash. */
bool owners_deny(struct owners *o, uint64_t no, struct slice id, struct slice json);
void owners_free(struct owners *o);

#endif
