/* A whole queue and strangers at its door: greetings, proofs, and what comes behind them.
 *
 *     byte 0     bit 0: the queue is a client, 1: a server with pre-shared keys; bits 2 and 3: its
 *                wire: ours, ours, that of net-queue, both (a client: the former)
 *     then       operations: a byte, and what it needs (enum below); links are of four slots
 *
 * The transport is the fake one of the tests, and who talks over it knows the protocol as well as
 * we do: greetings and proofs are made by core/attach.c and then changed, so that the input need
 * not guess a digest.  Nobody gets a session without its key, or one of his own without a key where
 * keys are asked for; and nobody hears a wire that is not spoken there. */
#include "core/keyring.h"
#include "core/plugin.h"
#include "core/queue.h"
#include "core/random.h"
#include "tests/fuzz/records.h"
#include "tests/support/fake_module.h"
#include <netqueue/netqueue.h>
#include <stdio.h>

#define SLOTS 4u
#define CLIENTS 3u

enum {
    OP_ACCEPT,    /* server: a link comes up in that slot; client: the one that it dials */
    OP_BYTES,     /* u16 length, bytes */
    OP_HELLO,     /* u8 who, u8 place, u8 bits: of a client, whose last session is named */
    OP_AUTH,      /* u8 method, u8 how, u8 place, u8 bits; how: bit 0: another key, 1: none */
    OP_CHALLENGE, /* u8 place, u8 bits: of a server */
    OP_WELCOME,   /* u8 kind, u8 place, u8 bits */
    OP_RECORD,    /* u8: one of records.h */
    OP_INI,       /* u8 who, u8 place, u8 bits: of a client of the older wire */
    OP_LOSE,      /* the slot's link */
    OP_WRITABLE,
    OP_PUT, /* u16 bytes, to everybody */
    OP_GET,
    OP_END, /* u8 who: nq_disconnect() */
    OP_TURN,
    OPS
};

/* One end of a link, and what was said over it. */
struct attach_way {
    struct nqtp_link *plink; /* NULL = none */
    unsigned number;         /* of the links that there were, when it came */
    unsigned who;
    uint8_t hello[NQI_HELLO_RECORD], challenge[NQI_HELLO_RECORD];
    uint8_t proof[NQI_KEY]; /* of AUTH */
    bool must_fail;         /* no session may come of it */
    bool judged;
};

struct attach_fuzz {
    struct nqi_buf in;
    bool client, keyed, proven; /* proven: somebody has shown a key */
    unsigned wire;              /* index into attach_wires */
    nq_queue *queue;
    struct attach_way way[SLOTS];
    struct {
        nq_uuid session, opening;
        uint8_t key[NQI_KEY];
        uint64_t counter;
    } known[CLIENTS]; /* by those who come, of their sessions */
    uint64_t random;
};

static struct attach_fuzz fuzz;
static uint8_t attach_psk[NQI_KEY];

enum { WIRE_OURS, WIRE_OURS_TOO, WIRE_OLDER, WIRE_BOTH };
static const char *const attach_wires[] = {"netqueue", "netqueue", "net-queue", "both"};

/* ---- in place of parts of the core ---- */

nq_err nqi_random(void *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        fuzz.random = fuzz.random * UINT64_C(6364136223846793005) + 1442695040888963407;
        ((uint8_t *)at)[i] = (uint8_t)(fuzz.random >> 56);
    }
    return NQ_OK;
}

nq_err nqi_plugin_load(const char *name, const char *const *paths, size_t npaths,
                       const struct nqt_module **ret)
{
    (void)name;
    (void)paths;
    (void)npaths;
    *ret = nqtest_fake_module(false);
    return NQ_OK;
}

const char *nqi_plugin_file(const struct nqt_module *module)
{
    (void)module;
    return "";
}

nq_err nqi_plugin_list(nq_problem_fn fn, void *arg)
{
    (void)fn;
    (void)arg;
    return NQ_OK;
}

/* ---- the queue ---- */

static void queue_turn(void)
{
    for (int i = 0; i < 20 && !nq_poll(fuzz.queue); i++)
        continue;
}

