/* File or text -> JSON tree, with the place of what is malformed. */
#ifndef NQ_CORE_CONF_JSON_H
#define NQ_CORE_CONF_JSON_H

#include "core/base.h"
#include "core/jsontext.h"

#define NQI_CONF_JSON_CAP (1 << 20) /* bytes of the largest configuration */
#define NQI_CONF_JSON_DEPTH 16      /* objects and arrays inside one another */

/* Parse the file `path`, or (`path` NULL) `len` bytes of `text`.
 *
 * The root is an object; a key that stands twice in one object, a tree deeper than
 * NQI_CONF_JSON_DEPTH and text after the end are refused.
 * @param ret  [out] a new reference
 * @return NQ_OK; NQ_ERR_SYS (the file cannot be read), NQ_ERR_CONFIG (not such a JSON text; too
 *         large), NQ_ERR_NOMEM.  On failure nq_error() begins with "FILE: " or with
 *         "FILE:LINE:COLUMN: ".
 * Thread: any.  Blocks: while reading. */
NQ_MUST_CHECK nq_err nqi_conf_json(const char *path, const char *text, size_t len, json_t **ret);

/* How errors call the source: the path, or a word for text from memory. */
const char *nqi_conf_json_source(const char *path);

#endif
