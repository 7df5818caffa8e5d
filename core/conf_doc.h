/* The key table as a JSON Schema and as a page to read. */
#ifndef NQ_CORE_CONF_DOC_H
#define NQ_CORE_CONF_DOC_H

#include "core/base.h"
#include <netqueue/transport.h>
#include <stdio.h>

/* Every key, and the options of `modules`, as a JSON Schema (draft 7).  Objects of transports
 * that are not among `modules` may hold any key.
 * @param ret  [out] owned by the caller, ends with free()
 * @return NQ_OK, NQ_ERR_NOMEM.  Thread: any.  Blocks: no. */
NQ_MUST_CHECK nq_err nqi_conf_schema(const struct nqt_module *const *modules, size_t n, char **ret);

/* The same as a page in Markdown. */
NQ_MUST_CHECK nq_err nqi_conf_reference(const struct nqt_module *const *modules, size_t n,
                                        char **ret);

/* Both end so: close `file`, which open_memstream() made, and hand its text over.
 * @param text  the stream's  @param failed  something is missing in it already
 * @return NQ_OK, NQ_ERR_NOMEM (the text is gone) */
NQ_MUST_CHECK nq_err nqi_conf_doc_end(FILE *file, char **text, bool failed, char **ret);

#endif