static void queue_open(void)
{
    static const char text[] = "{\"purpose\": \"%s\", \"transport\": \"fake\","
                               " \"id\": \"11111111-1111-4111-8111-111111111111\","
                               " \"wire\": \"%s\","
                               " \"session\": {\"keepalive\": \"off\", \"expiry\": \"1h\"},"
                               " \"limits\": {\"max_message\": 100000, \"peers\": 2},"
                               " \"security\": {\"insecure\": true},"
                               " \"progress\": {\"mode\": \"manual\"}}";
    static const char keys[] = "{\"key\": \"0123456789abcdef0123456789abcdef\"}";
    char json[sizeof(text) + 32];
    struct nqi_keyring *ring;
    nq_uuid nobody = {{1}};

    nqtest_fake_reset();
    nqtest_fake.caps |= NQT_CAP_PLAIN;
    snprintf(json, sizeof(json), text, fuzz.client ? "client" : "server", attach_wires[fuzz.wire]);
    MUST(!nq_open_json(json, strlen(json), &fuzz.queue));
    if (fuzz.keyed) {
        MUST(!nqi_keyring_parse("keys", keys, sizeof(keys) - 1, &ring));
        memcpy(attach_psk, nqi_keyring_find(ring, &nobody)->key[0], NQI_KEY);
        MUST(!nqi_keystore_new(ring, NULL, &fuzz.queue->conf->keystore));
    }
    queue_turn();
}

static void queue_put(void)
{
    static const uint8_t bytes[UINT16_MAX];
    nq_msg *msg;

    MUST(!nq_msg_new(bytes, nqi_buf_u16(&fuzz.in), &msg));
    if (nq_put(fuzz.queue, msg, NULL, 0, NULL))
        nq_msg_free(msg);
}

static void queue_get(void)
{
    struct nq_event event;
    nq_msg *msg;

    while (!nq_get(fuzz.queue, NULL, 0, 0, &msg))
        nq_msg_free(msg);
    while (!nq_event_get(fuzz.queue, 0, &event))
        MUST(event.reason < NQ_REASONS);
}

static uint64_t queue_peers(void)
{
    struct nq_stats stats = {0};

    MUST(!nq_stats(fuzz.queue, &stats));
    return stats.peers;
}

/* ---- links ---- */

static bool way_is_open(const struct attach_way *way)
{
    return way->plink && way->plink->cookie && !way->plink->closes;
}

static void way_say(struct attach_way *way, const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);

    MUST(exact);
    if (len)
        memcpy(exact, bytes, len);
    if (way_is_open(way) && len)
        (void)nqtest_fake_read(way->plink, exact, len);
    free(exact);
    queue_turn();
}

static void way_lose(struct attach_way *way)
{
    if (way_is_open(way))
        nqtest_fake_emit_inside(way->plink, NQT_EV_LINK_DOWN, NQT_E_LOST, "lost");
    queue_turn();
    *way = (struct attach_way){0};
}

/* A client has one link; of a server's, the fake transport remembers so many. */
static void way_make_room(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (fuzz.client || nqtest_fake.nlinks - fuzz.way[i].number >= NQTEST_FAKE_LINKS - 1)
            way_lose(&fuzz.way[i]);
}

static void way_begin(struct attach_way *way)
{
    way_lose(way);
    way_make_room();
    if (fuzz.client && !nqtest_fake.nlinks)
        return;
    way->number = nqtest_fake.nlinks;
    way->plink = fuzz.client ? &nqtest_fake.links[(nqtest_fake.nlinks - 1) % NQTEST_FAKE_LINKS]
                             : nqtest_fake_accept("peer");
    if (way_is_open(way))
        nqtest_fake_emit_inside(way->plink, NQT_EV_LINK_UP, 0, NULL);
    queue_turn();
}

/* What the queue has said first over this link.  False: not so much. */
static bool way_heard(const struct attach_way *way, size_t at, size_t len, uint8_t *ret)
{
    if (!way->plink || way->plink->nsent < at + len)
        return false;
    memcpy(ret, way->plink->sent + at, len);
    return true;
}

/* Change one byte as the input says.  @return which; SIZE_MAX = none */
static size_t way_spoil(uint8_t *record, size_t len)
{
    size_t place = nqi_buf_u8(&fuzz.in) % len;
    uint8_t bits = nqi_buf_u8(&fuzz.in);

    record[place] ^= bits;
    return bits ? place : SIZE_MAX;
}

/* ---- who come to a server ---- */

static nq_uuid client_id(unsigned who)
{
    return (nq_uuid){{[0] = 0xc1, [6] = 0x40, [8] = 0x80, [15] = (uint8_t)who}};
}

