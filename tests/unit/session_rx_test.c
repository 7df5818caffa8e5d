/* core/session_rx.c: what a peer may not send ends the link, at once and without harm. */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE (NQI_DATA_BEGIN | NQI_DATA_END)
#define FIRST (NQI_DATA_BEGIN | NQI_DATA_BIG)

static struct nqtest_rig rig;
static uint8_t zeros[70000];

static void setup(void)
{
    nqtest_rig_init(&rig);
    rig.b.conf.max_message = 50000;
    rig.b.conf.window_bytes = 20000;
    rig.b.conf.window_messages = 3;
    rig.b.take = false;
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqtest_rig_end(&rig);
}

/* A data record from a to b, and what b says to all that came so far. */
static nq_err data(uint8_t flags, uint16_t meta, uint32_t payload, uint64_t total)
{
    ck_assert_uint_le(meta + payload, sizeof(zeros));
    nqtest_inject_record(&rig.a, NQI_DATA, flags, meta, meta + payload, total, zeros,
                         meta + payload);
    return nqtest_feed(&rig.a, SIZE_MAX);
}

static nq_err control(uint8_t type, const uint64_t *numbers, uint32_t count)
{
    uint8_t body[NQI_CONTROL_MAX] = {0};

    for (uint32_t i = 0; i < count; i++)
        nqi_store_u64(body + 8 * (size_t)i, numbers[i]);
    nqtest_inject_record(&rig.a, type, 0, 0, count * 8, 0, body, count * 8);
    return nqtest_feed(&rig.a, SIZE_MAX);
}

/* ---- data ---- */

/* Messages of foreign make do not carry our numbers: they are looked at here. */
static uint64_t arrived, arrived_bytes;

static void on_deliver(void *arg, nq_msg *msg)
{
    struct nqtest_side *side = arg;

    arrived++;
    arrived_bytes += msg->stream.nbytes;
    side->reserved -= (uint64_t)msg->deadline_ns;
    nqi_msg_unref(msg);
}

static void attach(void)
{
    static struct nqi_session_events events;

    arrived = arrived_bytes = 0;
    nqtest_rig_attach(&rig);
    events = *rig.b.session.events;
    events.deliver = on_deliver;
    rig.b.session.events = &events;
}

START_TEST(foreign_data_is_taken_as_it_comes)
{
    rig.split = (enum nqtest_split)_i;
    attach();
    ck_assert_int_eq(data(WHOLE, 0, 0, 0), NQ_OK);
    ck_assert_int_eq(data(FIRST, 0, 0, 2000), NQ_OK); /* no payload in the first record */
    ck_assert_int_eq(data(0, 0, 0, 0), NQ_OK);        /* nor in the second */
    ck_assert_int_eq(data(0, 0, 1, 0), NQ_OK);
    ck_assert_int_eq(data(0, 0, 1998, 0), NQ_OK);
    ck_assert_int_eq(data(NQI_DATA_END | NQI_DATA_ACKNOW, 0, 1, 0), NQ_OK);
    ck_assert_int_eq(data(FIRST, 0, 0, 0), NQ_OK);
    ck_assert_int_eq(data(NQI_DATA_END, 0, 0, 0), NQ_OK);
    ck_assert_uint_eq(arrived, 3);
    ck_assert_uint_eq(arrived_bytes, 2000);
    ck_assert_uint_eq(rig.b.session.received, 8);
}
END_TEST

START_TEST(an_unfinished_message_is_given_up_with_the_link)
{
    rig.split = (enum nqtest_split)_i;
    attach();
    ck_assert_int_eq(data(FIRST, 0, 5000, 20000), NQ_OK);
    nqtest_inject_record(&rig.a, NQI_DATA, 0, 0, 15000, 0, zeros, 7000);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_uint_eq(rig.b.reserved, 20000);
    ck_assert_uint_eq(arrived, 0);
}
END_TEST

/* ---- by reference ---- */

static long given_refs;

