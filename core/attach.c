/* Fixed layouts, integers compared before they are used; SHA-256 is nettle's. */
#include "core/attach.h"

#include "core/err.h"
#include "core/mac.h"
#include <nettle/memops.h>
#include <nettle/sha2.h>

static_assert(NQI_KEY == NQI_MAC, "proofs and keys are what nqi_mac() gives");

static const uint8_t attach_magic[4] = {0xff, 'n', 'q', '1'};

/* Offsets in the bodies; what is not named is zero and ignored. */
enum {
    HELLO_MAGIC = 0,
    HELLO_VERSION_MIN = 4,
    HELLO_VERSION_MAX = 6,
    HELLO_FEATURES = 8,
    HELLO_ID = 16,
    HELLO_INCARNATION = 32,
    HELLO_SESSION = 48,
    HELLO_MAX_MESSAGE = 64,
    HELLO_KEEPALIVE = 72,
    HELLO_EXPIRY = 80,
    HELLO_NONCE = 88,
};

enum {
    AUTH_COUNTER = 0,
    AUTH_RECEIVED = 8,
    AUTH_CREDIT_MESSAGES = 16,
    AUTH_CREDIT_BYTES = 24,
    AUTH_OPENING = 32,
    AUTH_PSK_PROOF = 64,
    AUTH_PROOF = 96,
};

enum {
    WELCOME_SESSION = 0,
    WELCOME_RECEIVED = 16,
    WELCOME_CREDIT_MESSAGES = 24,
    WELCOME_CREDIT_BYTES = 32,
    WELCOME_EXPIRY = 40,
    WELCOME_KEY = 48,
    WELCOME_PROOF = 128,
};

/* ---- HELLO, CHALLENGE ------------------------------------------------------------------- */

static void attach_write_uuid(uint8_t *at, const nq_uuid *uuid)
{
    memcpy(at, uuid->bytes, sizeof(uuid->bytes));
}

static nq_uuid attach_read_uuid(const uint8_t *at)
{
    nq_uuid uuid;

    memcpy(uuid.bytes, at, sizeof(uuid.bytes));
    return uuid;
}

void nqi_hello_write(uint8_t *at, enum nqi_record_type type, const struct nqi_hello *hello)
{
    uint8_t *body = at + nqi_head_write(at, (uint8_t)type, 0, 0, NQI_HELLO_SIZE, 0);

    memset(body, 0, NQI_HELLO_SIZE);
    memcpy(body + HELLO_MAGIC, attach_magic, sizeof(attach_magic));
    nqi_store_u16(body + HELLO_VERSION_MIN, hello->version_min);
    nqi_store_u16(body + HELLO_VERSION_MAX, hello->version_max);
    nqi_store_u64(body + HELLO_FEATURES, hello->features);
    attach_write_uuid(body + HELLO_ID, &hello->id);
    attach_write_uuid(body + HELLO_INCARNATION, &hello->incarnation);
    attach_write_uuid(body + HELLO_SESSION, &hello->session);
    nqi_store_u64(body + HELLO_MAX_MESSAGE, hello->max_message);
    nqi_store_u64(body + HELLO_KEEPALIVE, (uint64_t)hello->keepalive_ns);
    nqi_store_u64(body + HELLO_EXPIRY, (uint64_t)hello->expiry_ns);
    memcpy(body + HELLO_NONCE, hello->nonce, NQI_NONCE);
}

static bool attach_uuid_all(const nq_uuid *uuid, uint8_t byte)
{
    for (size_t i = 0; i < sizeof(uuid->bytes); i++)
        if (uuid->bytes[i] != byte)
            return false;
    return true;
}

