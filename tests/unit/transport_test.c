/* core/transport.c and core/transport_link.c: slots are called as their contract says, events come
 * up after the slot and in order, and a module that breaks the contract harms its link alone. */
#include "core/pool.h"
#include "tests/support/suite.h"
#include "tests/support/transport_rig.h"
#include <check.h>
#include <pthread.h>
#include <string.h>

static struct nqtest_transport *const t = &nqtest_transport;

/* ---- modules ---- */

static const struct {
    int rc;
    nq_err err;
} codes[] = {
    {NQT_E_NOMEM, NQ_ERR_NOMEM},
    {NQT_E_CONFIG, NQ_ERR_CONFIG},
    {NQT_E_SYS, NQ_ERR_SYS},
    {NQT_E_REFUSED, NQ_ERR_LINK},
    {NQT_E_UNREACHABLE, NQ_ERR_LINK},
    {NQT_E_LOST, NQ_ERR_LINK},
    {NQT_E_EOF, NQ_ERR_LINK},
    {NQT_E_PROTOCOL, NQ_ERR_PROTO},
    {NQT_E_AUTH, NQ_ERR_LINK},
    {NQT_E_UNSUPPORTED, NQ_ERR_UNSUPPORTED},
    {NQT_E_CLOSED, NQ_ERR_CLOSED},
    {NQT_E_INVAL, NQ_ERR_PLUGIN},
    {-13, NQ_ERR_PLUGIN},
    {INT32_MIN + 1, NQ_ERR_PLUGIN},
};

START_TEST(a_module_that_does_not_open_says_why)
{
    nqtest_fake.mod_rc = codes[_i].rc;
    nqtest_fake.text = _i % 2 ? "the sea is rough" : NULL;
    ck_assert_int_eq(nqi_transport_open(nqtest_fake_module(false), NULL, &t->core), codes[_i].err);
    ck_assert_ptr_nonnull(strstr(nq_error(), "transport fake: "));
    ck_assert(!(_i % 2) || strstr(nq_error(), "the sea is rough"));
    ck_assert_ptr_null(t->core);
    nqtest_fake.mod_opens = 0; /* and it is not closed */
}
END_TEST

START_TEST(options_are_checked_before_any_endpoint_opens)
{
    nqtest_fake.check_rc = NQT_E_CONFIG;
    nqtest_fake.text = "port: 0 is no port to connect to";
    ck_assert_int_eq(nqi_transport_open(nqtest_fake_module(false), NULL, &t->core), NQ_ERR_CONFIG);
    ck_assert_uint_eq(nqtest_fake.checks, 1);
    ck_assert_uint_eq(nqtest_fake.mod_closes, 1);
    ck_assert_ptr_nonnull(strstr(nq_error(), "transport fake: port: 0 is no port"));
    ck_assert_ptr_null(t->core);
}
END_TEST

START_TEST(a_module_need_not_check)
{
    nqtest_transport_open(true);
    ck_assert_uint_eq(nqtest_fake.checks, 0);
    ck_assert_str_eq(nqi_transport_name(t->core), "fake");
}
END_TEST

START_TEST(nothing_is_closed_when_nothing_is_open)
{
    nqi_transport_close(NULL);
}
END_TEST

/* ---- endpoints ---- */

static void emit_ep_up(void *arg)
{
    (void)arg;
    nqtest_fake.inside = NULL;
    ck_assert_int_eq(nqtest_fake_emit(NULL, NQT_EV_EP_UP, 0, "somewhere:1"), NQT_OK);
    ck_assert_uint_eq(t->on_ep.ups, 0);
}

START_TEST(an_event_of_the_slot_comes_after_the_slot)
{
    nqtest_transport_open(false);
    nqtest_fake.inside = emit_ep_up;
    nqtest_transport_open_endpoint();
    ck_assert_uint_eq(t->on_ep.ups, 1);
    ck_assert_str_eq(t->on_ep.text, "somewhere:1");
    ck_assert_ptr_eq(nqi_ep_core(t->ep), t->core);
    ck_assert(nqtest_fake.ep.listen);
    nqi_ep_close(t->ep);
    ck_assert_uint_eq(nqtest_fake.ep.closes, 0); /* from anywhere, so later */
    nqtest_transport_turn();
    ck_assert_uint_eq(nqtest_fake.ep.closes, 1);
    ck_assert_uint_eq(t->on_ep.closed, 1);
}
END_TEST

