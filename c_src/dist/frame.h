/* frame.h - the frames of the control socket: requests and answers. */

/* Private to dist/. */

#ifndef FRAME_H
#define FRAME_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/*
 * A frame is one term with version byte (docs/PROTOCOL.md, "The control socket").
 *   from the client   {call, Ref, Request}      Ref: an integer of its choice
 *   from the sidecar  {welcome, Version} or {refused, Why}, first
 *                     {more, Ref, Part}         of an answer with more to come
 *                     {reply, Ref, Answer}      its end
 */

/**
 * frame_read_call(bytes, ref, request, fault):
 * Check all of ${bytes} and set ${ref} and ${request}, which borrow it.  ERR_INVALID: not a
 * call; ${fault}->why says why.
 */
enum err frame_read_call(struct slice bytes, term *ref, term *request,
                         struct fault *fault) MUST_CHECK;

/** frame_read_head(head, ref): The same for the first bytes of a call whose rest is missing. */
bool frame_read_head(struct slice head, term *ref);

/** frame_put_answer(b, word, ref, answer): {${word}, ${ref}, ${answer}}; the last two are encoded
 * terms without version byte. */
void frame_put_answer(struct buf *b, const char *word, struct slice ref, struct slice answer);

/** frame_put_text(b, word, text): {${word}, Text}, for welcome and refused. */
void frame_put_text(struct buf *b, const char *word, const char *text);

#endif
