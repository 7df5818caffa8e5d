/* The half of the contract suite about what happens to the bytes: order, partial sends, holds, and
 * what arrives before an end.  See contract.h. */
#include "tests/plugins/contract.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- delivery ------------------------------------------------------------------------- */

static const uint32_t segments[] = {1, 2, 7, 64, 1023, 1024, 1025, 3000};

START_TEST(buffers_of_any_number_of_segments_arrive_whole)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint32_t nseg = nqtest_can(NQT_CAP_GATHER) ? segments[_i] : 1;
    size_t lens[] = {1, nseg / 2 + 1, nseg, 10 * nseg + 3, 30000};

    for (size_t i = 0; i < LEN(lens); i++) {
        rig.c->tx.end = rig.c->tx.done;
        nqtest_push(rig.c, 5 * lens[i], lens[i], nseg, 5);
        nqtest_until_received(rig.s, rig.c->tx.end);
    }
    if (!nqtest_can(NQT_CAP_STREAM))
        ck_assert_uint_eq(rig.s->messages, 5 * LEN(lens));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(empty_segments_and_buffers_are_taken)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *bufs[4];
    uint32_t taken;

    bufs[0] = nqtest_buf(0, 0, 1);
    bufs[1] = nqtest_buf(0, 2, 4); /* two of the four are empty */
    bufs[2] = nqtest_buf(0, 0, 3);
    bufs[3] = nqtest_buf(2, 5, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 4, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 4);
    nqtest_until_received(rig.s, 7);
    bufs[0] = nqtest_buf(0, 0, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 0, &taken), NQT_OK);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(large_transfers_in_both_directions_at_once)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    const uint64_t len = 6 << 20;

    rig.s->space = rig.c->space = 1 << 20;
    rig.s->space_segs = 8;
    nqtest_push(rig.c, len, 1000003, 3, 4);
    nqtest_push(rig.s, len, 65536, 1, 16);
    nqtest_until_received(rig.s, len);
    nqtest_until_received(rig.c, len);
    nqtest_rig_free(&rig);
}
END_TEST

static const struct {
    size_t buf_len;
    uint32_t nseg, batch;
    size_t space;
} shapes[] = {
    {1, 1, 64, 65536}, {100, 3, 64, 7},      {5000, 5, 8, 1000},
    {70000, 2, 2, 64}, {300000, 1, 1, 4096}, {1 << 20, 1100, 3, 65536},
};

START_TEST(small_buffers_of_the_system_lose_and_reorder_nothing)
{
    struct nqtest_rig rig = nqtest_rig_tiny();
    uint64_t len = shapes[_i].buf_len < 10 ? 3000 : shapes[_i].space < 1000 ? 200000 : 1500000;

    rig.s->space = shapes[_i].space;
    nqtest_push(rig.c, len, shapes[_i].buf_len, nqtest_can(NQT_CAP_GATHER) ? shapes[_i].nseg : 1,
                shapes[_i].batch);
    nqtest_until_received(rig.s, len);
    /* A library's thread may take it all away while the test makes the next buffer. */
    if (nqtest_tested->module->threading == NQT_THREADING_LOOP &&
        nqtest_tested->tiny_client != nqtest_tested->client && len > 100000 &&
        (len / shapes[_i].buf_len > 10 || nqtest_can(NQT_CAP_STREAM)))
        ck_assert_uint_gt(rig.c->writables, 0);
    nqtest_rig_free(&rig);
}
END_TEST

static bool has_been_writable(const void *link)
{
    return ((const struct nqtest_link *)link)->writables;
}

