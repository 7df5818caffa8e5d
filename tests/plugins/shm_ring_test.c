/* plugins/shm/shm_ring.c: a stream arrives as it was sent, whatever its pieces and whatever the
 * peer writes. */
#include "tests/plugins/shm_pair.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define CELLS 8u
#define BYTES 1024u
#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static struct nqtest_shm_pair pair;

static void setup(void)
{
    nqtest_shm_pair_init(&pair, CELLS, BYTES);
}

static void teardown(void)
{
    nqtest_shm_pair_fini(&pair);
}

/* Until `total` bytes are through; each send has a length and a number of segments of its own. */
static void stream(uint64_t total)
{
    uint64_t sent = 0, got = 0;
    unsigned seed = 1;

    while (got < total) {
        size_t len = 1 + (size_t)(rand_r(&seed) % (rand_r(&seed) % 4 ? 130 : 2000));
        int64_t n = nqtest_shm_send(&pair, sent, len, 1 + (uint32_t)rand_r(&seed) % 5);

        ck_assert_int_ge(n, 0);
        sent += (uint64_t)n;
        if (n && rand_r(&seed) % 3)
            continue;
        n = nqtest_shm_recv(&pair, got);
        ck_assert_int_ge(n, 0);
        got += (uint64_t)n;
        shm_rx_tell(&pair.rx);
    }
}

/* ---- delivery ------------------------------------------------------------------------------- */

START_TEST(bytes_arrive_in_order_whatever_their_lengths)
{
    stream(1 << 20);
}
END_TEST

START_TEST(the_lap_in_a_commit_word_may_wrap)
{
    pair.tx.sent = pair.tx.taken = pair.rx.taken = pair.rx.told = ((UINT64_C(1) << 32) - 3) * CELLS;
    atomic_store(pair.theirs.credit, pair.tx.sent);
    stream(100000);
    ck_assert_uint_gt(pair.rx.taken / CELLS, UINT64_C(1) << 32);
}
END_TEST

static const struct {
    size_t len;
    unsigned ninline, nrange;
} shapes[] = {
    {1, 1, 0},   {48, 1, 0},  {56, 1, 0},  {57, 2, 0},  {112, 2, 0},
    {113, 0, 1}, {256, 0, 1}, {257, 1, 1}, {600, 2, 2}, {1000, 0, 4},
};

START_TEST(small_pieces_lie_in_cells_and_large_ones_beside_them)
{
    unsigned count[4] = {0};
    struct shm_piece piece;

    ck_assert_int_eq(nqtest_shm_send(&pair, 0, shapes[_i].len, 1), (int64_t)shapes[_i].len);
    while (shm_rx_next(&pair.rx, &piece) > 0) {
        count[piece.kind]++;
        shm_rx_done(&pair.rx, &piece);
    }
    ck_assert_uint_eq(count[SHM_INLINE], shapes[_i].ninline);
    ck_assert_uint_eq(count[SHM_RING], shapes[_i].nrange);
}
END_TEST

START_TEST(a_full_ring_of_cells_takes_nothing_and_loses_nothing)
{
    for (uint64_t i = 0; i < CELLS; i++)
        ck_assert_int_eq(nqtest_shm_send(&pair, i, 1, 1), 1);
    ck_assert_int_eq(nqtest_shm_send(&pair, CELLS, 1, 1), 0);
    ck_assert_int_eq(nqtest_shm_recv(&pair, 0), CELLS);
    ck_assert_int_eq(nqtest_shm_send(&pair, CELLS, 1, 1), 1);
    ck_assert_int_eq(nqtest_shm_recv(&pair, CELLS), 1);
}
END_TEST

