/**
 * @file
 * Looking at configurations and transports without opening a queue: what the
 * command `netqueue check` and `netqueue transports` are made of.
 */
#ifndef NETQUEUE_CHECK_H
#define NETQUEUE_CHECK_H

#include <netqueue/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One finding: `path` is the key's place ("/queue/policy"), `text` what is wrong and
 *  what to do.  Both are borrowed until the function returns. */
typedef void (*nq_problem_fn)(void *arg, const char *path, const char *text);

/** Check a configuration file and report every problem, not only the first.  Loads the
 *  transports that it names, which read certificates and keys; opens no connection.
 *  @return NQ_OK (it can be opened: no problem was reported, or a client's that it gets
 *          over, as a transport that is not installed beside one that is), NQ_ERR_CONFIG
 *          (there are others), NQ_ERR_SYS (the file cannot be read), NQ_ERR_NOMEM.
 *  Thread: any.  Blocks: while reading files. */
NQ_API NQ_MUST_CHECK nq_err nq_check(const char *path, nq_problem_fn fn, void *arg);

/** Every option that a configuration file may hold, as a JSON Schema (draft 7); the
 *  text is owned by the caller, ends with free().
 *  @return NQ_OK, NQ_ERR_NOMEM.  Thread: any.  Blocks: no. */
NQ_API NQ_MUST_CHECK nq_err nq_conf_schema(char **ret);

/** The same as a reference page in Markdown. */
NQ_API NQ_MUST_CHECK nq_err nq_conf_reference(char **ret);

/** One option of a transport; all text is static. */
struct nq_option_info {
    const char *name, *type, *def, *unit, *help; /* def is "" when there is none */
    const char *const *choices;                  /* NULL-terminated, or NULL */
    int64_t min, max;                            /* of numbers; both 0 = no range */
    bool required;
};

/** A transport that was found; all text is static, transports are never unloaded. */
struct nq_transport_info {
    const char *name, *version, *summary, *file, *threading; /* "loop" or "own" */
    unsigned abi_major, abi_minor;                           /* minor: the least it needs */
    const char *const *caps;                                 /* names, NULL-terminated */
    const struct nq_option_info *options;
    size_t noptions;
};

/** Load the transport `name` and describe it.  @param ret [out] static, never freed
 *  @return NQ_OK, NQ_ERR_PLUGIN (nq_error() says why), NQ_ERR_NOMEM.
 *  Thread: any.  Blocks: while loading. */
NQ_API NQ_MUST_CHECK nq_err nq_transport_info(const char *name,
                                              const struct nq_transport_info **ret);

/** Names of the transports in the directories that are searched.
 *  @param fn  called for each; `path` is the directory, `text` the name
 *  @return NQ_OK.  Thread: any.  Blocks: while reading directories. */
NQ_API NQ_MUST_CHECK nq_err nq_transports(nq_problem_fn fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif
