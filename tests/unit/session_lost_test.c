/* core/session_lost.c: the link is lost in every state; each put ends once, with the right word. */
#include "core/pool.h"
#include "tests/support/session_rig.h"
#include "tests/support/suite.h"
#include <check.h>
#include <string.h>

static struct nqtest_rig rig;

static void setup(void)
{
    nqtest_rig_init(&rig);
    rig.a.conf.record = 4096;
}

/* With its link each session ends. */
static void setup_ends(void)
{
    setup();
    rig.a.conf.expiry_ns = 0;
}

static void teardown(void)
{
    nqi_pool_fail_after(0);
    nqtest_rig_end(&rig);
}

/* `side` gives buffers out; the link takes the first `n`. */
static void pull_some(struct nqtest_side *side, uint32_t n)
{
    side->pull_cap = n;
    ck_assert_uint_eq(nqtest_pull(side, true), n);
    side->pull_cap = 64;
}

static void lose(void)
{
    nqtest_rig_lose(&rig, 0, 0);
}

/* What is left goes over a new link. */
static void go_on(void)
{
    nqtest_rig_attach(&rig);
    nqtest_finish(&rig);
}

/* ---- states ---- */

START_TEST(before_the_first_link_nothing_is_lost)
{
    struct nqtest_rig_put *put = nqtest_rig_put(&rig.a, 10);

    nqi_session_down(&rig.a.session);
    nqi_session_down(&rig.a.session);
    ck_assert_uint_eq(put->settled, 0);
    go_on();
    ck_assert_int_eq(put->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(lost_while_greeting_everything_waits)
{
    struct nqtest_rig_put *small = nqtest_rig_put(&rig.a, 10),
                          *large = nqtest_rig_put(&rig.a, 50000);

    for (size_t i = 0; i < 3; i++) {
        nqtest_rig_connect(&rig);
        nqtest_pull_all(&rig.a);
        nqtest_rig_lose(&rig, i * 100, 0);
    }
    ck_assert_uint_eq(small->begun + large->begun, 0);
    go_on();
    ck_assert_int_eq(small->outcome, NQ_DELIVERED);
    ck_assert_int_eq(large->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(what_was_sent_and_not_acknowledged_is_unknown)
{
    struct nqtest_rig_put *small, *large;

    rig.resume = _i & 2; /* it does not want to, alone */
    nqtest_rig_attach(&rig);
    small = nqtest_rig_put(&rig.a, 10);
    large = nqtest_rig_put(&rig.a, 50000);
    nqtest_pull_all(&rig.a);
    nqtest_rig_lose(&rig, _i & 1 ? SIZE_MAX : 0, 0);
    ck_assert_int_eq(small->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(large->outcome, NQ_UNKNOWN);
    ck_assert_int_eq(large->reason, NQ_REASON_LINK_LOST);
    ck_assert_uint_eq(rig.a.session.in_flight, 0);
    go_on();
    ck_assert_uint_eq(rig.b.delivered, _i & 1 ? 2 : 0);
}
END_TEST

START_TEST(what_was_not_handed_over_goes_over_the_next_link)
{
    struct nqtest_rig_put *puts[6];

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 6; i++)
        puts[i] = nqtest_rig_put(&rig.a, 3000);
    pull_some(&rig.a, 2);
    lose();
    for (unsigned i = 0; i < 6; i++)
        ck_assert_uint_eq(puts[i]->settled, i < 2);
    go_on();
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(puts[i]->outcome, i < 2 ? NQ_UNKNOWN : NQ_DELIVERED);
    ck_assert_uint_eq(rig.a.session.seq, 4);
}
END_TEST

START_TEST(a_sealed_stage_goes_over_the_next_link)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 20, 1), i % 2));
    lose();
    go_on();
    ck_assert_uint_eq(rig.b.delivered, 5);
    ck_assert_uint_eq(rig.a.untracked_outcomes[NQ_DELIVERED], 3);
}
END_TEST

