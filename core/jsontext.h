/* JSON text -> tree, with the place of what is malformed, and a bound on depth. */
#ifndef NQ_CORE_JSONTEXT_H
#define NQ_CORE_JSONTEXT_H

#include "core/base.h"
#include <jansson.h>

/* Parse `len` bytes of `text`.
 * @param source  what errors begin with
 * @param depth   most objects and arrays inside one another; a scan finds more before jansson,
 *                which recurses, sees the text
 * @param flags   jansson's
 * @param bad     the result for a text that is not such a one
 * @param ret     [out] a new reference
 * @return NQ_OK, `bad`, NQ_ERR_NOMEM.  On failure nq_error() is "SOURCE:LINE:COLUMN: ...".
 * Thread: any.  Blocks: no. */
NQ_MUST_CHECK nq_err nqi_json_parse(const char *source, const char *text, size_t len,
                                    unsigned depth, size_t flags, nq_err bad, json_t **ret);

/* Cleanup function. */
static inline void nqi_json_freep(json_t **json)
{
    json_decref(*json);
}

#endif
