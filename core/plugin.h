/* Find, check and load transport modules; the only user of libltdl. */
#ifndef NQ_CORE_PLUGIN_H
#define NQ_CORE_PLUGIN_H

#include "core/base.h"
#include <netqueue/check.h>
#include <netqueue/transport.h>

/* The module `name`: from `paths` ("plugin_path"), NETQUEUE_PLUGIN_PATH (ignored when
 * privileged), the built-in directory.  The first file that exists decides.  Loaded once,
 * never unloaded.  Signature as nqi_conf_module_fn.
 * @return NQ_OK, NQ_ERR_PLUGIN (nq_error() tells which of the ways to fail), NQ_ERR_NOMEM.
 * Thread: any. */
NQ_MUST_CHECK nq_err nqi_plugin_load(const char *name, const char *const *paths, size_t npaths,
                                     const struct nqt_module **ret);

#endif
