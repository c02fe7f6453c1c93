/* sinks.h - the table of sinks: a row for each, with the options that it needs. */

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

/** sinks_try(c, fault): Whether sinks_open would succeed; nothing is created or written.
 * ERR_INVALID: ${fault} names the option.  After sinks_check. */
enum err sinks_try(const struct config *c, struct fault *fault) MUST_CHECK;

/** sinks_names(): Their names, from the one that delivers least to the one that delivers furthest,
 * then NULL. */
const char *const *sinks_names(void);

/** sinks_open(c, sink, fault): The sink of [sink] type.  ERR_INVALID: ${fault} names the option. */
enum err sinks_open(const struct config *c, struct sink **sink, struct fault *fault) MUST_CHECK;

/** sinks_address(c): The address of the sink, if that can change; "": it cannot. */
const char *sinks_address(const struct config *c);

/** sinks_open_audit(c, o): The audit of that sink; NULL: its documents cannot be read back. */
struct audit *sinks_open_audit(const struct config *c, struct outbox *o);

/** sinks_batch_mutation(c): The mutation that takes many documents; "": it has none. */
const char *sinks_batch_mutation(const struct config *c);

#endif