nq_err nqi_hello_read(const uint8_t *body, struct nqi_hello *ret)
{
    struct nqi_hello hello = {
        .version_min = nqi_load_u16(body + HELLO_VERSION_MIN),
        .version_max = nqi_load_u16(body + HELLO_VERSION_MAX),
        .features = nqi_load_u64(body + HELLO_FEATURES),
        .id = attach_read_uuid(body + HELLO_ID),
        .incarnation = attach_read_uuid(body + HELLO_INCARNATION),
        .session = attach_read_uuid(body + HELLO_SESSION),
        .max_message = nqi_load_u64(body + HELLO_MAX_MESSAGE),
        .keepalive_ns = (int64_t)nqi_load_u64(body + HELLO_KEEPALIVE),
        .expiry_ns = (int64_t)nqi_load_u64(body + HELLO_EXPIRY),
    };

    if (memcmp(body + HELLO_MAGIC, attach_magic, sizeof(attach_magic)))
        return nqi_fail(NQ_ERR_PROTO, "the other side does not speak netqueue");
    if (attach_uuid_all(&hello.id, 0) || attach_uuid_all(&hello.id, 0xff))
        return nqi_fail(NQ_ERR_PROTO, "hello with a reserved id");
    if (hello.version_min > hello.version_max || !hello.version_min)
        return nqi_fail(NQ_ERR_PROTO, "hello with the versions %u to %u", hello.version_min,
                        hello.version_max);
    if (hello.keepalive_ns < 0 || hello.expiry_ns < 0)
        return nqi_fail(NQ_ERR_PROTO, "hello with negative times");
    memcpy(hello.nonce, body + HELLO_NONCE, NQI_NONCE);
    *ret = hello;
    return NQ_OK;
}

bool nqi_hello_agree(const struct nqi_hello *theirs, struct nqi_hello *ours)
{
    uint16_t version = NQI_MIN(theirs->version_max, (uint16_t)NQI_VERSION_MAX);

    if (version < NQI_VERSION_MIN || version < theirs->version_min)
        return false;
    ours->version_min = ours->version_max = version;
    ours->features &= theirs->features & NQI_FEATURES;
    return true;
}

/* ---- proofs ----------------------------------------------------------------------------- */

void nqi_transcript(const uint8_t *hello, const uint8_t *challenge, uint8_t *ret)
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, NQI_HELLO_RECORD, hello);
    sha256_update(&ctx, NQI_HELLO_RECORD, challenge);
    sha256_digest(&ctx, NQI_KEY, ret);
}

/* Over a label, the transcript, another proof or none, and `len` bytes of a record. */
static void attach_prove(const char *label, const uint8_t *key, const uint8_t *transcript,
                         const uint8_t *before, const uint8_t *record, size_t len, uint8_t *ret)
{
    const struct nqi_mac_part parts[] = {
        {transcript, NQI_KEY}, {before, before ? NQI_KEY : 0}, {record, len}};

    nqi_mac(key, NQI_KEY, label, parts, NQI_LEN(parts), ret);
}

static void psk_prove(const uint8_t *record, const uint8_t *psk, const uint8_t *transcript,
                      uint8_t *ret)
{
    attach_prove("nq1 psk", psk, transcript, NULL, record, NQI_HEAD + AUTH_PSK_PROOF, ret);
}

static void auth_prove(const uint8_t *record, const uint8_t *key, const uint8_t *transcript,
                       uint8_t *ret)
{
    attach_prove("nq1 auth", key, transcript, NULL, record, NQI_HEAD + AUTH_PROOF, ret);
}

static void welcome_prove(const uint8_t *record, const uint8_t *key, const uint8_t *transcript,
                          const uint8_t *auth_proof, uint8_t *ret)
{
    attach_prove("nq1 welcome", key, transcript, auth_proof, record, NQI_HEAD + WELCOME_PROOF, ret);
}

bool nqi_auth_is_proven(const uint8_t *record, const uint8_t *key, const uint8_t *transcript)
{
    uint8_t proof[NQI_KEY];

    auth_prove(record, key, transcript, proof);
    return memeql_sec(proof, record + NQI_HEAD + AUTH_PROOF, NQI_KEY);
}

bool nqi_auth_has_psk(const uint8_t *record, const uint8_t *psk, const uint8_t *transcript)
{
    uint8_t proof[NQI_KEY];

    psk_prove(record, psk, transcript, proof);
    return memeql_sec(proof, record + NQI_HEAD + AUTH_PSK_PROOF, NQI_KEY);
}

bool nqi_welcome_is_proven(const uint8_t *record, const uint8_t *key, const uint8_t *transcript,
                           const uint8_t *auth_proof)
{
    uint8_t proof[NQI_KEY];

    welcome_prove(record, key, transcript, auth_proof, proof);
    return memeql_sec(proof, record + NQI_HEAD + WELCOME_PROOF, NQI_KEY);
}

void nqi_psk_session_key(const uint8_t *psk, const nq_uuid *session, const nq_uuid *opening,
                         const nq_uuid *client, const nq_uuid *server, uint8_t *ret)
{
    const struct nqi_mac_part parts[] = {{session->bytes, sizeof(session->bytes)},
                                         {opening->bytes, sizeof(opening->bytes)},
                                         {client->bytes, sizeof(client->bytes)},
                                         {server->bytes, sizeof(server->bytes)}};

    nqi_mac(psk, NQI_KEY, "nq1 session", parts, NQI_LEN(parts), ret);
}

