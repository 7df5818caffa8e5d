/* What happens to the bytes: order, partial sends, holds, and what arrives before an end.  See
 * try.h. */
#include "tools/conform/try.h"

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- delivery ------------------------------------------------------------------------- */

static const uint32_t segments[] = {1, 2, 7, 64, 1023, 1024, 1025, 3000};

static void buffers_of_any_number_of_segments_arrive_whole(int round)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint32_t nseg = nqtest_can(NQT_CAP_GATHER) ? segments[round] : 1;
    size_t lens[] = {1, nseg / 2 + 1, nseg, 10 * nseg + 3, 30000};

    for (size_t i = 0; i < LEN(lens); i++) {
        rig.c->tx.end = rig.c->tx.done;
        nqtest_push(rig.c, 5 * lens[i], lens[i], nseg, 5);
        nqtest_until_received(rig.s, rig.c->tx.end);
    }
    if (!nqtest_can(NQT_CAP_STREAM))
        NQTEST_COMPARE(NONE, rig.s->messages, ==, 5 * LEN(lens));
    nqtest_rig_free(&rig);
}

static void empty_segments_and_buffers_are_taken(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *bufs[4];
    uint32_t taken;

    bufs[0] = nqtest_buf(0, 0, 1);
    bufs[1] = nqtest_buf(0, 2, 4); /* two of the four are empty */
    bufs[2] = nqtest_buf(0, 0, 3);
    bufs[3] = nqtest_buf(2, 5, 1);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, bufs, 4, &taken), ==, NQT_OK);
    NQTEST_COMPARE(NONE, taken, ==, 4);
    nqtest_until_received(rig.s, 7);
    bufs[0] = nqtest_buf(0, 0, 1);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, bufs, 1, &taken), ==, NQT_OK);
    NQTEST_COMPARE(NONE, taken, ==, 1);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, bufs, 0, &taken), ==, NQT_OK);
    nqtest_rig_free(&rig);
}

/* What is without a limit is tried to a limit of ours. */
static void the_largest_buffer_arrives_whole(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_info info = {.size = sizeof(info)};
    uint32_t nseg = 2000;
    size_t len = 5 << 20;

    NQTEST_COMPARE(NONE, nqtest_tested->module->ops->info(rig.c->plugin, &info), ==, NQT_OK);
    if (info.max_message && info.max_message < len)
        len = (size_t)info.max_message;
    if (info.max_seg && info.max_seg < nseg)
        nseg = info.max_seg;
    nqtest_push(rig.c, len, len, nqtest_can(NQT_CAP_GATHER) ? nseg : 1, 1);
    nqtest_until_received(rig.s, len);
    if (!nqtest_can(NQT_CAP_STREAM))
        NQTEST_MUST(NONE, rig.s->messages == 1, "one buffer came as %u", rig.s->messages);
    nqtest_rig_free(&rig);
}

static void large_transfers_in_both_directions_at_once(void)
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

static const struct {
    size_t buf_len;
    uint32_t nseg, batch;
    size_t space;
} shapes[] = {
    {1, 1, 64, 65536}, {100, 3, 64, 7},      {5000, 5, 8, 1000},
    {70000, 2, 2, 64}, {300000, 1, 1, 4096}, {1 << 20, 1100, 3, 65536},
};

static void small_buffers_of_the_system_lose_and_reorder_nothing(int round)
{
    struct nqtest_rig rig = nqtest_rig_tiny();
    uint64_t len = shapes[round].buf_len < 10   ? 3000
                   : shapes[round].space < 1000 ? 200000
                                                : 1500000;

    rig.s->space = shapes[round].space;
    nqtest_push(rig.c, len, shapes[round].buf_len,
                nqtest_can(NQT_CAP_GATHER) ? shapes[round].nseg : 1, shapes[round].batch);
    nqtest_until_received(rig.s, len);
    /* A library's thread may take it all away while the test makes the next buffer. */
    if (nqtest_tested->module->threading == NQT_THREADING_LOOP &&
        nqtest_tested->tiny_client != nqtest_tested->client && len > 100000 &&
        (len / shapes[round].buf_len > 10 || nqtest_can(NQT_CAP_STREAM)))
        NQTEST_COMPARE(NONE, rig.c->writables, >, 0);
    nqtest_rig_free(&rig);
}

