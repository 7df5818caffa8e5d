#include "tests/support/session_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define RIG_PIECE 5000u  /* in one read beside the space */
#define RIG_EXACT 65536u /* pieces up to this are copied, so that a tool sees a byte too many */

uint64_t nqtest_random(struct nqtest_rig *rig, uint64_t n)
{
    uint64_t x = rig->random;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    rig->random = x;
    return n ? (x >> 11) % n : 0;
}

static void rig_random_bytes(struct nqtest_rig *rig, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)nqtest_random(rig, 256);
}

static bool rig_b_has_begun(const struct nqtest_rig *rig)
{
    return !nq_uuid_is_nil(&rig->b.session.name.id);
}

/* ---- messages ---- */

static uint8_t rig_byte(uint64_t number, uint64_t at)
{
    if (at < 8)
        return (uint8_t)(number >> (56 - at * 8));
    return (uint8_t)(number * 31 + at * 7 + (at >> 8));
}

static void rig_fill(uint8_t *data, size_t len, uint64_t number, uint64_t at)
{
    for (size_t i = 0; i < len; i++)
        data[i] = rig_byte(number, at + i);
}

static nq_msg *rig_message(uint64_t number, size_t size, size_t views)
{
    unsigned char *data;
    nq_msg *msg;

    if (views <= 1) {
        NQTEST_MUST(nqi_msg_alloc(size, &data, &msg) == NQ_OK);
        rig_fill(data, size, number, 0);
        return msg;
    }
    NQTEST_MUST(size >= views);
    NQTEST_MUST(nqi_msg_empty(&msg) == NQ_OK);
    NQTEST_MUST(nqi_stream_reserve(&msg->stream, views) == NQ_OK);
    for (size_t i = 0; i < views; i++) {
        size_t from = size * i / views, to = size * (i + 1) / views;
        nq_chunk *chunk;

        NQTEST_MUST(nq_chunk_new(to - from, &chunk) == NQ_OK);
        rig_fill(nq_chunk_data(chunk), to - from, number, from);
        nqi_stream_push(&msg->stream, chunk, nq_chunk_data(chunk), to - from);
    }
    return msg;
}

struct nqtest_rig_put *nqtest_make(struct nqtest_side *side, size_t size, size_t views)
{
    struct nqtest_rig_put *put = calloc(1, sizeof(*put));

    NQTEST_MUST(put);
    if (side->nputs == side->puts_cap) {
        side->puts_cap = side->puts_cap ? side->puts_cap * 2 : 64;
        side->puts = realloc(side->puts, side->puts_cap * sizeof(struct nqtest_rig_put *));
        NQTEST_MUST(side->puts);
    }
    put->size = size;
    put->tx.msg = rig_message(side->nputs, size, views);
    side->puts[side->nputs++] = put;
    return put;
}

void nqtest_queue(struct nqtest_side *side, struct nqtest_rig_put *put)
{
    NQTEST_MUST(!put->put);
    put->put = put->tracked = true;
    nqi_session_put(&side->session, &put->tx);
}

struct nqtest_rig_put *nqtest_rig_put(struct nqtest_side *side, size_t size)
{
    struct nqtest_rig_put *put = nqtest_make(side, size, 1);

    nqtest_queue(side, put);
    return put;
}

bool nqtest_put_now(struct nqtest_side *side, struct nqtest_rig_put *put, bool tracked)
{
    NQTEST_MUST(!put->put);
    if (!nqi_session_put_now(&side->session, put->tx.msg, tracked ? &put->tx : NULL))
        return false;
    put->put = true;
    put->tracked = tracked;
    if (!tracked)
        side->untracked++;
    return true;
}

/* Which put is it?  Too small for a number, it is the next of its size and metadata. */
static uint64_t rig_find(const struct nqtest_side *from, const nq_msg *msg)
{
    uint64_t number = 0, size = msg->stream.nbytes;
    uint8_t raw[8];

    if (size >= sizeof(raw)) {
        nq_stream_tobytes(&msg->stream, raw, sizeof(raw));
        number = nqi_load_u64(raw);
    } else {
        while (number < from->nputs &&
               (from->puts[number]->size != size || from->puts[number]->arrived ||
                nqi_msg_meta_len(from->puts[number]->tx.msg) != nqi_msg_meta_len(msg)))
            number++;
    }
    ck_assert_msg(number < from->nputs, "a message that was not put: %llu",
                  (unsigned long long)number);
    return number;
}