static void given_ref(struct nqt_buf *buf)
{
    (void)buf;
    given_refs++;
}

static void given_unref(struct nqt_buf *buf)
{
    (void)buf;
    given_refs--;
}

static const struct nqt_buf_ops given_ops = {
    .size = sizeof(given_ops), .ref = given_ref, .unref = given_unref};

/* `len` bytes of zeros by reference. */
static nq_err give(size_t len)
{
    struct iovec seg = {zeros, len};
    static struct nqt_buf buf;

    buf = (struct nqt_buf){
        .size = sizeof(buf), .nseg = 1, .len = len, .seg = &seg, .ops = &given_ops};
    return nqi_session_give(&rig.b.session, &buf, 0);
}

static nq_msg *kept;

static void on_deliver_keep(void *arg, nq_msg *msg)
{
    struct nqtest_side *side = arg;

    side->reserved -= (uint64_t)msg->deadline_ns;
    kept = msg;
}

static void attach_keeping(void)
{
    static struct nqi_session_events events;

    given_refs = 0;
    nqtest_rig_attach(&rig);
    events = *rig.b.session.events;
    events.deliver = on_deliver_keep;
    rig.b.session.events = &events;
}

/* The head of a message's only record, and so many bytes of its body. */
static void begin_body(uint32_t total, uint32_t sent)
{
    nqtest_inject_record(&rig.a, NQI_DATA, WHOLE, 0, total, 0, zeros, sent);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
}

START_TEST(a_body_by_reference_is_part_of_its_message)
{
    attach_keeping();
    begin_body(15000, 0);
    ck_assert_int_eq(give(10000), NQ_OK);
    ck_assert_int_eq(given_refs, 1);
    ck_assert_int_eq(give(5000), NQ_OK);
    ck_assert_uint_eq(nqi_stream_count(&kept->stream), 2);
    ck_assert_ptr_eq(nqi_stream_view(&kept->stream, 0)->data, zeros);
    ck_assert_int_eq(given_refs, 2);
    nqi_msg_unref(kept);
    ck_assert_int_eq(given_refs, 0);
}
END_TEST

START_TEST(what_is_no_whole_body_is_copied)
{
    attach_keeping();
    begin_body(15000, 100); /* its chunk is begun */
    ck_assert_int_eq(give(14900), NQ_OK);
    ck_assert_int_eq(given_refs, 0);
    ck_assert_uint_eq(kept->stream.nbytes, 15000);
    nqi_msg_unref(kept);
    begin_body(4000, 0); /* so little is copied as quickly */
    ck_assert_int_eq(give(4000), NQ_OK);
    ck_assert_int_eq(given_refs, 0);
    ck_assert_uint_eq(kept->stream.nbytes, 4000);
    nqi_msg_unref(kept);
}
END_TEST

START_TEST(a_body_by_reference_ends_with_its_link)
{
    attach_keeping();
    nqtest_inject_record(&rig.a, NQI_DATA, FIRST, 0, 15000, 20000, zeros, 0);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(give(10000), NQ_OK);
    ck_assert_int_eq(given_refs, 1);
    ck_assert_uint_eq(rig.b.reserved, 20000);
    nqtest_rig_lose(&rig, 0, 0);
    ck_assert_int_eq(given_refs, 0);
    ck_assert_uint_eq(rig.b.reserved, 0);
}
END_TEST

START_TEST(more_by_reference_than_the_record_has_is_read_as_bytes)
{
    attach_keeping();
    begin_body(15000, 0);
    ck_assert_int_lt(give(15008), 0); /* eight zeros are no head of a record now */
    ck_assert_int_eq(given_refs, 0);
    ck_assert_uint_eq(kept->stream.nbytes, 15000);
    nqi_msg_unref(kept);
}
END_TEST

START_TEST(without_memory_for_a_reference_the_bytes_are_copied)
{
    attach_keeping();
    begin_body(15000, 0);
    nqi_pool_fail_after(1);
    ck_assert_int_eq(give(15000), NQ_OK);
    nqi_pool_fail_after(0);
    ck_assert_int_eq(given_refs, 0);
    ck_assert_uint_eq(kept->stream.nbytes, 15000);
    nqi_msg_unref(kept);
}
END_TEST