START_TEST(a_full_inline_ring_takes_nothing_until_its_cells_are_taken)
{
    struct shm_piece piece;

    ck_assert_int_eq(nqtest_shm_send(&pair, 0, 5000, 3), BYTES);
    ck_assert_int_eq(nqtest_shm_send(&pair, BYTES, 200, 1), 0);
    /* One piece of a quarter: told at once, so room for that much. */
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 1);
    shm_rx_done(&pair.rx, &piece);
    ck_assert_uint_eq(atomic_load(pair.theirs.credit), 1);
    ck_assert_int_eq(nqtest_shm_send(&pair, BYTES, 200, 1), 200);
    ck_assert_int_eq(nqtest_shm_recv(&pair, 256), BYTES - 256 + 200);
}
END_TEST

START_TEST(a_small_piece_is_not_cut_at_the_end_of_the_ring)
{
    struct shm_piece piece;

    for (uint64_t at = 0; at < 960; at += 240) {
        ck_assert_int_eq(nqtest_shm_send(&pair, at, 240, 1), 240);
        ck_assert_int_eq(nqtest_shm_recv(&pair, at), 240);
    }
    shm_rx_tell(&pair.rx);
    pair.tx.byte_sent -= 64; /* 64 bytes are left before the end */
    pair.ends[(pair.tx.sent - 1) & (CELLS - 1)] = pair.tx.byte_sent;
    ck_assert_int_eq(nqtest_shm_send(&pair, 960, 200, 1), 200);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 1);
    ck_assert_uint_eq(piece.len, 200);
    ck_assert_ptr_eq(piece.peer, pair.ours.bytes);
    ck_assert_int_eq(nqtest_shm_recv(&pair, 960), 200);
}
END_TEST

/* Bytes of the stream, sent whole or not at all. */
static bool send_whole(uint64_t at, size_t len)
{
    uint8_t bytes[BYTES];
    uint64_t before = pair.tx.sent;
    bool sent;

    for (size_t i = 0; i < len; i++)
        bytes[i] = nqtest_shm_byte(at + i);
    sent = shm_tx_put_whole(&pair.tx, bytes, len);
    ck_assert(sent || pair.tx.sent == before);
    return sent;
}

START_TEST(what_is_small_goes_whole_or_not_at_all)
{
    uint64_t sent = 0;

    for (size_t len = 1; len <= BYTES / 4; len++, sent += len - 1) {
        ck_assert(send_whole(sent, len));
        ck_assert_int_eq(nqtest_shm_recv(&pair, sent), (int64_t)len);
        shm_rx_tell(&pair.rx);
    }
    ck_assert(!send_whole(sent, BYTES / 4 + 1)); /* that takes pieces */
    while (send_whole(sent, 57))                 /* two cells each */
        sent += 57;
    ck_assert_uint_eq(pair.tx.sent - pair.rx.taken, CELLS);
    ck_assert_int_eq(nqtest_shm_recv(&pair, sent - CELLS / 2 * 57), CELLS / 2 * 57);
    atomic_store(pair.theirs.credit, pair.tx.sent + 1);
    ck_assert(!send_whole(sent, 57)); /* that makes no sense */
    atomic_store(pair.theirs.credit, pair.rx.taken);
    ck_assert(send_whole(sent, 57));
}
END_TEST

START_TEST(the_sender_is_told_every_quarter_of_the_ring)
{
    struct shm_piece piece;

    for (uint64_t i = 0; i < CELLS; i++)
        nqtest_shm_send(&pair, i, 1, 1);
    for (uint64_t i = 1; i <= CELLS; i++) {
        ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 1);
        shm_rx_done(&pair.rx, &piece);
        ck_assert_uint_eq(atomic_load(pair.theirs.credit), i / (CELLS / 4) * (CELLS / 4));
    }
    ck_assert(!shm_rx_tell(&pair.rx));
}
END_TEST

START_TEST(what_was_written_and_not_committed_is_not_there)
{
    struct shm_cell before;
    struct shm_piece piece;

    nqtest_shm_send(&pair, 0, 20, 1);
    nqtest_shm_recv(&pair, 0);
    nqtest_shm_send(&pair, 20, 20, 1);
    memcpy(&before, &pair.ours.cells[1], sizeof(before));
    atomic_store(&pair.ours.cells[1].commit, 0);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 0);
    /* As a cell of an earlier lap is. */
    pair.rx.taken += CELLS;
    atomic_store(&pair.ours.cells[1].commit, 1);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 0);
}
END_TEST

/* ---- a hostile peer ------------------------------------------------------------------------- */

/* Before what was said, or behind what was sent: 3 <= credit <= 11 there. */
static const uint64_t credits[] = {0, 2, 12, 1 << 20, UINT64_C(1) << 63, UINT64_MAX};

START_TEST(a_credit_that_makes_no_sense_is_refused)
{
    uint64_t at = 0;
    struct shm_tx before;

    for (; at < 5; at++)
        ck_assert_int_eq(nqtest_shm_send(&pair, at, 1, 1), 1);
    atomic_store(pair.theirs.credit, 3);
    for (; at < 3 + CELLS; at++)
        ck_assert_int_eq(nqtest_shm_send(&pair, at, 1, 1), 1);
    ck_assert_uint_eq(pair.tx.taken, 3);
    before = pair.tx;
    atomic_store(pair.theirs.credit, credits[_i]);
    ck_assert_int_lt(nqtest_shm_send(&pair, at, 1, 1), 0);
    ck_assert_mem_eq(&pair.tx, &before, sizeof(before));
}
END_TEST

static const struct {
    struct shm_words words;
    struct shm_range range;
    int rc;
} forged[] = {
    {.words = {.kind = 0, .len = 1}, .rc = -1},
    {.words = {.kind = SHM_RETIRE + 1, .len = 1}, .rc = -1},
    {.words = {.kind = 255, .len = 1}, .rc = -1},
    {.words = {.kind = SHM_INLINE, .len = 0}, .rc = -1},
    {.words = {.kind = SHM_INLINE, .len = SHM_BODY + 1}, .rc = -1},
    {.words = {.kind = SHM_INLINE, .len = 65535}, .rc = -1},
    {.words = {.kind = SHM_INLINE, .len = 1, .zero = 1}, .rc = -1},
    {.words = {.kind = SHM_INLINE, .len = SHM_BODY}, .rc = 1},
    {.words = {.kind = SHM_RING}, .range = {0, 0}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {0, BYTES}, .rc = 1},
    {.words = {.kind = SHM_RING}, .range = {0, BYTES + 1}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {BYTES, 1}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {BYTES - 1, 1}, .rc = 1},
    {.words = {.kind = SHM_RING}, .range = {BYTES - 1, 2}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {BYTES + 1, UINT32_MAX}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {UINT32_MAX, 2}, .rc = -1},
    {.words = {.kind = SHM_RING}, .range = {1, UINT32_MAX}, .rc = -1},
};

START_TEST(a_cell_that_makes_no_sense_is_refused)
{
    struct shm_piece piece;

    pair.ours.cells[0].words = forged[_i].words;
    if (forged[_i].words.kind == SHM_RING)
        memcpy(pair.ours.cells[0].words.body, &forged[_i].range, sizeof(forged[_i].range));
    atomic_store(&pair.ours.cells[0].commit, 1);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), forged[_i].rc);
    if (forged[_i].rc > 0 && piece.kind == SHM_RING)
        ck_assert(piece.peer >= pair.ours.bytes &&
                  piece.peer + piece.len <= pair.ours.bytes + BYTES);
}
END_TEST

/* Only what the other way would take is gathered; the rest is left to it, and to its judgement. */
START_TEST(only_a_whole_inline_cell_is_gathered)
{
    bool gathers = forged[_i].words.kind == SHM_INLINE && forged[_i].rc > 0;
    uint8_t bytes[SHM_BODY];
    struct shm_piece piece;

    pair.ours.cells[0].words = forged[_i].words;
    if (forged[_i].words.kind == SHM_RING)
        memcpy(pair.ours.cells[0].words.body, &forged[_i].range, sizeof(forged[_i].range));
    atomic_store(&pair.ours.cells[0].commit, 1);
    ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, sizeof(bytes)),
                      gathers ? forged[_i].words.len : 0);
    ck_assert_uint_eq(pair.rx.taken, gathers);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), gathers ? 0 : forged[_i].rc);
}
END_TEST