static void rig_check_payload(const nq_msg *msg, uint64_t number)
{
    uint64_t at = 0;

    for (size_t i = 0; i < nqi_stream_count(&msg->stream); i++) {
        const nq_view *view = nqi_stream_view(&msg->stream, i);

        for (size_t k = 0; k < view->len; k++, at++)
            if (view->data[k] != rig_byte(number, at) && msg->stream.nbytes >= 8)
                ck_abort_msg("message %llu differs at %llu", (unsigned long long)number,
                             (unsigned long long)at);
    }
    NQTEST_MUST(at == msg->stream.nbytes);
}

static void rig_check_meta(const nq_msg *msg, const nq_msg *want)
{
    size_t len, want_len;
    const unsigned char *meta = nqi_msg_meta_raw(msg, &len);
    const unsigned char *want_meta = nqi_msg_meta_raw(want, &want_len);

    NQTEST_MUST(len == want_len);
    if (len)
        ck_assert_mem_eq(meta, want_meta, len);
}

static void rig_check_schema(const nq_msg *msg, const nq_msg *want)
{
    const nq_chunk *schema = nqi_msg_schema(msg), *want_schema = nqi_msg_schema(want);

    NQTEST_MUST(!schema == !want_schema);
    if (schema) {
        ck_assert_uint_eq(schema->len, want_schema->len);
        ck_assert_mem_eq(schema->data, want_schema->data, schema->len);
    }
}

/* ---- events of the sessions ---- */

static void rig_on_deliver(void *arg, nq_msg *msg)
{
    struct nqtest_side *side = arg, *from = side->other;
    uint64_t number = rig_find(from, msg);
    struct nqtest_rig_put *put = from->puts[number];

    NQTEST_MUST(put->size == msg->stream.nbytes);
    rig_check_payload(msg, number);
    rig_check_meta(msg, put->tx.msg);
    rig_check_schema(msg, put->tx.msg);
    NQTEST_MUST(nq_uuid_equal(&msg->sender, &from->conf.id));
    put->again += nq_msg_is_redelivered(msg);
    NQTEST_MUST(++put->arrived <= 1 + put->again);
    ck_assert_msg(number >= side->last[put->tx.msg->control] || nq_msg_is_redelivered(msg),
                  "message %llu comes too late", (unsigned long long)number);
    side->last[put->tx.msg->control] = number + 1;
    side->last_size = msg->stream.nbytes;
    side->last_correlation = nq_msg_correlation(msg);
    side->delivered++;
    msg->cookie = (void *)(uintptr_t)side->sessions;
    nqi_fifo_push(&side->inbox, &msg->node);
    side->inbox_count++;
}

static bool rig_on_begin(void *arg, struct nqi_tx *tx)
{
    struct nqtest_rig_put *put = NQI_CONTAINER(tx, struct nqtest_rig_put, tx);

    (void)arg;
    NQTEST_MUST(put->settled == 0);
    NQTEST_MUST(++put->begun == 1);
    if (!put->cancelled)
        return true;
    put->settled = 1;
    put->outcome = NQ_CANCELLED;
    return false;
}

static void rig_on_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason)
{
    struct nqtest_rig_put *put = NQI_CONTAINER(tx, struct nqtest_rig_put, tx);

    (void)arg;
    NQTEST_MUST(put->tracked);
    NQTEST_MUST(++put->settled == 1);
    put->outcome = outcome;
    put->reason = reason;
}

static void rig_on_settle_untracked(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    struct nqtest_side *side = arg;

    (void)reason;
    NQTEST_MUST(count > 0);
    NQTEST_MUST(outcome == NQ_DELIVERED || outcome == NQ_UNKNOWN || outcome == NQ_NOT_DELIVERED);
    side->untracked_outcomes[outcome] += count;
}

