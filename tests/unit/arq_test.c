/* core/arq.c, core/arq_tx.c: two ends, a medium that loses, doubles and delays, and a clock of the
 * test's own.  What arrives is the stream that was sent, whatever the medium does. */
#include "core/arq_inside.h"

#include "core/buf.h"
#include "tests/support/alloc.h"
#include <check.h>
#include <stdlib.h>

#define MEDIUM 4096
#define MS NQI_NS_PER_MS
#define TRIP (3 * MS) /* one way */

struct packet {
    struct nqt_buf *buf;
    int64_t at;
    unsigned to;
};

struct end {
    struct nqi_arq arq;
    uint64_t got, put; /* bytes of the pattern */
    bool refuses;      /* the next bytes end its link */
};

static struct end ends[2];
static struct packet medium[MEDIUM];
static unsigned travelling, carried;
static int64_t now;
static uint64_t seed;
/* of a thousand */
static unsigned lose, twice, late;
static bool (*eats)(unsigned to, uint64_t number); /* this packet is lost */

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16));
}

static void setup(void)
{
    now = 1000 * MS;
    seed = 88172645463325252;
    travelling = carried = lose = twice = late = 0;
    eats = NULL;
    for (unsigned i = 0; i < 2; i++) {
        ends[i] = (struct end){0};
        ck_assert_int_eq(nqi_arq_init(&ends[i].arq, 1000), NQ_OK);
    }
}

static void drop_last(void)
{
    struct nqt_buf *buf = medium[--travelling].buf;

    buf->ops->unref(buf);
}

static void teardown(void)
{
    for (unsigned i = 0; i < 2; i++)
        nqi_arq_fini(&ends[i].arq);
    while (travelling)
        drop_last();
}

static void widen(void)
{
    nqi_arq_widen(&ends[0].arq);
    nqi_arq_widen(&ends[1].arq);
}

/* ---- sending --------------------------------------------------------------------------------- */

/* A buffer of `len` bytes of the pattern in `segs` segments. */
static struct nqt_buf *buffer_of(uint64_t from, uint32_t len, uint32_t segs)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(segs, len);
    uint32_t done = 0;

    ck_assert_ptr_nonnull(txbuf);
    for (uint32_t i = 0; i < len; i++)
        txbuf->room[i] = pattern(from + i);
    for (uint32_t i = 0; i < segs; i++) {
        uint32_t n = i + 1 == segs ? len - done : len / segs;

        nqi_txbuf_add(txbuf, txbuf->room + done, n);
        done += n;
    }
    return &txbuf->buf;
}

/* @return false: no room */
static bool put(unsigned end, uint32_t len, uint32_t segs)
{
    struct nqt_buf *buf = buffer_of(ends[end].put, len, segs);

    if (nqi_arq_send(&ends[end].arq, &buf, 1)) {
        ends[end].put += len;
        return true;
    }
    buf->ops->unref(buf);
    return false;
}

static uint64_t number_of(const struct nqt_buf *buf)
{
    return nqi_load_u64(buf->seg[0].iov_base);
}

static void travel(struct nqt_buf *buf, unsigned to)
{
    int64_t delay = TRIP + (draw(1000) < late ? (int64_t)draw(50) * MS : 0);

    carried++;
    if (draw(1000) < lose || (eats && eats(to, number_of(buf)))) {
        buf->ops->unref(buf);
        return;
    }
    ck_assert_uint_lt(travelling, MEDIUM);
    medium[travelling++] = (struct packet){buf, now + delay, to};
    if (draw(1000) < twice) {
        buf->ops->ref(buf);
        ck_assert_uint_lt(travelling, MEDIUM);
        medium[travelling++] = (struct packet){buf, now + delay + (int64_t)draw(100) * MS, to};
    }
}

static void pump(unsigned end)
{
    struct nqt_buf *buf;

    while ((buf = nqi_arq_pull(&ends[end].arq, now))) {
        nqi_arq_taken(&ends[end].arq, now);
        travel(buf, !end);
    }
}

/* ---- receiving ------------------------------------------------------------------------------- */