/* CELLS cells of one byte; the sender learns by the quarter what is taken. */
START_TEST(gathering_ends_with_the_room_and_before_what_lies_elsewhere)
{
    uint8_t bytes[SHM_BODY + 3], after = nqtest_shm_byte(500);

    for (uint64_t i = 0; i < CELLS - 1; i++)
        nqtest_shm_send(&pair, i, 1, 1);
    nqtest_shm_send(&pair, CELLS - 1, 200, 1);
    memset(bytes, after, sizeof(bytes));
    ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, SHM_BODY - 1), 0);
    ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, SHM_BODY + 1), 2);
    ck_assert_uint_eq(pair.rx.taken, 2);
    for (size_t i = SHM_BODY + 1; i < sizeof(bytes); i++)
        ck_assert_uint_eq(bytes[i], after);
    for (uint64_t at = 2; at < CELLS - 1; at++) {
        ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, SHM_BODY), 1);
        ck_assert_uint_eq(bytes[0], nqtest_shm_byte(at));
    }
    ck_assert_uint_ge(atomic_load(pair.theirs.credit), CELLS - CELLS / 4);
    ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, SHM_BODY), 0);
    ck_assert_int_eq(nqtest_shm_recv(&pair, CELLS - 1), 200);
}
END_TEST

START_TEST(what_comes_before_a_block_fits_behind_it)
{
    struct shm_block block = {.segment = 7, .len = 11};
    struct shm_words *words = &pair.ours.cells[0].words;
    struct shm_piece piece;

    memcpy(words->body, &block, sizeof(block));
    atomic_store(&pair.ours.cells[0].commit, 1);
    words->kind = SHM_BLOCK;
    words->len = SHM_BLOCK_HEAD;
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 1);
    ck_assert_uint_eq(piece.head, SHM_BLOCK_HEAD);
    ck_assert(shm_piece_head(&piece) + piece.head == piece.words.body + SHM_BODY);
    words->len = SHM_BLOCK_HEAD + 1;
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), -1);
    words->len = UINT16_MAX;
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), -1);
}
END_TEST

START_TEST(a_block_is_handed_on_unless_its_spare_word_is_used)
{
    struct shm_block block = {.segment = 7, .lease = 8, .nonce = 9, .offset = 10, .len = 11};
    struct shm_piece piece;

    pair.ours.cells[0].words.kind = SHM_BLOCK;
    memcpy(pair.ours.cells[0].words.body, &block, sizeof(block));
    atomic_store(&pair.ours.cells[0].commit, 1);
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), 1);
    ck_assert_mem_eq(&piece.block, &block, sizeof(block));
    block.zero = 1;
    memcpy(pair.ours.cells[0].words.body, &block, sizeof(block));
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), -1);
    pair.ours.cells[0].words.kind = SHM_RETIRE;
    pair.ours.cells[0].words.len = 1;
    memcpy(pair.ours.cells[0].words.body, &(struct shm_block){.segment = 7}, sizeof(block));
    ck_assert_int_eq(shm_rx_next(&pair.rx, &piece), -1);
}
END_TEST

/* The memory is another one as soon as it was read: what looks again sees nonsense. */
static void spoil(const void *at, size_t len)
{
    uint8_t *bytes = (uint8_t *)(uintptr_t)at;

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)~bytes[i];
}

