/* What is kept of sessions that ended: enough to answer a client that did not hear the last words,
 * for a while.  It proves that it had the session, and learns how much of what it sent arrived.
 *
 *     a session ends --add--> tomb --NQI_TOMB_NS, or NQI_TOMBS newer ones--> forgotten
 *
 * No clock of its own: what is too old is never found, and goes with the next call.
 *
 * Pure; not thread-safe: the owner has a lock. */
#ifndef NQ_CORE_TOMB_H
#define NQ_CORE_TOMB_H

#include "core/attach.h"
#include "core/base.h"
#include "core/list.h"

#define NQI_TOMB_NS (60 * NQI_NS_PER_S)
#define NQI_TOMBS 10000u /* at most, of about 100 bytes each */

struct nqi_tomb {
    struct nqi_list by_age; /* oldest first */
    struct nqi_tomb *next;  /* in its bucket */
    nq_uuid id;             /* of the session: random, chosen by us */
    uint8_t key[NQI_KEY];
    uint64_t received; /* DATA records that were final */
    int64_t until;
};

struct nqi_tombs {
    struct nqi_list by_age;
    struct nqi_tomb **buckets; /* NULL until the first one */
    size_t count;
};

void nqi_tombs_init(struct nqi_tombs *tombs);
void nqi_tombs_fini(struct nqi_tombs *tombs);

/* Remember a session.  Without memory nothing is remembered: its client then hears that there is no
 * such session.  @param key  NQI_KEY bytes */
void nqi_tombs_add(struct nqi_tombs *tombs, const nq_uuid *id, const uint8_t *key,
                   uint64_t received, int64_t now);

/* @return the tomb, until the next call; NULL = there is none, or no longer */
const struct nqi_tomb *nqi_tombs_find(struct nqi_tombs *tombs, const nq_uuid *id, int64_t now);

#endif