START_TEST(an_endpoint_that_does_not_open_leaves_nothing)
{
    nqtest_transport_open(false);
    nqtest_fake.ep_rc = NQT_E_SYS;
    nqtest_fake.text = "listen on x: in use";
    if (_i)
        nqtest_fake.inside = emit_ep_up;
    ck_assert_int_eq(
        nqi_ep_open(t->core, t->loop, true, &nqtest_transport_ep_events, &t->on_ep, &t->ep),
        NQ_ERR_SYS);
    ck_assert_ptr_nonnull(strstr(nq_error(), "in use"));
    ck_assert_ptr_null(t->ep);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_ep.closed, 0);
}
END_TEST

START_TEST(endpoints_tell_what_happens_to_them)
{
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_UP, 0, NULL);
    ck_assert_str_eq(t->on_ep.text, "");
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_DOWN, NQT_E_LOST, "the broker is gone");
    ck_assert_int_eq(t->on_ep.code, NQT_E_LOST);
    ck_assert_str_eq(t->on_ep.text, "the broker is gone");
    nqtest_fake_emit_inside(NULL, NQT_EV_EP_UP, 0, "again");
    ck_assert_uint_eq(t->on_ep.ups, 2);
    ck_assert_uint_eq(t->complaints, 0);
}
END_TEST

START_TEST(events_that_an_endpoint_cannot_have_are_told)
{
    static const uint32_t kinds[] = {0,         NQT_EV_LINK_UP,   NQT_EV_WRITABLE,
                                     NQT_EV_RX, NQT_EV_LINK_DOWN, NQT_EV_LINK_CLOSED,
                                     10,        UINT32_MAX};

    nqtest_fake_emit_inside(NULL, kinds[_i], 0, NULL);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->complaints, 1);
    ck_assert_ptr_nonnull(strstr(t->complaint, "fake"));
    ck_assert_uint_eq(t->on_ep.order, 0);
}
END_TEST

START_TEST(an_event_of_nobody_is_refused)
{
    struct nqt_event event = {.size = sizeof(event), .kind = NQT_EV_EP_UP};

    ck_assert_int_eq(nqtest_fake.host->emit(t->core, &event, 1), NQT_E_INVAL);
    event.ep = t->ep;
    event.size = 4;
    ck_assert_int_eq(nqtest_fake.host->emit(t->core, &event, 1), NQT_E_INVAL);
    ck_assert_uint_eq(t->complaints, 2);
}
END_TEST

START_TEST(many_events_in_one_call_keep_their_order)
{
    struct nqt_event events[3] = {
        {.size = sizeof(events[0]), .kind = NQT_EV_EP_UP, .ep = t->ep, .peer_name = "one"},
        {.size = sizeof(events[0]), .kind = NQT_EV_EP_UP, .ep = t->ep, .peer_name = "two"},
        {.size = sizeof(events[0]), .kind = NQT_EV_EP_UP, .ep = t->ep, .peer_name = "three"}};

    ck_assert_int_eq(nqtest_fake.host->emit(t->core, events, 3), NQT_OK);
    ck_assert_uint_eq(t->on_ep.ups, 0); /* not in the serial: later */
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_ep.ups, 3);
    ck_assert_str_eq(t->on_ep.text, "three");
}
END_TEST

START_TEST(an_event_without_memory_arrives_as_well)
{
    unsigned before = t->on_ep.ups;

    nqi_pool_fail_after(1);
    ck_assert_int_eq(nqtest_fake_emit(NULL, NQT_EV_EP_UP, 0, NULL), NQT_OK);
    nqi_pool_fail_after(0);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_ep.ups, before + 1);
}
END_TEST

/* ---- accepting ---- */

static nq_err adopt(struct nqtp_link *from)
{
    nq_err err;

    nqtest_transport_enter();
    err = nqi_tlink_accept(t->ep, from, t->strand, t->loop, &nqtest_transport_events, &t->on_link,
                           &t->tlink);
    nqtest_transport_leave();
    return err;
}