static bool rig_on_reserve(void *arg, uint64_t bytes)
{
    struct nqtest_side *side = arg;

    side->reservations++;
    if (side->refuse)
        return false;
    side->reserved += bytes;
    return true;
}

static void rig_on_unreserve(void *arg, uint64_t bytes)
{
    struct nqtest_side *side = arg;

    NQTEST_MUST(side->reserved >= bytes);
    side->reserved -= bytes;
}

static const struct nqi_session_events rig_events = {
    .deliver = rig_on_deliver,
    .begin = rig_on_begin,
    .settle = rig_on_settle,
    .settle_untracked = rig_on_settle_untracked,
    .reserve = rig_on_reserve,
    .unreserve = rig_on_unreserve,
};

/* ---- life ---- */

static void side_init(struct nqtest_rig *rig, struct nqtest_side *side, struct nqtest_side *other,
                      uint8_t name)
{
    side->rig = rig;
    side->other = other;
    side->take = true;
    side->pull_cap = 64;
    side->conf = (struct nqi_session_conf){.max_message = (uint64_t)1 << 30,
                                           .window_bytes = (uint64_t)64 << 20,
                                           .window_messages = 65536,
                                           .record = 1 << 20,
                                           .coalesce = 64 << 10,
                                           .keepalive_ns = 15 * NQI_NS_PER_S,
                                           .expiry_ns = 300 * NQI_NS_PER_S};
    memset(side->conf.id.bytes, name, sizeof(side->conf.id.bytes));
    memset(side->conf.incarnation.bytes, name + 1, sizeof(side->conf.incarnation.bytes));
    nqi_fifo_init(&side->inbox);
    nqi_session_init(&side->session, &side->conf, &rig_events, side);
}

void nqtest_rig_init(struct nqtest_rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    rig->random = UINT64_C(0x9e3779b97f4a7c15);
    rig->now = 1000 * NQI_NS_PER_S;
    rig->fuse = UINT64_MAX;
    rig->dead = true;
    side_init(rig, &rig->a, &rig->b, 0xa0);
    side_init(rig, &rig->b, &rig->a, 0xb0);
}

static void side_check_outcome(const struct nqtest_rig_put *put)
{
    NQTEST_MUST(put->settled == 1);
    if (put->outcome == NQ_DELIVERED)
        NQTEST_MUST(put->arrived >= 1);
    else if (put->outcome != NQ_UNKNOWN)
        NQTEST_MUST(put->arrived == 0);
}

/* Every put is settled, with the right word. */
static void side_check(const struct nqtest_side *side)
{
    uint64_t arrived = 0, settled = 0;

    for (size_t i = 0; i < side->nputs; i++) {
        const struct nqtest_rig_put *put = side->puts[i];

        NQTEST_MUST(put->tx.msg->refs == 1); /* nothing holds it but us */
        if (put->tracked)
            side_check_outcome(put);
        else
            arrived += put->arrived;
    }
    for (size_t i = 0; i < NQI_LEN(side->untracked_outcomes); i++)
        settled += side->untracked_outcomes[i];
    NQTEST_MUST(settled == side->untracked);
    NQTEST_MUST(arrived >= side->untracked_outcomes[NQ_DELIVERED]);
    NQTEST_MUST(arrived <=
                side->untracked_outcomes[NQ_DELIVERED] + side->untracked_outcomes[NQ_UNKNOWN]);
}

static void side_drop_kept(struct nqtest_side *side)
{
    if (side->kept)
        side->kept->ops->unref(side->kept);
    side->kept = NULL;
}

static void side_free(struct nqtest_side *side)
{
    nqtest_take(side, UINT64_MAX);
    NQTEST_MUST(side->reserved == 0);
    for (size_t i = 0; i < side->nputs; i++) {
        nqi_msg_unref(side->puts[i]->tx.msg);
        free(side->puts[i]);
    }
    free(side->puts);
    free(side->wire);
}

