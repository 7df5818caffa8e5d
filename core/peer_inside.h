/* Between the files of the peer: peer.c and peer_*.c. */
#ifndef NQ_CORE_PEER_INSIDE_H
#define NQ_CORE_PEER_INSIDE_H

#include "core/older.h"
#include "core/peer.h"

/* peer_show.c, in strand */
void nqi_peer_event(struct nqi_peer *peer, nq_event_kind kind, nq_reason reason, uint64_t count,
                    const char *text);
/* The same in two steps: what the event says is true before, and it is told after, a change. */
struct nq_event nqi_peer_event_of(const struct nqi_peer *peer, nq_event_kind kind, nq_reason reason,
                                  uint64_t count, const char *text);
void nqi_peer_tell(struct nqi_peer *peer, const struct nq_event *event);
void nqi_peer_show_link(struct nqi_peer *peer);   /* the link changed */
void nqi_peer_show_counts(struct nqi_peer *peer); /* before the strand is left */
void nqi_peer_show_out(struct nqi_peer *peer);    /* the same when nothing came meanwhile */

/* peer.c, in strand */
void nqi_peer_hand_over(struct nqi_peer *peer); /* what was delivered, to the queue */

/* peer_life.c, in strand */
void nqi_peer_enter(struct nqi_peer *peer, enum nqi_peer_state next);
void nqi_peer_end(struct nqi_peer *peer, nq_reason reason); /* for good */
/* The session is over, or its link is of no more use; nothing without a link. */
void nqi_peer_lost(struct nqi_peer *peer, nq_reason reason, const char *text);
nq_reason nqi_peer_reason(const struct nqi_peer *peer, nq_err err); /* why a session failed */
void nqi_peer_set_base(struct nqi_peer *peer);
/* A client's, whose link its session does not fit: what was not sent goes into the next one. */
void nqi_peer_begin_anew(struct nqi_peer *peer, const char *text);
/* A client's, without a link: all of its session settles, and the next one begins anew. */
void nqi_peer_forget_session(struct nqi_peer *peer, nq_reason reason);
void nqi_peer_follow_session(struct nqi_peer *peer);
void nqi_peer_finish(struct nqi_peer *peer);
void nqi_peer_on_clock(void *arg);
void nqi_peer_set_clock(struct nqi_peer *peer);

/* peer_link.c, in strand */
extern const struct nqi_link_events nqi_peer_link_events;
void nqi_peer_on_dial_time(void *arg);

/* Older wire: read on, or not; what fell away is told. */
void nqi_peer_follow_hold(struct nqi_peer *peer);

/* peer_ask.c, in strand */
void nqi_peer_run_todo(struct nqi_work *work);

/* peer_put.c, in strand */
bool nqi_peer_on_begin(void *arg, struct nqi_tx *tx);
void nqi_peer_on_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason);
void nqi_peer_drop_cancelled(struct nqi_peer *peer);
void nqi_peer_report_queue(struct nqi_peer *peer); /* marks and drops, as events */

/* peer_send.c, in strand */
void nqi_peer_pump(struct nqi_peer *peer); /* session -> link, as far as it goes */
/* The shortest way of a message that nobody waits for: into the link, past everything in between.
 * It stays the caller's, and nothing is to be settled.  False: another way. */
bool nqi_peer_put_straight(struct nqi_peer *peer, const nq_msg *msg);
/* The short way after a put: its message has left, and there is nothing to settle.  False: the
 * ordinary way. */
bool nqi_peer_sent_at_once(struct nqi_peer *peer);
/* The same into a batch that goes on, which changes nothing else. */
bool nqi_peer_put_gathers(struct nqi_peer *peer, const nq_msg *msg);
/* A batch goes on, and a put into it is all that can have happened. */
bool nqi_peer_only_gathers(struct nqi_peer *peer);
void nqi_peer_on_flush_timer(void *arg);

#endif
