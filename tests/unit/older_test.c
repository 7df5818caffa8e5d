/* core/older.c: the bytes of the older wire as they go over a link, and what each of them does. */
#include "core/err.h"
#include "core/older.h"
#include "core/pool.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define OURS "\x11\x11\x11\x11\x11\x11\x41\x11\x81\x11\x11\x11\x11\x11\x11\x11"
#define THEIRS "\x22\x22\x22\x22\x22\x22\x42\x22\x82\x22\x22\x22\x22\x22\x22\x22"
#define NAME_HEAD "\0\0\0\0\0\0\0\x10"
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static struct nqi_session session;
static struct nqi_session_conf conf;
static uint64_t settled[NQ_UNKNOWN + 1], arrived;
static nq_reason why;
static uint8_t last[64];
static size_t last_len;
static bool no_room;

/* ---- the owner ---- */

static void on_deliver(void *arg, nq_msg *msg)
{
    const void *data;

    (void)arg;
    ck_assert_int_eq(nq_msg_data(msg, &data, &last_len), NQ_OK);
    memcpy(last, data, last_len < sizeof(last) ? last_len : sizeof(last));
    arrived++;
    nqi_msg_unref(msg);
}

static bool on_begin(void *arg, struct nqi_tx *tx)
{
    (void)arg;
    (void)tx;
    return true;
}

static void on_settle(void *arg, struct nqi_tx *tx, nq_outcome outcome, nq_reason reason)
{
    (void)arg;
    nqi_msg_unref(tx->msg);
    free(tx);
    settled[outcome]++;
    why = reason;
}

static void on_settle_untracked(void *arg, uint64_t count, nq_outcome outcome, nq_reason reason)
{
    (void)arg;
    settled[outcome] += count;
    why = reason;
}

static bool on_reserve(void *arg, uint64_t bytes)
{
    (void)arg;
    (void)bytes;
    return !no_room;
}

static void on_unreserve(void *arg, uint64_t bytes)
{
    (void)arg;
    (void)bytes;
}

static const struct nqi_session_events events = {.deliver = on_deliver,
                                                 .begin = on_begin,
                                                 .settle = on_settle,
                                                 .settle_untracked = on_settle_untracked,
                                                 .reserve = on_reserve,
                                                 .unreserve = on_unreserve};

static nq_uuid uuid(const char *bytes)
{
    nq_uuid id;

    memcpy(id.bytes, bytes, sizeof(id.bytes));
    return id;
}

static void setup(void)
{
    memset(settled, 0, sizeof(settled));
    arrived = 0;
    no_room = false;
    conf = (struct nqi_session_conf){.id = uuid(OURS),
                                     .max_message = 100000,
                                     .window_bytes = 1000,
                                     .window_messages = 4,
                                     .record = 4096,
                                     .coalesce = 4096};
    nqi_session_init(&session, &conf, &events, NULL);
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqi_session_fini(&session, NQ_REASON_LOCAL_CLOSE);
}

static void serve(bool drops)
{
    const nq_uuid id = uuid(THEIRS);

    nqi_session_begin_older(&session, &id, drops);
}

static void dial(void)
{
    nqi_session_connect_older(&session, NULL, false);
}

/* ---- the link ---- */

static void sends(const uint8_t *bytes, size_t len)
{
    uint8_t all[8192];
    struct nqt_buf *bufs[16];
    size_t have = 0;
    uint32_t n;

    while ((n = nqi_session_pull(&session, true, bufs, 16))) {
        for (uint32_t i = 0; i < n; i++) {
            for (uint32_t s = 0; s < bufs[i]->nseg; s++) {
                memcpy(all + have, bufs[i]->seg[s].iov_base, bufs[i]->seg[s].iov_len);
                have += bufs[i]->seg[s].iov_len;
            }
            bufs[i]->ops->unref(bufs[i]);
        }
        nqi_session_taken(&session, n);
    }
    ck_assert_uint_eq(have, len);
    ck_assert(!memcmp(all, bytes, len));
}

static nq_err hears(const uint8_t *bytes, size_t len)
{
    nq_err err = NQ_OK;
    uint8_t *exact = malloc(len);

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, bytes, len);
    err = nqi_session_receive(&session, exact, len, 1);
    free(exact);
    return err;
}

static nq_msg *message(const void *data, size_t len)
{
    nq_msg *msg;

    ck_assert_int_eq(nq_msg_new(data, len, &msg), NQ_OK);
    return msg;
}

static void put(const void *data, size_t len)
{
    struct nqi_tx *tx = calloc(1, sizeof(*tx));

    ck_assert_ptr_nonnull(tx);
    tx->msg = message(data, len);
    nqi_session_put(&session, tx);
}

/* ---- transcripts ---- */

