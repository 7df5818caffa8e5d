/* core/lossy.c: between a link and a transport that loses messages.  What the packets do is
 * arq_test's; here: the transport's "no", the clock, and the end. */
#include "core/lossy.h"

#include "core/buf.h"
#include "tests/support/transport_rig.h"
#include <check.h>
#include <string.h>

static struct nqtest_transport *t = &nqtest_transport;
static struct nqi_lossy *lossy;
static unsigned writables, drains;
static char got[64];

static nq_err on_receive(void *arg, const uint8_t *data, size_t len)
{
    (void)arg;
    strncat(got, (const char *)data, len);
    return NQ_OK;
}

static void on_writable(void *arg)
{
    (void)arg;
    writables++;
}

static void on_drained(void *arg)
{
    (void)arg;
    drains++;
}

static const struct nqi_lossy_events events = {
    .receive = on_receive, .writable = on_writable, .drained = on_drained};

static void setup(void)
{
    nqtest_transport_setup_link();
    writables = drains = 0;
    got[0] = '\0';
    nqtest_fake.caps = NQT_CAP_MESSAGE | NQT_CAP_GATHER | NQT_CAP_LOSSY;
    nqtest_fake.take = UINT32_MAX;
    nqtest_transport_enter();
    ck_assert_int_eq(nqi_lossy_new(t->tlink, &events, NULL, &lossy), NQ_OK);
}

static void teardown(void)
{
    nqi_lossy_part(lossy);
    nqi_lossy_free(lossy);
    nqtest_transport_leave();
    nqtest_transport_teardown_link();
}

static uint32_t put(const char *text)
{
    struct nqi_txbuf *txbuf = nqi_txbuf_new(1, 0);
    struct nqt_buf *buf = &txbuf->buf;
    uint32_t taken;

    nqi_txbuf_add(txbuf, text, strlen(text));
    nqi_lossy_send(lossy, &buf, 1, &taken);
    return taken;
}

/* A packet of the other end's. */
static void arrive(uint64_t number, uint64_t ack, const char *text)
{
    uint8_t raw[64] = {0};
    struct iovec seg = {raw, NQI_ARQ_HEAD + strlen(text)};
    struct nqt_buf buf = {.size = sizeof(buf), .nseg = 1, .len = seg.iov_len, .seg = &seg};

    nqi_store_u64(raw, number);
    nqi_store_u64(raw + 8, ack);
    memcpy(raw + NQI_ARQ_HEAD, text, strlen(text));
    ck_assert_int_eq(nqi_lossy_message(lossy, &buf), NQ_OK);
}

START_TEST(what_the_transport_does_not_take_goes_when_it_does)
{
    nqtest_fake.take = 0;
    ck_assert_uint_eq(put("one"), 1); /* it waits here */
    ck_assert_uint_eq(put("two"), 1);
    ck_assert_uint_eq(nqtest_fake.sends, 1);
    nqtest_fake.take = UINT32_MAX;
    nqi_lossy_writable(lossy);
    ck_assert_uint_eq(nqtest_fake.sends, 3);
    ck_assert_uint_eq(nqi_load_u64(t->plink->sent), 1);
    ck_assert_int_eq(memcmp(t->plink->sent + NQI_ARQ_HEAD, "one", 3), 0);
    ck_assert_uint_eq(nqi_load_u64(t->plink->sent + NQI_ARQ_HEAD + 3), 2);
}
END_TEST

START_TEST(a_full_window_asks_for_patience_and_says_when_it_is_over)
{
    unsigned count = 0;

    while (put("data"))
        count++;
    ck_assert_uint_eq(count, NQI_ARQ_NARROW + 1);
    arrive(0, 1, "");
    ck_assert_uint_eq(writables, 1);
    ck_assert_uint_eq(put("data"), 1);
    ck_assert_uint_eq(put("data"), 0);
}
END_TEST

START_TEST(who_is_trusted_gets_a_wide_window)
{
    nqi_lossy_trust(lossy);
    for (unsigned i = 0; i < NQI_ARQ_WINDOW; i++)
        ck_assert_uint_eq(put("data"), 1);
}
END_TEST

START_TEST(it_is_drained_when_the_other_end_has_everything)
{
    ck_assert_uint_eq(put("one"), 1);
    nqi_lossy_drain(lossy);
    ck_assert_uint_eq(drains, 0);
    arrive(0, 1, "");
    ck_assert_uint_eq(drains, 1);
    arrive(0, 1, "");
    ck_assert_uint_eq(drains, 1);
}
END_TEST

START_TEST(nothing_to_drain_is_drained_at_once)
{
    nqi_lossy_drain(lossy);
    ck_assert_uint_eq(drains, 1);
}
END_TEST

START_TEST(who_parts_acknowledges_what_came)
{
    arrive(1, 0, "hello");
    ck_assert_str_eq(got, "hello");
    ck_assert_uint_eq(nqtest_fake.sends, 0); /* it would wait a little */
    nqi_lossy_part(lossy);
    ck_assert_uint_eq(nqtest_fake.sends, 1);
    ck_assert_uint_eq(nqi_load_u64(t->plink->sent), 0);
    ck_assert_uint_eq(nqi_load_u64(t->plink->sent + 8), 1);
}
END_TEST

START_TEST(messages_that_are_too_short_refuse_it)
{
    struct nqi_lossy *other = NULL;

    nqtest_fake.max_message = 40;
    ck_assert_int_eq(nqi_lossy_new(t->tlink, &events, NULL, &other), NQ_ERR_LINK);
    ck_assert_ptr_nonnull(strstr(nq_error(), "40 bytes are too short"));
    ck_assert_ptr_null(other);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("lossy");
    TCase *tc = tcase_create("lossy");

    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_the_transport_does_not_take_goes_when_it_does);
    tcase_add_test(tc, a_full_window_asks_for_patience_and_says_when_it_is_over);
    tcase_add_test(tc, who_is_trusted_gets_a_wide_window);
    tcase_add_test(tc, it_is_drained_when_the_other_end_has_everything);
    tcase_add_test(tc, nothing_to_drain_is_drained_at_once);
    tcase_add_test(tc, who_parts_acknowledges_what_came);
    tcase_add_test(tc, messages_that_are_too_short_refuse_it);
    return suite;
}
