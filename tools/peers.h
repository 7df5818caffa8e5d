/* Waiting for peers, and telling why they do not come. */
#ifndef NQ_TOOLS_PEERS_H
#define NQ_TOOLS_PEERS_H

#include "tools/tool.h"

/* The last bad news from the other side; the caller's memory, zeroed at first. */
struct nqi_news {
    char text[256];
};

/* Read the events that are there, waiting up to `wait_ns` for the first, and remember the
 * last refusal or loss. */
void nqi_news_read(struct nqi_news *news, nq_queue *queue, int64_t wait_ns);

/* Ids of the peers that are up.
 * @param ret  [out] owned by the caller, ends with free(); never NULL on NQ_OK
 * @return NQ_OK, NQ_ERR_NOMEM, what nq_peers() says */
NQ_MUST_CHECK nq_err nqi_peers_up(nq_queue *queue, nq_uuid **ret, size_t *n);

#endif