static void client_hello(struct attach_way *way)
{
    unsigned who = nqi_buf_u8(&fuzz.in) % CLIENTS;
    const struct nqi_hello hello = {.version_min = NQI_VERSION_MIN,
                                    .version_max = NQI_VERSION_MAX,
                                    .id = client_id(who),
                                    .incarnation = {{2, [6] = 0x40, [8] = 0x80}},
                                    .session = fuzz.known[who].session,
                                    .max_message = 1 << 20,
                                    .expiry_ns = NQI_NS_PER_S,
                                    .nonce = {(uint8_t)who}};

    way->who = who;
    nqi_hello_write(way->hello, NQI_HELLO, &hello);
    (void)way_spoil(way->hello, sizeof(way->hello));
    way_say(way, way->hello, sizeof(way->hello));
}

static void client_ini(struct attach_way *way)
{
    uint8_t frame[NQI_HEAD + sizeof(nq_uuid)] = {[NQI_HEAD - 1] = sizeof(nq_uuid)};
    nq_uuid id = client_id(nqi_buf_u8(&fuzz.in) % CLIENTS);

    memcpy(frame + NQI_HEAD, id.bytes, sizeof(id.bytes));
    (void)way_spoil(frame, sizeof(frame));
    way_say(way, frame, sizeof(frame));
}

static void client_auth(struct attach_way *way)
{
    static const uint8_t methods[] = {NQI_AUTH_OPEN, NQI_AUTH_RESUME, NQI_AUTH_PSK, 9};
    uint16_t method = methods[nqi_buf_u8(&fuzz.in) % NQI_LEN(methods)];
    uint8_t how = nqi_buf_u8(&fuzz.in), other[NQI_KEY] = {7}, transcript[NQI_KEY];
    uint8_t record[NQI_AUTH_RECORD];
    size_t spoiled;
    bool psk = method == NQI_AUTH_PSK || (method == NQI_AUTH_RESUME && fuzz.keyed);
    struct nqi_auth auth = {.method = method,
                            .counter = ++fuzz.known[way->who].counter,
                            .received = how >> 4,
                            .credit_messages = 10,
                            .credit_bytes = 10000};

    if (!way_heard(way, 0, sizeof(way->challenge), way->challenge))
        return;
    fuzz.known[way->who].opening.bytes[0] = (uint8_t)(how >> 2 & 3);
    fuzz.known[way->who].opening.bytes[6] = 0x40;
    auth.opening = fuzz.known[way->who].opening;
    nqi_transcript(way->hello, way->challenge, transcript);
    nqi_auth_write(record, &auth, psk && !(how & 2) ? attach_psk : NULL,
                   how & 1 ? other : fuzz.known[way->who].key, transcript);
    memcpy(way->proof, record + NQI_AUTH_RECORD - NQI_KEY, NQI_KEY);
    spoiled = way_spoil(record, sizeof(record));
    if (method == NQI_AUTH_RESUME)
        way->must_fail |= spoiled != SIZE_MAX;
    else if (fuzz.keyed) /* the last proof is of a former session, and need not be right */
        way->must_fail |= spoiled < NQI_AUTH_RECORD - NQI_KEY;
    way->must_fail |= method == NQI_AUTH_RESUME && how & 1;
    way->must_fail |= fuzz.keyed && (!psk || how & 2);
    fuzz.proven |= fuzz.keyed && psk && !(how & 2);
    way_say(way, record, sizeof(record));
}

/* What the queue says first is an ini. */
static bool way_is_older(const struct attach_way *way)
{
    uint8_t head[NQI_HEAD];

    return way_heard(way, 0, sizeof(head), head) && nqi_load_u64(head) == sizeof(nq_uuid);
}

/* And that tells which wire it takes this link for. */
static void wire_judge(const struct attach_way *way)
{
    uint8_t first;

    if (way_heard(way, 0, 1, &first))
        MUST(way_is_older(way) ? fuzz.wire >= WIRE_OLDER : fuzz.wire != WIRE_OLDER);
}

