/* plugins/shm/shm_lease.c: a peer gives back what it was lent, once, and nothing else. */
#include "tests/plugins/shm_pair.h"
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 8u

static struct nqtest_shm_pair pair;
static struct shm_lease places[PLACES];
static struct shm_leases leases;
static struct shm_token_tx tx;
static struct shm_token_rx rx;

static void setup(void)
{
    nqtest_shm_pair_init(&pair, PLACES, 1024);
    shm_leases_init(&leases, places, PLACES);
    shm_token_tx_init(&tx, &pair.ours);
    shm_token_rx_init(&rx, &pair.ours);
}

static void teardown(void)
{
    nqtest_shm_pair_fini(&pair);
}

static struct shm_lease_id grant(uint32_t block)
{
    struct shm_lease_id id;

    ck_assert(shm_lease_grant(&leases, block, &id));
    return id;
}

START_TEST(a_lease_ends_once_and_tells_its_block)
{
    struct shm_lease_id id = grant(77);
    uint32_t block = 0;

    ck_assert(shm_lease_end(&leases, id, &block));
    ck_assert_uint_eq(block, 77);
    ck_assert(!shm_lease_end(&leases, id, &block));
    ck_assert_uint_eq(leases.used, 0);
}
END_TEST

START_TEST(a_full_table_grants_nothing)
{
    struct shm_lease_id id, last = {0, 0};
    uint32_t block;

    for (uint32_t i = 0; i < PLACES; i++)
        last = grant(i);
    ck_assert(!shm_lease_grant(&leases, 9, &id));
    ck_assert(shm_lease_end(&leases, last, &block));
    ck_assert(shm_lease_grant(&leases, 9, &id));
    ck_assert(!shm_lease_grant(&leases, 9, &id));
}
END_TEST

START_TEST(a_token_of_an_earlier_lease_in_the_same_place_ends_nothing)
{
    struct shm_lease_id old = grant(1), now;
    uint32_t block;

    ck_assert(shm_lease_end(&leases, old, &block));
    now = grant(2);
    ck_assert_uint_eq(now.index, old.index);
    ck_assert(!shm_lease_end(&leases, old, &block));
    ck_assert(shm_lease_end(&leases, now, &block));
    ck_assert_uint_eq(block, 2);
}
END_TEST

static const struct shm_lease_id forged[] = {
    {0, 0}, {0, 2}, {1, 1}, {1, 0}, {PLACES, 1}, {PLACES - 1, 0}, {UINT32_MAX, 1}, {UINT32_MAX, 0},
};

START_TEST(a_forged_token_ends_nothing)
{
    struct shm_lease_id id = grant(5); /* place 0, nonce 1 */
    uint32_t block = 99;

    ck_assert(!shm_lease_end(&leases, forged[_i], &block));
    ck_assert_uint_eq(block, 99);
    ck_assert(shm_lease_end(&leases, id, &block));
}
END_TEST

START_TEST(nonce_zero_is_never_given_out)
{
    leases.nonce = UINT32_MAX - 1;
    ck_assert_uint_eq(grant(1).nonce, UINT32_MAX);
    ck_assert_uint_eq(grant(1).nonce, 1);
}
END_TEST

START_TEST(what_a_dead_peer_had_is_dropped_one_by_one)
{
    uint32_t sum = 0, block;
    struct shm_lease_id id = grant(1);

    grant(2);
    grant(4);
    ck_assert(shm_lease_end(&leases, id, &block));
    while (shm_lease_drop(&leases, &block))
        sum += block;
    ck_assert_uint_eq(sum, 6);
    ck_assert_uint_eq(leases.used, 0);
    for (uint32_t i = 0; i < PLACES; i++)
        grant(i);
}
END_TEST

START_TEST(to_drop_goes_on_where_the_last_one_was)
{
    struct shm_lease_id again;
    uint32_t block;

    grant(1);
    grant(2);
    ck_assert(shm_lease_drop(&leases, &block));
    ck_assert_uint_eq(block, 1);
    again = grant(3); /* in the place that was seen */
    ck_assert_uint_eq(again.index, 0);
    ck_assert(shm_lease_drop(&leases, &block));
    ck_assert_uint_eq(block, 2);
    ck_assert(shm_lease_drop(&leases, &block));
    ck_assert_uint_eq(block, 3);
    ck_assert(!shm_lease_drop(&leases, &block));
}
END_TEST

START_TEST(tokens_arrive_in_order_lap_after_lap)
{
    struct shm_lease_id id;

    for (uint32_t i = 0; i < 10 * PLACES; i++) {
        ck_assert_int_eq(shm_token_take(&rx, &id), 0);
        shm_token_put(&tx, (struct shm_lease_id){i, i + 1});
        ck_assert_int_eq(shm_token_take(&rx, &id), 1);
        ck_assert_uint_eq(id.index, i);
        ck_assert_uint_eq(id.nonce, i + 1);
    }
}
END_TEST

START_TEST(a_token_whose_spare_word_is_used_is_refused)
{
    struct shm_lease_id id;

    shm_token_put(&tx, (struct shm_lease_id){1, 2});
    pair.ours.tokens[0].words.zero = 1;
    ck_assert_int_eq(shm_token_take(&rx, &id), -1);
}
END_TEST

static void spoil(const void *at, size_t len)
{
    memset((void *)(uintptr_t)at, 0xff, len);
}

START_TEST(a_token_is_looked_at_once)
{
    struct shm_lease_id id;

    shm_token_put(&tx, (struct shm_lease_id){3, 4});
    shm_peer_mutate = spoil;
    ck_assert_int_eq(shm_token_take(&rx, &id), 1);
    ck_assert_uint_eq(id.index, 3);
    ck_assert_uint_eq(id.nonce, 4);
}
END_TEST

/* ---- two threads ---------------------------------------------------------------------------- */

#define STRESS 200000u

/* The peer: gives back what it finds in cells. */
static void *give_back(void *arg)
{
    (void)arg;
    for (uint32_t n = 0; n < STRESS;) {
        struct shm_piece piece;

        if (shm_rx_next(&pair.rx, &piece) <= 0) {
            sched_yield();
            continue;
        }
        shm_token_put(&tx, (struct shm_lease_id){piece.words.body[0], piece.words.body[1]});
        shm_rx_done(&pair.rx, &piece);
        shm_rx_tell(&pair.rx);
        n++;
    }
    return NULL;
}

/* Nonces have a byte here, so that (index, nonce) is a piece of two bytes. */
START_TEST(no_token_is_lost_however_many_leases_are_out)
{
    uint32_t granted = 0, ended = 0, block;
    struct shm_lease_id id;
    pthread_t thread;

    tx.tokens = pair.theirs.tokens; /* the peer writes into its own outbox */
    rx.tokens = pair.theirs.tokens;
    pthread_create(&thread, NULL, give_back, NULL);
    while (ended < STRESS) {
        uint8_t bytes[2];
        struct iovec iov = {bytes, sizeof(bytes)};
        struct shm_source source = {.seg = &iov, .nseg = 1, .left = sizeof(bytes)};
        bool idle = true;

        leases.nonce %= 250;
        if (granted < STRESS && shm_lease_grant(&leases, granted, &id)) {
            bytes[0] = (uint8_t)id.index;
            bytes[1] = (uint8_t)id.nonce;
            while (shm_tx_put(&pair.tx, &source) == 0)
                sched_yield();
            granted++;
            idle = false;
        }
        while (shm_token_take(&rx, &id) > 0) {
            ck_assert(shm_lease_end(&leases, id, &block));
            ended++;
            idle = false;
        }
        if (idle)
            sched_yield();
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(leases.used, 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm leases");
    TCase *tc = tcase_create("leases");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_lease_ends_once_and_tells_its_block);
    tcase_add_test(tc, a_full_table_grants_nothing);
    tcase_add_test(tc, a_token_of_an_earlier_lease_in_the_same_place_ends_nothing);
    tcase_add_loop_test(tc, a_forged_token_ends_nothing, 0, sizeof(forged) / sizeof(forged[0]));
    tcase_add_test(tc, nonce_zero_is_never_given_out);
    tcase_add_test(tc, what_a_dead_peer_had_is_dropped_one_by_one);
    tcase_add_test(tc, to_drop_goes_on_where_the_last_one_was);
    tcase_add_test(tc, tokens_arrive_in_order_lap_after_lap);
    tcase_add_test(tc, a_token_whose_spare_word_is_used_is_refused);
    tcase_add_test(tc, a_token_is_looked_at_once);
    tcase_add_test(tc, no_token_is_lost_however_many_leases_are_out);
    suite_add_tcase(suite, tc);
    return suite;
}
