/* Find, check and load transport modules; the only user of libltdl. */
#ifndef NQ_CORE_PLUGIN_H
#define NQ_CORE_PLUGIN_H

#include "core/base.h"
#include <netqueue/check.h>
#include <netqueue/transport.h>

/* The module `name`: from `paths` ("plugin_path"), NETQUEUE_PLUGIN_PATH (both ignored when
 * privileged), the built-in directory.  The first file that exists decides.  Loaded once,
 * never unloaded.  Signature as nqi_conf_module_fn.
 * @return NQ_OK, NQ_ERR_PLUGIN (nq_error() tells which of the ways to fail), NQ_ERR_NOMEM.
 * Thread: any. */
NQ_MUST_CHECK nq_err nqi_plugin_load(const char *name, const char *const *paths, size_t npaths,
                                     const struct nqt_module **ret);

/* The file that a loaded module came from, as an absolute path; static. */
const char *nqi_plugin_file(const struct nqt_module *module);

/* Call `fn` with directory and name of each file in NETQUEUE_PLUGIN_PATH and the built-in
 * directory that may be a transport; each name once, in the order of names within a directory.
 * Nothing is loaded.  `fn` may call nqi_plugin_load().
 * @return NQ_OK, NQ_ERR_NOMEM.  Thread: any.  Blocks: while reading directories. */
NQ_MUST_CHECK nq_err nqi_plugin_list(nq_problem_fn fn, void *arg);

#endif