/* What the server answered: nobody comes in who must not, and who came in knows his session. */
static void client_judge(struct attach_way *way)
{
    uint8_t record[NQI_WELCOME_RECORD];
    struct nqi_welcome welcome;
    nq_uuid id = client_id(way->who);

    if (way->judged || !way_heard(way, NQI_HELLO_RECORD, sizeof(record), record) ||
        way_is_older(way))
        return;
    way->judged = true;
    if (record[0] != NQI_WELCOME || nqi_welcome_read(record, &welcome))
        return;
    MUST(!way->must_fail || welcome.kind == NQI_WELCOME_UNKNOWN);
    if (welcome.kind != NQI_WELCOME_NEW)
        return;
    fuzz.known[way->who].session = welcome.session;
    memcpy(fuzz.known[way->who].key, welcome.key, NQI_KEY);
    if (fuzz.keyed)
        nqi_psk_session_key(attach_psk, &welcome.session, &fuzz.known[way->who].opening, &id,
                            nq_id(fuzz.queue), fuzz.known[way->who].key);
}

/* ---- who answers a client ---- */

static void server_challenge(struct attach_way *way)
{
    const struct nqi_hello hello = {.version_min = NQI_VERSION_MAX,
                                    .version_max = NQI_VERSION_MAX,
                                    .id = {{0x5e, [6] = 0x40, [8] = 0x80}},
                                    .incarnation = {{3, [6] = 0x40, [8] = 0x80}},
                                    .max_message = 1 << 20,
                                    .nonce = {9}};

    if (!way_heard(way, 0, sizeof(way->hello), way->hello))
        return;
    nqi_hello_write(way->challenge, NQI_CHALLENGE, &hello);
    (void)way_spoil(way->challenge, sizeof(way->challenge));
    way_say(way, way->challenge, sizeof(way->challenge));
}

static void server_welcome(struct attach_way *way)
{
    struct nqi_welcome welcome = {.kind = (enum nqi_welcome_kind)(nqi_buf_u8(&fuzz.in) % 5),
                                  .session = {{4, [6] = 0x40, [8] = 0x80}},
                                  .credit_messages = 10,
                                  .credit_bytes = 10000,
                                  .expiry_ns = NQI_NS_PER_S,
                                  .key = {5}};
    uint8_t auth[NQI_AUTH_RECORD], record[NQI_WELCOME_RECORD], transcript[NQI_KEY];

    if (!way_heard(way, NQI_HELLO_RECORD, sizeof(auth), auth))
        return;
    nqi_transcript(way->hello, way->challenge, transcript);
    nqi_welcome_write(record, &welcome, welcome.key, transcript, auth + NQI_AUTH_RECORD - NQI_KEY);
    (void)way_spoil(record, sizeof(record));
    way_say(way, record, sizeof(record));
}

/* ---- operations ---- */

static void way_say_input(struct attach_way *way)
{
    size_t len = nqi_buf_u16(&fuzz.in);
    uint8_t *bytes = fuzz_exact(&fuzz.in, &len);

    way_say(way, bytes, len);
    free(bytes);
}

static void way_say_record(struct attach_way *way)
{
    static const uint8_t zeros[8192];
    const struct fuzz_record *record = &fuzz_records[nqi_buf_u8(&fuzz.in) % NQI_LEN(fuzz_records)];
    uint8_t head[NQI_HEAD_BIG];

    way_say(way, head,
            nqi_head_write(head, record->type, record->flags, record->aux, record->length,
                           record->total));
    way_say(way, zeros, record->length);
}

static void fuzz_step_link(uint8_t op, struct attach_way *way)
{
    switch (op) {
    case OP_ACCEPT:
        way_begin(way);
        break;
    case OP_BYTES:
        way_say_input(way);
        break;
    case OP_HELLO:
        client_hello(way);
        break;
    case OP_AUTH:
        client_auth(way);
        break;
    case OP_CHALLENGE:
        server_challenge(way);
        break;
    case OP_WELCOME:
        server_welcome(way);
        break;
    case OP_RECORD:
        way_say_record(way);
        break;
    case OP_INI:
        client_ini(way);
        break;
    case OP_LOSE:
        way_lose(way);
        break;
    default:
        if (way_is_open(way))
            nqtest_fake_emit_inside(way->plink, NQT_EV_WRITABLE, 0, NULL);
        break;
    }
}

static void fuzz_step(void)
{
    uint8_t byte = nqi_buf_u8(&fuzz.in), op = (byte & 0x3f) % OPS;
    struct attach_way *way = &fuzz.way[byte >> 6];
    nq_uuid id;

    switch (op) {
    case OP_PUT:
        queue_put();
        break;
    case OP_GET:
        queue_get();
        break;
    case OP_END:
        id = client_id(nqi_buf_u8(&fuzz.in) % CLIENTS);
        (void)!nq_disconnect(fuzz.queue, &id);
        break;
    case OP_TURN:
        queue_turn();
        break;
    default:
        fuzz_step_link(op, way);
        break;
    }
    for (unsigned i = 0; i < SLOTS; i++)
        wire_judge(&fuzz.way[i]);
    for (unsigned i = 0; i < SLOTS && !fuzz.client; i++)
        client_judge(&fuzz.way[i]);
    MUST(!fuzz.keyed || fuzz.proven || !queue_peers());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t how;

    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.in = nqi_buf_over(data, len);
    how = nqi_buf_u8(&fuzz.in);
    fuzz.client = how & 1;
    fuzz.keyed = how & 2 && !fuzz.client;
    fuzz.wire = how >> 2 & (fuzz.client ? 2 : 3);
    queue_open();
    while (nqi_buf_left(&fuzz.in))
        fuzz_step();
    queue_get();
    for (unsigned i = 0; i < SLOTS; i++)
        way_lose(&fuzz.way[i]); /* a link that is there is waited for */
    nq_free(fuzz.queue);
    return 0;
}

/* ---- seeds ---- */

static void seed_attach(unsigned slot, unsigned who, unsigned method, unsigned how)
{
    fuzz_add_u8(slot << 6 | OP_ACCEPT);
    fuzz_add_u8(slot << 6 | OP_HELLO);
    fuzz_add_u8(who);
    fuzz_add_u16(0); /* unchanged */
    fuzz_add_u8(slot << 6 | OP_AUTH);
    fuzz_add_u8(method);
    fuzz_add_u8(how);
    fuzz_add_u16(0);
    fuzz_add_u8(OP_TURN);
}

static void seed_talk(unsigned slot)
{
    for (unsigned i = 0; i < NQI_LEN(fuzz_records); i++) {
        fuzz_add_u8(slot << 6 | OP_RECORD);
        fuzz_add_u8(i);
        fuzz_add((const uint8_t[]){OP_PUT, 0, 100, OP_GET, OP_TURN}, 5);
    }
}

/* Both wires at one door, each in two pieces. */
static void seed_wires(unsigned how)
{
    static const uint8_t ini[] = {0, 0, 0, 0, 0, 0, 0, 16};

    for (unsigned kind = 0; kind < 8; kind++) {
        fuzz_add_u8(how);
        fuzz_add((const uint8_t[]){OP_ACCEPT, OP_INI, 0, 0, 0}, 5);
        fuzz_add((const uint8_t[]){1 << 6 | OP_ACCEPT, 1 << 6 | OP_BYTES, 0}, 3);
        fuzz_add_u8(kind);
        fuzz_add(ini, kind);
        fuzz_add((const uint8_t[]){1 << 6 | OP_INI, 1, (uint8_t)kind, (uint8_t)kind}, 4);
        seed_attach(2, 2, how & 2 ? 2 : 0, 0);
        fuzz_add((const uint8_t[]){OP_PUT, 0, 100, OP_TURN, OP_INI, 2, 0, 0, OP_GET}, 9);
        fuzz_seed();
    }
}

static void seed_server(unsigned how)
{
    const unsigned method = how & 2 ? 2 : 0;

    for (unsigned kind = 0; kind < 16; kind++) {
        fuzz_add_u8(how);
        seed_attach(0, 0, method, 0);
        seed_attach(1, 1, method, kind & 3);
        fuzz_add((const uint8_t[]){OP_PUT, 0, 9, OP_TURN, OP_LOSE}, 5);
        seed_attach(2, 0, 1, kind);
        seed_attach(3, kind % 3, method, kind);
        seed_talk(kind & 3);
        fuzz_add((const uint8_t[]){OP_END, 0, OP_TURN}, 3);
        fuzz_seed();
    }
}

void fuzz_seeds(void)
{
    static const uint8_t client[] = {1, OP_ACCEPT, OP_CHALLENGE, 0, 0, OP_WELCOME};

    seed_server(0);
    seed_server(2);
    for (unsigned wire = 0; wire < 4; wire++) {
        seed_wires(wire << 2);
        seed_wires(wire << 2 | 2);
    }
    for (unsigned kind = 0; kind < 5; kind++) {
        fuzz_add(client, sizeof(client));
        fuzz_add_u8(kind);
        fuzz_add((const uint8_t[]){0, 0, OP_TURN}, 3);
        seed_talk(0);
        fuzz_seed();
    }
}