/* ---- breaches ---- */

static nq_err breach_begin_inside(void)
{
    nq_err err = data(FIRST, 0, 10, 100);

    return err ? err : data(WHOLE, 0, 10, 0);
}

static nq_err breach_big_inside(void)
{
    nq_err err = data(FIRST, 0, 10, 100);

    return err ? err : data(FIRST, 0, 10, 90);
}

static nq_err breach_no_begin(void)
{
    return data(0, 0, 10, 0);
}

static nq_err breach_end_alone(void)
{
    return data(NQI_DATA_END, 0, 0, 0);
}

static nq_err breach_end_too_early(void)
{
    nq_err err = data(FIRST, 0, 10, 100);

    return err ? err : data(NQI_DATA_END, 0, 89, 0);
}

static nq_err breach_too_long(void)
{
    nq_err err = data(FIRST, 0, 10, 100);

    return err ? err : data(0, 0, 91, 0);
}

static nq_err breach_credit_bytes(void)
{
    return data(WHOLE, 0, 20001, 0);
}

static nq_err breach_credit_bytes_small(void)
{
    nq_err err = data(WHOLE, 0, 19500, 0);

    return err ? err : data(WHOLE, 0, 501, 0);
}

static nq_err breach_credit_bytes_in_parts(void)
{
    nq_err err = NQ_OK;

    rig.b.refuse = true; /* or the parts of one message would earn new credit */
    err = data(FIRST, 0, 15000, 40000);
    return err ? err : data(0, 0, 5001, 0);
}

static nq_err breach_credit_messages(void)
{
    nq_err err = NQ_OK;

    for (unsigned i = 0; i < 3 && !err; i++)
        err = data(WHOLE, 0, 1, 0);
    ck_assert_int_eq(err, NQ_OK);
    return data(WHOLE, 0, 1, 0);
}

static nq_err breach_credit_messages_large(void)
{
    nq_err err = NQ_OK;

    for (unsigned i = 0; i < 3 && !err; i++)
        err = data(WHOLE, 0, 0, 0);
    ck_assert_int_eq(err, NQ_OK);
    return data(FIRST, 0, 0, 1);
}

static nq_err breach_meta(void)
{
    return data(WHOLE, 5, 0, 0); /* a tag 0 with a length of 0, and 2 bytes */
}

static nq_err breach_meta_size(void)
{
    return data(WHOLE, 65535, 0, 0);
}

static nq_err breach_ack_future(void)
{
    return control(NQI_ACK, (uint64_t[]){1, 10, 1000}, 3);
}

static nq_err breach_ack_not_handed(void)
{
    struct nqt_buf *bufs[8];
    uint32_t n;

    nqtest_rig_put(&rig.b, 100);
    n = nqi_session_pull(&rig.b.session, true, bufs, 8);
    ck_assert_uint_eq(n, 1);
    bufs[0]->ops->unref(bufs[0]);
    nqi_session_taken(&rig.b.session, 0);
    return control(NQI_ACK, (uint64_t[]){1, 10, 1000}, 3);
}

static nq_err breach_hello(void)
{
    struct nqi_hello hello = {.version_min = 1, .version_max = 1, .id = rig.a.conf.id};
    uint8_t raw[NQI_HEAD + NQI_HELLO_SIZE];

    nqi_hello_write(raw, NQI_HELLO, &hello);
    nqtest_inject(&rig.a, raw, sizeof(raw));
    return nqtest_feed(&rig.a, SIZE_MAX);
}

static nq_err breach_challenge(void)
{
    struct nqi_hello hello = {.version_min = 1, .version_max = 1, .id = rig.a.conf.id};
    uint8_t raw[NQI_HEAD + NQI_HELLO_SIZE];

    nqi_hello_write(raw, NQI_CHALLENGE, &hello);
    nqtest_inject(&rig.a, raw, sizeof(raw));
    return nqtest_feed(&rig.a, SIZE_MAX);
}

