#include "tests/support/session_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define RIG_GREETING (NQI_HEAD + NQI_HELLO_SIZE)
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
        ck_assert_int_eq(nqi_msg_alloc(size, &data, &msg), NQ_OK);
        rig_fill(data, size, number, 0);
        return msg;
    }
    ck_assert_uint_ge(size, views);
    ck_assert_int_eq(nqi_msg_empty(&msg), NQ_OK);
    ck_assert_int_eq(nqi_stream_reserve(&msg->stream, views), NQ_OK);
    for (size_t i = 0; i < views; i++) {
        size_t from = size * i / views, to = size * (i + 1) / views;
        nq_chunk *chunk;

        ck_assert_int_eq(nq_chunk_new(to - from, &chunk), NQ_OK);
        rig_fill(nq_chunk_data(chunk), to - from, number, from);
        nqi_stream_push(&msg->stream, chunk, nq_chunk_data(chunk), to - from);
    }
    return msg;
}

struct nqtest_rig_put *nqtest_make(struct nqtest_side *side, size_t size, size_t views)
{
    struct nqtest_rig_put *put = calloc(1, sizeof(*put));

    ck_assert_ptr_nonnull(put);
    if (side->nputs == side->puts_cap) {
        side->puts_cap = side->puts_cap ? side->puts_cap * 2 : 64;
        side->puts = realloc(side->puts, side->puts_cap * sizeof(struct nqtest_rig_put *));
        ck_assert_ptr_nonnull(side->puts);
    }
    put->size = size;
    put->tx.msg = rig_message(side->nputs, size, views);
    side->puts[side->nputs++] = put;
    return put;
}

void nqtest_queue(struct nqtest_side *side, struct nqtest_rig_put *put)
{
    ck_assert(!put->put);
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
    ck_assert(!put->put);
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
    ck_assert_uint_eq(at, msg->stream.nbytes);
}

static void rig_check_meta(const nq_msg *msg, const nq_msg *want)
{
    size_t len, want_len;
    const unsigned char *meta = nqi_msg_meta_raw(msg, &len);
    const unsigned char *want_meta = nqi_msg_meta_raw(want, &want_len);

    ck_assert_uint_eq(len, want_len);
    if (len)
        ck_assert_mem_eq(meta, want_meta, len);
}

/* ---- events of the sessions ---- */

static void rig_on_deliver(void *arg, nq_msg *msg)
{
    struct nqtest_side *side = arg, *from = side->other;
    uint64_t number = rig_find(from, msg);
    struct nqtest_rig_put *put = from->puts[number];

    ck_assert_uint_eq(put->size, msg->stream.nbytes);
    rig_check_payload(msg, number);
    rig_check_meta(msg, put->tx.msg);
    ck_assert(nq_uuid_equal(&msg->sender, &from->conf.id));
    ck_assert_uint_eq(++put->arrived, 1);
    ck_assert_msg(number >= side->last[put->tx.msg->control], "message %llu comes too late",
                  (unsigned long long)number);
    side->last[put->tx.msg->control] = number + 1;
    side->last_size = msg->stream.nbytes;
    side->last_correlation = nq_msg_correlation(msg);
    side->delivered++;
    msg->cookie = (void *)(uintptr_t)side->rig->attachment;
    nqi_fifo_push(&side->inbox, &msg->node);
    side->inbox_count++;
}

static bool rig_on_begin(void *arg, struct nqi_tx *tx)
{
    struct nqtest_rig_put *put = NQI_CONTAINER(tx, struct nqtest_rig_put, tx);

    (void)arg;
    ck_assert_uint_eq(put->settled, 0);
    ck_assert_uint_eq(++put->begun, 1);
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
    ck_assert(put->tracked);
    ck_assert_uint_eq(++put->settled, 1);
    put->outcome = outcome;
    put->reason = reason;
}