START_TEST(counted_messages_are_unknown_too)
{
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 5; i++)
        ck_assert(nqtest_put_now(&rig.a, nqtest_make(&rig.a, 20, 1), false));
    nqtest_pull_all(&rig.a);
    lose();
    ck_assert_uint_eq(rig.a.untracked_outcomes[NQ_UNKNOWN], 5);
    ck_assert_uint_eq(rig.a.session.untracked, 0);
}
END_TEST

START_TEST(a_lost_link_while_closing)
{
    struct nqtest_rig_put *put;

    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 10);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_pull_all(&rig.a);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSING);
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    ck_assert_int_eq(put->outcome, NQ_UNKNOWN);
    ck_assert(nqi_session_flushed(&rig.a.session));
}
END_TEST

START_TEST(a_lost_link_after_the_good_bye)
{
    nqtest_rig_attach(&rig);
    nqtest_rig_put(&rig.a, 10);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_flow(&rig);
    lose();
    ck_assert_int_eq(rig.a.puts[0]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_DOWN);
}
END_TEST

/* ---- messages in several records ---- */

/* 10 records; the link takes `taken` of them, the peer has acknowledged `acked` of those. */
static struct nqtest_rig_put *send_part(uint32_t taken, uint32_t acked)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 64 << 10;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    nqtest_rig_put(&rig.a, 3000);
    nqtest_rig_put(&rig.a, 10);
    if (acked) {
        pull_some(&rig.a, acked);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        nqtest_pull_all(&rig.b);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
        ck_assert_uint_eq(rig.a.session.acked, acked);
    }
    if (taken > acked)
        pull_some(&rig.a, taken - acked);
    return put;
}

START_TEST(a_message_that_is_cut_in_two_did_not_arrive)
{
    uint32_t taken = (uint32_t)_i / 11 + 1, acked = (uint32_t)_i % 11;
    struct nqtest_rig_put *put;

    if (acked > taken)
        return;
    put = send_part(taken, acked);
    nqtest_rig_lose(&rig, SIZE_MAX, 0);
    ck_assert_uint_eq(put->settled, 1);
    if (acked == 10)
        ck_assert_int_eq(put->outcome, NQ_DELIVERED);
    else
        ck_assert_int_eq(put->outcome, taken == 10 ? NQ_UNKNOWN : NQ_NOT_DELIVERED);
    go_on();
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DELIVERED);
    ck_assert_int_eq(rig.a.puts[2]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_message_whose_end_has_no_record_yet_did_not_arrive)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    nqtest_rig_put(&rig.a, 3000);
    switch (_i) {
    case 0: /* all that there is credit for */
        nqtest_pull_all(&rig.a);
        break;
    case 1: /* a part */
        pull_some(&rig.a, 1);
        break;
    case 2: /* all of it acknowledged */
        rig.b.refuse = true;
        nqtest_flow(&rig);
        nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        nqtest_flow(&rig);
        ck_assert_ptr_null(rig.a.session.unacked.head);
        break;
    default:
        break;
    }
    lose();
    rig.b.refuse = false;
    ck_assert_uint_eq(put->settled, _i < 3);
    go_on();
    ck_assert_int_eq(put->outcome, _i < 3 ? NQ_NOT_DELIVERED : NQ_DELIVERED);
    ck_assert_int_eq(rig.a.puts[1]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_begun_message_of_which_nothing_left_begins_again)
{
    struct nqtest_rig_put *put;

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    put = nqtest_rig_put(&rig.a, 40000);
    ck_assert_uint_eq(nqtest_rig_put(&rig.b, 10)->settled, 0);
    nqtest_pull_nothing(&rig.a);
    ck_assert(put->tx.begun);
    lose();
    go_on();
    ck_assert_uint_eq(put->settled, 1);
}
END_TEST

