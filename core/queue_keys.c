/* Which pre-shared keys a link goes by: those of its transport's entry, or the queue's. */
#include "core/queue.h"

#include "core/log.h"
#include <nettle/memops.h>
#include <string.h>

struct nqi_keystore *nqi_queue_keys(const struct nqi_link *link, uint32_t *circle)
{
    const struct nqi_queue_ep *ep = nqi_ep_owner(nqi_link_ep(link));

    *circle = ep->entry->circle;
    return ep->entry->keystore ? ep->entry->keystore : ep->queue->conf->keystore;
}

/* A file without a key for this side is as bad as one that cannot be read. */
bool nqi_queue_rekey(void *arg, const struct nqi_link *link, struct nqi_psk *ret)
{
    const nq_queue *queue = arg;
    struct nqi_queue_ep *ep = nqi_ep_owner(nqi_link_ep(link));
    struct nqi_keystore *store = nqi_queue_keys(link, &ret->circle);
    struct nqi_keys keys = {0};
    bool changed = false;

    ret->key = store ? ep->psk : NULL;
    if (!store)
        return false;
    nqi_keystore_find(store, &queue->conf->id, nqi_now(), &keys);
    if (!keys.known)
        nqi_log(NQ_LOG_WARN, "the file of keys has none for this side any more: the old one is "
                             "used");
    else
        changed = !memeql_sec(ep->psk, keys.key[0], NQI_KEY);
    if (changed)
        memcpy(ep->psk, keys.key[0], NQI_KEY);
    explicit_bzero(&keys, sizeof(keys));
    return changed;
}