static bool has_been_writable(const void *link)
{
    return ((const struct nqtest_link *)link)->writables;
}

static void a_full_link_takes_nothing_until_it_is_writable(void)
{
    struct nqtest_rig rig = nqtest_rig_tiny();
    struct nqt_buf *buf;
    uint64_t done = 0;
    uint32_t taken = 1;

    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 1), ==, NQT_OK);
    while (taken) {
        buf = nqtest_buf(done, 10000, 2);
        NQTEST_COMPARE(NONE, nqtest_send(rig.c, &buf, 1, &taken), ==, NQT_OK);
        done += taken * 10000;
        NQTEST_COMPARE(NONE, done, <, 64 << 20);
    }
    nqtest_settle(10);
    buf = nqtest_buf(done, 1, 1);
    if (rig.c->short_send) {
        NQTEST_COMPARE(NONE, nqtest_send(rig.c, &buf, 1, &taken), ==, NQT_OK);
        NQTEST_COMPARE(NONE, taken, ==, 0);
    } else {
        buf->ops->unref(buf);
    }
    rig.c->tx.done = rig.c->tx.end = done; /* WRITABLE has nothing to go on with */
    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 0), ==, NQT_OK);
    nqtest_until_received(rig.s, done);
    NQTEST_UNTIL(has_been_writable, rig.c);
    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_until_received(rig.s, done + 100000);
    nqtest_rig_free(&rig);
}

static void hold_stops_receiving_and_nothing_is_lost(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint64_t before;

    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_until_received(rig.s, 5000);
    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 1), ==, NQT_OK);
    nqtest_settle(5); /* what was emitted before may still come */
    before = rig.s->received;
    nqtest_push(rig.c, 3000, 1000, 1, 3);
    nqtest_settle(30);
    NQTEST_COMPARE(NONE, rig.s->received, ==, before);
    if (nqtest_tested->module->ops->rx_poll) {
        NQTEST_COMPARE(NONE, nqtest_rx_poll(rig.s), ==, 0);
        NQTEST_COMPARE(NONE, rig.s->received, ==, before);
    }
    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 1), ==, NQT_OK); /* twice is once */
    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 0), ==, NQT_OK);
    nqtest_until_received(rig.s, 8000);
    nqtest_rig_free(&rig);
}

static void space_that_is_refused_and_stopped_ends_reading(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    unsigned turns = 0;

    rig.s->space_refusal = NQT_E_CLOSED;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_settle(10);
    for (int i = 0; i < 20; i++)
        turns += nqtest_turn(0);
    NQTEST_COMPARE(NONE, turns, ==, 0); /* no spinning */
    rig.s->space_refusal = 0;
    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 0), ==, NQT_OK);
    nqtest_until_received(rig.s, 5000);
    rig.s->stop_at = 5001;
    rig.s->space = 100;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_until_received(rig.s, 5100);
    nqtest_settle(10);
    NQTEST_COMPARE(NONE, rig.s->received, ==, 5100);
    NQTEST_COMPARE(NONE, rig.s->downs, ==, 0);
    nqtest_rig_free(&rig);
}

static bool has_any(const void *link)
{
    return ((const struct nqtest_link *)link)->received;
}