START_TEST(an_accepted_link_is_adopted_or_refused)
{
    struct nqtp_link *first = nqtest_fake_accept("peer:1"), *second = nqtest_fake_accept("peer:2");

    ck_assert_uint_eq(t->on_ep.accepted, 2);
    ck_assert_ptr_eq(t->on_ep.plink, second);
    ck_assert_str_eq(t->on_ep.text, "peer:2");
    nqi_tlink_refuse(t->ep, second);
    ck_assert_uint_eq(second->closes, 1);

    t->strand = nqi_strand_new();
    ck_assert_int_eq(adopt(first), NQ_OK);
    t->plink = first;
    nqtest_fake.caps = NQT_CAP_MESSAGE;
    nqtest_fake.max_message = 77;
    ck_assert_uint_eq(nqi_tlink_caps(t->tlink), 0);
    nqtest_transport_up();
    ck_assert_str_eq(nqi_tlink_peer(t->tlink), "fake:peer");
    ck_assert_uint_eq(nqi_tlink_caps(t->tlink), NQT_CAP_MESSAGE);
    ck_assert_uint_eq(nqi_tlink_max_message(t->tlink), 77);
    nqtest_transport_close();
    ck_assert_uint_eq(t->on_link.closed, 1);
    nqi_strand_unref(t->strand);
}
END_TEST

START_TEST(a_link_that_cannot_be_adopted_leaves_nothing)
{
    struct nqtp_link *link = nqtest_fake_accept("peer:1");

    nqtest_fake.attach_rc = NQT_E_LOST;
    t->strand = nqi_strand_new();
    ck_assert_int_eq(adopt(link), NQ_ERR_LINK);
    nqi_tlink_refuse(t->ep, link);
    ck_assert_uint_eq(link->closes, 1);
    nqi_strand_unref(t->strand);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.order, 0);
}
END_TEST

START_TEST(a_link_that_does_not_connect_leaves_nothing)
{
    t->strand = nqi_strand_new();
    nqtest_fake.connect_rc = NQT_E_UNREACHABLE;
    nqtest_fake.text = "no route";
    ck_assert_int_eq(nqtest_transport_connect(), NQ_ERR_LINK);
    ck_assert_ptr_nonnull(strstr(nq_error(), "no route"));
    nqi_strand_unref(t->strand);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.order, 0);
}
END_TEST

/* ---- links ---- */

static void emit_link_up(void *arg)
{
    (void)arg;
    nqtest_fake.inside = NULL;
    t->plink = &nqtest_fake.links[nqtest_fake.nlinks - 1];
    ck_assert_int_eq(nqtest_fake_emit(t->plink, NQT_EV_LINK_UP, 0, NULL), NQT_OK);
    ck_assert_uint_eq(t->on_link.ups, 0);
}

START_TEST(a_link_that_is_up_at_once_says_so_after_the_slot)
{
    t->strand = nqi_strand_new();
    nqtest_fake.inside = emit_link_up;
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    ck_assert_uint_eq(t->on_link.ups, 1);
    nqtest_transport_close();
    nqi_strand_unref(t->strand);
}
END_TEST

static void *emit_from_afar(void *arg)
{
    (void)arg;
    ck_assert(!nqtest_fake.host->in_serial(t->plink->serial));
    ck_assert_int_eq(nqtest_fake_emit(t->plink, NQT_EV_WRITABLE, 0, NULL), NQT_OK);
    return NULL;
}

START_TEST(events_from_other_threads_come_through_the_loop)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, emit_from_afar, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(t->on_link.writables, 0);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.writables, 1);
}
END_TEST

static struct nqt_buf *some_buffer(void)
{
    struct nqt_buf *buf = nqtest_fake.host->buf_new(t->core, 4);

    ck_assert_ptr_nonnull(buf);
    ck_assert_uint_eq(buf->len, 4);
    ck_assert_uint_eq((uintptr_t)buf->seg[0].iov_base % 64, 0);
    memcpy(buf->seg[0].iov_base, "abcd", 4);
    return buf;
}

static nq_err send_three(uint32_t *taken)
{
    struct nqt_buf *bufs[3] = {some_buffer(), some_buffer(), some_buffer()};
    nq_err err;

    nqtest_transport_enter();
    err = nqi_tlink_send(t->tlink, bufs, 3, taken);
    nqtest_transport_leave();
    return err;
}