void nqtest_rig_end(struct nqtest_rig *rig)
{
    nqi_session_fini(&rig->a.session, NQ_REASON_LOCAL_CLOSE);
    nqi_session_fini(&rig->b.session, NQ_REASON_LOCAL_CLOSE);
    side_drop_kept(&rig->a);
    side_drop_kept(&rig->b);
    NQTEST_MUST(rig->a.session.in_flight == 0);
    NQTEST_MUST(rig->b.session.in_flight == 0);
    side_check(&rig->a);
    side_check(&rig->b);
    side_free(&rig->a);
    side_free(&rig->b);
}

/* ---- attachment ---- */

void nqtest_rig_connect(struct nqtest_rig *rig)
{
    struct nqtest_side *sides[] = {&rig->a, &rig->b};
    uint8_t nonce[NQI_NONCE];

    rig->dead = false;
    memset(&rig->greeting, 0, sizeof(rig->greeting));
    for (size_t i = 0; i < 2; i++) {
        sides[i]->err = NQ_OK;
        sides[i]->wire_len = 0;
    }
    rig_random_bytes(rig, nonce, sizeof(nonce));
    nqi_session_connect(&rig->a.session, &(struct nqi_psk){rig->a_psk ? 1 : 0, rig->a_psk}, nonce,
                        rig->a_features, rig->now);
}

static void rig_pull_one(struct nqtest_side *side)
{
    uint32_t cap = side->pull_cap;

    side->pull_cap = 1;
    nqtest_pull(side, false);
    side->pull_cap = cap;
}

void nqtest_rig_greet(struct nqtest_rig *rig)
{
    struct nqtest_side *a = &rig->a, *b = &rig->b;
    unsigned rounds = 0;

    nqtest_rig_connect(rig);
    while (a->session.state != NQI_SESSION_UP || a->session.ack_due) {
        NQTEST_MUST(rounds++ < 20);
        rig_pull_one(a);
        NQTEST_MUST(nqtest_feed(a, SIZE_MAX) == NQ_OK);
        if (b->session.greeting_due)
            rig_pull_one(b);
        NQTEST_MUST(nqtest_feed(b, SIZE_MAX) == NQ_OK);
    }
    NQTEST_MUST(b->session.state == NQI_SESSION_UP);
}

void nqtest_rig_attach(struct nqtest_rig *rig)
{
    nqtest_rig_connect(rig);
    nqtest_flow(rig);
    NQTEST_MUST(rig->a.session.state == NQI_SESSION_UP);
    NQTEST_MUST(rig->b.session.state == NQI_SESSION_UP);
}

static void side_forget(struct nqtest_side *side)
{
    side->sessions++;
    side->taken = side->taken_bytes = 0;
}

void nqtest_restart(struct nqtest_side *side, nq_reason reason)
{
    nqi_session_restart(&side->session, reason);
    side_forget(side);
}

/* A server's session goes with its peer. */
static void rig_forget_b(struct nqtest_rig *rig)
{
    if (rig->remember) {
        rig->tomb = rig->b.session.name;
        rig->tomb_received = nqi_session_final(&rig->b.session);
    }
    nqi_session_fini(&rig->b.session, NQ_REASON_LINK_LOST);
    NQTEST_MUST(rig->b.session.in_flight == 0);
    nqi_session_init(&rig->b.session, &rig->b.conf, rig->b.session.events, &rig->b);
    side_forget(&rig->b);
}

void nqtest_rig_lose(struct nqtest_rig *rig, size_t a_bytes, size_t b_bytes)
{
    bool a_is_kept, b_is_kept;
    nq_err err;

    err = nqtest_feed(&rig->a, a_bytes);
    err = nqtest_feed(&rig->b, b_bytes);
    (void)err;
    a_is_kept = nqi_session_is_resumable(&rig->a.session);
    b_is_kept = rig->resume && nqi_session_is_resumable(&rig->b.session);
    rig->dead = true;
    rig->fuse = UINT64_MAX;
    rig->a.wire_len = rig->b.wire_len = 0;
    nqi_session_down(&rig->a.session);
    nqi_session_down(&rig->b.session);
    if (!a_is_kept)
        nqtest_restart(&rig->a, NQ_REASON_LINK_LOST);
    if (!b_is_kept)
        rig_forget_b(rig);
}

/* ---- the wire ---- */