START_TEST(a_client_says_ini_and_nothing_more_before_it_is_answered)
{
    dial();
    put("hi", 2);
    sends(BYTES(NAME_HEAD OURS));
    ck_assert_int_eq(hears(BYTES(NAME_HEAD THEIRS)), NQ_OK);
    ck_assert_int_eq(session.state, NQI_SESSION_UP);
    sends(BYTES("\0\0\0\0\0\0\0\x02"
                "hi"));
    ck_assert_uint_eq(settled[NQ_HANDED], 1);
    ck_assert_int_eq(why, NQ_REASON_TRANSPORT);
    nqi_session_close(&session, 2);
    sends(BYTES(NAME_HEAD OURS));
    ck_assert_int_eq(session.state, NQI_SESSION_CLOSING);
    ck_assert_int_eq(hears(BYTES("\0\0\0\0\0\0\0\x03"
                                 "bye" NAME_HEAD THEIRS)),
                     NQ_OK);
    ck_assert_uint_eq(arrived, 1);
    ck_assert_int_eq(session.state, NQI_SESSION_CLOSED);
    ck_assert(nqi_session_is_over(&session));
}
END_TEST

START_TEST(a_server_answers_fin_behind_all_that_was_put)
{
    serve(false);
    sends(BYTES(NAME_HEAD OURS));
    nqi_session_close(&session, 2); /* it waits for its client */
    sends(BYTES(""));
    put("last", 4);
    ck_assert_int_eq(hears(BYTES(NAME_HEAD THEIRS "\0\0\0\0\0\0\0\x01"
                                                  "x")),
                     NQ_OK);
    ck_assert_uint_eq(arrived, 0); /* behind fin nothing counts */
    sends(BYTES("\0\0\0\0\0\0\0\x04"
                "last" NAME_HEAD OURS));
    ck_assert_int_eq(session.state, NQI_SESSION_CLOSED);
    ck_assert_int_eq(session.bye_reason, NQ_REASON_PEER_CLOSED);
}
END_TEST

START_TEST(frames_cut_anywhere_are_whole_again)
{
    static const char stream[] = "\0\0\0\0\0\0\0\0"
                                 "\0\0\0\0\0\0\0\x10"
                                 "0123456789abcdef"
                                 "\0\0\0\0\0\0\0\x05"
                                 "hello";

    serve(false);
    for (size_t i = 0; i + 1 < sizeof(stream); i++)
        ck_assert_int_eq(hears((const uint8_t *)stream + i, 1), NQ_OK);
    ck_assert_uint_eq(arrived, 3);
    ck_assert_uint_eq(last_len, 5);
    ck_assert(!memcmp(last, "hello", 5));
}
END_TEST

/* ---- memory ---- */

/* 64 bytes each, to a link that takes all.  @return buffers that it took */
static unsigned burst(unsigned messages)
{
    static const uint8_t payload[64];
    nq_msg *msg = message(payload, sizeof(payload));
    struct nqt_buf *bufs[16];
    unsigned all = 0;
    uint32_t n;

    while (messages--)
        ck_assert(nqi_session_put_now(&session, msg, NULL));
    nqi_msg_unref(msg);
    while ((n = nqi_session_pull(&session, true, bufs, 16))) {
        for (uint32_t i = 0; i < n; i++)
            bufs[i]->ops->unref(bufs[i]);
        nqi_session_taken(&session, n);
        all += n;
    }
    return all;
}

START_TEST(bursts_leave_in_one_buffer_and_a_trickle_holds_little)
{
    conf.coalesce = 65536;
    serve(false);
    burst(0);
    for (unsigned i = 0; i < 6; i++)
        burst(680); /* 48 KiB */
    ck_assert_uint_eq(burst(680), 1);
    ck_assert_uint_eq(settled[NQ_HANDED], 7 * 680);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(burst(1), 1);
    ck_assert_uint_le(session.block->cap, 8192);
}
END_TEST

/* ---- what is refused ---- */

START_TEST(a_first_frame_that_is_no_ini_ends_the_link)
{
    dial();
    ck_assert_int_eq(hears(BYTES("\0\0\0\0\0\0\0\x11")), NQ_ERR_PROTO);
}
END_TEST

START_TEST(a_server_with_our_own_id_is_refused)
{
    dial();
    ck_assert_int_eq(hears(BYTES(NAME_HEAD OURS)), NQ_ERR_CLOSED);
    ck_assert_int_eq(session.bye_reason, NQ_REASON_DUPLICATE);
}
END_TEST

START_TEST(a_length_beyond_the_limit_ends_the_link_and_takes_no_memory)
{
    serve(false);
    nqi_pool_fail_after(1); /* whoever asks gets none */
    ck_assert_int_eq(hears(BYTES("\xff\xff\xff\xff\xff\xff\xff\xff")), NQ_ERR_TOO_BIG);
}
END_TEST

