/* mutate.h - damage of every kind to a store's file. */

#ifndef MUTATE_H
#define MUTATE_H

#include <stdint.h>

#define MUTATE_KINDS                                                                               \
    X(BIT, "one flipped bit")                                                                      \
    X(BITS, "flipped bits, up to 20")                                                              \
    X(RECORD, "one flipped bit in a pending record")                                               \
    X(META, "a changed byte of the first pages")                                                   \
    X(HEAD, "changed bytes in the heads of pages")                                                 \
    X(ZERO, "a page of zeros")                                                                     \
    X(ZEROS, "several pages of zeros")                                                             \
    X(TORN, "half a page of another time")                                                         \
    X(SWAP, "two pages in each other's place")                                                     \
    X(COPY, "a page in the place of another")                                                      \
    X(CUT, "a file cut off")                                                                       \
    X(FLAGS, "wrong flags of a page")                                                              \
    X(OVERLAP, "an entry that reaches into the next")                                              \
    X(BRANCH, "a branch with another key or child")

enum mutate_kind {
#define X(name, text) MUTATE_##name,
    MUTATE_KINDS
#undef X
        MUTATE_COUNT
};

/** mutate_text(kind): For people. */
const char *mutate_text(enum mutate_kind kind);
/** mutate(dir, kind, seed): Damage ${dir}/data.mdb; the same with the same ${seed}. */
void mutate(const char *dir, enum mutate_kind kind, uint64_t seed);

#endif