static void wire_add(struct nqtest_side *side, const void *data, size_t len)
{
    if (side->wire_len + len > side->wire_cap) {
        side->wire_cap = (side->wire_len + len) * 2;
        side->wire = realloc(side->wire, side->wire_cap);
        NQTEST_MUST(side->wire);
    }
    if (len)
        memcpy(side->wire + side->wire_len, data, len);
    side->wire_len += len;
    side->wire_total += len;
}

void nqtest_inject(struct nqtest_side *side, const void *data, size_t len)
{
    wire_add(side, data, len);
}

void nqtest_inject_record(struct nqtest_side *side, uint8_t type, uint8_t flags, uint16_t aux,
                          uint32_t length, uint64_t total, const void *body, size_t body_len)
{
    uint8_t head[NQI_HEAD_BIG];

    wire_add(side, head, nqi_head_write(head, type, flags, aux, length, total));
    wire_add(side, body, body_len);
}

static void wire_send(struct nqtest_side *side, struct nqt_buf *buf)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < buf->nseg; i++) {
        wire_add(side, buf->seg[i].iov_base, buf->seg[i].iov_len);
        sum += buf->seg[i].iov_len;
    }
    NQTEST_MUST(sum == buf->len);
    NQTEST_MUST(sum > 0);
    if (nqtest_random(side->rig, 16)) {
        buf->ops->unref(buf);
        return;
    }
    side_drop_kept(side); /* a transport may keep a buffer beyond its acknowledgement */
    side->kept = buf;
}

/* False: the link had no room. */
static bool send_ack(struct nqtest_side *side)
{
    uint8_t ack[NQI_ACK_RECORD];
    size_t len = nqi_session_write_ack(&side->session, ack);

    if (side->refuses) {
        nqi_session_ack_refused(&side->session);
        return false;
    }
    wire_add(side, ack, len);
    return true;
}

bool nqtest_send_stage(struct nqtest_side *side)
{
    struct nqi_session *session = &side->session;
    const void *data;
    size_t len;

    if (side->slow || side->rig->dead || !nqi_session_is_plain(session))
        return false;
    data = nqi_session_stage_bytes(session, &len);
    if (!data || ((session->ack_due || nqi_session_ack_rides(session)) && !send_ack(side)))
        return false;
    wire_add(side, data, len);
    nqi_session_stage_taken(session);
    return true;
}

bool nqtest_put_straight(struct nqtest_side *side, struct nqtest_rig_put *put)
{
    struct nqi_session *session = &side->session;
    const void *data;
    size_t len;

    NQTEST_MUST(!put->put);
    if (side->slow || side->rig->dead || session->ack_due || nqi_session_ack_rides(session))
        return false;
    data = nqi_session_write_straight(session, put->tx.msg, &len);
    if (!data || side->refuses)
        return false;
    wire_add(side, data, len);
    nqi_session_straight_taken(session, put->tx.msg, len);
    put->put = true;
    side->untracked++;
    return true;
}

uint32_t nqtest_pull(struct nqtest_side *side, bool seal)
{
    struct nqt_buf *bufs[64];
    uint32_t n, taken;

    NQTEST_MUST(side->pull_cap <= 64);
    n = nqi_session_pull(&side->session, seal, bufs, side->pull_cap);
    NQTEST_MUST(n <= side->pull_cap);
    taken = side->slow ? (uint32_t)nqtest_random(side->rig, n + 1) : n;
    for (uint32_t i = 0; i < n; i++) {
        if (i < taken && !side->rig->dead)
            wire_send(side, bufs[i]);
        else
            bufs[i]->ops->unref(bufs[i]);
    }
    nqi_session_taken(&side->session, taken);
    return n;
}

void nqtest_pull_all(struct nqtest_side *side)
{
    while (nqtest_pull(side, true))
        continue;
}

void nqtest_pull_nothing(struct nqtest_side *side)
{
    struct nqt_buf *bufs[64];
    uint32_t n = nqi_session_pull(&side->session, true, bufs, 64);

    ck_assert_uint_gt(n, 0);
    while (n--)
        bufs[n]->ops->unref(bufs[n]);
    nqi_session_taken(&side->session, 0);
}

