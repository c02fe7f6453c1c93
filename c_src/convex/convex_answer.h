/* convex_answer.h - what an answer of Convex means: an HTTP answer -> verdicts, a pure function. */

#ifndef CONVEX_ANSWER_H
#define CONVEX_ANSWER_H

#include "convex/http.h"
#include "sink/sink.h"

/* What was asked: it decides which body counts as success. */
enum convex_call {
    CONVEX_BATCH, /* /api/mutation of many documents: a result for each */
    CONVEX_SINGLE /* /api/mutation of one document: any value */
};

/**
 * convex_answer_judge(answer, call, overall, each, count):
 * Say in ${overall} what ${answer} means for the call, by the table of convex_answer.def.  True:
 * it is a success of a CONVEX_BATCH, and ${each} holds ${count} verdicts, one a document in the
 * order they were sent.  False: ${overall} holds for all of them; ${each} is
 * undefined. Every `why` is one line of UTF-8 without control characters.
 */
bool convex_answer_judge(const struct http_answer *answer, enum convex_call call,
                         struct verdict *overall, struct verdict *each, size_t count);

/* What functions of version 2 report about themselves in a success. */
struct convex_echo {
    uint64_t call;       /* the number that the call had; 0: absent */
    int functions;       /* the version; 0: absent */
    int64_t mark;        /* -1: none */
    char deployment[65]; /* "": none */
};

/**
 * convex_answer_judge_numbered(answer, call, number, echo, overall, each, count):
 * As convex_answer_judge, for a call that had a number (> 0): a success that does not echo it is
 * VERDICT_UNKNOWN, because it is the answer to another call.  ${echo} is what the answer reports,
 * all of it 0 unless it is a success.
 */
bool convex_answer_judge_numbered(const struct http_answer *answer, enum convex_call call,
                                  uint64_t number, struct convex_echo *echo,
                                  struct verdict *overall, struct verdict *each, size_t count);

#define CONVEX_PATH_BYTES 160 /* of a function's path, with its terminator */

/**
 * convex_answer_attached(answer, echo, controls, max, count):
 * Whether the success ${answer} is that of attach, version 2 or later: ${echo} says which, and
 * ${controls} gets the first ${count} <= ${max} mutations that take a control.
 */
bool convex_answer_attached(const struct http_answer *answer, struct convex_echo *echo,
                            char (*controls)[CONVEX_PATH_BYTES], size_t max, size_t *count);

/** convex_answer_is_done(answer): Whether the success ${answer} says `is_done`. */
bool convex_answer_is_done(const struct http_answer *answer);

#endif