START_TEST(links_break_again_and_again)
{
    for (unsigned i = 0; i < 8; i++) {
        nqtest_rig_put(&rig.a, 3000);
        nqtest_rig_put(&rig.a, 10000);
        nqtest_rig_put(&rig.a, 10);
    }
    for (unsigned i = 0; i < 8; i++) {
        nqtest_rig_greet(&rig);
        if (i % 4 < 3)
            pull_some(&rig.a, 1 + i % 3);
        nqtest_rig_lose(&rig, i % 2 ? SIZE_MAX : 0, 0);
    }
    go_on();
}
END_TEST

START_TEST(less_credit_than_before_is_kept_to)
{
    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 20; i++)
        nqtest_rig_put(&rig.a, i % 2 ? 6000 : 100);
    pull_some(&rig.a, 1); /* records are made of all that there is credit for */
    lose();
    rig.b.conf.window_bytes = _i ? 1 << 20 : 10000;
    rig.b.conf.window_messages = _i ? 3 : 100;
    nqtest_rig_put(&rig.a, 100);
    go_on();
    for (unsigned i = 1; i < 20; i++) {
        ck_assert_int_eq(rig.a.puts[i]->outcome, NQ_NOT_DELIVERED);
        ck_assert_int_eq(rig.a.puts[i]->reason, NQ_REASON_LIMIT);
    }
    ck_assert_int_eq(rig.a.puts[20]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(the_end_settles_everything)
{
    struct nqtest_rig_put *puts[5];

    rig.b.conf.window_bytes = 10000;
    nqtest_rig_attach(&rig);
    puts[0] = nqtest_rig_put(&rig.a, 3000);
    puts[1] = nqtest_rig_put(&rig.a, 3000);
    puts[2] = nqtest_rig_put(&rig.a, 50000);
    puts[3] = nqtest_rig_put(&rig.a, 10);
    puts[4] = nqtest_make(&rig.a, 10, 1);
    nq_msg_set_control(puts[4]->tx.msg, true);
    nqtest_queue(&rig.a, puts[4]);
    pull_some(&rig.a, 2);
    nqi_session_fini(&rig.a.session, NQ_REASON_LOCAL_CLOSE);
    ck_assert_int_eq(puts[4]->outcome, NQ_UNKNOWN); /* it overtook the others */
    ck_assert_int_eq(puts[0]->outcome, NQ_UNKNOWN);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(puts[i]->outcome, NQ_NOT_DELIVERED);
        ck_assert_int_eq(puts[i]->reason, NQ_REASON_LOCAL_CLOSE);
    }
}
END_TEST

/* ---- the session goes on ---- */

static void setup_resumes(void)
{
    setup();
    rig.a.conf.record = rig.b.conf.record = 256;
    rig.resume = true;
}

static void put_some(struct nqtest_side *side)
{
    static const size_t sizes[] = {0, 8, 300, 20, 0, 60, 150, 2100, 9};

    for (size_t i = 0; i < NQI_LEN(sizes); i++) {
        struct nqtest_rig_put *put = nqtest_make(side, sizes[i], sizes[i] > 100 ? 3 : 1);

        nq_msg_set_control(put->tx.msg, i == 5);
        put->tx.awaited = i == 4;
        if (i % 3 == 1)
            NQTEST_MUST(nq_msg_set_meta(put->tx.msg, "key", sizes, i * 4) == NQ_OK);
        if (i < 3 && nqtest_put_now(side, put, i != 1))
            continue;
        nqtest_queue(side, put);
    }
}

static bool is_flushed(void)
{
    return nqi_session_flushed(&rig.a.session) && nqi_session_flushed(&rig.b.session);
}

/* Until all is acknowledged, or the link is lost. */
static void talk_on(void)
{
    unsigned rounds = 0;

    nqtest_flow_any(&rig);
    while (!rig.dead && !is_flushed()) {
        NQTEST_MUST(rounds++ < 100);
        nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        nqtest_flow_any(&rig);
    }
    NQTEST_MUST(rig.a.err == NQ_OK);
    NQTEST_MUST(rig.b.err == NQ_OK);
}

