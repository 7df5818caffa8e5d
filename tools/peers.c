/* Waiting for peers, and telling why they do not come. */
#include "tools/peers.h"
#include <stdio.h>
#include <stdlib.h>

static void news_note(struct nqi_news *news, const struct nq_event *event)
{
    const char *why = event->text[0] ? event->text : nq_reason_text(event->reason);

    switch (event->kind) {
    case NQ_EVENT_PEER_UP:
    case NQ_EVENT_PEER_RESUMED:
        news->text[0] = 0;
        break;
    case NQ_EVENT_PEER_DOWN:
    case NQ_EVENT_PEER_GONE:
    case NQ_EVENT_REFUSED:
        snprintf(news->text, sizeof(news->text), "%s: %s", nq_event_text(event->kind), why);
        break;
    default:
        break;
    }
}

void nqi_news_read(struct nqi_news *news, nq_queue *queue, int64_t wait_ns)
{
    struct nq_event event;

    while (nq_event_get(queue, wait_ns, &event) == NQ_OK) {
        news_note(news, &event);
        wait_ns = 0;
    }
}

static void peers_freep(struct nq_peer_info **peers)
{
    free(*peers);
}

nq_err nqi_peers_up(nq_queue *queue, nq_uuid **ret, size_t *n)
{
    NQI_CLEANUP(peers_freep) struct nq_peer_info *peers = NULL;
    size_t have = 0, up = 0, cap;
    nq_uuid *ids;
    nq_err err = nq_peers(queue, NULL, 0, &have);

    if (err)
        return err;
    cap = have + 1; /* never nothing */
    peers = calloc(cap, sizeof(*peers));
    ids = peers ? calloc(cap, sizeof(*ids)) : NULL;
    if (!ids)
        return NQ_ERR_NOMEM;
    err = nq_peers(queue, peers, cap, &have);
    if (err) {
        free(ids);
        return err;
    }
    for (size_t i = 0; i < have && i < cap; i++)
        if (peers[i].up)
            ids[up++] = peers[i].id;
    *ret = ids;
    *n = up;
    return NQ_OK;
}