/* Where any length is allowed there is one that no message has. */
START_TEST(without_a_limit_there_is_still_a_longest_message)
{
    conf.max_message = UINT64_MAX;
    serve(false);
    if (_i)
        ck_assert_int_eq(hears(BYTES("\x01\0\0\0\0\0\0\0")), NQ_ERR_TOO_BIG);
    else
        ck_assert_int_eq(hears(BYTES("\0\xff\xff\xff\xff\xff\xff\xff")), NQ_OK);
    ck_assert_uint_eq(session.rx.room, 0);
}
END_TEST

START_TEST(what_would_be_taken_for_fin_is_not_carried)
{
    const nq_uuid own = uuid(OURS);
    nq_msg *name = message(OURS, 16), *other = message(THEIRS, 16), *meta = message("x", 1);

    ck_assert(!nqi_older_carries(&own, name));
    ck_assert(nqi_older_carries(&own, other));
    ck_assert(nqi_older_carries(&own, meta));
    nq_msg_set_correlation(meta, 7);
    ck_assert(!nqi_older_carries(&own, meta));
    nqi_msg_unref(name);
    nqi_msg_unref(other);
    nqi_msg_unref(meta);
}
END_TEST

/* ---- room ---- */

static void hear_small(unsigned n)
{
    while (n--)
        ck_assert_int_eq(hears(BYTES("\0\0\0\0\0\0\0\x01"
                                     "x")),
                         NQ_OK);
}

START_TEST(the_link_is_held_while_the_user_takes_nothing)
{
    serve(false);
    hear_small(4);
    ck_assert(!nqi_session_wants_hold(&session, false));
    hear_small(1);
    ck_assert(nqi_session_wants_hold(&session, false));
    nqi_session_taken_by_user(&session, 2, 2, 0);
    ck_assert(nqi_session_wants_hold(&session, true));
    nqi_session_taken_by_user(&session, 3, 3, 0);
    ck_assert(!nqi_session_wants_hold(&session, true));
}
END_TEST

START_TEST(what_cannot_be_held_back_falls_away_whole)
{
    serve(true);
    hear_small(7);
    ck_assert_uint_eq(arrived, 5);
    ck_assert_uint_eq(session.fallen, 2);
    nqi_session_taken_by_user(&session, 5, 5, 0);
    hear_small(1);
    ck_assert_uint_eq(arrived, 6);
}
END_TEST

START_TEST(a_large_message_waits_for_memory)
{
    static const uint8_t part[100];

    serve(false);
    no_room = true;
    ck_assert_int_eq(hears(BYTES("\0\0\0\0\0\0\x27\x10")), NQ_OK);
    ck_assert_int_eq(hears(part, sizeof(part)), NQ_OK);
    ck_assert(nqi_session_wants_hold(&session, false));
    no_room = false;
    ck_assert_int_eq(nqi_session_tick(&session, NQI_NS_PER_S), NQ_OK);
    ck_assert(!nqi_session_wants_hold(&session, true));
}
END_TEST

START_TEST(a_lost_link_leaves_no_part_of_a_message)
{
    serve(false);
    ck_assert_int_eq(hears(BYTES("\0\0\0\0\0\0\0\x09"
                                 "part")),
                     NQ_OK);
    put("unsent", 6);
    nqi_session_down(&session);
    nqi_session_fini(&session, NQ_REASON_LINK_LOST);
    ck_assert_uint_eq(arrived, 0);
    ck_assert_uint_eq(settled[NQ_NOT_DELIVERED], 1);
    ck_assert_int_eq(why, NQ_REASON_LINK_LOST);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("older");
    TCase *tcase = tcase_create("older");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_client_says_ini_and_nothing_more_before_it_is_answered);
    tcase_add_test(tcase, a_server_answers_fin_behind_all_that_was_put);
    tcase_add_test(tcase, frames_cut_anywhere_are_whole_again);
    tcase_add_test(tcase, bursts_leave_in_one_buffer_and_a_trickle_holds_little);
    tcase_add_test(tcase, a_first_frame_that_is_no_ini_ends_the_link);
    tcase_add_test(tcase, a_server_with_our_own_id_is_refused);
    tcase_add_test(tcase, a_length_beyond_the_limit_ends_the_link_and_takes_no_memory);
    tcase_add_loop_test(tcase, without_a_limit_there_is_still_a_longest_message, 0, 2);
    tcase_add_test(tcase, what_would_be_taken_for_fin_is_not_carried);
    tcase_add_test(tcase, the_link_is_held_while_the_user_takes_nothing);
    tcase_add_test(tcase, what_cannot_be_held_back_falls_away_whole);
    tcase_add_test(tcase, a_large_message_waits_for_memory);
    tcase_add_test(tcase, a_lost_link_leaves_no_part_of_a_message);
    suite_add_tcase(suite, tcase);
    return suite;
}
