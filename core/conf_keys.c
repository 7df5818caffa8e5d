/* Every side needs a key that it can use: a client its own. */
#include "core/conf_keys.h"

#include "core/err.h"
#include "core/loop.h"
#include <string.h>

static bool keys_has(struct nqi_keystore *store, const nq_uuid *id)
{
    struct nqi_keys keys;

    nqi_keystore_find(store, id, nqi_now(), &keys);
    explicit_bzero(keys.key, sizeof(keys.key));
    return keys.known;
}

nq_err nqi_conf_keys(struct nqi_conf_notes *notes, const char *at, const char *path,
                     const struct nqi_conf *conf, struct nqi_keystore **ret)
{
    char id[NQ_UUID_TEXT];
    nq_err err = nqi_keystore_open(path, ret);

    if (err == NQ_ERR_NOMEM)
        return err;
    nq_uuid_format(&conf->id, id);
    if (err)
        nqi_conf_note(notes, NQ_ERR_CONFIG, at, "%s", nq_error());
    else if (!conf->server && !keys_has(*ret, &conf->id))
        nqi_conf_note(notes, NQ_ERR_CONFIG, at,
                      "%s has no key for this side's id %s, and no \"key\" for all others", path,
                      id);
    return NQ_OK;
}