static nq_err breach_auth(void)
{
    nqtest_inject_record(&rig.a, NQI_AUTH, 0, NQI_AUTH_OPEN, NQI_AUTH_SIZE, 0, zeros,
                         NQI_AUTH_SIZE);
    return nqtest_feed(&rig.a, SIZE_MAX);
}

static nq_err breach_welcome(void)
{
    nqtest_inject_record(&rig.a, NQI_WELCOME, 0, 0, NQI_WELCOME_SIZE, 0, zeros, NQI_WELCOME_SIZE);
    return nqtest_feed(&rig.a, SIZE_MAX);
}

static nq_err breach_goaway(void)
{
    return control(NQI_GOAWAY, NULL, 0); /* a server's to say */
}

static nq_err breach_bye_ack(void)
{
    return control(NQI_BYE_ACK, NULL, 0);
}

static nq_err breach_bye_number(void)
{
    return control(NQI_BYE, (uint64_t[]){1}, 1);
}

static nq_err breach_bye_inside(void)
{
    nq_err err = data(FIRST, 0, 10, 100);

    return err ? err : control(NQI_BYE, (uint64_t[]){1}, 1);
}

static nq_err breach_data_after_bye(void)
{
    nq_err err = control(NQI_BYE, (uint64_t[]){0}, 1);

    return err ? err : data(WHOLE, 0, 1, 0);
}

static nq_err breach_second_bye(void)
{
    nq_err err = control(NQI_BYE, (uint64_t[]){0}, 1);

    return err ? err : control(NQI_BYE, (uint64_t[]){0}, 1);
}

static nq_err breach_unknown_type(void)
{
    return control(NQI_RECORD_TYPES, NULL, 0);
}

static nq_err breach_ping_short(void)
{
    return control(NQI_PING, NULL, 0);
}

static nq_err (*const breaches[])(void) = {
    breach_begin_inside,
    breach_big_inside,
    breach_no_begin,
    breach_end_alone,
    breach_end_too_early,
    breach_too_long,
    breach_credit_bytes,
    breach_credit_bytes_small,
    breach_credit_bytes_in_parts,
    breach_credit_messages,
    breach_credit_messages_large,
    breach_meta,
    breach_meta_size,
    breach_ack_future,
    breach_ack_not_handed,
    breach_hello,
    breach_challenge,
    breach_auth,
    breach_welcome,
    breach_goaway,
    breach_bye_ack,
    breach_bye_number,
    breach_bye_inside,
    breach_data_after_bye,
    breach_second_bye,
    breach_unknown_type,
    breach_ping_short,
};

START_TEST(a_breach_ends_the_link)
{
    rig.split = (enum nqtest_split)(_i % NQTEST_SPLITS);
    attach();
    ck_assert_int_eq(breaches[_i / NQTEST_SPLITS](), NQ_ERR_PROTO);
    ck_assert_str_ne(nq_error(), "");
}
END_TEST

START_TEST(a_session_that_the_other_side_ended_says_why)
{
    attach();
    if (_i) /* first it said good-bye, and then it would not wait for the answer */
        nqtest_inject_record(&rig.a, NQI_BYE, 0, 0, 8, 0, zeros, 8);
    nqtest_inject_record(&rig.a, NQI_REJECT, 0, NQ_REASON_DISCONNECTED, 3, 0, "off", 3);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_ERR_CLOSED);
    ck_assert_int_eq(rig.b.session.bye_reason, NQ_REASON_DISCONNECTED);
    ck_assert_ptr_nonnull(strstr(nq_error(), "off"));
}
END_TEST