/* ---- the greeting: the link's part at b ---- */

static void greet_hello(struct nqtest_rig *rig)
{
    struct nqtest_greeting *greeting = &rig->greeting;
    const struct nqi_session_conf *conf = &rig->b.conf;
    struct nqi_hello challenge = {.id = conf->id,
                                  .incarnation = conf->incarnation,
                                  .features = rig->b_features,
                                  .max_message = conf->max_message,
                                  .keepalive_ns = conf->keepalive_ns,
                                  .expiry_ns = conf->expiry_ns};
    uint8_t record[NQI_HELLO_RECORD];

    NQTEST_MUST(nqi_hello_read(greeting->hello + NQI_HEAD, &greeting->attach.hello) == NQ_OK);
    NQTEST_MUST(nqi_hello_agree(&greeting->attach.hello, &challenge));
    greeting->attach.features = challenge.features;
    rig_random_bytes(rig, challenge.nonce, NQI_NONCE);
    nqi_hello_write(record, NQI_CHALLENGE, &challenge);
    nqi_transcript(greeting->hello, record, greeting->attach.transcript);
    wire_add(&rig->b, record, sizeof(record));
}

static void greet_reject(struct nqtest_rig *rig, nq_reason reason)
{
    nqtest_inject_record(&rig->b, NQI_REJECT, 0, (uint16_t)reason, 0, 0, NULL, 0);
}

/* Who has a session asks for it once more, because WELCOME was lost; or it is another one. */
static void greet_again(struct nqtest_rig *rig)
{
    const struct nqi_attach *attach = &rig->greeting.attach;

    if (!nq_uuid_equal(&rig->opening, &attach->auth.opening))
        greet_reject(rig, NQ_REASON_DUPLICATE);
    else if (nqi_session_resume(&rig->b.session, attach, rig->now))
        greet_reject(rig, NQ_REASON_NO_MEMORY);
}

static void greet_open(struct nqtest_rig *rig)
{
    uint8_t key[NQI_KEY];
    nq_uuid id;

    if (rig_b_has_begun(rig)) {
        greet_again(rig);
        return;
    }
    rig->opening = rig->greeting.attach.auth.opening;
    rig_random_bytes(rig, id.bytes, sizeof(id.bytes));
    rig_random_bytes(rig, key, sizeof(key));
    if (rig->psk)
        nqi_psk_session_key(rig->psk, &id, &rig->opening, &rig->a.conf.id, &rig->b.conf.id, key);
    nqi_session_begin(&rig->b.session, &rig->greeting.attach, &id, key, rig->psk ? 1 : 0, rig->now);
}

static void greet_tell(struct nqtest_rig *rig, enum nqi_welcome_kind kind, const uint8_t *key)
{
    const struct nqi_attach *attach = &rig->greeting.attach;
    struct nqi_welcome welcome = {
        .kind = kind, .session = attach->hello.session, .received = rig->tomb_received};
    uint8_t record[NQI_WELCOME_RECORD];

    nqi_welcome_write(record, &welcome, key, attach->transcript, attach->auth.proof);
    wire_add(&rig->b, record, sizeof(record));
}

static void greet_resume(struct nqtest_rig *rig)
{
    const struct nqi_attach *attach = &rig->greeting.attach;
    struct nqi_session *session = &rig->b.session;
    nq_err err = NQ_ERR_CLOSED;

    NQTEST_MUST(session->state == NQI_SESSION_DOWN);
    if (!rig_b_has_begun(rig) && rig->remember && nqi_session_is_proven(&rig->tomb, attach)) {
        greet_tell(rig, NQI_WELCOME_ENDED, rig->tomb.key);
        return;
    }
    if (rig_b_has_begun(rig) && nqi_session_is_proven(&session->name, attach))
        err = nqi_session_resume(session, attach, rig->now);
    if (err == NQ_ERR_CLOSED && rig->psk)
        greet_tell(rig, NQI_WELCOME_UNKNOWN, rig->psk);
    else if (err)
        greet_reject(rig, err == NQ_ERR_NOMEM ? NQ_REASON_NO_MEMORY : NQ_REASON_NO_SESSION);
}

