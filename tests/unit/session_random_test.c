/* Thousands of short conversations at random: whatever happens to the link, to memory and to the
 * clock, each put ends once, with the right word.
 *
 * A failure names its seed; NQ_TEST_SEED=n runs that one alone, NQ_TEST_RUNS=n as many. */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct nqtest_rig rig;
static const uint8_t psk[NQI_KEY] = {1, 2, 3};

static uint64_t below(uint64_t n)
{
    return nqtest_random(&rig, n);
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

static struct nqtest_side *any_side(void)
{
    return one_in(2) ? &rig.a : &rig.b;
}

/* Small numbers are likely, large ones happen. */
static uint64_t any_size(uint64_t most)
{
    return below(1 + (most >> below(12)));
}

static void choose_conf(struct nqtest_side *side)
{
    static const uint32_t coalesce[] = {0, 100, 2048, 65536};

    side->conf.window_bytes = one_in(2) ? 1 + any_size(100000) : (uint64_t)64 << 20;
    side->conf.window_messages = one_in(2) ? 1 + any_size(100) : 65536;
    side->conf.record = (uint32_t)(1 + any_size(one_in(2) ? 65536 : 1000));
    side->conf.coalesce = coalesce[below(4)];
    side->conf.keepalive_ns = one_in(4) ? 0 : 15 * NQI_NS_PER_S;
    side->conf.expiry_ns = one_in(4) ? 0 : 300 * NQI_NS_PER_S;
    side->conf.ack_consumed = one_in(4);
    side->take = one_in(2);
    side->slow = one_in(4);
    side->refuses = one_in(8);
    side->pull_cap = (uint32_t)(1 + below(64));
}

/* ---- what may happen ---- */

/* More kinds than a session has slots for. */
static void give_schema(nq_msg *msg)
{
    nq_chunk *schema;

    ck_assert_int_eq(nq_chunk_new(200, &schema), NQ_OK);
    memset(nq_chunk_data(schema), (int)below(NQI_SCHEMA_SLOTS * 2), nq_chunk_size(schema));
    ck_assert_int_eq(nqi_msg_set_schema(msg, schema), NQ_OK);
}

static void do_put(void)
{
    struct nqtest_side *side = any_side();
    size_t size = 8 + any_size(one_in(10) ? 100000 : 4000);
    size_t views = 1 + below(one_in(5) ? 200 : 3);
    struct nqtest_rig_put *put = nqtest_make(side, size, NQI_MIN(size, views));
    char meta[500] = {0};

    nq_msg_set_control(put->tx.msg, one_in(8));
    put->tx.awaited = one_in(3);
    put->cancelled = one_in(10);
    if (one_in(4))
        ck_assert_int_eq(nq_msg_set_meta(put->tx.msg, "key", meta, below(sizeof(meta))), NQ_OK);
    if (one_in(4))
        give_schema(put->tx.msg);
    if (one_in(10))
        put->tx.msg->deadline_ns = rig.now + (int64_t)below(30 * NQI_NS_PER_MS);
    if (!put->tx.msg->deadline_ns && !put->cancelled && one_in(3) && nqtest_put_straight(side, put))
        return;
    if (put->tx.msg->deadline_ns || one_in(2) || put->cancelled ||
        !nqtest_put_now(side, put, one_in(2)))
        nqtest_queue(side, put);
    else if (one_in(2))
        (void)nqtest_send_stage(side);
}

static void do_connect(void)
{
    if (rig.a.session.state == NQI_SESSION_DOWN && rig.b.session.state == NQI_SESSION_DOWN)
        nqtest_rig_connect(&rig);
}

static void do_lose(void)
{
    if (rig.a.session.state != NQI_SESSION_DOWN)
        nqtest_rig_lose(&rig, any_size(rig.a.wire_len + 1), any_size(rig.b.wire_len + 1));
}

static bool is_harmless(const struct nqtest_side *side)
{
    return side->err == NQ_OK || side->err == NQ_ERR_NOMEM || side->err == NQ_ERR_LINK ||
           (side->err == NQ_ERR_CLOSED && side->session.bye_reason == NQ_REASON_NO_MEMORY);
}

/* A session that ended its link is told so. */
static void look_for_end(void)
{
    if (rig.a.err || rig.b.err) {
        ck_assert_msg(is_harmless(&rig.a) && is_harmless(&rig.b), "%d %d: %s", rig.a.err, rig.b.err,
                      nq_error());
        do_lose();
        rig.a.err = rig.b.err = NQ_OK;
    }
}

static void do_step(bool memory_fails)
{
    nq_err err = NQ_OK;

    if (memory_fails && one_in(20))
        nqi_pool_fail_after((unsigned)(1 + below(10)));
    switch (below(40)) {
    case 0 ... 11:
        nqi_pool_fail_after(0); /* messages are the test's */
        do_put();
        break;
    case 12 ... 19:
        nqtest_pull(any_side(), one_in(2));
        break;
    case 20 ... 27:
        err = nqtest_feed(any_side(), any_size(100000));
        break;
    case 28 ... 29:
        nqtest_take(any_side(), any_size(100));
        break;
    case 30 ... 31:
        nqtest_pass(&rig, (int64_t)below(one_in(4) ? 20 * NQI_NS_PER_S : 15 * NQI_NS_PER_MS));
        break;
    case 32 ... 35:
        do_connect();
        break;
    case 36 ... 37:
        nqtest_flow_any(&rig);
        break;
    case 38:
        if (one_in(4))
            do_lose();
        break;
    default:
        any_side()->refuse = one_in(2);
        if (one_in(40))
            nqi_session_close(&any_side()->session, rig.now);
        break;
    }
    (void)err; /* the rig keeps it */
    look_for_end();
}

/* All that is left arrives. */
static void do_finish(void)
{
    nqi_pool_fail_after(0);
    rig.a.refuse = rig.b.refuse = false;
    rig.a.take = rig.b.take = true;
    nqtest_take(&rig.a, UINT64_MAX);
    nqtest_take(&rig.b, UINT64_MAX);
    if (rig.a.session.closing || rig.b.session.closing)
        return;
    if (rig.a.session.state != NQI_SESSION_DOWN && one_in(2))
        nqtest_rig_lose(&rig, 0, 0);
    if (rig.a.session.state == NQI_SESSION_DOWN)
        nqtest_rig_connect(&rig);
    nqtest_finish(&rig);
    for (size_t i = 0; i < rig.a.nputs; i++)
        ck_assert(!rig.a.puts[i]->tracked || rig.a.puts[i]->settled);
}

static void converse(uint64_t seed)
{
    bool memory_fails;

    nqtest_rig_init(&rig);
    rig.random ^= seed * UINT64_C(0x2545f4914f6cdd1d);
    for (unsigned i = 0; i < 10; i++)
        below(1);
    choose_conf(&rig.a);
    choose_conf(&rig.b);
    rig.split = (enum nqtest_split)below(NQTEST_SPLITS);
    rig.resume = one_in(2);
    if (one_in(3)) {
        rig.a_psk = rig.psk = psk;
        rig.a_features = rig.b_features = one_in(4) ? NQI_FEATURE_SAFE : 0;
    }
    memory_fails = one_in(3);
    for (uint64_t steps = 10 + any_size(400); steps; steps--)
        do_step(memory_fails);
    do_finish();
    nqtest_rig_end(&rig);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(conversations_at_random)
{
    uint64_t one = number("NQ_TEST_SEED", 0), runs = number("NQ_TEST_RUNS", 170);
    uint64_t first = one ? one : (uint64_t)_i * runs + 1;

    for (uint64_t seed = first; seed < first + (one ? 1 : runs); seed++) {
        fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
        converse(seed);
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_random");
    TCase *tcase = tcase_create("random");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, conversations_at_random, 0, 12);
    suite_add_tcase(suite, tcase);
    return suite;
}