START_TEST(a_message_beyond_the_limit_is_told_apart)
{
    attach();
    ck_assert_int_eq(data(_i ? FIRST : WHOLE, 0, 100, 50001), _i ? NQ_ERR_TOO_BIG : NQ_OK);
    if (!_i) {
        rig.b.conf.max_message = 99;
        ck_assert_int_eq(data(WHOLE, 0, 100, 0), NQ_ERR_TOO_BIG);
    }
    ck_assert_uint_eq(arrived, _i ? 0 : 1);
}
END_TEST

START_TEST(nothing_is_set_aside_from_a_length_alone)
{
    rig.b.conf.max_message = UINT64_MAX;
    if (_i)
        rig.b.conf.window_bytes = (uint64_t)64 << 20;
    attach();
    ck_assert_int_eq(data(FIRST, 0, 0, NQI_LENGTH_MAX), NQ_OK);
    ck_assert_uint_eq(rig.b.session.rx.room, 0); /* nothing of it has come */
    ck_assert_int_eq(data(0, 0, 1, 0), NQ_OK);
    ck_assert_uint_le(rig.b.session.rx.room, _i ? 4 << 20 : rig.b.conf.window_bytes);
    ck_assert_uint_eq(rig.b.reserved, NQI_LENGTH_MAX);
}
END_TEST

/* ---- every flag, every byte, every end ---- */

/* HELLO is sent, and CHALLENGE has come. */
static void be_challenged(void)
{
    ck_assert_uint_eq(nqtest_pull(&rig.a, true), 1);
    ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
    ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
}

START_TEST(every_flag_and_type_in_every_state)
{
    static const uint64_t numbers[3] = {0, 5, 5};

    for (unsigned state = 0; state <= NQI_SESSION_CLOSED; state++)
        for (unsigned type = 0; type <= NQI_RECORD_TYPES; type++)
            for (unsigned flags = 0; flags < 256; flags += type == NQI_DATA ? 1 : 85) {
                nq_err err;

                nqtest_rig_end(&rig);
                setup();
                if (state >= NQI_SESSION_UP)
                    attach();
                else if (state != NQI_SESSION_DOWN)
                    nqtest_rig_connect(&rig);
                if (state == NQI_SESSION_AUTH)
                    be_challenged();
                if (state == NQI_SESSION_CLOSING) {
                    nqi_session_close(&rig.b.session, rig.now);
                    nqtest_pass(&rig, NQI_NS_PER_S); /* no longer for the client to finish */
                    while (nqtest_pull(&rig.b, true))
                        continue;
                } else if (state == NQI_SESSION_CLOSED) {
                    ck_assert_int_eq(control(NQI_BYE, (uint64_t[]){0}, 1), NQ_OK);
                }
                if (state == NQI_SESSION_HELLO || state == NQI_SESSION_AUTH) {
                    ck_assert_int_eq(rig.a.session.state, (int)state);
                    nqtest_inject_record(&rig.b, (uint8_t)type, (uint8_t)flags, 0, 24, 24, numbers,
                                         24);
                    err = nqtest_feed(&rig.b, SIZE_MAX);
                } else {
                    uint8_t raw[NQI_HEAD_BIG + 24] = {0};

                    nqi_head_write(raw, (uint8_t)type, (uint8_t)flags, 0, 24, 24);
                    err = nqi_session_receive(&rig.b.session, raw, sizeof(raw), rig.now);
                }
                ck_assert(err == NQ_OK || err == NQ_ERR_PROTO || err == NQ_ERR_CLOSED);
                if (state == NQI_SESSION_DOWN)
                    ck_assert_int_eq(err, NQ_ERR_PROTO);
            }
}
END_TEST

/* A conversation in one direction, as bytes. */
static size_t record(uint8_t **bytes)
{
    static const size_t sizes[] = {0, 1, 100, 1024, 1025, 5000, 3, 9000};
    size_t len;

    rig.b.conf.window_bytes = 64 << 20;
    rig.b.conf.window_messages = 100;
    rig.a.conf.record = 2048;
    attach();
    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        struct nqtest_rig_put *put = nqtest_make(&rig.a, sizes[i], 1);

        if (i % 2)
            ck_assert_int_eq(nq_msg_set_meta(put->tx.msg, "key", "value", 5), NQ_OK);
        nqtest_queue(&rig.a, put);
    }
    nqi_session_close(&rig.a.session, rig.now);
    while (nqtest_pull(&rig.a, true))
        continue;
    len = rig.a.wire_len;
    *bytes = malloc(len);
    ck_assert_ptr_nonnull(*bytes);
    memcpy(*bytes, rig.a.wire, len);
    rig.a.wire_len = 0;
    return len;
}