START_TEST(a_full_link_takes_nothing_until_it_is_writable)
{
    struct nqtest_rig rig = nqtest_rig_tiny();
    struct nqt_buf *buf;
    uint64_t done = 0;
    uint32_t taken = 1;

    if (!nqtest_can(NQT_CAP_RX_HOLD))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    while (taken) {
        buf = nqtest_buf(done, 10000, 2);
        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        done += taken * 10000;
        ck_assert_uint_lt(done, 64 << 20);
    }
    nqtest_settle(10);
    buf = nqtest_buf(done, 1, 1);
    if (rig.c->short_send) {
        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        ck_assert_uint_eq(taken, 0);
    } else {
        buf->ops->unref(buf);
    }
    rig.c->tx.done = rig.c->tx.end = done; /* WRITABLE has nothing to go on with */
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, done);
    NQTEST_UNTIL(has_been_writable, rig.c);
    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_until_received(rig.s, done + 100000);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(hold_stops_receiving_and_nothing_is_lost)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint64_t before;

    if (!nqtest_can(NQT_CAP_RX_HOLD))
        goto out;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_until_received(rig.s, 5000);
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_settle(5); /* what was emitted before may still come */
    before = rig.s->received;
    nqtest_push(rig.c, 3000, 1000, 1, 3);
    nqtest_settle(30);
    ck_assert_uint_eq(rig.s->received, before);
    if (nqtest_tested->module->ops->rx_poll) {
        ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
        ck_assert_uint_eq(rig.s->received, before);
    }
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK); /* twice is once */
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, 8000);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(space_that_is_refused_and_stopped_ends_reading)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    unsigned turns = 0;

    if (!nqtest_can(NQT_CAP_STREAM) || !nqtest_can(NQT_CAP_RX_HOLD))
        goto out;
    rig.s->space_refusal = NQT_E_CLOSED;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_settle(10);
    for (int i = 0; i < 20; i++)
        turns += nqtest_turn(0);
    ck_assert_uint_eq(turns, 0); /* no spinning */
    rig.s->space_refusal = 0;
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, 5000);
    rig.s->stop_at = 5001;
    rig.s->space = 100;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_until_received(rig.s, 5100);
    nqtest_settle(10);
    ck_assert_uint_eq(rig.s->received, 5100);
    ck_assert_uint_eq(rig.s->downs, 0);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(polling_receives_what_is_there)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    if (!nqtest_can_poll())
        goto out;
    ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    while (!rig.s->received)
        nqtest_rx_poll(rig.s);
    ck_assert_uint_eq(rig.s->received, 100);
    ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
    ck_assert_int_eq(nqtest_tested->module->ops->rx_arm(rig.s->plugin, 1), 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    nqtest_until_received(rig.s, 200);
out:
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the end -------------------------------------------------------------------------- */

/* Among buffers, until the link is full: then nothing has happened. */
START_TEST(bytes_that_are_copied_arrive_in_line_with_buffers)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint64_t sent = 0;

    if (!nqtest_tested->module->ops->send_bytes)
        goto out;
    nqtest_hold(rig.s, 1);
    for (size_t len = 1; len <= 200; len += 13) {
        struct nqt_buf *buf = nqtest_buf(sent, len, 1);
        uint32_t taken;

        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        ck_assert_uint_eq(taken, 1);
        sent += len;
        ck_assert_int_eq(nqtest_send_bytes(rig.c, sent, len), 1);
        sent += len;
    }
    while (sent < (64u << 20) && nqtest_send_bytes(rig.c, sent, 100) > 0)
        sent += 100;
    ck_assert_int_eq(nqtest_send_bytes(rig.c, sent, 100), 0);
    nqtest_hold(rig.s, 0);
    nqtest_until_received(rig.s, sent);
    ck_assert_int_eq(nqtest_send_bytes(rig.c, sent, 40), 1);
    nqtest_until_received(rig.s, sent + 40);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(what_arrives_before_a_sudden_end_is_a_prefix)
{
    struct nqtest_rig rig = _i ? nqtest_rig_tiny() : nqtest_rig_usual();

    nqtest_push(rig.c, 8 << 20, 100000, 1, 4);
    nqtest_turn(0);
    nqtest_turn(0);
    nqtest_close(rig.c); /* the pattern is checked as it comes */
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_uint_le(rig.s->received, rig.c->tx.done);
    ck_assert(rig.s->err.code == NQT_E_EOF || rig.s->err.code == NQT_E_LOST);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

/* A transport waits for so long, and no longer, until what it took has left. */
static struct nqtest_rig patient(struct nqtest_rig rig)
{
    nqtest_slow_time(rig.client_host);
    nqtest_slow_time(rig.server_host);
    return rig;
}

START_TEST(the_end_of_one_side_is_eof_on_the_other)
{
    struct nqtest_rig rig = patient(nqtest_rig_usual());
    struct nqtest_link *first = _i ? rig.s : rig.c, *second = _i ? rig.c : rig.s;

    nqtest_push(first, 1000, 100, 1, 10);
    nqtest_close(first);
    NQTEST_UNTIL(nqtest_is_down, second);
    ck_assert_int_eq(second->err.code, NQT_E_EOF);
    ck_assert_uint_eq(second->received, 1000);
    ck_assert_uint_eq(first->downs, 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* The last that was offered is taken in part, or not at all. */
static const size_t offers[] = {300000, 1000};

START_TEST(shutdown_delivers_what_was_taken_and_takes_no_more)
{
    struct nqtest_rig rig = patient(_i % 2 ? nqtest_rig_tiny() : nqtest_rig_usual());
    struct nqt_buf *buf;
    uint32_t taken;

    if (!nqtest_can(NQT_CAP_DRAIN))
        goto out;
    buf = nqtest_buf(0, 10, 1);
    nqtest_push(rig.c, 4 << 20, offers[_i / 2], 1, 4);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_lt(nqtest_send(rig.c, &buf, 1, &taken), 0);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_EOF);
    ck_assert_uint_eq(rig.s->received, rig.c->tx.done);
    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_EOF);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(shutdown_does_not_wait_for_a_peer_that_stays)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    if (!nqtest_can(NQT_CAP_DRAIN))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    nqtest_settle(5);
    nqtest_advance(rig.client_host, INT64_C(3000000000));
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_EOF);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(shutdown_of_one_direction_still_receives)
{
    struct nqtest_rig rig = patient(nqtest_rig_usual());

    if (!nqtest_can(NQT_CAP_DRAIN))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.c, 1), NQT_OK);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    nqtest_settle(5);
    ck_assert_uint_eq(rig.c->received, 0);
    ck_assert_int_eq(nqtest_hold(rig.c, 0), NQT_OK);
    nqtest_until_received(rig.c, rig.s->tx.done);
out:
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the suite ------------------------------------------------------------------------------ */

void nqtest_contract_delivery(TCase *tc)
{
    tcase_add_loop_test(tc, buffers_of_any_number_of_segments_arrive_whole, 0, LEN(segments));
    tcase_add_test(tc, empty_segments_and_buffers_are_taken);
    tcase_add_test(tc, large_transfers_in_both_directions_at_once);
    tcase_add_loop_test(tc, small_buffers_of_the_system_lose_and_reorder_nothing, 0, LEN(shapes));
    tcase_add_test(tc, a_full_link_takes_nothing_until_it_is_writable);
    tcase_add_test(tc, hold_stops_receiving_and_nothing_is_lost);
    tcase_add_test(tc, space_that_is_refused_and_stopped_ends_reading);
    tcase_add_test(tc, polling_receives_what_is_there);
    tcase_add_test(tc, bytes_that_are_copied_arrive_in_line_with_buffers);
    tcase_add_loop_test(tc, what_arrives_before_a_sudden_end_is_a_prefix, 0, 2);
    tcase_add_loop_test(tc, the_end_of_one_side_is_eof_on_the_other, 0, 2);
    tcase_add_loop_test(tc, shutdown_delivers_what_was_taken_and_takes_no_more, 0, 2 * LEN(offers));
    tcase_add_test(tc, shutdown_does_not_wait_for_a_peer_that_stays);
    tcase_add_test(tc, shutdown_of_one_direction_still_receives);
}