START_TEST(buffers_that_are_not_taken_lose_their_reference)
{
    uint32_t taken = 99;

    nqtest_fake.take = (uint32_t)_i;
    ck_assert_int_eq(send_three(&taken), NQ_OK);
    ck_assert_uint_eq(taken, (uint32_t)_i);
    ck_assert_uint_eq(t->plink->nsent, 4 * (size_t)_i);
}
END_TEST

START_TEST(a_failed_sending_is_the_end_of_the_link)
{
    uint32_t taken = 99;

    nqtest_fake.send_rc = NQT_E_LOST;
    nqtest_fake.take = 1;
    ck_assert_int_eq(send_three(&taken), NQ_ERR_LINK);
    ck_assert_uint_eq(taken, 1);
}
END_TEST

static bool send_bytes(void)
{
    bool sent;

    nqtest_transport_enter();
    sent = nqi_tlink_send_bytes(t->tlink, "bytes", 5);
    nqtest_transport_leave();
    return sent;
}

START_TEST(bytes_are_sent_when_the_transport_says_so)
{
    ck_assert(!send_bytes()); /* not now */
    nqtest_fake.bytes_rc = NQT_E_LOST;
    ck_assert(!send_bytes());
    ck_assert_uint_eq(nqtest_fake.sends, 2);
    nqtest_fake.bytes_rc = 1;
    ck_assert(send_bytes());
    ck_assert_uint_eq(t->plink->nsent, 5);
    ck_assert_mem_eq(t->plink->sent, "bytes", 5);
}
END_TEST

START_TEST(a_transport_need_not_send_bytes)
{
    nqtest_transport_open(true);
    nqtest_transport_open_endpoint();
    t->strand = nqi_strand_new();
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
    nqtest_fake.bytes_rc = 1;
    ck_assert(!send_bytes());
    ck_assert_uint_eq(nqtest_fake.sends, 0);
    nqtest_transport_close();
    nqi_strand_unref(t->strand);
    nqi_ep_close(t->ep);
    nqtest_transport_turn();
}
END_TEST

START_TEST(nothing_is_sent_over_a_link_that_is_not_up)
{
    uint32_t taken = 99;

    nqtest_fake.bytes_rc = 1;

    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "bye");
    ck_assert_int_eq(send_three(&taken), NQ_ERR_LINK);
    ck_assert_uint_eq(taken, 0);
    ck_assert(!send_bytes());
    ck_assert_uint_eq(nqtest_fake.sends, 0);
    ck_assert_str_eq(nqi_tlink_peer(t->tlink), "");
}
END_TEST

START_TEST(messages_come_up_while_the_link_is_up)
{
    t->on_link.close = NULL; /* the owner is slow to close */
    nqtest_fake_rx(t->plink, "one", 3);
    t->on_link.err = NQ_ERR_PROTO;
    nqtest_fake_rx(t->plink, "two", 3);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "bye");
    nqtest_fake_rx(t->plink, "three", 5);
    ck_assert_uint_eq(t->on_link.messages, 2);
    ck_assert_mem_eq(t->on_link.bytes, "onetwo", 6);
}
END_TEST

START_TEST(a_link_goes_down_once)
{
    t->on_link.close = NULL;
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_LOST, "the first reason");
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "the second");
    ck_assert_uint_eq(t->on_link.downs, 1);
    ck_assert_int_eq(t->on_link.code, NQT_E_LOST);
    ck_assert_str_eq(t->on_link.text, "the first reason");
}
END_TEST

START_TEST(after_close_only_closed_follows)
{
    nqtest_fake.keep_open = true;
    nqtest_transport_close();
    nqtest_transport_close();
    ck_assert_uint_eq(t->plink->closes, 1);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_UP, 0, NULL);
    nqtest_fake_emit_inside(t->plink, NQT_EV_WRITABLE, 0, NULL);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "bye");
    nqtest_fake_rx(t->plink, "x", 1);
    ck_assert_int_lt(nqtest_fake_read(t->plink, "x", 1), 0);
    ck_assert_uint_eq(t->on_link.order, 1); /* the first LINK_UP */
    nqtest_fake.keep_open = false;
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.closed, 1);
}
END_TEST