/* The server's side begins anew. */
static void again(void)
{
    nqtest_rig_lose(&rig, 0, 0);
    nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
    nqi_session_init(&rig.a.session, &rig.a.conf, rig.a.session.events, &rig.a);
    attach();
}

START_TEST(every_truncation_is_harmless)
{
    uint8_t *bytes;
    size_t len = record(&bytes);

    for (size_t n = 0; n <= len; n += n < 3000 || n > len - 100 ? 1 : 41) {
        again();
        nqtest_inject(&rig.a, bytes, n);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        ck_assert_uint_eq(arrived == 8, n >= len - NQI_HEAD - 8);
    }
    free(bytes);
}
END_TEST

START_TEST(every_flipped_bit_is_harmless)
{
    uint8_t *bytes;
    size_t len = record(&bytes);

    rig.split = NQTEST_MIXED;
    for (size_t bit = 0; bit < 8 * len; bit += bit < 8 * 200 ? 1 : 37) {
        nq_err err;

        again();
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        nqtest_inject(&rig.a, bytes, len);
        err = nqtest_feed(&rig.a, SIZE_MAX);
        ck_assert(err == NQ_OK || err == NQ_ERR_PROTO || err == NQ_ERR_TOO_BIG ||
                  err == NQ_ERR_CLOSED);
        ck_assert_uint_le(arrived, 8);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(bytes);
}
END_TEST

START_TEST(no_memory_ends_the_link_and_harms_nothing)
{
    uint8_t *bytes;
    size_t len = record(&bytes);

    for (unsigned n = 1;; n++) {
        nq_err err;

        again();
        nqtest_inject(&rig.a, bytes, len);
        nqi_pool_fail_after(n);
        err = nqtest_feed(&rig.a, SIZE_MAX);
        nqi_pool_fail_after(0);
        if (!err)
            break;
        ck_assert_int_eq(err, NQ_ERR_NOMEM);
        ck_assert_uint_lt(n, 100);
    }
    ck_assert_uint_eq(arrived, 8);
    free(bytes);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_rx");
    TCase *tcase = tcase_create("rx");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, foreign_data_is_taken_as_it_comes, 0, NQTEST_SPLITS);
    tcase_add_loop_test(tcase, an_unfinished_message_is_given_up_with_the_link, 0, NQTEST_SPLITS);
    tcase_add_test(tcase, a_body_by_reference_is_part_of_its_message);
    tcase_add_test(tcase, what_is_no_whole_body_is_copied);
    tcase_add_test(tcase, a_body_by_reference_ends_with_its_link);
    tcase_add_test(tcase, more_by_reference_than_the_record_has_is_read_as_bytes);
    tcase_add_test(tcase, without_memory_for_a_reference_the_bytes_are_copied);
    tcase_add_loop_test(tcase, a_breach_ends_the_link, 0, NQI_LEN(breaches) * NQTEST_SPLITS);
    tcase_add_loop_test(tcase, a_session_that_the_other_side_ended_says_why, 0, 2);
    tcase_add_loop_test(tcase, a_message_beyond_the_limit_is_told_apart, 0, 2);
    tcase_add_loop_test(tcase, nothing_is_set_aside_from_a_length_alone, 0, 2);
    tcase_add_test(tcase, every_flag_and_type_in_every_state);
    tcase_add_test(tcase, every_truncation_is_harmless);
    tcase_add_test(tcase, every_flipped_bit_is_harmless);
    tcase_add_test(tcase, no_memory_ends_the_link_and_harms_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}
