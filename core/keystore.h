/* The pre-shared keys that are in force: those of a file, which is read again when it has changed.
 *
 *     file --core/keyring.c--> ring --find--> a copy, for who asks
 *                               ^ looked at once a second, by who asks
 *
 * A file that changed and cannot be used, be it for its form, its owner or its mode, leaves the
 * keys in force that were: the log says so, once for each change. */
#ifndef NQ_CORE_KEYSTORE_H
#define NQ_CORE_KEYSTORE_H

#include "core/keyring.h"

#define NQI_KEYSTORE_LOOK_NS NQI_NS_PER_S

struct nqi_keystore;

/* @param ret [out] owned, ends with nqi_keystore_close()
 * @return as nqi_keyring_load().  Thread: any.  Blocks: on the file */
NQ_MUST_CHECK nq_err nqi_keystore_open(const char *path, struct nqi_keystore **ret);

/* @param ring  [take] in any case
 * @param path  where it is from; NULL = it never changes
 * @return NQ_OK, NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_keystore_new(struct nqi_keyring *ring, const char *path,
                                      struct nqi_keystore **ret);

/* Wipe and release; NULL is allowed. */
void nqi_keystore_close(struct nqi_keystore *store);

/* The keys for `id`, as they are at `now` (ns, monotonic).
 * @param ret [out] to be wiped by the caller.  Thread: any.  Blocks: on the file, when it changed
 */
void nqi_keystore_find(struct nqi_keystore *store, const nq_uuid *id, int64_t now,
                       struct nqi_keys *ret);

#endif