static void rig_on_settle_untracked(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    struct nqtest_side *side = arg;

    (void)reason;
    ck_assert_uint_gt(count, 0);
    ck_assert(outcome == NQ_DELIVERED || outcome == NQ_UNKNOWN || outcome == NQ_NOT_DELIVERED);
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

    ck_assert_uint_ge(side->reserved, bytes);
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
                                           .keepalive_ns = 15 * NQI_NS_PER_S};
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
    rig->dead = true;
    side_init(rig, &rig->a, &rig->b, 0xa0);
    side_init(rig, &rig->b, &rig->a, 0xb0);
}

static void side_check_outcome(const struct nqtest_rig_put *put)
{
    ck_assert_uint_eq(put->settled, 1);
    if (put->outcome == NQ_DELIVERED)
        ck_assert_uint_eq(put->arrived, 1);
    else if (put->outcome != NQ_UNKNOWN)
        ck_assert_uint_eq(put->arrived, 0);
}

/* Every put is settled, with the right word. */
static void side_check(const struct nqtest_side *side)
{
    uint64_t arrived = 0, settled = 0;

    for (size_t i = 0; i < side->nputs; i++) {
        const struct nqtest_rig_put *put = side->puts[i];

        ck_assert_uint_eq(put->tx.msg->refs, 1); /* nothing holds it but us */
        if (put->tracked)
            side_check_outcome(put);
        else
            arrived += put->arrived;
    }
    for (size_t i = 0; i < NQI_LEN(side->untracked_outcomes); i++)
        settled += side->untracked_outcomes[i];
    ck_assert_uint_eq(settled, side->untracked);
    ck_assert_uint_ge(arrived, side->untracked_outcomes[NQ_DELIVERED]);
    ck_assert_uint_le(arrived, side->untracked_outcomes[NQ_DELIVERED] +
                                   side->untracked_outcomes[NQ_UNKNOWN]);
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
    ck_assert_uint_eq(side->reserved, 0);
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
    ck_assert_uint_eq(rig->a.session.in_flight, 0);
    ck_assert_uint_eq(rig->b.session.in_flight, 0);
    side_check(&rig->a);
    side_check(&rig->b);
    side_free(&rig->a);
    side_free(&rig->b);
}

/* ---- attachment ---- */

void nqtest_rig_connect(struct nqtest_rig *rig)
{
    struct nqtest_side *sides[] = {&rig->a, &rig->b};

    rig->attachment++;
    rig->dead = false;
    rig->b.greeted = false;
    for (size_t i = 0; i < 2; i++) {
        sides[i]->err = NQ_OK;
        sides[i]->wire_len = 0;
        sides[i]->taken = sides[i]->taken_bytes = 0;
    }
    nqi_session_connect(&rig->a.session, rig->now);
}

void nqtest_rig_greet(struct nqtest_rig *rig)
{
    struct nqtest_side *sides[] = {&rig->a, &rig->b};

    nqtest_rig_connect(rig);
    for (size_t i = 0; i < 2; i++) {
        uint32_t cap = sides[i]->pull_cap;

        sides[i]->pull_cap = 1;
        ck_assert_uint_eq(nqtest_pull(sides[i], false), 1);
        sides[i]->pull_cap = cap;
        ck_assert_int_eq(nqtest_feed(sides[i], SIZE_MAX), NQ_OK);
        ck_assert_int_eq(sides[i]->other->session.state, NQI_SESSION_UP);
    }
}

void nqtest_rig_attach(struct nqtest_rig *rig)
{
    nqtest_rig_connect(rig);
    nqtest_flow(rig);
    ck_assert_int_eq(rig->a.session.state, NQI_SESSION_UP);
    ck_assert_int_eq(rig->b.session.state, NQI_SESSION_UP);
}

void nqtest_rig_lose(struct nqtest_rig *rig, size_t a_bytes, size_t b_bytes)
{
    nq_err err;

    err = nqtest_feed(&rig->a, a_bytes);
    err = nqtest_feed(&rig->b, b_bytes);
    (void)err;
    rig->dead = true;
    rig->attachment++;
    rig->a.wire_len = rig->b.wire_len = 0;
    nqi_session_down(&rig->a.session, NQ_REASON_LINK_LOST);
    if (rig->resume) {
        nqi_session_down(&rig->b.session, NQ_REASON_LINK_LOST);
        return;
    }
    nqi_session_fini(&rig->b.session, NQ_REASON_LINK_LOST);
    ck_assert_uint_eq(rig->b.session.in_flight, 0);
    nqi_session_init(&rig->b.session, &rig->b.conf, &rig_events, &rig->b);
}

