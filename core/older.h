/* The wire of the Python library net-queue: a session of it, beside that of nq1, with the same
 * calls towards its owner.  Pure.
 *
 *     8 bytes  length of the payload, big-endian
 *     payload  16 bytes that are the sender's UUID: its ini, and once the peer knows it its fin;
 *              anything else: a message
 *
 *     client   ini                          -->
 *              <-- ini                          UP
 *              messages                     <->
 *              fin                          -->
 *              <-- messages, fin                CLOSED
 *
 * What this wire does not have: sequence numbers, acknowledgements, pings, resumption, metadata. So
 * a message settles as NQ_HANDED when a link took it, a session ends with its link, and nobody but
 * the transport notices that a peer is dead.  There is no credit either: while the user has not
 * taken what came, or memory is short, the owner stops reading (nqi_session_wants_hold); where the
 * transport cannot stop, messages fall away whole, and are counted.
 *
 * The states are those of core/session.h, of which HELLO (ours is sent, theirs is awaited), UP,
 * CLOSING (our fin is on its way or gone), CLOSED (both have passed) and DOWN are used.  A server
 * never says fin first: nqi_session_close() makes it wait for its client's. */
#ifndef NQ_CORE_OLDER_H
#define NQ_CORE_OLDER_H

#include "core/session.h"

#define NQI_OLDER_HEAD 8
#define NQI_OLDER_NAME 24 /* bytes of ini and fin, with their head */

/* @return bytes written */
static inline size_t nqi_older_write_head(uint8_t *at, uint64_t length)
{
    nqi_store_u64(at, length);
    return NQI_OLDER_HEAD;
}

/* What began with these 8 bytes can be an ini. */
static inline bool nqi_older_is_ini(const uint8_t *head)
{
    return nqi_load_u64(head) == sizeof(nq_uuid);
}

/* No one's name. */
bool nqi_older_is_reserved(const nq_uuid *id);

/* A client's: a link is there, ini is due.  What was made for the other wire ends here.
 * @param proven  who the server must be; NULL = anybody  @param drops  the link cannot be held */
void nqi_session_connect_older(struct nqi_session *session, const nq_uuid *proven, bool drops);

/* A server's: it begins over a link on which the ini of `id` came. */
void nqi_session_begin_older(struct nqi_session *session, const nq_uuid *id, bool drops);

/* The wire can say it: no metadata, no schema, and not our own UUID, which would be a fin. */
bool nqi_older_carries(const nq_uuid *own, const nq_msg *msg);

/* What a put of one that it cannot comes to: NQ_ERR_UNSUPPORTED, with its text. */
nq_err nqi_older_refuse(void);

/* The link must not be read now.  @param held  it is not */
bool nqi_session_wants_hold(const struct nqi_session *session, bool held);

#endif
