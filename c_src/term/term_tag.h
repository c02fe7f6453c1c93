/* term_tag.h - the bytes of the external term format, for the readers and writers of term.h.
 * Everybody else calls those. */

/* Private to term/. */

#ifndef TERM_TAG_H
#define TERM_TAG_H

#include "ground/base.h"

#define TERM_VERSION         131
#define TERM_OLD_FLOAT_BYTES 31 /* FLOAT: "%.20e", padded with zeros */

/* erl_ext_dist.xml: tag, number, type (an integer may still turn out to be a bignum). */
#define TERM_TAG_LIST(X)                                                                           \
    X(TAG_SMALL_INTEGER, 97, TERM_INTEGER)                                                         \
    X(TAG_INTEGER, 98, TERM_INTEGER)                                                               \
    X(TAG_SMALL_BIG, 110, TERM_INTEGER)                                                            \
    X(TAG_LARGE_BIG, 111, TERM_INTEGER)                                                            \
    X(TAG_NEW_FLOAT, 70, TERM_FLOAT)                                                               \
    X(TAG_FLOAT, 99, TERM_FLOAT)                                                                   \
    X(TAG_ATOM, 100, TERM_ATOM)                                                                    \
    X(TAG_SMALL_ATOM, 115, TERM_ATOM)                                                              \
    X(TAG_ATOM_UTF8, 118, TERM_ATOM)                                                               \
    X(TAG_SMALL_ATOM_UTF8, 119, TERM_ATOM)                                                         \
    X(TAG_BINARY, 109, TERM_BINARY)                                                                \
    X(TAG_BIT_BINARY, 77, TERM_BITS)                                                               \
    X(TAG_NIL, 106, TERM_NIL)                                                                      \
    X(TAG_LIST, 108, TERM_LIST)                                                                    \
    X(TAG_STRING, 107, TERM_STRING)                                                                \
    X(TAG_SMALL_TUPLE, 104, TERM_TUPLE)                                                            \
    X(TAG_LARGE_TUPLE, 105, TERM_TUPLE)                                                            \
    X(TAG_MAP, 116, TERM_MAP)                                                                      \
    X(TAG_PID, 103, TERM_PID)                                                                      \
    X(TAG_NEW_PID, 88, TERM_PID)                                                                   \
    X(TAG_PORT, 102, TERM_PORT)                                                                    \
    X(TAG_NEW_PORT, 89, TERM_PORT)                                                                 \
    X(TAG_V4_PORT, 120, TERM_PORT)                                                                 \
    X(TAG_REFERENCE, 101, TERM_REFERENCE)                                                          \
    X(TAG_NEW_REFERENCE, 114, TERM_REFERENCE)                                                      \
    X(TAG_NEWER_REFERENCE, 90, TERM_REFERENCE)                                                     \
    X(TAG_NEW_FUN, 112, TERM_FUN)                                                                  \
    X(TAG_FUN, 117, TERM_FUN)                                                                      \
    X(TAG_EXPORT, 113, TERM_EXPORT)

enum tag {
    TAG_COMPRESSED = 80, /* these three are refused */
    TAG_CACHE_REF = 82,
    TAG_LOCAL = 121,
#define X(name, number, type) name = number,
    TERM_TAG_LIST(X)
#undef X
};

/* By tag: its enum term_type plus one; 0 for an unknown tag. */
extern const uint8_t term_tag_types[256];
#define TERM_TAG_IS(type) ((type) + 1)

/** term_old_float(text, v): Read FLOAT's decimal text; false when it is not a finite number. */
bool term_old_float(const uint8_t text[TERM_OLD_FLOAT_BYTES], double *v);

#endif