static void check_all_delivered(const struct nqtest_side *side)
{
    for (size_t i = 0; i < side->nputs; i++) {
        NQTEST_MUST(side->puts[i]->arrived == 1);
        if (side->puts[i]->tracked)
            NQTEST_MUST(side->puts[i]->outcome == NQ_DELIVERED);
    }
    NQTEST_MUST(side->untracked_outcomes[NQ_DELIVERED] == side->untracked);
}

/* A conversation over links of which the first two are lost after so many bytes; 0 = after all.
 * @return bytes that arrived over the last one */
static uint64_t talk_over_links(unsigned variant, uint64_t one, uint64_t two)
{
    uint64_t cuts[] = {one, two}, before;

    nqtest_rig_end(&rig);
    setup_resumes();
    rig.split = (enum nqtest_split)(one % NQTEST_SPLITS);
    if (variant & 1)
        rig.a.conf.coalesce = rig.b.conf.coalesce = 0;
    rig.b.conf.ack_consumed = variant & 2;
    if (variant & 4) {
        rig.b.conf.window_bytes = 1000;
        rig.a.conf.window_messages = 2;
    }
    nqtest_rig_greet(&rig);
    put_some(&rig.a);
    put_some(&rig.b);
    for (unsigned i = 0; i < 2 && cuts[i]; i++) {
        rig.fuse = cuts[i];
        talk_on();
        if (!rig.dead)
            break;
        lose();
        nqtest_rig_connect(&rig);
    }
    before = rig.a.wire_total + rig.b.wire_total;
    rig.fuse = UINT64_MAX;
    talk_on();
    NQTEST_MUST(!rig.dead);
    check_all_delivered(&rig.a);
    check_all_delivered(&rig.b);
    NQTEST_MUST(rig.a.sessions + rig.b.sessions == 0);
    return rig.a.wire_total + rig.b.wire_total - before;
}

START_TEST(a_link_lost_after_any_byte_loses_nothing)
{
    uint64_t whole = talk_over_links((unsigned)_i, 0, 0);

    ck_assert_uint_gt(whole, 5000);
    for (uint64_t cut = 1; cut <= whole; cut += _i < 2 ? 1 : 7)
        talk_over_links((unsigned)_i, cut, 0);
}
END_TEST

START_TEST(lost_again_while_it_greets_or_later_nothing_is_lost)
{
    const uint64_t greeting = 2 * NQI_HELLO_RECORD + NQI_AUTH_RECORD + NQI_WELCOME_RECORD;

    for (uint64_t one = 1 + 37 * (uint64_t)_i; one < 6000; one += 497)
        for (uint64_t two = 1; two < greeting + 2000; two += 61)
            talk_over_links((unsigned)_i, one, two);
}
END_TEST

START_TEST(a_buffer_of_which_a_part_arrived_is_trimmed_again_and_again)
{
    struct nqtest_rig_put *puts[20];

    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 20; i++) {
        puts[i] = nqtest_make(&rig.a, 30, 1);
        ck_assert(nqtest_put_now(&rig.a, puts[i], true));
    }
    for (unsigned i = 0; i < 19; i++) {
        nqtest_pull_all(&rig.a); /* one buffer */
        rig.split = (enum nqtest_split)(i % NQTEST_SPLITS);
        nqtest_rig_lose(&rig, 38 + 38 * (i % 2) / 2, 0);
        ck_assert_uint_eq(rig.b.delivered, i + 1);
        nqtest_rig_greet(&rig);
        ck_assert_uint_eq(puts[i]->settled, 1); /* one by one, though they left together */
        ck_assert_uint_eq(puts[i + 1]->settled, 0);
        ck_assert_ptr_nonnull(rig.a.session.ready.head);
        ck_assert_uint_eq(rig.a.session.handed, i + 1);
    }
    nqtest_finish(&rig);
    check_all_delivered(&rig.a);
}
END_TEST

