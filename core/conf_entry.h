/* One entry of "transports": which module, and its checked options. */
#ifndef NQ_CORE_CONF_ENTRY_H
#define NQ_CORE_CONF_ENTRY_H

#include "core/conf.h"
#include "core/conf_note.h"

/* What the entry is checked with; all borrowed. */
struct nqi_conf_ground {
    struct nqi_conf_notes *notes;
    nqi_conf_module_fn module;
    const char *folder;
    const char *const *paths;
    size_t npaths;
    const char *psk; /* the queue's file of keys; NULL = none */
};

/* Check the entry `json` at the pointer `at` and append it to conf->transports, which has room.
 * The keys `server`, `id`, `insecure` and `keyed` of `conf` are read before.  Problems are noted;
 * an entry without a module is left out, or on a client remembered as absent.
 * @return NQ_OK, also after a problem; NQ_ERR_NOMEM */
NQ_MUST_CHECK nq_err nqi_conf_entry(const struct nqi_conf_ground *ground, const json_t *json,
                                    const char *at, struct nqi_conf *conf);

#endif
