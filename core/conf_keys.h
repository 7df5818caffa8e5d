/* The files of pre-shared keys that a configuration names: one for the queue, and one for each
 * transport that has its own. */
#ifndef NQ_CORE_CONF_KEYS_H
#define NQ_CORE_CONF_KEYS_H

#include "core/conf.h"
#include "core/conf_note.h"

/* The keys of the file `path`, which the pointer `at` names.  What is wrong is noted: also that a
 * client's own id has none.  @param conf  `server` and `id` of it  @param ret [out] owned, ends
 * with nqi_keyring_free(); untouched after a problem
 * @return NQ_OK, also after a problem; NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_conf_keys(struct nqi_conf_notes *notes, const char *at, const char *path,
                                   const struct nqi_conf *conf, struct nqi_keystore **ret);

#endif
