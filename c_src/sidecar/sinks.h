/* sinks.h - the sinks there are: one row of a table for each, with what it needs of the options. */

#ifndef SINKS_H
#define SINKS_H

#include "ground/base.h"

struct audit;
struct config;
struct outbox;
struct sink;

/** sinks_check(c, fault): ERR_INVALID: the options lack what the chosen sink needs; ${fault} says
 * which.  After config_finish. */
enum err sinks_check(const struct config *c, struct fault *fault) MUST_CHECK;

/** sinks_try(c, fault): Whether sinks_open would succeed; nothing is made or written.  ERR_INVALID:
 * ${fault} names the option.  After sinks_check. */
enum err sinks_try(const struct config *c, struct fault *fault) MUST_CHECK;

/** sinks_names(): Their names from the one that delivers least to the furthest, then NULL. */
const char *const *sinks_names(void);

/** sinks_open(c, sink, fault): The sink of [sink] type.  ERR_INVALID: ${fault} names the option. */
enum err sinks_open(const struct config *c, struct sink **sink, struct fault *fault) MUST_CHECK;

/** sinks_address(c): Where it is, if that may be another one day; "" of those that are ours. */
const char *sinks_address(const struct config *c);

/** sinks_open_audit(c, o): The audit of that sink; NULL: what it has cannot be read back. */
struct audit *sinks_open_audit(const struct config *c, struct outbox *o);

/** sinks_batch_mutation(c): The mutation that takes many documents; "": it goes without one. */
const char *sinks_batch_mutation(const struct config *c);

#endif
