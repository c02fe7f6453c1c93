/* message.h - the messages of the distribution protocol: requests and answers. */

/* Private to dist/. */

#ifndef MESSAGE_H
#define MESSAGE_H

#include "ground/base.h"
#include "ground/buf.h"
#include "term/term.h"

/*
 * A message is the byte 112, a control tuple with version byte, and for some a
 * payload with version byte.  OTP erts/doc/src/erl_dist_protocol.xml.
 */
enum message_kind {
    MESSAGE_CALL,   /* {'$gen_call', {Pid, Tag}, Request} to a registered name */
    MESSAGE_CAST,   /* {'$gen_cast', Request} to a registered name */
    MESSAGE_UNLINK, /* UNLINK_ID, which wants an acknowledgement */
    MESSAGE_SIGNAL, /* any other control message: links, exits, monitors; nothing to do */
    MESSAGE_UNKNOWN /* a message to our pid, or to a name in an unknown form */
};

/* The fields that the kind has; the rest are NULL.  Terms borrow the message. */
struct message {
    enum message_kind kind;
    term name;                 /* CALL, CAST, UNKNOWN: the atom it was sent to; NULL: a pid */
    term from, tag;            /* CALL: the caller's pid and tag */
    term request;              /* CALL, CAST; NULL after message_read_head */
    term id, sender, receiver; /* UNLINK */
};

/**
 * message_read(bytes, m, fault):
 * Check all of ${bytes} and set ${m}.  ERR_INVALID: malformed; ${fault}->why says how.
 */
enum err message_read(struct slice bytes, struct message *m, struct fault *fault) MUST_CHECK;

/**
 * message_read_head(head, m):
 * The same for the first bytes of a message whose rest is missing: whether it is a call whose name,
 * from and tag are among them.
 */
bool message_read_head(struct slice head, struct message *m);

/**
 * message_put_reply(b, self, from, tag, answer):
 * {Tag, ${answer}} to the alias in ${tag} (with ${self} as sender), or to the pid ${from} if
 * there is no alias.  All are encoded terms without version byte; ${tag} must have been checked.
 */
void message_put_reply(struct buf *b, struct slice self, struct slice from, struct slice tag,
                       struct slice answer);

/**
 * message_exit_ref(tag): The monitor reference in ${tag}, through which a caller can be made to
 * exit; data NULL when it has none.
 */
struct slice message_exit_ref(term tag);

/** message_put_exit(b, name, from, ref, reason): The call of ${from} to the atom ${name} exits with
 * the atom ${reason}: MONITOR_P_EXIT for the monitor ${ref}. */
void message_put_exit(struct buf *b, struct slice name, struct slice from, struct slice ref,
                      const char *reason);

/** message_put_unlinked(b, m): The acknowledgement of the MESSAGE_UNLINK ${m}. */
void message_put_unlinked(struct buf *b, const struct message *m);

#endif