static nq_err deliver(void *arg, const uint8_t *data, size_t len)
{
    struct end *end = arg;
    bool right = true;

    if (end->refuses)
        return NQ_ERR_CLOSED;
    for (size_t i = 0; i < len; i++)
        right &= data[i] == pattern(end->got++);
    ck_assert(right);
    return NQ_OK;
}

static nq_err arrive(struct packet packet)
{
    struct end *end = &ends[packet.to];
    nq_err err = nqi_arq_receive(&end->arq, packet.buf, now, deliver, end);

    packet.buf->ops->unref(packet.buf);
    return err;
}

/* The next thing that happens.  @return false: nothing will, any more */
static bool step(void)
{
    int64_t next = NQI_MIN(nqi_arq_deadline(&ends[0].arq), nqi_arq_deadline(&ends[1].arq));
    unsigned first = travelling;

    for (unsigned i = travelling; i--;)
        if (medium[i].at <= next) {
            next = medium[i].at;
            first = i;
        }
    if (next == NQI_NEVER)
        return false;
    now = NQI_MAX(now, next);
    if (first < travelling) {
        struct packet packet = medium[first];

        memmove(&medium[first], &medium[first + 1], (--travelling - first) * sizeof(*medium));
        ck_assert_int_eq(arrive(packet), NQ_OK);
    }
    for (unsigned i = 0; i < 2; i++) {
        nqi_arq_tick(&ends[i].arq, now);
        pump(i);
    }
    return true;
}

