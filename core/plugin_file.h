/* Where transports lie: directories, and whether a file may be trusted. */
#ifndef NQ_CORE_PLUGIN_FILE_H
#define NQ_CORE_PLUGIN_FILE_H

#include "core/base.h"
#include <netqueue/check.h>

#define NQI_PLUGIN_NAME 33 /* room for a name: 32 bytes and the NUL */

/* Is it a name, [a-z][a-z0-9_-]{0,31}? */
bool nqi_plugin_name_fine(const char *name);

/* The directories that are searched, separated by colons, "plugin_path" first: for the search
 * and for the text of a failure.  Owned by the caller, ends with free(); NULL = no memory. */
char *nqi_plugin_dirs(const char *const *paths, size_t npaths);

/* The first DIR/NAME.so that exists in `dirs`, resolved to an absolute path without links.
 * @param ret  [out] owned by the caller, ends with free()
 * @return NQ_OK; NQ_AGAIN (there is none); NQ_ERR_PLUGIN (it cannot be looked at), NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_plugin_find(const char *name, const char *dirs, char **ret);

/* May code from `path` run in this process?  It must be a regular file, and neither it nor a
 * directory above it may be writable by everybody or belong to anybody but root and the
 * effective user; when privileged, not writable by a group either.
 * NETQUEUE_PLUGIN_UNSAFE=1 lifts this, for development and tests; ignored when privileged.
 * @param path  absolute, without links
 * @return NQ_OK, NQ_ERR_PLUGIN */
NQ_MUST_CHECK nq_err nqi_plugin_check_file(const char *path);

/* See nqi_plugin_list(), which this is without the loader. */
NQ_MUST_CHECK nq_err nqi_plugin_list_dirs(const char *dirs, nq_problem_fn fn, void *arg);

#endif