START_TEST(nothing_of_a_peer_is_looked_at_twice)
{
    static const size_t lens[] = {1, 40, 56, 57, 112, 113, 256, 700};

    for (size_t i = 0; i < LEN(lens); i++) {
        nqtest_shm_pair_fini(&pair);
        setup();
        ck_assert_int_eq(nqtest_shm_send(&pair, 0, lens[i], 2), (int64_t)lens[i]);
        shm_peer_mutate = spoil;
        ck_assert_int_eq(nqtest_shm_recv(&pair, 0), (int64_t)lens[i]);
    }
    for (uint64_t at = 0; at < CELLS; at++)
        nqtest_shm_send(&pair, 700 + at, 1, 1);
    shm_rx_tell(&pair.rx);
    ck_assert_int_eq(nqtest_shm_send(&pair, 0, 1, 1), 1);
}
END_TEST

START_TEST(nothing_is_looked_at_twice_when_it_is_gathered)
{
    uint8_t bytes[4 * SHM_BODY];

    ck_assert_int_eq(nqtest_shm_send(&pair, 0, 100, 1), 100);
    shm_peer_mutate = spoil;
    ck_assert_uint_eq(shm_rx_gather(&pair.rx, bytes, sizeof(bytes)), 100);
    for (uint64_t at = 0; at < 100; at++)
        ck_assert_uint_eq(bytes[at], nqtest_shm_byte(at));
}
END_TEST

/* ---- two threads ---------------------------------------------------------------------------- */

#define STRESS (4u << 20)

static void *stress_send(void *arg)
{
    unsigned seed = 7;

    (void)arg;
    for (uint64_t at = 0; at < STRESS;) {
        size_t want = 1 + (size_t)(rand_r(&seed) % (rand_r(&seed) % 8 ? 100 : 3000));
        int64_t n = nqtest_shm_send(&pair, at, want, 1 + (uint32_t)rand_r(&seed) % 3);

        ck_assert_int_ge(n, 0);
        at += (uint64_t)n;
        if (n < (int64_t)want)
            sched_yield();
    }
    return NULL;
}

START_TEST(a_sender_and_a_receiver_on_two_threads_agree)
{
    uint64_t got = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, stress_send, NULL);
    while (got < STRESS) {
        int64_t n = nqtest_shm_recv(&pair, got);

        ck_assert_int_ge(n, 0);
        got += (uint64_t)n;
        if (!shm_rx_tell(&pair.rx))
            sched_yield();
    }
    pthread_join(thread, NULL);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm ring");
    TCase *tc = tcase_create("ring");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, bytes_arrive_in_order_whatever_their_lengths);
    tcase_add_test(tc, the_lap_in_a_commit_word_may_wrap);
    tcase_add_loop_test(tc, small_pieces_lie_in_cells_and_large_ones_beside_them, 0, LEN(shapes));
    tcase_add_test(tc, a_full_ring_of_cells_takes_nothing_and_loses_nothing);
    tcase_add_test(tc, a_full_inline_ring_takes_nothing_until_its_cells_are_taken);
    tcase_add_test(tc, a_small_piece_is_not_cut_at_the_end_of_the_ring);
    tcase_add_test(tc, what_is_small_goes_whole_or_not_at_all);
    tcase_add_test(tc, the_sender_is_told_every_quarter_of_the_ring);
    tcase_add_test(tc, what_was_written_and_not_committed_is_not_there);
    tcase_add_loop_test(tc, a_credit_that_makes_no_sense_is_refused, 0, LEN(credits));
    tcase_add_loop_test(tc, a_cell_that_makes_no_sense_is_refused, 0, LEN(forged));
    tcase_add_loop_test(tc, only_a_whole_inline_cell_is_gathered, 0, LEN(forged));
    tcase_add_test(tc, gathering_ends_with_the_room_and_before_what_lies_elsewhere);
    tcase_add_test(tc, what_comes_before_a_block_fits_behind_it);
    tcase_add_test(tc, a_block_is_handed_on_unless_its_spare_word_is_used);
    tcase_add_test(tc, nothing_of_a_peer_is_looked_at_twice);
    tcase_add_test(tc, nothing_is_looked_at_twice_when_it_is_gathered);
    tcase_add_test(tc, a_sender_and_a_receiver_on_two_threads_agree);
    suite_add_tcase(suite, tc);
    return suite;
}
