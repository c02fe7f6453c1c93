/* plain_check.h - the assertions of the unit tests' kits, for programs without the check library.
 */

#ifndef PLAIN_CHECK_H
#define PLAIN_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define ck_abort_msg(...)                                                                          \
    do {                                                                                           \
        fprintf(stdout, "%s:%d: ", __FILE__, __LINE__);                                            \
        fprintf(stdout, __VA_ARGS__);                                                              \
        fprintf(stdout, "\n");                                                                     \
        fflush(stdout);                                                                            \
        _exit(9);                                                                                  \
    } while (0)
#define ck_assert_msg(x, ...)                                                                      \
    do {                                                                                           \
        if (!(x))                                                                                  \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)
#define ck_assert(x)             ck_assert_msg(x, "%s", #x)
#define ck_assert_int_eq(a, b)   ck_assert_msg((a) == (b), "%s is not %s", #a, #b)
#define ck_assert_uint_eq(a, b)  ck_assert_int_eq(a, b)
#define ck_assert_int_ge(a, b)   ck_assert_msg((a) >= (b), "%s is below %s", #a, #b)
#define ck_assert_uint_lt(a, b)  ck_assert_msg((a) < (b), "%s is not below %s", #a, #b)
#define ck_assert_ptr_nonnull(p) ck_assert_msg((p) != NULL, "%s is NULL", #p)

#endif