/* A thread of the module's has said something; before it is heard the link closes. */
START_TEST(closed_is_the_last_event_whoever_emits)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, emit_from_afar, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    nqtest_transport_enter();
    nqi_tlink_close(t->tlink);
    nqtest_transport_leave();
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.closed, 1);
}
END_TEST

START_TEST(a_link_without_shutdown_is_closed_instead)
{
    bool drains;

    nqtest_fake.shutdown_rc = _i ? NQT_E_LOST : NQT_OK;
    nqtest_transport_enter();
    drains = nqi_tlink_shutdown(t->tlink);
    nqtest_transport_leave();
    ck_assert_uint_eq(t->plink->shutdowns, 1);
    ck_assert_int_eq(drains, !_i);
    ck_assert_uint_eq(t->plink->closes, 0);
}
END_TEST

START_TEST(holding_is_passed_on)
{
    nqtest_transport_enter();
    nqi_tlink_hold(t->tlink, true);
    ck_assert_int_eq(t->plink->held, 1);
    nqi_tlink_hold(t->tlink, false);
    ck_assert_int_eq(t->plink->held, 0);
    nqtest_transport_leave();
}
END_TEST

START_TEST(a_limit_is_passed_on)
{
    nqtest_transport_enter();
    nqi_tlink_limit(t->tlink, 4711);
    ck_assert_uint_eq(t->plink->limit, 4711);
    nqi_tlink_limit(t->tlink, 0);
    ck_assert_uint_eq(t->plink->limit, 0);
    nqtest_transport_leave();
}
END_TEST

/* ---- breaches: told, and the link ends ---- */

START_TEST(taking_more_than_was_given_is_a_breach)
{
    uint32_t taken;

    nqtest_fake.take = 4;
    ck_assert_int_eq(send_three(&taken), NQ_ERR_LINK);
    ck_assert_uint_eq(taken, 3);
    nqtest_transport_check_breach();
}
END_TEST

/* What a module lends when it is asked for 64 bytes. */
static const struct {
    size_t from, len; /* from a line of the cache on */
    uint32_t nseg;
    bool good;
} loans[] = {
    {0, 64, 1, true},  {64, 64, 1, true},  {32, 64, 1, false}, {1, 64, 1, false},
    {0, 63, 1, false}, {0, 128, 1, false}, {0, 64, 2, false},
};

static unsigned loans_over;

static void loan_over(struct nqt_buf *buf)
{
    (void)buf;
    loans_over++;
}

START_TEST(a_loan_is_one_aligned_segment_or_a_breach)
{
    static _Alignas(64) uint8_t room[256];
    static const struct nqt_buf_ops ops = {.size = sizeof(ops), .unref = loan_over};
    struct iovec seg[2] = {{room + loans[_i].from, loans[_i].len}, {room + 192, 64}};
    struct nqt_buf buf = {.size = sizeof(buf), .nseg = loans[_i].nseg, .seg = seg, .ops = &ops};
    struct nqt_buf *lent = NULL;
    nq_err err;

    loans_over = 0;
    nqtest_fake.loan = &buf;
    nqtest_transport_enter();
    err = nqi_tlink_loan(t->tlink, 64, &lent);
    nqtest_transport_leave();
    ck_assert_int_eq(err, loans[_i].good ? NQ_OK : NQ_ERR_UNSUPPORTED);
    ck_assert_ptr_eq(lent, loans[_i].good ? &buf : NULL);
    ck_assert_uint_eq(loans_over, !loans[_i].good);
    if (!loans[_i].good)
        nqtest_transport_check_breach();
}
END_TEST

START_TEST(up_twice_is_a_breach)
{
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_UP, 0, NULL);
    ck_assert_uint_eq(t->on_link.ups, 1);
    nqtest_transport_check_breach();
}
END_TEST

START_TEST(up_after_down_is_a_breach)
{
    t->on_link.close = NULL;
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_EOF, "bye");
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_UP, 0, NULL);
    ck_assert_uint_eq(t->on_link.ups, 1);
    ck_assert_uint_eq(t->complaints, 1);
}
END_TEST