static void greet_auth(struct nqtest_rig *rig)
{
    struct nqi_attach *attach = &rig->greeting.attach;

    NQTEST_MUST(nqi_auth_read(attach->auth_record, &attach->auth) == NQ_OK);
    if (rig->psk ? !nqi_auth_has_psk(attach->auth_record, rig->psk, attach->transcript)
                 : attach->auth.method == NQI_AUTH_PSK)
        greet_reject(rig, NQ_REASON_AUTH);
    else if (attach->auth.method != NQI_AUTH_RESUME)
        greet_open(rig);
    else
        greet_resume(rig);
}

/* Bytes of HELLO or AUTH come; nothing else may be behind them.  @return how many */
static size_t rig_greet(struct nqtest_rig *rig, const uint8_t *data, size_t len)
{
    struct nqtest_greeting *greeting = &rig->greeting;
    bool auth = greeting->step == NQTEST_AWAIT_AUTH;
    uint8_t *record = auth ? greeting->attach.auth_record : greeting->hello;
    size_t want = auth ? NQI_AUTH_RECORD : NQI_HELLO_RECORD;
    struct nqi_head head;

    len = NQI_MIN(len, want - greeting->filled);
    memcpy(record + greeting->filled, data, len);
    greeting->filled += len;
    if (greeting->filled < want)
        return len;
    NQTEST_MUST(len == rig->a.wire_len);
    NQTEST_MUST(nqi_head_read(record, &head) == NQ_OK);
    NQTEST_MUST(head.type == (auth ? NQI_AUTH : NQI_HELLO));
    greeting->filled = 0;
    greeting->step++;
    if (auth)
        greet_auth(rig);
    else
        greet_hello(rig);
    return len;
}

/* b does not know the session of a, or a would not have been told so: a begins another. */
static void rig_start_over(struct nqtest_rig *rig)
{
    nqi_session_down(&rig->a.session);
    nqtest_restart(&rig->a, NQ_REASON_NO_SESSION);
    nqtest_rig_connect(rig);
}

/* ---- feeding ---- */

static nq_err feed_copy(struct nqtest_side *side, const uint8_t *data, size_t len)
{
    uint8_t *exact;
    nq_err err;

    if (len == 1 || len > RIG_EXACT)
        return nqi_session_receive(&side->session, data, len, side->rig->now);
    exact = malloc(len);
    NQTEST_MUST(exact);
    memcpy(exact, data, len);
    err = nqi_session_receive(&side->session, exact, len, side->rig->now);
    free(exact);
    return err;
}

/* Some bytes go up.  @return how many */
static size_t feed_some(struct nqtest_side *side, const uint8_t *data, size_t len, nq_err *err)
{
    struct nqtest_rig *rig = side->rig;
    size_t room = 0, most = 1 + nqtest_random(rig, nqtest_random(rig, 4) ? 300 : 20000);
    unsigned char *space;

    if (rig->split == NQTEST_SPACE || (rig->split == NQTEST_MIXED && nqtest_random(rig, 2)))
        room = nqi_session_space(&side->session, &space);
    if (rig->split == NQTEST_BYTES)
        len = 1;
    else if (rig->split == NQTEST_SPACE && !room)
        len = NQI_MIN(len, RIG_PIECE);
    else if (rig->split == NQTEST_PIECES || rig->split == NQTEST_MIXED)
        len = NQI_MIN(len, most);
    if (room) {
        len = NQI_MIN(len, room);
        memcpy(space, data, len);
        *err = nqi_session_commit(&side->session, len, rig->now);
    } else {
        *err = feed_copy(side, data, len);
    }
    return len;
}

/* `len` bytes that `side` sent arrive.  @return how many were used */
static size_t feed_all(struct nqtest_side *side, size_t len, nq_err *err)
{
    struct nqtest_rig *rig = side->rig;
    size_t at = 0;

    if (side == &rig->a && rig->greeting.step != NQTEST_GREETED)
        return rig_greet(rig, side->wire, len);
    while (at < len && !*err)
        at += feed_some(side->other, side->wire + at, len - at, err);
    return at;
}

