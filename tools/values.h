/* Values in messages: JSON text for people and scripts on one side, what a serializer of the
 * library makes of it on the other. */
#ifndef NQ_TOOLS_VALUES_H
#define NQ_TOOLS_VALUES_H

#include "tools/tool.h"

/* Is it a kind of value: "json" or "pickle"? */
bool nqi_value_is_kind(const char *kind);

/* Of a message that is JSON text, a message that carries the value as `kind`.
 * @param msg  borrowed
 * @param ret  [out] owned by the caller; without metadata
 * @return NQ_OK, or a failure with its text in nq_error(): it is no JSON, or too deep */
NQ_MUST_CHECK nq_err nqi_value_pack(const char *kind, nq_msg *msg, nq_msg **ret);

/* The other way: of a message that carries such a value, one that is JSON text, in one line.
 * @return as above: it is no such value, or one that JSON cannot carry */
NQ_MUST_CHECK nq_err nqi_value_unpack(const char *kind, nq_msg *msg, nq_msg **ret);

#endif