/* ---- the wire ---- */

static void wire_add(struct nqtest_side *side, const void *data, size_t len)
{
    if (side->wire_len + len > side->wire_cap) {
        side->wire_cap = (side->wire_len + len) * 2;
        side->wire = realloc(side->wire, side->wire_cap);
        ck_assert_ptr_nonnull(side->wire);
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
    ck_assert_uint_eq(sum, buf->len);
    ck_assert_uint_gt(sum, 0);
    if (nqtest_random(side->rig, 16)) {
        buf->ops->unref(buf);
        return;
    }
    side_drop_kept(side); /* a transport may keep a buffer beyond its acknowledgement */
    side->kept = buf;
}

uint32_t nqtest_pull(struct nqtest_side *side, bool seal)
{
    struct nqt_buf *bufs[64];
    uint32_t n, taken;

    ck_assert_uint_le(side->pull_cap, 64);
    n = nqi_session_pull(&side->session, seal, bufs, side->pull_cap);
    ck_assert_uint_le(n, side->pull_cap);
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

/* The link's part on b: the HELLO. */
static bool rig_greet(struct nqtest_side *from)
{
    struct nqtest_side *side = from->other;
    struct nqi_hello hello;
    struct nqi_head head;

    if (from->wire_len < RIG_GREETING)
        return false;
    ck_assert_int_eq(nqi_head_read(from->wire, &head), NQ_OK);
    ck_assert_uint_eq(head.type, NQI_HELLO);
    ck_assert_int_eq(nqi_hello_read(from->wire + NQI_HEAD, &hello), NQ_OK);
    from->wire_len -= RIG_GREETING;
    memmove(from->wire, from->wire + RIG_GREETING, from->wire_len);
    nqi_session_accept(&side->session, &hello, from->rig->now);
    side->greeted = true;
    return true;
}

static nq_err feed_copy(struct nqtest_side *side, const uint8_t *data, size_t len)
{
    uint8_t *exact;
    nq_err err;

    if (len == 1 || len > RIG_EXACT)
        return nqi_session_receive(&side->session, data, len, side->rig->now);
    exact = malloc(len);
    ck_assert_ptr_nonnull(exact);
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

nq_err nqtest_feed(struct nqtest_side *side, size_t len)
{
    struct nqtest_side *to = side->other;
    struct nqtest_rig *rig = side->rig;
    nq_err err = NQ_OK;
    size_t at = 0;

    if (rig->dead || !side->wire_len)
        return to->err;
    if (side == &rig->a && !to->greeted && len && !rig_greet(side))
        return NQ_OK;
    len = NQI_MIN(len, side->wire_len);
    while (at < len && !err)
        at += feed_some(to, side->wire + at, len - at, &err);
    side->wire_len -= at;
    if (side->wire_len)
        memmove(side->wire, side->wire + at, side->wire_len);
    if (to->take && !err)
        nqtest_take(to, UINT64_MAX);
    if (err) {
        to->err = err;
        rig->dead = true;
    }
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
    ck_assert_int_eq(rig->a.err, NQ_OK);
    ck_assert_int_eq(rig->b.err, NQ_OK);
}

/* ---- the user, and time ---- */

void nqtest_take(struct nqtest_side *side, uint64_t n)
{
    uint64_t seq = 0;

    while (n-- && side->inbox.head) {
        nq_msg *msg = NQI_CONTAINER(nqi_fifo_pop(&side->inbox), nq_msg, node);

        side->inbox_count--;
        side->reserved -= (uint64_t)msg->deadline_ns;
        if ((unsigned)(uintptr_t)msg->cookie == side->rig->attachment) {
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
        ck_assert_int_gt(nqi_session_deadline(&side->session), now);
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