START_TEST(only_what_the_peer_does_not_have_is_sent_again)
{
    uint64_t before;

    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 100000);
    nqtest_pull_all(&rig.a);
    nqtest_rig_lose(&rig, 99000, 0);
    nqtest_rig_greet(&rig);
    before = rig.a.wire_total;
    nqtest_finish(&rig);
    ck_assert_uint_lt(rig.a.wire_total - before, 5000);
    check_all_delivered(&rig.a);
}
END_TEST

/* Its time may end on the way: what the sender has once begun he leaves to the receiver, who may
 * have it already, and who has it delivers it. */
START_TEST(what_has_begun_is_delivered_however_late)
{
    struct nqtest_rig_put *puts[2];

    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 2; i++) {
        puts[i] = nqtest_make(&rig.a, 50000, 1);
        puts[i]->tx.msg->deadline_ns = rig.now + 1000;
        nqtest_queue(&rig.a, puts[i]);
        if (_i && !i) /* the first begins */
            pull_some(&rig.a, 1);
    }
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_pass(&rig, NQI_NS_PER_S);
    go_on();
    ck_assert_int_eq(puts[0]->outcome, _i ? NQ_DELIVERED : NQ_EXPIRED);
    ck_assert_int_eq(puts[1]->outcome, NQ_EXPIRED);
    ck_assert_uint_eq(rig.b.delivered, (unsigned)_i);
}
END_TEST

START_TEST(what_was_set_aside_is_kept_with_the_message)
{
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 100000);
    nqtest_pull_all(&rig.a);
    nqtest_rig_lose(&rig, 50000, 0);
    ck_assert_uint_eq(rig.b.reserved, 100000);
    ck_assert_uint_eq(rig.b.reservations, 1);
    go_on();
    ck_assert_uint_eq(rig.b.reservations, 1);
    check_all_delivered(&rig.a);
}
END_TEST

START_TEST(a_session_that_ends_later_knows_what_was_reached)
{
    struct nqtest_rig_put *puts[8];

    nqtest_rig_greet(&rig);
    rig.a.conf.coalesce = 0;
    for (unsigned i = 0; i < 8; i++)
        puts[i] = nqtest_rig_put(&rig.a, i == 4 ? 2500 : 1500); /* 6 records, or 10 */
    pull_some(&rig.a, 14); /* two messages, and two records of the third */
    nqtest_rig_lose(&rig, _i & 1 ? SIZE_MAX : 0, 0);
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(puts[i]->settled, 0);
    nqtest_rig_greet(&rig);
    ck_assert_uint_eq(rig.a.sessions, 0);
    if (_i & 2) /* further than before, and then once more from there */
        pull_some(&rig.a, _i & 1 ? 1 : 15);
    nqtest_rig_lose(&rig, 0, 0);
    rig.resume = false;
    nqtest_rig_greet(&rig);
    nqtest_rig_lose(&rig, 0, 0); /* b does not know it any more ... */
    nqtest_rig_greet(&rig);
    ck_assert_uint_eq(rig.a.sessions, 1);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(puts[i]->settled, 1);
        if (i < 2 && _i & 1)
            ck_assert_int_eq(puts[i]->outcome, NQ_DELIVERED);
        else
            ck_assert_int_eq(puts[i]->outcome, i < 2 ? NQ_UNKNOWN : NQ_NOT_DELIVERED);
        if (i == 2)
            ck_assert_int_eq(puts[i]->reason, NQ_REASON_NO_SESSION);
    }
    nqtest_finish(&rig);
    for (unsigned i = 3; i < 8; i++)
        ck_assert_int_eq(puts[i]->outcome, NQ_DELIVERED);
}
END_TEST

START_TEST(a_good_bye_is_said_on_the_next_link)
{
    nqtest_rig_greet(&rig);
    nqtest_rig_put(&rig.a, 3000);
    nqi_session_close(&rig.a.session, rig.now);
    nqtest_pull_all(&rig.a);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSING);
    nqtest_rig_lose(&rig, (size_t)_i * 700, 0);
    nqtest_rig_put(&rig.a, 100); /* a late one goes before it */
    nqtest_rig_connect(&rig);
    nqtest_flow(&rig);
    ck_assert_int_eq(rig.a.session.state, NQI_SESSION_CLOSED);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_CLOSED);
    check_all_delivered(&rig.a);
}
END_TEST

