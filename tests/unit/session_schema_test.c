/* core/session_tx.c, core/session_lost.c, core/session_rx.c: a schema is told once a session,
 * before it is used, whatever becomes of the records.  The rig holds each schema that arrives
 * against the one that was put. */
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"

#define LEN 1000u

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
    rig.a.conf.record = 4096;
}

static void setup_resend(void)
{
    setup();
    rig.a.conf.resend = rig.b.conf.resend = true;
}

static void teardown(void)
{
    nqtest_rig_end(&rig);
}

/* A message of `size` bytes with schema `number`, queued. */
static struct nqtest_rig_put *put(struct nqtest_side *side, size_t size, unsigned number)
{
    struct nqtest_rig_put *put = nqtest_make(side, size, 1);
    nq_chunk *schema;

    ck_assert_int_eq(nq_chunk_new(LEN, &schema), NQ_OK);
    memset(nq_chunk_data(schema), (int)number, LEN);
    ck_assert_int_eq(nqi_msg_set_schema(put->tx.msg, schema), NQ_OK);
    nqtest_queue(side, put);
    return put;
}

static void all_arrived(struct nqtest_side *side)
{
    nqtest_finish(&rig);
    for (size_t i = 0; i < side->nputs; i++)
        ck_assert_int_eq(side->puts[i]->outcome, NQ_DELIVERED);
}

START_TEST(a_schema_is_told_once)
{
    nqtest_rig_greet(&rig);
    put(&rig.a, 10, 1);
    nqtest_pull_all(&rig.a);
    ck_assert_uint_gt(rig.a.wire_len, LEN);
    for (int i = 0; i < 20; i++)
        put(&rig.a, 10, 1);
    put(&rig.a, 20000, 1);
    nqtest_pull_all(&rig.a);
    ck_assert_uint_gt(rig.a.wire_len, 20000 + LEN);
    ck_assert_uint_lt(rig.a.wire_len, 20000 + 2 * LEN);
    put(&rig.b, 10, 1); /* each direction has its own */
    nqtest_pull_all(&rig.b);
    ck_assert_uint_gt(rig.b.wire_len, LEN);
    all_arrived(&rig.a);
}
END_TEST

START_TEST(messages_with_and_without_schemas_keep_their_order)
{
    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 200; i++)
        if (i % 3)
            put(&rig.a, 8 + i, i % 20);
        else
            nqtest_rig_put(&rig.a, 8 + i);
    all_arrived(&rig.a);
}
END_TEST

/* The link is lost at every byte of three records, of which the first two tell. */
START_TEST(a_link_that_is_lost_anywhere_changes_nothing)
{
    for (size_t bytes = 0; bytes < 3 * LEN; bytes += 7) {
        setup();
        rig.resume = true;
        nqtest_rig_greet(&rig);
        put(&rig.a, 100, 1);
        put(&rig.a, 100, 2);
        put(&rig.a, 100, 1);
        nqtest_pull_all(&rig.a);
        nqtest_rig_lose(&rig, bytes, 0);
        nqtest_rig_attach(&rig);
        put(&rig.a, 100, 2);
        all_arrived(&rig.a);
        nqtest_rig_end(&rig);
    }
    setup(); /* for teardown */
}
END_TEST

/* The record that told the schema reached a link, and the session ended: those that only name it
 * go on in the next one, and so does what is queued. */
START_TEST(a_new_session_is_told_again)
{
    nqtest_rig_greet(&rig);
    put(&rig.a, 100, 1);
    nqtest_pull_all(&rig.a);
    put(&rig.a, 100, 1);
    put(&rig.a, 9000, 1);
    put(&rig.a, 100, 2);
    if (_i)
        nqtest_pull_nothing(&rig.a); /* records are made, and none is taken */
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    put(&rig.a, 100, 1);
    nqtest_finish(&rig);
    ck_assert_uint_eq(rig.a.sessions, 1);
    for (size_t i = 1; i < rig.a.nputs; i++)
        ck_assert_int_eq(rig.a.puts[i]->outcome, NQ_DELIVERED);
}
END_TEST

/* The table goes with the session, whatever was left to tell. */
START_TEST(a_session_that_ends_with_records_left_keeps_no_schema)
{
    struct nqtest_rig_put *left;

    nqtest_rig_greet(&rig);
    left = put(&rig.a, 100, 1);
    nqtest_pull_nothing(&rig.a);
    nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
    ck_assert_uint_eq(atomic_load(&nqi_msg_schema(left->tx.msg)->refs), 1);
}
END_TEST

START_TEST(what_is_sent_again_tells_again)
{
    nqtest_rig_greet(&rig);
    put(&rig.a, 100, 1);
    put(&rig.a, 100, 1);
    nqtest_pull_all(&rig.a);
    put(&rig.a, 100, 1);
    nqtest_pull_nothing(&rig.a);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_rig_attach(&rig);
    all_arrived(&rig.a);
}
END_TEST

START_TEST(a_slot_that_was_never_told_ends_the_link)
{
    static const uint8_t body[] = {NQI_META_SCHEMA, 0, 1, 3, 'x'};

    nqtest_rig_greet(&rig);
    nqtest_inject_record(&rig.a, NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 4, 5, 0, body, 5);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.b.err, NQ_ERR_PROTO);
}
END_TEST

START_TEST(a_schema_stands_in_front_of_other_metadata)
{
    static const uint8_t body[] = {2, 0, 3, 1, 'k', 'v', NQI_META_SCHEMA, 0, 2, 0, 's', 'x'};

    nqtest_rig_greet(&rig);
    nqtest_inject_record(&rig.a, NQI_DATA, NQI_DATA_BEGIN | NQI_DATA_END, 11, 12, 0, body, 12);
    nqtest_flow_any(&rig);
    ck_assert_int_eq(rig.b.err, NQ_ERR_PROTO);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_schema");
    TCase *tc = nqtest_case(suite, "schemas", setup, teardown);

    tcase_add_test(tc, a_schema_is_told_once);
    tcase_add_test(tc, messages_with_and_without_schemas_keep_their_order);
    tcase_add_test(tc, a_link_that_is_lost_anywhere_changes_nothing);
    tcase_add_loop_test(tc, a_new_session_is_told_again, 0, 2);
    tcase_add_test(tc, a_session_that_ends_with_records_left_keeps_no_schema);
    tcase_add_test(tc, a_slot_that_was_never_told_ends_the_link);
    tcase_add_test(tc, a_schema_stands_in_front_of_other_metadata);

    tc = nqtest_case(suite, "resend", setup_resend, teardown);
    tcase_add_test(tc, what_is_sent_again_tells_again);
    return suite;
}