static void polling_receives_what_is_there(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    if (!nqtest_tested->module->ops->rx_poll)
        nqtest_leave_out("no rx_poll()");
    NQTEST_COMPARE(NONE, nqtest_rx_poll(rig.s), ==, 0);
    NQTEST_COMPARE(NONE, nqtest_rx_arm(rig.s, 0), ==, 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    nqtest_poll_until(has_any, rig.s);
    NQTEST_COMPARE(NONE, rig.s->received, ==, 100);
    NQTEST_COMPARE(NONE, nqtest_rx_poll(rig.s), ==, 0);
    NQTEST_COMPARE(NONE, nqtest_rx_arm(rig.s, 1), ==, 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    nqtest_until_received(rig.s, 200);
    nqtest_rig_free(&rig);
}

/* ---- the end -------------------------------------------------------------------------- */

/* Among buffers, until the link is full: then nothing has happened. */
static void bytes_that_are_copied_arrive_in_line_with_buffers(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    uint64_t sent = 0;

    if (!NQT_HAS(struct nqt_ops, nqtest_tested->module->ops, send_bytes))
        nqtest_leave_out("no send_bytes()");
    nqtest_hold(rig.s, 1);
    for (size_t len = 1; len <= 200; len += 13) {
        struct nqt_buf *buf = nqtest_buf(sent, len, 1);
        uint32_t taken;

        NQTEST_COMPARE(NONE, nqtest_send(rig.c, &buf, 1, &taken), ==, NQT_OK);
        NQTEST_COMPARE(NONE, taken, ==, 1);
        sent += len;
        NQTEST_COMPARE(NONE, nqtest_send_bytes(rig.c, sent, len), ==, 1);
        sent += len;
    }
    while (sent < (64u << 20) && nqtest_send_bytes(rig.c, sent, 100) > 0)
        sent += 100;
    NQTEST_COMPARE(NONE, nqtest_send_bytes(rig.c, sent, 100), ==, 0);
    nqtest_hold(rig.s, 0);
    nqtest_until_received(rig.s, sent);
    NQTEST_COMPARE(NONE, nqtest_send_bytes(rig.c, sent, 40), ==, 1);
    nqtest_until_received(rig.s, sent + 40);
    nqtest_rig_free(&rig);
}

static void what_arrives_before_a_sudden_end_is_a_prefix(int round)
{
    struct nqtest_rig rig = round ? nqtest_rig_tiny() : nqtest_rig_usual();

    nqtest_push(rig.c, 8 << 20, 100000, 1, 4);
    nqtest_turn(0);
    nqtest_turn(0);
    nqtest_close(rig.c); /* the pattern is checked as it comes */
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    NQTEST_COMPARE(NONE, rig.s->received, <=, rig.c->tx.done);
    NQTEST_MUST(NONE, rig.s->err.code == NQT_E_EOF || rig.s->err.code == NQT_E_LOST, "%s",
                "rig.s->err.code == NQT_E_EOF || rig.s->err.code == NQT_E_LOST");
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}

/* A transport waits for so long, and no longer, until what it took has left. */
static struct nqtest_rig patient(struct nqtest_rig rig)
{
    nqtest_slow_time(rig.client_host);
    nqtest_slow_time(rig.server_host);
    return rig;
}

static void the_end_of_one_side_is_eof_on_the_other(int round)
{
    struct nqtest_rig rig = patient(nqtest_rig_usual());
    struct nqtest_link *first = round ? rig.s : rig.c, *second = round ? rig.c : rig.s;

    nqtest_push(first, 1000, 100, 1, 10);
    nqtest_close(first);
    NQTEST_UNTIL(nqtest_is_down, second);
    NQTEST_COMPARE(NONE, second->err.code, ==, NQT_E_EOF);
    NQTEST_COMPARE(NONE, second->received, ==, 1000);
    NQTEST_COMPARE(NONE, first->downs, ==, 0);
    nqtest_rig_free(&rig);
}

/* The last that was offered is taken in part, or not at all. */
static const size_t offers[] = {300000, 1000};

static void shutdown_delivers_what_was_taken_and_takes_no_more(int round)
{
    struct nqtest_rig rig = patient(round % 2 ? nqtest_rig_tiny() : nqtest_rig_usual());
    struct nqt_buf *buf;
    uint32_t taken;

    buf = nqtest_buf(0, 10, 1);
    nqtest_push(rig.c, 4 << 20, offers[round / 2], 1, 4);
    NQTEST_COMPARE(NONE, nqtest_shutdown(rig.c), ==, NQT_OK);
    NQTEST_COMPARE(NONE, nqtest_shutdown(rig.c), ==, NQT_OK);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, &buf, 1, &taken), <, 0);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    NQTEST_COMPARE(NONE, rig.s->err.code, ==, NQT_E_EOF);
    NQTEST_COMPARE(NONE, rig.s->received, ==, rig.c->tx.done);
    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    NQTEST_COMPARE(NONE, rig.c->err.code, ==, NQT_E_EOF);
    nqtest_rig_free(&rig);
}