START_TEST(a_session_whose_welcome_was_lost_is_not_in_the_way)
{
    nqtest_rig_connect(&rig);
    for (unsigned i = 0; i < 2; i++) {
        nqtest_pull_all(&rig.a);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    }
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_UP);
    nqtest_rig_put(&rig.b, 5000); /* leaves behind WELCOME, and is lost with it */
    nqtest_pull_all(&rig.b);
    nqtest_rig_lose(&rig, 0, _i ? NQI_WELCOME_RECORD - 1 : 0);
    nqtest_rig_attach(&rig); /* the same session, asked for once more */
    nqtest_finish(&rig);
    check_all_delivered(&rig.b);
    ck_assert(nqi_session_is_resumable(&rig.a.session));
    ck_assert(nqi_session_is_resumable(&rig.b.session));
}
END_TEST

/* What a claims when it comes back. */
static nq_err come_back(uint64_t received, uint64_t counter)
{
    struct nqi_attach attach = {
        .hello = {.id = rig.a.conf.id, .expiry_ns = 1},
        .auth = {.method = NQI_AUTH_RESUME, .received = received, .counter = counter}};

    return nqi_session_resume(&rig.b.session, &attach, rig.now);
}

START_TEST(who_claims_what_cannot_be_changes_nothing)
{
    uint64_t counter;

    nqtest_rig_greet(&rig);
    put_some(&rig.b);
    pull_some(&rig.b, 4);
    nqtest_rig_lose(&rig, 0, SIZE_MAX);
    counter = rig.b.session.name.counter;
    ck_assert_int_eq(come_back(rig.b.session.reached + 1, counter + 1), NQ_ERR_PROTO);
    ck_assert_int_eq(come_back(UINT64_MAX, counter + 1), NQ_ERR_PROTO);
    ck_assert_int_eq(come_back(0, counter), NQ_ERR_PROTO);
    ck_assert_int_eq(rig.b.session.state, NQI_SESSION_DOWN);
    ck_assert_uint_eq(rig.b.session.name.counter, counter);
    go_on();
    check_all_delivered(&rig.b);
    ck_assert_uint_eq(rig.b.sessions, 0);
    lose();
    ck_assert_int_eq(come_back(rig.b.session.acked - 1, counter + 9), NQ_ERR_PROTO);
}
END_TEST

/* An OPEN of this session that was under way for long; the link that it has is a later one. */
START_TEST(an_opening_that_comes_late_is_not_admitted)
{
    struct nqi_attach attach = {.auth = {.method = NQI_AUTH_OPEN}};

    nqtest_rig_connect(&rig);
    for (unsigned i = 0; i < 2; i++) {
        nqtest_pull_all(&rig.a);
        ck_assert_int_eq(nqtest_feed(&rig.a, SIZE_MAX), NQ_OK);
        ck_assert_int_eq(nqtest_feed(&rig.b, SIZE_MAX), NQ_OK);
    }
    nqtest_rig_lose(&rig, 0, 0); /* WELCOME is lost */
    attach.auth.counter = rig.b.session.name.counter;
    ck_assert_uint_eq(attach.auth.counter, 1);
    nqtest_rig_attach(&rig);
    ck_assert_uint_eq(rig.b.session.name.counter, 2);
    ck_assert_int_eq(nqi_session_may_resume(&rig.b.session, &attach), NQ_ERR_PROTO);
    attach.auth.counter = 3;
    ck_assert_int_eq(nqi_session_may_resume(&rig.b.session, &attach), NQ_OK);
    nqtest_rig_put(&rig.a, 10);
    nqtest_finish(&rig); /* it was welcomed: only RESUME goes on with it */
    ck_assert_int_eq(nqi_session_may_resume(&rig.b.session, &attach), NQ_ERR_PROTO);
    attach.auth.method = NQI_AUTH_RESUME;
    ck_assert_int_eq(nqi_session_may_resume(&rig.b.session, &attach), NQ_OK);
}
END_TEST

