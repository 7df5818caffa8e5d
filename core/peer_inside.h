/* Between the files of the peer: peer.c, peer_put.c, peer_send.c. */
#ifndef NQ_CORE_PEER_INSIDE_H
#define NQ_CORE_PEER_INSIDE_H

#include "core/peer.h"

/* peer_show.c, in strand */
void nqi_peer_event(struct nqi_peer *peer, nq_event_kind kind, nq_reason reason, uint64_t count,
                    const char *text);
void nqi_peer_show_link(struct nqi_peer *peer);   /* the link changed */
void nqi_peer_show_counts(struct nqi_peer *peer); /* before the strand is left */

/* peer.c, in strand */
void nqi_peer_hand_over(struct nqi_peer *peer);

/* peer_put.c, in strand */
bool nqi_peer_on_begin(void *arg, struct nqi_tx *tx);
void nqi_peer_on_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason);
void nqi_peer_drop_cancelled(struct nqi_peer *peer);
void nqi_peer_report_queue(struct nqi_peer *peer); /* marks and drops, as events */

/* peer_send.c, in strand */
void nqi_peer_pump(struct nqi_peer *peer); /* session -> link, as far as it goes */
void nqi_peer_on_flush_timer(void *arg);

#endif
