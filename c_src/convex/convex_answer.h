/* convex_answer.h - what an answer of Convex means: an HTTP answer -> verdicts, a pure function. */

#ifndef CONVEX_ANSWER_H
#define CONVEX_ANSWER_H

#include "convex/http.h"
#include "sink/sink.h"

/* What was asked: it decides which body counts as success. */
enum convex_call {
    CONVEX_BATCH,     /* /api/mutation of many documents: a result for each */
    CONVEX_SINGLE,    /* /api/mutation of one document: any value */
    CONVEX_PROBE_KEY, /* GET /api/check_admin_key */
    CONVEX_PROBE_LIFE /* GET /version: any body */
};

/**
 * convex_answer_judge(answer, call, overall, each, count):
 * Say in ${overall} what ${answer} means for the call, by the table of convex_answer.def.  True:
 * the documents of a CONVEX_BATCH fared differently, and ${each} holds ${count} verdicts, one a
 * document in the order they were sent.  False: ${overall} holds for all of them; ${each} is
 * undefined. Every `why` is one line of UTF-8 without control characters.
 */
bool convex_answer_judge(const struct http_answer *answer, enum convex_call call,
                         struct verdict *overall, struct verdict *each, size_t count);

#endif