/* ---- AUTH, WELCOME ---------------------------------------------------------------------- */

void nqi_auth_write(uint8_t *at, const struct nqi_auth *auth, const uint8_t *psk,
                    const uint8_t *key, const uint8_t *transcript)
{
    uint8_t *body = at + nqi_head_write(at, NQI_AUTH, 0, auth->method, NQI_AUTH_SIZE, 0);

    memset(body, 0, NQI_AUTH_SIZE);
    nqi_store_u64(body + AUTH_COUNTER, auth->counter);
    nqi_store_u64(body + AUTH_RECEIVED, auth->received);
    nqi_store_u64(body + AUTH_CREDIT_MESSAGES, auth->credit_messages);
    nqi_store_u64(body + AUTH_CREDIT_BYTES, auth->credit_bytes);
    attach_write_uuid(body + AUTH_OPENING, &auth->opening);
    if (psk)
        psk_prove(at, psk, transcript, body + AUTH_PSK_PROOF);
    auth_prove(at, key, transcript, body + AUTH_PROOF);
}

nq_err nqi_auth_read(const uint8_t *record, struct nqi_auth *ret)
{
    const uint8_t *body = record + NQI_HEAD;
    uint16_t method = nqi_load_u16(record + 2);

    if (method < NQI_AUTH_OPEN || method > NQI_AUTH_PSK)
        return nqi_fail(NQ_ERR_PROTO, "authentication by the unknown method %u", method);
    ret->method = method;
    ret->counter = nqi_load_u64(body + AUTH_COUNTER);
    ret->received = nqi_load_u64(body + AUTH_RECEIVED);
    ret->credit_messages = nqi_load_u64(body + AUTH_CREDIT_MESSAGES);
    ret->credit_bytes = nqi_load_u64(body + AUTH_CREDIT_BYTES);
    ret->opening = attach_read_uuid(body + AUTH_OPENING);
    memcpy(ret->proof, body + AUTH_PROOF, NQI_KEY);
    return NQ_OK;
}

void nqi_welcome_write(uint8_t *at, const struct nqi_welcome *welcome, const uint8_t *key,
                       const uint8_t *transcript, const uint8_t *auth_proof)
{
    uint8_t *body =
        at + nqi_head_write(at, NQI_WELCOME, 0, (uint16_t)welcome->kind, NQI_WELCOME_SIZE, 0);

    memset(body, 0, NQI_WELCOME_SIZE);
    attach_write_uuid(body + WELCOME_SESSION, &welcome->session);
    nqi_store_u64(body + WELCOME_RECEIVED, welcome->received);
    nqi_store_u64(body + WELCOME_CREDIT_MESSAGES, welcome->credit_messages);
    nqi_store_u64(body + WELCOME_CREDIT_BYTES, welcome->credit_bytes);
    nqi_store_u64(body + WELCOME_EXPIRY, (uint64_t)welcome->expiry_ns);
    memcpy(body + WELCOME_KEY, welcome->key, NQI_KEY);
    welcome_prove(at, key, transcript, auth_proof, body + WELCOME_PROOF);
}

nq_err nqi_welcome_read(const uint8_t *record, struct nqi_welcome *ret)
{
    const uint8_t *body = record + NQI_HEAD;
    uint16_t kind = nqi_load_u16(record + 2);
    int64_t expiry_ns = (int64_t)nqi_load_u64(body + WELCOME_EXPIRY);

    if (kind > NQI_WELCOME_UNKNOWN || expiry_ns < 0)
        return nqi_fail(NQ_ERR_PROTO, "a welcome that makes no sense");
    ret->kind = (enum nqi_welcome_kind)kind;
    ret->session = attach_read_uuid(body + WELCOME_SESSION);
    ret->received = nqi_load_u64(body + WELCOME_RECEIVED);
    ret->credit_messages = nqi_load_u64(body + WELCOME_CREDIT_MESSAGES);
    ret->credit_bytes = nqi_load_u64(body + WELCOME_CREDIT_BYTES);
    ret->expiry_ns = expiry_ns;
    memcpy(ret->key, body + WELCOME_KEY, NQI_KEY);
    memcpy(ret->proof, body + WELCOME_PROOF, NQI_KEY);
    return NQ_OK;
}