static void settle(void)
{
    pump(0);
    pump(1);
    while (step())
        ;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(nqi_arq_flushed(&ends[i].arq));
        ck_assert_uint_eq(ends[i].got, ends[!i].put);
        ck_assert_uint_eq(ends[i].arq.in_flight, 0);
        ck_assert_uint_eq(ends[i].arq.lost, 0);
        ck_assert_uint_eq(ends[i].arq.bytes, 0);
        ck_assert_uint_eq(ends[i].arq.held, 0);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(a_good_medium_gets_each_packet_once)
{
    widen();
    for (int i = 0; i < 100; i++)
        ck_assert(put(0, 500, 3));
    settle();
    ck_assert_uint_eq(ends[0].arq.stats.resent, 0);
    ck_assert_uint_eq(ends[1].arq.stats.duplicates, 0);
    ck_assert_uint_le(carried, 100 + 100 / 8 + 1); /* and an acknowledgement for eight */
}
END_TEST

START_TEST(a_lone_packet_is_acknowledged_soon_and_then_it_is_silent)
{
    int64_t began = now;

    ck_assert(put(0, 1, 1));
    settle();
    ck_assert_uint_eq(carried, 2);
    ck_assert_int_le(now - began, 2 * TRIP + 5 * MS);
}
END_TEST

START_TEST(a_large_buffer_is_cut_to_what_the_medium_carries)
{
    widen();
    ck_assert(put(0, 100 * 1000, 7));
    pump(0);
    for (unsigned i = 0; i < travelling; i++)
        ck_assert_uint_le(medium[i].buf->len, 1000);
    settle();
}
END_TEST

START_TEST(what_has_no_room_is_not_taken_until_packets_arrived)
{
    unsigned count = 0;

    while (put(0, 900, 1))
        count++;
    ck_assert_uint_eq(count, NQI_ARQ_NARROW + 1); /* one waits to be cut */
    ck_assert(!nqi_arq_has_room(&ends[0].arq));
    settle();
    ck_assert(nqi_arq_has_room(&ends[0].arq));
}
END_TEST

static unsigned eaten; /* packets that are still to be eaten */

static bool eats_fifth(unsigned to, uint64_t number)
{
    return to == 1 && number == 5 && eaten && eaten--;
}

START_TEST(a_gap_is_closed_before_any_time_out)
{
    int64_t began = now;

    widen();
    eats = eats_fifth;
    eaten = 1;
    for (int i = 0; i < 20; i++)
        ck_assert(put(0, 900, 1));
    settle();
    ck_assert_uint_eq(ends[0].arq.stats.resent, 1);
    ck_assert_int_lt(now - began, NQI_ARQ_RTO);
    ck_assert_uint_lt(ends[0].arq.congestion, 32); /* and less is sent at once */
}
END_TEST

START_TEST(two_that_change_places_are_no_loss)
{
    widen();
    for (int i = 0; i < 8; i++)
        ck_assert(put(0, 900, 1));
    pump(0);
    for (unsigned i = 0; i + 1 < travelling; i += 2) {
        struct packet packet = medium[i];

        medium[i] = medium[i + 1];
        medium[i + 1] = packet;
    }
    settle();
    ck_assert_uint_eq(ends[0].arq.stats.resent, 0);
}
END_TEST

static bool eats_to_one(unsigned to, uint64_t number)
{
    (void)number;
    return to == 1 && eaten && eaten--;
}

START_TEST(silence_is_answered_by_ever_later_attempts)
{
    int64_t began = now;

    eats = eats_to_one;
    eaten = 4;
    ck_assert(put(0, 900, 1));
    settle();
    ck_assert_uint_eq(ends[0].arq.stats.resent, 4);
    /* 200, 400, 800 and 1600 ms */
    ck_assert_int_ge(now - began, 15 * NQI_ARQ_RTO);
    ck_assert_int_le(now - began, 15 * NQI_ARQ_RTO + 100 * MS);
}
END_TEST

START_TEST(a_lost_acknowledgement_costs_one_packet)
{
    widen();
    ck_assert(put(0, 900, 1));
    lose = 0;
    pump(0);
    ck_assert(step()); /* it arrives */
    ck_assert(step()); /* the acknowledgement leaves ... */
    ck_assert_uint_eq(travelling, 1);
    drop_last(); /* ... and is lost */
    settle();
    ck_assert_uint_eq(ends[0].arq.stats.resent, 1);
    ck_assert_uint_eq(ends[1].arq.stats.duplicates, 1);
}
END_TEST

START_TEST(any_weather_leaves_the_stream_as_it_was)
{
    seed += (uint64_t)_i * 0x9e3779b97f4a7c15;
    lose = draw(300);
    twice = draw(300);
    late = draw(500);
    if (_i % 2)
        widen();
    for (int i = 0; i < 300; i++) {
        unsigned end = draw(2);

        if (put(end, 1 + draw(5000), 1 + draw(4)))
            pump(end);
        if (i == 20)
            widen(); /* in the middle of it */
        if (draw(3) == 0)
            step();
    }
    settle();
}
END_TEST

START_TEST(nonsense_changes_nothing)
{
    static const struct {
        uint64_t number, ack;
        uint8_t ranges, zero;
        uint32_t len;
    } bad[] = {
        {1, 1, 0, 0, 30},  /* acknowledges what was never sent */
        {1, 0, 9, 0, 100}, /* too many ranges */
        {1, 0, 0, 1, 30},  /* something where nothing belongs */
        {1, 0, 3, 0, 31},  /* cut in its ranges */
        {1, 0, 0, 0, 20},  /* a number and nothing to number */
        {0, 0, 0, 0, 21},  /* the reverse */
        {0, 0, 0, 0, 19},  /* cut in its head */
    };
    uint8_t raw[128];

    for (size_t i = 0; i < NQI_LEN(bad); i++) {
        struct iovec seg = {.iov_base = raw, .iov_len = bad[i].len};
        struct nqt_buf buf = {.size = sizeof(buf), .nseg = 1, .len = bad[i].len, .seg = &seg};

        memset(raw, 0, sizeof(raw));
        nqi_store_u64(raw, bad[i].number);
        nqi_store_u64(raw + 8, bad[i].ack);
        raw[16] = bad[i].ranges;
        raw[17] = bad[i].zero;
        ck_assert_int_eq(nqi_arq_receive(&ends[1].arq, &buf, now, deliver, &ends[1]), NQ_OK);
    }
    ck_assert_uint_eq(ends[1].arq.stats.dropped, NQI_LEN(bad));
    ck_assert_uint_eq(ends[1].got, 0);
    ck_assert(!ends[1].arq.answer);
}
END_TEST

START_TEST(ranges_of_a_liar_stay_within_what_was_sent)
{
    uint8_t raw[24] = {0};
    struct iovec seg = {.iov_base = raw, .iov_len = sizeof(raw)};
    struct nqt_buf buf = {.size = sizeof(buf), .nseg = 1, .len = sizeof(raw), .seg = &seg};

    ck_assert(put(0, 900, 1));
    ck_assert(put(0, 900, 1));
    pump(0);
    raw[16] = 1;
    memset(raw + 20, 0xff, 4);
    nqi_store_u16(raw + 20, 2);
    ck_assert_int_eq(nqi_arq_receive(&ends[0].arq, &buf, now, deliver, &ends[0]), NQ_OK);
    ck_assert_uint_eq(ends[0].arq.in_flight, 1);
    ck_assert_uint_eq(ends[0].arq.acked, 0);
    settle();
}
END_TEST

START_TEST(a_stranger_has_little_held)
{
    for (int i = 0; i < 4; i++)
        ck_assert(put(0, 900, 1));
    pump(0);
    ck_assert_uint_eq(travelling, 4);
    medium[0].buf->ops->unref(medium[0].buf);
    memmove(&medium[0], &medium[1], --travelling * sizeof(*medium));
    while (travelling)
        ck_assert_int_eq(arrive(medium[--travelling]), NQ_OK);
    ck_assert_uint_le(ends[1].arq.held, 1024);
    ck_assert_uint_eq(ends[1].arq.stats.dropped, 2);
    settle();
}
END_TEST

START_TEST(who_ends_the_link_gets_nothing_more)
{
    ck_assert(put(0, 900, 1));
    pump(0);
    ends[1].refuses = true;
    ck_assert_int_eq(arrive(medium[--travelling]), NQ_ERR_CLOSED);
}
END_TEST

START_TEST(without_memory_it_goes_on_later)
{
    nqtest_alloc_fail_at(1);
    widen();
    nqtest_alloc_disarm();
    for (int i = 0; i < 3; i++)
        ck_assert(put(0, 900, 1));
    for (unsigned n = 1; n < 4; n++) {
        nqtest_alloc_fail_at(n);
        pump(0);
        nqtest_alloc_disarm();
    }
    settle();
}
END_TEST

START_TEST(a_medium_without_limit_gets_packets_of_some_length)
{
    nqi_arq_fini(&ends[0].arq);
    ck_assert_int_eq(nqi_arq_init(&ends[0].arq, NQI_ARQ_HEAD_MAX), NQ_ERR_LINK);
    ck_assert_int_eq(nqi_arq_init(&ends[0].arq, 0), NQ_OK);
    ck_assert(put(0, 600 * 1000, 1));
    pump(0);
    ck_assert_uint_eq(travelling, 3);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("arq");
    TCase *tc = tcase_create("arq");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_good_medium_gets_each_packet_once);
    tcase_add_test(tc, a_lone_packet_is_acknowledged_soon_and_then_it_is_silent);
    tcase_add_test(tc, a_large_buffer_is_cut_to_what_the_medium_carries);
    tcase_add_test(tc, what_has_no_room_is_not_taken_until_packets_arrived);
    tcase_add_test(tc, a_gap_is_closed_before_any_time_out);
    tcase_add_test(tc, two_that_change_places_are_no_loss);
    tcase_add_test(tc, silence_is_answered_by_ever_later_attempts);
    tcase_add_test(tc, a_lost_acknowledgement_costs_one_packet);
    tcase_add_loop_test(tc, any_weather_leaves_the_stream_as_it_was, 0, 60);
    tcase_add_test(tc, nonsense_changes_nothing);
    tcase_add_test(tc, ranges_of_a_liar_stay_within_what_was_sent);
    tcase_add_test(tc, a_stranger_has_little_held);
    tcase_add_test(tc, who_ends_the_link_gets_nothing_more);
    tcase_add_test(tc, without_memory_it_goes_on_later);
    tcase_add_test(tc, a_medium_without_limit_gets_packets_of_some_length);
    return suite;
}