static void shutdown_does_not_wait_for_a_peer_that_stays(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 1), ==, NQT_OK);
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    NQTEST_COMPARE(NONE, nqtest_shutdown(rig.c), ==, NQT_OK);
    nqtest_settle(5);
    nqtest_advance(rig.client_host, INT64_C(3000000000));
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    NQTEST_COMPARE(NONE, rig.c->err.code, ==, NQT_E_EOF);
    nqtest_rig_free(&rig);
}

static void shutdown_of_one_direction_still_receives(void)
{
    struct nqtest_rig rig = patient(nqtest_rig_usual());

    NQTEST_COMPARE(NONE, nqtest_hold(rig.c, 1), ==, NQT_OK);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    NQTEST_COMPARE(NONE, nqtest_shutdown(rig.c), ==, NQT_OK);
    nqtest_settle(5);
    NQTEST_COMPARE(NONE, rig.c->received, ==, 0);
    NQTEST_COMPARE(NONE, nqtest_hold(rig.c, 0), ==, NQT_OK);
    nqtest_until_received(rig.c, rig.s->tx.done);
    nqtest_rig_free(&rig);
}

/* ---- the list ------------------------------------------------------------------------------- */

const struct nqtest_try nqtest_tries_bytes[] = {
    {NQTEST_RULE_SEGMENTS, .each = buffers_of_any_number_of_segments_arrive_whole,
     .rounds = LEN(segments)},
    {NQTEST_RULE_SEGMENTS, .run = empty_segments_and_buffers_are_taken},
    {NQTEST_RULE_LIMITS, .run = the_largest_buffer_arrives_whole},
    {NQTEST_RULE_LARGE, .run = large_transfers_in_both_directions_at_once},
    {NQTEST_RULE_PARTIAL, .each = small_buffers_of_the_system_lose_and_reorder_nothing,
     .rounds = LEN(shapes)},
    {NQTEST_RULE_PRESSURE, .run = a_full_link_takes_nothing_until_it_is_writable,
     .caps = NQT_CAP_RX_HOLD},
    {NQTEST_RULE_HOLD, .run = hold_stops_receiving_and_nothing_is_lost, .caps = NQT_CAP_RX_HOLD},
    {NQTEST_RULE_SPACE, .run = space_that_is_refused_and_stopped_ends_reading,
     .caps = NQT_CAP_STREAM | NQT_CAP_RX_HOLD},
    {NQTEST_RULE_POLL, .run = polling_receives_what_is_there},
    {NQTEST_RULE_COPIED, .run = bytes_that_are_copied_arrive_in_line_with_buffers},
    {NQTEST_RULE_SUDDEN, .each = what_arrives_before_a_sudden_end_is_a_prefix, .rounds = 2,
     .caps = NQT_CAP_PEER_PRESENCE},
    {NQTEST_RULE_END, .each = the_end_of_one_side_is_eof_on_the_other, .rounds = 2,
     .caps = NQT_CAP_PEER_PRESENCE},
    {NQTEST_RULE_DRAIN, .each = shutdown_delivers_what_was_taken_and_takes_no_more,
     .rounds = 2 * LEN(offers), .caps = NQT_CAP_DRAIN},
    {NQTEST_RULE_DRAIN, .run = shutdown_does_not_wait_for_a_peer_that_stays,
     .caps = NQT_CAP_DRAIN | NQT_CAP_RX_HOLD},
    {NQTEST_RULE_DRAIN, .run = shutdown_of_one_direction_still_receives,
     .caps = NQT_CAP_DRAIN | NQT_CAP_RX_HOLD},
    {.rule = NQTEST_RULE_NONE},
};