START_TEST(events_that_a_link_cannot_have_are_breaches)
{
    static const uint32_t kinds[] = {
        0, NQT_EV_EP_UP, NQT_EV_EP_DOWN, NQT_EV_EP_CLOSED, NQT_EV_ACCEPT, 10, UINT32_MAX};

    nqtest_fake_emit_inside(t->plink, kinds[_i], 0, NULL);
    nqtest_transport_check_breach();
    ck_assert_uint_eq(t->on_ep.order, 0);
}
END_TEST

START_TEST(closed_without_close_is_a_breach)
{
    if (_i)
        t->on_link.close = NULL; /* the owner lets go later */
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
    ck_assert_uint_ge(t->complaints, 1);
    ck_assert_uint_eq(t->on_link.downs, 1);
    if (_i) {
        ck_assert_uint_eq(t->on_link.closed, 0);
        nqtest_transport_close();
    }
    ck_assert_uint_eq(t->on_link.closed, 1);
    ck_assert_uint_eq(t->plink->closes, 0); /* the module has let go already */
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport");
    TCase *modules = nqtest_case(suite, "modules", nqtest_transport_setup_module,
                                 nqtest_transport_teardown_module);
    TCase *endpoints = nqtest_case(suite, "endpoints", nqtest_transport_setup_endpoint,
                                   nqtest_transport_teardown_endpoint);
    TCase *links =
        nqtest_case(suite, "links", nqtest_transport_setup_link, nqtest_transport_teardown_link);
    TCase *breaches =
        nqtest_case(suite, "breaches", nqtest_transport_setup_link, nqtest_transport_teardown_link);

    tcase_add_loop_test(modules, a_module_that_does_not_open_says_why, 0, NQI_LEN(codes));
    tcase_add_test(modules, options_are_checked_before_any_endpoint_opens);
    tcase_add_test(modules, a_module_need_not_check);
    tcase_add_test(modules, nothing_is_closed_when_nothing_is_open);
    tcase_add_test(modules, an_event_of_the_slot_comes_after_the_slot);
    tcase_add_loop_test(modules, an_endpoint_that_does_not_open_leaves_nothing, 0, 2);
    tcase_add_test(endpoints, endpoints_tell_what_happens_to_them);
    tcase_add_loop_test(endpoints, events_that_an_endpoint_cannot_have_are_told, 0, 8);
    tcase_add_test(endpoints, an_event_of_nobody_is_refused);
    tcase_add_test(endpoints, many_events_in_one_call_keep_their_order);
    tcase_add_test(endpoints, an_event_without_memory_arrives_as_well);
    tcase_add_test(endpoints, an_accepted_link_is_adopted_or_refused);
    tcase_add_test(endpoints, a_link_that_cannot_be_adopted_leaves_nothing);
    tcase_add_test(endpoints, a_link_that_does_not_connect_leaves_nothing);
    tcase_add_test(endpoints, a_link_that_is_up_at_once_says_so_after_the_slot);
    tcase_add_test(links, events_from_other_threads_come_through_the_loop);
    tcase_add_loop_test(links, buffers_that_are_not_taken_lose_their_reference, 0, 4);
    tcase_add_test(links, bytes_are_sent_when_the_transport_says_so);
    tcase_add_test(modules, a_transport_need_not_send_bytes);
    tcase_add_test(links, a_failed_sending_is_the_end_of_the_link);
    tcase_add_test(links, nothing_is_sent_over_a_link_that_is_not_up);
    tcase_add_test(links, messages_come_up_while_the_link_is_up);
    tcase_add_test(links, a_link_goes_down_once);
    tcase_add_test(links, after_close_only_closed_follows);
    tcase_add_test(links, closed_is_the_last_event_whoever_emits);
    tcase_add_loop_test(links, a_link_without_shutdown_is_closed_instead, 0, 2);
    tcase_add_test(links, holding_is_passed_on);
    tcase_add_test(links, a_limit_is_passed_on);
    tcase_add_test(breaches, taking_more_than_was_given_is_a_breach);
    tcase_add_loop_test(breaches, a_loan_is_one_aligned_segment_or_a_breach, 0, NQI_LEN(loans));
    tcase_add_test(breaches, up_twice_is_a_breach);
    tcase_add_test(breaches, up_after_down_is_a_breach);
    tcase_add_loop_test(breaches, events_that_a_link_cannot_have_are_breaches, 0, 7);
    tcase_add_loop_test(breaches, closed_without_close_is_a_breach, 0, 2);
    return suite;
}
