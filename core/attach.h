/* How a link is attached to a session: the records of the greeting and their proofs.  Pure.
 *
 *     client                                    server
 *       HELLO      who, which session, nonce -->
 *                  <-- CHALLENGE  who, nonce, what both can do
 *       AUTH       where I am, proof         -->
 *                  <-- WELCOME    new, resumed or ended, where I am, proof
 *
 * T, the transcript, is the SHA-256 of HELLO and CHALLENGE as they went over the link.  Each proof
 * is an HMAC-SHA-256 with the session's key over a label, T and the record that carries it, so it
 * answers for fresh nonces, and for versions and features that nobody changed on the way.
 *
 * Where both have a pre-shared key, AUTH proves that as well, and the key of a session that begins
 * is made from it on both sides; else the server makes it, and WELCOME carries it.
 * docs/protocol.md has the layouts and the table of who may attach. */
#ifndef NQ_CORE_ATTACH_H
#define NQ_CORE_ATTACH_H

#include "core/base.h"
#include "core/frame.h"
#include <netqueue/uuid.h>

#define NQI_VERSION_MIN 1 /* protocol versions that this library speaks */
#define NQI_VERSION_MAX 1
/* Features: bits, of which those hold that both sides know. */
#define NQI_FEATURE_SAFE                                                    \
    UINT64_C(1) /* nobody is on the way of this link who could change bytes \
                 */
#define NQI_FEATURES NQI_FEATURE_SAFE

#define NQI_NONCE 32 /* bytes */
#define NQI_KEY 32   /* bytes; of keys, proofs and transcripts */

#define NQI_HELLO_RECORD (NQI_HEAD + NQI_HELLO_SIZE) /* of HELLO and CHALLENGE, head and body */
#define NQI_AUTH_RECORD (NQI_HEAD + NQI_AUTH_SIZE)
#define NQI_WELCOME_RECORD (NQI_HEAD + NQI_WELCOME_SIZE)

/* HELLO and CHALLENGE. */
struct nqi_hello {
    uint16_t version_min, version_max; /* CHALLENGE: both the chosen one */
    uint64_t features;                 /* CHALLENGE: those in common */
    nq_uuid id, incarnation;
    nq_uuid session;      /* HELLO: to be resumed; nil = a new one */
    uint64_t max_message; /* bytes */
    int64_t keepalive_ns, expiry_ns;
    uint8_t nonce[NQI_NONCE];
};

enum nqi_auth_method { NQI_AUTH_OPEN = 1, NQI_AUTH_RESUME = 2, NQI_AUTH_PSK = 3 };

struct nqi_auth {
    uint16_t method;
    nq_uuid opening;  /* OPEN, PSK: which session is wanted; the same until it was welcomed */
    uint64_t counter; /* of attempts to attach a link to the session */
    /* DATA records that the client has; OPEN, PSK: that it had of the session named in HELLO */
    uint64_t received;
    uint64_t credit_messages, credit_bytes;
    uint8_t proof[NQI_KEY];
};

enum nqi_welcome_kind {
    NQI_WELCOME_NEW,
    NQI_WELCOME_RESUMED,
    NQI_WELCOME_ENDED,  /* the session is over; `received` is final */
    NQI_WELCOME_UNKNOWN /* nothing is known of the session; from a server with keys */
};

struct nqi_welcome {
    enum nqi_welcome_kind kind;
    nq_uuid session;
    uint64_t received;
    uint64_t credit_messages, credit_bytes;
    int64_t expiry_ns;    /* that holds */
    uint8_t key[NQI_KEY]; /* of a new session over OPEN; else zero */
    uint8_t proof[NQI_KEY];
};

/* Keys that go together are a circle: who has proven one of a circle is nobody yet in another.  0 =
 * no keys; the numbers are the queue's own. */
struct nqi_psk {
    uint32_t circle;
    const uint8_t *key; /* NQI_KEY bytes, borrowed; NULL = none */
};

/* What a server's link has learned of who wants in; handed to the session that is to take it. */
struct nqi_attach {
    struct nqi_hello hello;
    struct nqi_auth auth;
    uint64_t features; /* in common */
    uint8_t transcript[NQI_KEY];
    uint8_t auth_record[NQI_AUTH_RECORD]; /* as it came: what its proof is about */
};

/* Records are NQI_HELLO_RECORD, NQI_AUTH_RECORD, NQI_WELCOME_RECORD bytes; keys, proofs and
 * transcripts NQI_KEY. */
void nqi_hello_write(uint8_t *at, enum nqi_record_type type, const struct nqi_hello *hello);
/* @param psk  NULL = there is none */
void nqi_auth_write(uint8_t *at, const struct nqi_auth *auth, const uint8_t *psk,
                    const uint8_t *key, const uint8_t *transcript);
/* @param auth_proof  the proof of the AUTH that is answered */
void nqi_welcome_write(uint8_t *at, const struct nqi_welcome *welcome, const uint8_t *key,
                       const uint8_t *transcript, const uint8_t *auth_proof);

/* Bodies.  @return NQ_OK, NQ_ERR_PROTO (no magic, nil or all-ones id, bad ranges, unknown method)
 */
NQ_MUST_CHECK nq_err nqi_hello_read(const uint8_t *body, struct nqi_hello *ret);
NQ_MUST_CHECK nq_err nqi_auth_read(const uint8_t *record, struct nqi_auth *ret);
NQ_MUST_CHECK nq_err nqi_welcome_read(const uint8_t *record, struct nqi_welcome *ret);

/* Whole records, in time that does not depend on where they differ. */
bool nqi_auth_is_proven(const uint8_t *record, const uint8_t *key, const uint8_t *transcript);
bool nqi_auth_has_psk(const uint8_t *record, const uint8_t *psk, const uint8_t *transcript);
bool nqi_welcome_is_proven(const uint8_t *record, const uint8_t *key, const uint8_t *transcript,
                           const uint8_t *auth_proof);

/* The key of a session that began with PSK.  @param ret [out] NQI_KEY bytes */
void nqi_psk_session_key(const uint8_t *psk, const nq_uuid *session, const nq_uuid *opening,
                         const nq_uuid *client, const nq_uuid *server, uint8_t *ret);

void nqi_transcript(const uint8_t *hello, const uint8_t *challenge, uint8_t *ret);

/* What `theirs` and this side can both do, into the fields of `ours`, which has the features of
 * this side.
 * @return false: no version in common */
bool nqi_hello_agree(const struct nqi_hello *theirs, struct nqi_hello *ours);

#endif