START_TEST(acknowledgements_of_consumption_outlive_the_link)
{
    rig.b.conf.ack_consumed = true;
    rig.b.take = false;
    nqtest_rig_greet(&rig);
    for (unsigned i = 0; i < 4; i++)
        nqtest_rig_put(&rig.a, 100);
    nqtest_flow(&rig);
    nqtest_take(&rig.b, 1);
    nqtest_rig_lose(&rig, 0, 0);
    nqtest_take(&rig.b, 2); /* while nobody can be told */
    ck_assert_uint_eq(rig.a.puts[0]->settled, 0);
    nqtest_rig_attach(&rig);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(rig.a.puts[i]->settled, i < 3);
    ck_assert_uint_eq(rig.b.delivered, 4);
    nqtest_take(&rig.b, 1);
    nqtest_flow(&rig);
    check_all_delivered(&rig.a);
}
END_TEST

/* ---- memory ---- */

/* A whole conversation; what fails for want of memory is tried again over a new link. */
static void talk(void)
{
    unsigned links = 0;

    do {
        ck_assert_uint_lt(links++, 10);
        nqtest_rig_connect(&rig);
        for (unsigned i = 0; i < 6 && !rig.dead; i++) {
            nqtest_flow_any(&rig);
            nqtest_pass(&rig, 10 * NQI_NS_PER_MS);
        }
        if (rig.dead) {
            ck_assert_msg(rig.a.err == NQ_ERR_NOMEM || rig.b.err == NQ_ERR_NOMEM ||
                              rig.a.session.bye_reason == NQ_REASON_NO_MEMORY,
                          "%d %d %s", rig.a.err, rig.b.err, nq_error());
            lose();
        }
    } while (rig.dead);
}

/* nqi_pool_fail_after(n) has struck: no more of the next `n` blocks fails. */
static bool has_failed(unsigned n)
{
    bool failed = true;

    while (n--) {
        void *block = nqi_pool_alloc(1);

        failed &= block != NULL;
        nqi_pool_free(block, 1);
    }
    nqi_pool_fail_after(0);
    return failed;
}

START_TEST(every_allocation_may_fail)
{
    static const size_t sizes[] = {0, 10, 1024, 1025, 2048, 2049, 9000, 30000};

    for (unsigned n = 1;; n++) {
        bool failed;

        nqtest_rig_init(&rig);
        rig.split = NQTEST_SPACE;
        rig.a.conf.record = 4096;
        rig.b.conf.window_bytes = 20000;
        for (unsigned i = 0; i < 16; i++) {
            struct nqtest_rig_put *put = nqtest_make(&rig.a, sizes[i % 8], 1);

            if (i >= 8)
                ck_assert_int_eq(nq_msg_set_meta(put->tx.msg, "k", sizes, i), NQ_OK);
            nqtest_queue(&rig.a, put);
            nqtest_rig_put(&rig.b, sizes[i % 8]);
        }
        nqi_pool_fail_after(n);
        talk();
        failed = has_failed(n);
        nqtest_finish(&rig);
        for (unsigned i = 0; i < 16; i++) {
            ck_assert_uint_eq(rig.a.puts[i]->settled, 1);
            ck_assert_uint_eq(rig.b.puts[i]->settled, 1);
        }
        nqtest_rig_end(&rig);
        if (!failed)
            break;
    }
    nqtest_rig_init(&rig);
}
END_TEST

