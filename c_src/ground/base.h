/* base.h - what every module uses: slices, errors, checks, memory, faults. */

#ifndef BASE_H
#define BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A borrowed run of bytes.  Never freed through the slice; not zero-terminated. */
struct slice {
    const uint8_t *data;
    size_t len;
};

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){(const uint8_t *)data, len};
}

static inline struct slice slice_str(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_eq(a, slice_str(text));
}

/** slice_order(a, b): Negative, zero or positive as ${a} sorts before, equal to or after ${b} in
 * byte order. */
static inline int slice_order(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len > 0 ? memcmp(a.data, b.data, len) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq(slice_of(s.data, prefix.len), prefix);
}

/** slice_cut(text, bytes): At most ${bytes} of ${text}, no UTF-8 character cut in two. */
struct slice slice_cut(struct slice text, size_t bytes);

/* For printf: "%.*s", SLICE_ARG(s). */
#define SLICE_ARG(s) (int)(s).len, (const char *)(s).data

/* What a module's function can return.  Bugs are not returned: they abort (PRE, POST). */
#define ERR_LIST(X)                                                                                \
    X(ERR_OK, "ok")                                                                                \
    X(ERR_BUSY, "a queue is at its limit; nothing was taken")                                      \
    X(ERR_INVALID, "the input breaks a rule; the fault says where and why")                        \
    X(ERR_GAP, "events are missing between what is folded and what was given")                     \
    X(ERR_UNKNOWN_KIND, "no projection kind of that name is configured")                           \
    X(ERR_NOT_OWNED, "the id is not under a projector-owned prefix")                               \
    X(ERR_NOT_FOUND, "nothing of that name is here")                                               \
    X(ERR_DRAINING, "the sidecar is draining and takes nothing new")                               \
    X(ERR_STORE, "the store failed; nothing is promised")                                          \
    X(ERR_FULL, "the store has reached its limit; nothing was kept")                               \
    X(ERR_SINK, "the sink refused the document, or did not answer in time")                        \
    X(ERR_CLOSED, "the other side is gone")                                                        \
    X(ERR_SYSTEM, "the operating system refused; errno says why")

enum err {
#define X(name, text) name,
    ERR_LIST(X)
#undef X
};

/* The sentence for ${e}, for logs and error replies; static storage. */
static inline const char *err_text(enum err e)
{
    switch (e) {
#define X(name, text)                                                                              \
    case name:                                                                                     \
        return text;
        ERR_LIST(X)
#undef X
    }
    return "?";
}

#define MUST_CHECK     __attribute__((warn_unused_result))
#define PRINTF(fmt, a) __attribute__((format(printf, fmt, a)))

/* For a large array on the stack of a function that is called often, where the array is written
 * before it is read: exempts it from -ftrivial-auto-var-init (Makefile). */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define UNSET __attribute__((uninitialized))
#endif
#endif
#ifndef UNSET
#define UNSET
#endif

/* Checks of our own code: on in production too.  Never for anything from outside. */
_Noreturn static inline void base_broken(const char *what, const char *file, int line)
{
    fprintf(stderr, "<0>fatal bug %s:%d: %s\n", file, line, what);
    abort();
}
#define PRE(x)  ((x) ? (void)0 : base_broken("precondition " #x, __FILE__, __LINE__))
#define POST(x) ((x) ? (void)0 : base_broken("postcondition " #x, __FILE__, __LINE__))

/*
 * Memory.  Everything from outside is bounded before it is stored, so running
 * out of memory is a crash, and the store survives a crash.
 */
static inline void *base_alloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    PRE(p != NULL);
    return p;
}
static inline void *base_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes ? bytes : 1);
    PRE(p != NULL);
    return p;
}
static inline char *base_strndup(const void *text, size_t len)
{
    char *p = base_alloc(len + 1);
    if (len)
        memcpy(p, text, len);
    return p;
}

/*
 * What was wrong with an input, and where: filled by the module that refuses it,
 * shown to the caller as {invalid, Path, Why}.  Both are always terminated.
 */
struct fault {
    char path[256]; /* "metadata.x[3]"; "" = the whole thing */
    char why[256];
    int64_t expected, got; /* for ERR_GAP only: sequence numbers */
};

/* Empties ${f} without zeroing half a kilobyte. */
static inline void fault_clear(struct fault *f)
{
    f->path[0] = f->why[0] = '\0';
    f->expected = f->got = 0;
}

/**
 * fault_fail(f, e, path, fmt, ...):
 * Fill ${f}: ${path} says where (NULL: unchanged), the rest says why.  Either may quote what
 * ${f} says so far, and is cut to its field.  The value is ${e}, so that a refusal is one line;
 * this is a macro so that the compiler and the analyser see which error it is.
 */
#define fault_fail(f, e, ...) fault_as((e), fault_fill((f), __VA_ARGS__))
/** fault_say(f, path, fmt, ...): The same for ERR_INVALID. */
#define fault_say(f, ...) fault_fail(f, ERR_INVALID, __VA_ARGS__)
struct fault *fault_fill(struct fault *f, const char *path, const char *fmt, ...) PRINTF(3, 4);
static inline enum err fault_as(enum err e, const struct fault *filled)
{
    (void)filled;
    return e;
}
void fault_vsay(struct fault *f, const char *path, const char *fmt, va_list args) PRINTF(3, 0);
/** fault_at(f, fmt, ...): Set the path; leave the reason. */
void fault_at(struct fault *f, const char *fmt, ...) PRINTF(2, 3);

#endif
