/* Who comes in over the older wire, on which nobody proves anything but by a certificate.
 *
 *     the id is                                        answer
 *     reserved, or this side's own                     refused
 *     not that of the certificate, or of the topic     refused
 *     not proven, where certificates are asked for     refused
 *     of somebody who has a pre-shared key             refused: he speaks the other wire
 *     that of a session of the other wire              refused: no session is ever downgraded
 *     that of a session of this wire, and proven       that one ends; the next attempt comes in
 *     the same, and not proven                         refused
 *
 * There are no words for a refusal: the link is closed. */
#include "core/queue.h"

#include "core/older.h"
#include <string.h>

static bool older_has_key(const struct nqi_link *link, const nq_uuid *id)
{
    struct nqi_keys keys = {0};
    uint32_t circle;
    struct nqi_keystore *store = nqi_queue_keys(link, &circle);
    bool known;

    if (!store)
        return false;
    nqi_keystore_find(store, id, nqi_now(), &keys);
    known = keys.known;
    explicit_bzero(&keys, sizeof(keys));
    return known;
}

/* Before the table is looked at. */
static nq_reason older_objection(nq_queue *queue, const struct nqi_link *link, const nq_uuid *id)
{
    const struct nqi_queue_ep *ep = nqi_ep_owner(nqi_link_ep(link));
    nq_uuid proven;

    if (nqi_older_is_reserved(id))
        return NQ_REASON_PROTOCOL;
    if (nq_uuid_equal(id, &queue->conf->id))
        return NQ_REASON_DUPLICATE;
    if (!nqi_link_may_be(link, id) || !nqi_link_may_be_named(link, id) ||
        (ep->entry->certified && !nqi_link_identity(link, &proven)))
        return NQ_REASON_IDENTITY;
    if (older_has_key(link, id))
        return NQ_REASON_AUTH;
    return NQ_REASON_NONE;
}

/* Under lock.  @param old [out] a session that is to end, with a reference */
static nq_reason older_admit(nq_queue *queue, struct nqi_link *link, const nq_uuid *id,
                             struct nqi_peer **old, struct nqi_peer **ret)
{
    struct nqi_peer *known = nqi_queue_find_locked(queue, id), *peer;
    nq_uuid proven;

    if (atomic_load(&queue->closing))
        return NQ_REASON_PEER_CLOSED;
    if (known && !known->older)
        return NQ_REASON_WIRE;
    if (known) {
        if (nqi_link_identity(link, &proven))
            *old = nqi_peer_ref(known);
        return NQ_REASON_DUPLICATE;
    }
    if (queue->npeers >= queue->conf->max_peers)
        return NQ_REASON_LIMIT;
    if (nqi_queue_grow_locked(queue) || nqi_peer_accept_older(&queue->peer_conf, link, id, &peer))
        return NQ_REASON_NO_MEMORY;
    nqi_queue_admit_locked(queue, peer, id);
    nqi_peer_unref(nqi_queue_inherit(queue, peer));
    *ret = peer;
    return NQ_REASON_NONE;
}

static const char *older_text(const struct nqi_link *link, const nq_uuid *id, nq_reason reason)
{
    nq_uuid proven;

    if (reason == NQ_REASON_WIRE)
        return "a session of this id speaks the wire \"netqueue\"";
    if (reason == NQ_REASON_AUTH)
        return "this id has a pre-shared key, which the wire \"net-queue\" cannot prove";
    if (reason == NQ_REASON_IDENTITY && !nqi_link_may_be_named(link, id))
        return "the name that it says is not that of its topic";
    if (reason == NQ_REASON_IDENTITY && !nqi_link_identity(link, &proven))
        return "on the wire \"net-queue\" only a certificate proves an id: \"tls\" needs \"uuid\"";
    return nq_reason_text(reason);
}

void nqi_queue_on_older(void *arg, struct nqi_link *link, const nq_uuid *id)
{
    nq_queue *queue = arg;
    struct nqi_peer *old = NULL, *peer = NULL;
    nq_reason reason = older_objection(queue, link, id);

    nqi_queue_stranger_leave(queue, link);
    if (!reason) {
        pthread_mutex_lock(&queue->lock);
        reason = older_admit(queue, link, id, &old, &peer);
        pthread_mutex_unlock(&queue->lock);
    }
    if (old)
        nqi_peer_disconnect(old);
    nqi_peer_unref(old);
    if (!reason) {
        nqi_peer_announce(peer);
        return;
    }
    nqi_queue_refused(queue, link, id, reason, older_text(link, id, reason));
    nqi_link_close(link);
}
