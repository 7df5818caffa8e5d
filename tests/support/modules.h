/* Modules without code, for tests of everything that reads descriptors only. */
#ifndef NQTEST_MODULES_H
#define NQTEST_MODULES_H

#include <netqueue/err.h>
#include <netqueue/transport.h>
#include <stddef.h>

/* "tcp": an address and one option of each number type, as a network transport has them. */
extern const struct nqt_module nqtest_module_tcp;
/* "loop": local only, no options. */
extern const struct nqt_module nqtest_module_loop;
/* "odd": local only, connects only; one option of each type, "name" is required. */
extern const struct nqt_module nqtest_module_odd;
/* "upon": stands on the one that its option "below" names; "count" is an option of its own. */
extern const struct nqt_module nqtest_module_upon;

/* A nqi_conf_module_fn: one of the above, else NQ_ERR_PLUGIN with a text of its own. */
nq_err nqtest_module(const char *name, const char *const *paths, size_t npaths,
                     const struct nqt_module **ret);

/* How many directories the last call of nqtest_module() was given, and the first of them. */
extern size_t nqtest_module_npaths;
extern char nqtest_module_path[256];

#endif