nq_err nqtest_feed(struct nqtest_side *side, size_t len)
{
    struct nqtest_side *to = side->other;
    struct nqtest_rig *rig = side->rig;
    nq_err err = NQ_OK;
    size_t used;

    if (rig->dead || !side->wire_len)
        return to->err;
    used = feed_all(side, NQI_MIN(NQI_MIN(len, side->wire_len), rig->fuse), &err);
    side->wire_len -= used;
    if (side->wire_len)
        memmove(side->wire, side->wire + used, side->wire_len);
    rig->fuse -= rig->fuse == UINT64_MAX ? 0 : used;
    if (err == NQ_ERR_CLOSED && to == &rig->a && to->session.bye_reason == NQ_REASON_NO_SESSION) {
        rig_start_over(rig);
        err = NQ_OK;
    }
    if (to->take && !err)
        nqtest_take(to, UINT64_MAX);
    if (err)
        to->err = err;
    if (err || !rig->fuse)
        rig->dead = true;
    return err;
}

void nqtest_flow_any(struct nqtest_rig *rig)
{
    struct nqtest_side *sides[] = {&rig->a, &rig->b};
    bool moved = true;

    while (moved && !rig->dead) {
        moved = false;
        for (size_t i = 0; i < 2; i++) {
            moved |= nqtest_pull(sides[i], true);
            if (!sides[i]->wire_len)
                continue;
            if (nqtest_feed(sides[i], SIZE_MAX))
                return;
            moved = true;
        }
    }
}

void nqtest_flow(struct nqtest_rig *rig)
{
    nqtest_flow_any(rig);
    NQTEST_MUST(rig->a.err == NQ_OK);
    NQTEST_MUST(rig->b.err == NQ_OK);
}

/* ---- the user, and time ---- */

void nqtest_take(struct nqtest_side *side, uint64_t n)
{
    uint64_t seq = 0;

    while (n-- && side->inbox.head) {
        nq_msg *msg = NQI_CONTAINER(nqi_fifo_pop(&side->inbox), nq_msg, node);

        side->inbox_count--;
        side->reserved -= (uint64_t)msg->deadline_ns;
        if ((unsigned)(uintptr_t)msg->cookie == side->sessions) {
            seq = msg->seq;
            side->taken++;
            side->taken_bytes += msg->stream.nbytes;
        }
        nqi_msg_unref(msg);
    }
    if (seq)
        nqi_session_taken_by_user(&side->session, side->taken, side->taken_bytes, seq);
}

static void side_tick(struct nqtest_side *side)
{
    int64_t now = side->rig->now;

    if (nqi_session_deadline(&side->session) > now || side->err)
        return;
    side->err = nqi_session_tick(&side->session, now);
    if (side->err)
        side->rig->dead = true;
    else
        NQTEST_MUST(nqi_session_deadline(&side->session) > now);
}

unsigned nqtest_on_wire(const struct nqtest_side *side, uint8_t type)
{
    size_t at = 0;
    unsigned count = 0;

    while (at < side->wire_len) {
        struct nqi_head head;

        ck_assert_int_eq(nqi_head_read(side->wire + at, &head), NQ_OK);
        count += head.type == type;
        at += nqi_head_size(head.type, head.flags) + head.length;
    }
    ck_assert_uint_eq(at, side->wire_len);
    return count;
}

void nqtest_pass(struct nqtest_rig *rig, int64_t ns)
{
    rig->now += ns;
    side_tick(&rig->a);
    side_tick(&rig->b);
}

void nqtest_finish(struct nqtest_rig *rig)
{
    unsigned rounds = 0;

    nqtest_flow(rig);
    while (!nqi_session_flushed(&rig->a.session) || !nqi_session_flushed(&rig->b.session)) {
        ck_assert_msg(++rounds < 1000, "the sessions do not come to an end");
        nqtest_pass(rig, 10 * NQI_NS_PER_MS);
        nqtest_take(&rig->a, UINT64_MAX);
        nqtest_take(&rig->b, UINT64_MAX);
        nqtest_flow(rig);
    }
}