START_TEST(every_allocation_may_fail_when_it_goes_on)
{
    for (unsigned n = 1;; n++) {
        bool failed;

        nqtest_rig_end(&rig);
        setup_resumes();
        nqtest_rig_greet(&rig);
        put_some(&rig.a);
        put_some(&rig.b);
        for (unsigned i = 0; i < 3; i++)
            nqtest_put_now(&rig.a, nqtest_make(&rig.a, 30, 1), true);
        pull_some(&rig.a, 9);
        pull_some(&rig.b, 9);
        nqtest_rig_lose(&rig, 300, 400); /* in the midst of a buffer, of a record */
        nqi_pool_fail_after(n);
        talk();
        failed = has_failed(n);
        nqtest_finish(&rig);
        for (size_t i = 0; i < rig.a.nputs; i++)
            if (!rig.a.puts[i]->put)
                nqtest_queue(&rig.a, rig.a.puts[i]);
        nqtest_finish(&rig);
        check_all_delivered(&rig.a);
        check_all_delivered(&rig.b);
        ck_assert_uint_eq(rig.a.sessions + rig.b.sessions, 0);
        if (!failed)
            break;
    }
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("session_lost");
    TCase *states = nqtest_case(suite, "states", setup_ends, teardown);
    TCase *parts = nqtest_case(suite, "parts", setup_ends, teardown);
    TCase *goes_on = nqtest_case(suite, "goes on", setup_resumes, teardown);
    TCase *bytes = nqtest_case(suite, "bytes", setup_resumes, teardown);
    TCase *memory = nqtest_case(suite, "memory", setup, teardown);

    tcase_add_test(states, before_the_first_link_nothing_is_lost);
    tcase_add_test(states, lost_while_greeting_everything_waits);
    tcase_add_loop_test(states, what_was_sent_and_not_acknowledged_is_unknown, 0, 4);
    tcase_add_test(states, what_was_not_handed_over_goes_over_the_next_link);
    tcase_add_test(states, a_sealed_stage_goes_over_the_next_link);
    tcase_add_test(states, counted_messages_are_unknown_too);
    tcase_add_test(states, a_lost_link_while_closing);
    tcase_add_test(states, a_lost_link_after_the_good_bye);
    tcase_add_loop_test(parts, a_message_that_is_cut_in_two_did_not_arrive, 0, 110);
    tcase_add_loop_test(parts, a_message_whose_end_has_no_record_yet_did_not_arrive, 0, 4);
    tcase_add_test(parts, a_begun_message_of_which_nothing_left_begins_again);
    tcase_add_test(parts, links_break_again_and_again);
    tcase_add_loop_test(parts, less_credit_than_before_is_kept_to, 0, 2);
    tcase_add_test(parts, the_end_settles_everything);
    tcase_add_test(goes_on, a_buffer_of_which_a_part_arrived_is_trimmed_again_and_again);
    tcase_add_test(goes_on, only_what_the_peer_does_not_have_is_sent_again);
    tcase_add_loop_test(goes_on, what_has_begun_is_delivered_however_late, 0, 2);
    tcase_add_test(goes_on, what_was_set_aside_is_kept_with_the_message);
    tcase_add_loop_test(goes_on, a_session_that_ends_later_knows_what_was_reached, 0, 4);
    tcase_add_loop_test(goes_on, a_good_bye_is_said_on_the_next_link, 0, 5);
    tcase_add_loop_test(goes_on, a_session_whose_welcome_was_lost_is_not_in_the_way, 0, 2);
    tcase_add_test(goes_on, who_claims_what_cannot_be_changes_nothing);
    tcase_add_test(goes_on, an_opening_that_comes_late_is_not_admitted);
    tcase_add_test(goes_on, acknowledgements_of_consumption_outlive_the_link);
    tcase_set_timeout(bytes, 300);
    tcase_add_loop_test(bytes, a_link_lost_after_any_byte_loses_nothing, 0, 8);
    tcase_add_loop_test(bytes, lost_again_while_it_greets_or_later_nothing_is_lost, 0, 8);
    tcase_set_timeout(memory, 60);
    tcase_add_test(memory, every_allocation_may_fail);
    tcase_add_test(memory, every_allocation_may_fail_when_it_goes_on);
    return suite;
}
