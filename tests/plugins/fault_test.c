/* plugins/fault: every fault is seen, on tcp and on loop, and the same seed does the same.  That
 * nothing happens when all is off is in fault_tcp_test.c and fault_loop_test.c. */
#include "tools/conform/host_in.h"
#include "tools/conform/rig.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define LINKS 20u

extern const struct nqt_module fault_LTX_nqt1_module, loop_LTX_nqt1_module, tcp_LTX_nqt1_module;

static const struct nqtest_opt place[] = {{"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt nowhere[] = {{NULL, NULL}};
static const struct nqtest_transport on_tcp = {
    .module = &fault_LTX_nqt1_module, .server = place, .client = nowhere, .port = "port"};
static const struct nqtest_transport on_loop = {
    .module = &fault_LTX_nqt1_module, .server = nowhere, .client = nowhere};

/* Tests run for both: 0 = tcp, 1 = loop. */
enum { ON_TCP, ON_LOOP, BOTH };

static void stand_on(int which)
{
    nqtest_inner = which == ON_TCP ? &tcp_LTX_nqt1_module : &loop_LTX_nqt1_module;
    nqtest_tested = which == ON_TCP ? &on_tcp : &on_loop;
}

/* A server without faults, and a client with these. */
static struct nqtest_rig harmed(int which, const struct nqtest_opt *opts)
{
    stand_on(which);
    return nqtest_rig_endpoints(nqtest_tested->server, opts);
}

/* One more link, up on both sides. */
static void add_link(struct nqtest_rig *rig)
{
    unsigned before = rig->server->naccepted;

    rig->c = nqtest_connect(rig->client, NULL);
    ck_assert_ptr_nonnull(rig->c);
    NQTEST_UNTIL(nqtest_is_up, rig->c);
    for (int i = 0; rig->server->naccepted == before; i++) {
        ck_assert_int_lt(i, 1000);
        nqtest_turn(5);
    }
    rig->s = rig->server->accepted[before];
    NQTEST_UNTIL(nqtest_is_up, rig->s);
}

/* "... after N bytes ..." of a link that went down. */
static uint64_t struck_at(const struct nqtest_link *link, const char *what)
{
    const char *after = strstr(link->err.text, "after ");

    ck_assert_int_eq(link->err.code, NQT_E_LOST);
    ck_assert_msg(strstr(link->err.text, what) && after, "%s", link->err.text);
    return strtoull(after + 6, NULL, 10);
}

/* ---- plans ------------------------------------------------------------------------------ */

START_TEST(a_link_is_cut_after_any_byte_that_it_sends)
{
    static const struct nqtest_opt opts[] = {
        {"cut", "1000"}, {"after_max", "5000"}, {"direction", "send"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);
    uint64_t at, inside = 0;

    for (unsigned i = 0; i < LINKS; i++) {
        add_link(&rig);
        nqtest_push(rig.c, 100000, 700, 2, 3);
        NQTEST_UNTIL(nqtest_is_down, rig.c);
        at = struck_at(rig.c, "cut");
        ck_assert_uint_le(at, 5000);
        inside += at % 700 != 0;
        nqtest_close(rig.c);
        NQTEST_UNTIL(nqtest_is_closed, rig.c);
        NQTEST_UNTIL(nqtest_is_down, rig.s); /* the pattern is checked as it comes */
        ck_assert_uint_le(rig.s->received, at);
    }
    ck_assert_uint_gt(inside, LINKS / 2);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_link_is_cut_after_any_byte_that_it_receives)
{
    static const struct nqtest_opt opts[] = {
        {"cut", "1000"}, {"after_max", "5000"}, {"direction", "receive"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);

    for (unsigned i = 0; i < LINKS; i++) {
        add_link(&rig);
        nqtest_push(rig.s, 100000, 700, 2, 3);
        NQTEST_UNTIL(nqtest_is_down, rig.c);
        ck_assert_uint_eq(rig.c->received, struck_at(rig.c, "cut"));
        NQTEST_UNTIL(nqtest_is_down, rig.s);
        nqtest_close(rig.c);
        nqtest_close(rig.c);
    }
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_truncated_link_delivers_its_last_bytes_and_ends_in_good_order)
{
    static const struct nqtest_opt opts[] = {
        {"truncate", "1000"}, {"after_min", "1"}, {"after_max", "3000"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);

    for (unsigned i = 0; i < LINKS; i++) {
        add_link(&rig);
        nqtest_push(rig.s, 1000, 100, 1, 10); /* what it receives meanwhile does not matter */
        nqtest_push(rig.c, 100000, 777, 1, 8);
        NQTEST_UNTIL(nqtest_is_down, rig.c);
        nqtest_close(rig.c);
        NQTEST_UNTIL(nqtest_is_down, rig.s);
        ck_assert_uint_eq(rig.s->received, struck_at(rig.c, "truncated"));
        ck_assert_int_eq(rig.s->err.code, NQT_E_EOF);
        nqtest_close(rig.s);
        NQTEST_UNTIL(nqtest_is_closed, rig.c);
    }
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_link_that_is_truncated_while_it_is_asked_ends_with_its_peer)
{
    static const struct nqtest_opt opts[] = {
        {"truncate", "1000"}, {"after_min", "1"}, {"after_max", "3000"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(ON_TCP, opts);

    nqtest_hold_time(rig.client_host); /* and not by its timer */
    add_link(&rig);
    ck_assert_int_eq(nqtest_rx_arm(rig.c, 0), 0);
    nqtest_push(rig.c, 100000, 777, 1, 8);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    nqtest_close(rig.c);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_half_open_link_is_dead_one_way_and_cut_later)
{
    static const struct nqtest_opt opts[BOTH][6] = {
        {{"half_open", "1000"}, {"after_max", "3000"}, {"dead_time", "5s"}, {"direction", "send"}},
        {{"half_open", "1000"},
         {"after_max", "3000"},
         {"dead_time", "5s"},
         {"direction", "receive"}},
    };
    struct nqtest_rig rig = harmed(_i % BOTH, opts[_i / BOTH]);
    struct nqtest_link *from, *to, *back;
    uint64_t before;

    add_link(&rig);
    from = _i / BOTH ? rig.s : rig.c;
    to = back = from == rig.c ? rig.s : rig.c;
    nqtest_push(from, 10000, 500, 1, 4);
    nqtest_settle(10);
    ck_assert_uint_le(to->received, 3000);
    before = from->received;
    nqtest_push(back, 10000, 500, 1, 4); /* the other way lives */
    nqtest_until_received(from, before + 10000);
    ck_assert_uint_eq(rig.c->downs, 0);
    nqtest_advance(rig.client_host, INT64_C(6000000000));
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    struck_at(rig.c, "half open");
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_pause_ends_and_nothing_is_lost)
{
    static const struct nqtest_opt opts[] = {{"pause", "1000"},
                                             {"after_max", "20000"},
                                             {"dead_time", "5s"},
                                             {"short_read", "1000"},
                                             {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);

    for (unsigned i = 0; i < 6; i++) {
        add_link(&rig);
        nqtest_push(rig.c, 50000, 500, 1, 4);
        nqtest_push(rig.s, 50000, 500, 1, 4);
        nqtest_settle(5);
        ck_assert_uint_lt(rig.s->received + rig.c->received, 100000);
        nqtest_advance(rig.client_host, INT64_C(6000000000));
        nqtest_until_received(rig.s, 50000);
        nqtest_until_received(rig.c, 50000);
    }
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- connects --------------------------------------------------------------------------- */

START_TEST(some_connects_are_refused_and_the_others_work)
{
    static const struct nqtest_opt opts[] = {{"refuse", "400"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);
    unsigned refused = 0;

    for (unsigned i = 0; i < 40; i++) {
        struct nqtest_link *link = nqtest_connect(rig.client, NULL);

        for (int turn = 0; !link->ups && !link->downs; turn++)
            nqtest_turn(turn < 1000 ? 5 : (ck_abort_msg("neither"), 0));
        refused += link->downs;
        if (link->downs)
            ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
        else
            nqtest_push(link, 100, 10, 1, 1);
        nqtest_close(link);
    }
    nqtest_settle(5);
    ck_assert_uint_gt(refused, 5);
    ck_assert_uint_lt(refused, 35);
    ck_assert_uint_eq(rig.server->naccepted, 40 - refused);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_server_that_refuses_tells_its_core_nothing)
{
    static const struct nqtest_opt opts[] = {{"port", "0"}, {"refuse", "1000"}, {NULL, NULL}};
    struct nqtest_rig rig;
    struct nqtest_link *link;

    stand_on(_i);
    rig = nqtest_rig_endpoints(_i == ON_TCP ? opts : opts + 1, nowhere);
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_uint_eq(rig.server->naccepted, 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- each call -------------------------------------------------------------------------- */

START_TEST(short_reads_and_writes_lose_nothing)
{
    static const struct nqtest_opt opts[] = {
        {"short_read", "100"}, {"short_write", "3"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);
    long reads = rig.client_host->recv_calls;

    add_link(&rig);
    nqtest_push(rig.c, 100000, 500, 2, 10);
    nqtest_push(rig.s, 100000, 500, 2, 10);
    nqtest_until_received(rig.s, 100000);
    nqtest_until_received(rig.c, 100000);
    ck_assert_uint_gt(rig.c->writables, 20);
    if (_i == ON_TCP)
        ck_assert_int_ge(rig.client_host->recv_calls - reads, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_rate_is_kept_in_both_directions)
{
    static const struct nqtest_opt opts[] = {{"rate", "100000"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);
    int64_t before;

    add_link(&rig);
    before = nqtest_now(rig.client_host);
    nqtest_push(rig.c, 10000, 500, 1, 4);
    nqtest_push(rig.s, 10000, 500, 1, 4);
    nqtest_until_received(rig.s, 10000);
    nqtest_until_received(rig.c, 10000);
    ck_assert_int_ge(nqtest_now(rig.client_host) - before, 70000000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_corrupt_read_differs_in_one_bit)
{
    static const struct nqtest_opt opts[] = {{"corrupt", "1000"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(_i, opts);
    unsigned bits = 0;

    add_link(&rig);
    rig.c->raw = true;
    nqtest_push(rig.s, 200, 200, 1, 1);
    nqtest_until_received(rig.c, 200);
    for (unsigned i = 0; i < 200; i++)
        bits += (unsigned)__builtin_popcount((uint8_t)rig.c->head[i] ^ nqtest_pattern(i));
    ck_assert_uint_eq(bits, 1);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- messages --------------------------------------------------------------------------- */

static const struct {
    const char *option;
    int more; /* bytes than were sent: -1, 0, 1 */
} message_faults[] = {{"drop", -1}, {"duplicate", 1}, {"reorder", 0}};

START_TEST(messages_are_lost_doubled_and_swapped_as_a_whole)
{
    const struct nqtest_opt opts[] = {{message_faults[_i].option, "300"}, {NULL, NULL}};
    struct nqtest_rig rig = harmed(ON_LOOP, opts);
    struct nqt_info info = {.size = sizeof(info)};
    unsigned moved = 0;

    add_link(&rig);
    ck_assert_int_eq(nqtest_tested->module->ops->info(rig.c->plugin, &info), NQT_OK);
    ck_assert(info.caps & NQT_CAP_LOSSY);
    rig.c->raw = true;
    nqtest_push(rig.s, 120, 3, 2, 5); /* 40 messages */
    nqtest_settle(25);                /* one may be held back for 10 ms */
    ck_assert_uint_eq(rig.c->received % 3, 0);
    for (uint64_t i = 0; i < 120; i++)
        moved += (uint8_t)rig.c->head[i] != nqtest_pattern(i);
    ck_assert_uint_gt(moved, 0);
    ck_assert_int_eq((rig.c->received > 120) - (rig.c->received < 120), message_faults[_i].more);
    ck_assert_uint_ge(rig.c->received, 40);
    ck_assert_uint_le(rig.c->received, 200);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- options ---------------------------------------------------------------------------- */

static const struct {
    struct nqtest_opt opt[4];
    const char *text;
} wrong[] = {
    {{{"drop", "1"}}, "drop: needs an inner transport of messages; tcp carries a stream"},
    {{{"duplicate", "1"}}, "duplicate: needs"},
    {{{"reorder", "1"}}, "reorder: needs"},
    {{{"cut", "900"}, {"pause", "101"}}, "more than 1000"},
    {{{"after_min", "65537"}}, "after_min"},
    {{{"truncate", "1"}, {"direction", "receive"}}, "truncate"},
    {{{"host", ""}}, "host"}, /* the inner transport's own rule */
};

START_TEST(a_wrong_option_is_an_error_of_check_and_of_opening)
{
    struct nqtest_host *host;
    struct nqt_error err = {.size = sizeof(err)};

    stand_on(ON_TCP);
    host = nqtest_host_new(&fault_LTX_nqt1_module, 0);
    ck_assert_int_eq(nqtest_check(host, wrong[_i].opt, &err), NQT_E_CONFIG);
    ck_assert_msg(strstr(err.text, wrong[_i].text) != NULL, "%s", err.text);
    nqtest_host_free(host);
    nqtest_open_is_refused(&fault_LTX_nqt1_module, false, wrong[_i].opt, NQT_E_CONFIG,
                           wrong[_i].text);
}
END_TEST

START_TEST(a_host_that_knows_no_inner_transport_is_refused)
{
    struct nqtest_host *host;
    struct nqtest_ep *ep;
    struct nqt_error err = {.size = sizeof(err)};

    stand_on(ON_TCP);
    host = nqtest_host_new(&fault_LTX_nqt1_module, 0);
    host->table.size = (uint32_t)offsetof(struct nqt_host, cfg_inner);
    ck_assert_int_eq(nqtest_ep_open(host, false, nowhere, &ep, &err), NQT_E_UNSUPPORTED);
    host->table.size = sizeof(host->table);
    nqtest_inner = NULL;
    ck_assert_int_eq(nqtest_ep_open(host, false, nowhere, &ep, &err), NQT_E_CONFIG);
    nqtest_host_free(host);
}
END_TEST

/* ---- again ------------------------------------------------------------------------------ */

/* What happened to 20 links of a client, as text. */
static void tell_story(int which, const char *seed, char *story, size_t cap)
{
    const struct nqtest_opt opts[] = {
        {"seed", seed},       {"refuse", "200"},     {"cut", "400"},       {"truncate", "300"},
        {"half_open", "300"}, {"after_max", "9000"}, {"dead_time", "1ms"}, {"short_read", "500"},
        {"corrupt", "500"},   {NULL, NULL}};
    struct nqtest_rig rig = harmed(which, opts);
    size_t len = 0;

    for (unsigned i = 0; i < LINKS; i++) {
        struct nqtest_link *link = nqtest_connect(rig.client, NULL);

        link->raw = true;
        for (int turn = 0; !link->downs; turn++) {
            ck_assert_int_lt(turn, 4000);
            nqtest_turn(1);
            for (struct nqtest_link *s = rig.server_host->links; s && !turn; s = s->next)
                s->raw = true;
            if (link->ups && !link->sends)
                nqtest_push(link, 20000, 600, 1, 1);
            if (rig.server->naccepted && rig.server_host->links->ups &&
                !rig.server_host->links->sends)
                nqtest_push(rig.server_host->links, 20000, 600, 1, 1);
        }
        ck_assert_ptr_nonnull(strstr(link->err.text, "fault: "));
        len += (size_t)snprintf(story + len, cap - len, "%s\n", strstr(link->err.text, "fault: "));
        ck_assert_uint_lt(len, cap);
        nqtest_close(link);
        NQTEST_UNTIL(nqtest_is_closed, link);
    }
    nqtest_rig_free(&rig);
}

START_TEST(the_same_seed_does_the_same)
{
    static char first[8192], second[8192], third[8192];

    tell_story(_i, "7", first, sizeof(first));
    tell_story(_i, "7", second, sizeof(second));
    tell_story(_i, "8", third, sizeof(third));
    ck_assert_str_eq(first, second);
    ck_assert_str_ne(first, third);
    ck_assert(strstr(first, "refused") && strstr(first, " cut ") && strstr(first, "truncated") &&
              strstr(first, "half open"));
}
END_TEST

START_TEST(without_faults_the_calls_are_the_inner_ones)
{
    struct nqtest_rig rig = harmed(ON_TCP, nowhere);
    long sends, receives;
    struct nqt_buf *bufs[20];
    uint32_t taken;

    add_link(&rig);
    sends = rig.client_host->send_calls;
    receives = rig.server_host->recv_calls;
    for (unsigned round = 0; round < 10; round++) {
        for (uint64_t i = 0; i < LEN(bufs); i++)
            bufs[i] = nqtest_buf(rig.s->received + 100 * i, 100, 3);
        ck_assert_int_eq(nqtest_send(rig.c, bufs, LEN(bufs), &taken), NQT_OK);
        ck_assert_uint_eq(taken, LEN(bufs));
        nqtest_until_received(rig.s, 2000u * (round + 1));
    }
    ck_assert_int_eq(rig.client_host->send_calls - sends, 10);
    ck_assert_int_eq(rig.server_host->recv_calls - receives, 10);
    ck_assert_str_eq(rig.c->peer, rig.server->name);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- no memory -------------------------------------------------------------------------- */

static const char *const kinds[] = {"cut", "truncate", "half_open", "pause"};

/* One allocation, or one post, timer or watch, of a faulty client fails. */
START_TEST(a_faulty_life_ends_in_good_order_without_memory)
{
    const struct nqtest_opt opts[] = {{kinds[_i % 4], "1000"}, {"after_max", "2000"},
                                      {"dead_time", "2ms"},    {"short_read", "300"},
                                      {"short_write", "2"},    {NULL, NULL}};
    int which = _i / 4 % BOTH;
    struct nqtest_host *hosts[2];
    struct nqtest_ep *eps[2];
    struct nqtest_link *link;

    stand_on(which);
    for (long n = 1; n <= 16; n++) {
        int fds = nqtest_fds();

        hosts[0] = nqtest_host_new(nqtest_tested->module, 0);
        hosts[1] = nqtest_host_new(nqtest_tested->module, 0);
        ck_assert_int_eq(nqtest_ep_open(hosts[0], true, nqtest_tested->server, &eps[0], NULL), 0);
        NQTEST_UNTIL(nqtest_is_ep_up, eps[0]);
        *(_i / 4 / BOTH ? &hosts[1]->fail_mem : &hosts[1]->fail_other) = n;
        link = NULL;
        if (!nqtest_ep_open(hosts[1], false, nqtest_with_port(opts, eps[0]), &eps[1], NULL))
            link = nqtest_connect(eps[1], NULL);
        nqtest_settle(1);
        if (link && link->ups && !link->downs)
            nqtest_push(link, 10000, 900, 2, 3);
        if (eps[0]->naccepted && eps[0]->accepted[0]->ups && !eps[0]->accepted[0]->downs)
            nqtest_push(eps[0]->accepted[0], 10000, 900, 2, 3);
        nqtest_settle(4);
        nqtest_host_free(hosts[1]);
        nqtest_host_free(hosts[0]);
        ck_assert_int_eq(nqtest_bufs, 0);
        ck_assert_int_eq(nqtest_fds(), fds);
    }
}
END_TEST

/* ---- the suite -------------------------------------------------------------------------- */

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("fault");
    TCase *tc = tcase_create("faults");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_link_is_cut_after_any_byte_that_it_sends, 0, BOTH);
    tcase_add_loop_test(tc, a_link_is_cut_after_any_byte_that_it_receives, 0, BOTH);
    tcase_add_loop_test(tc, a_truncated_link_delivers_its_last_bytes_and_ends_in_good_order, 0,
                        BOTH);
    tcase_add_test(tc, a_link_that_is_truncated_while_it_is_asked_ends_with_its_peer);
    tcase_add_loop_test(tc, a_half_open_link_is_dead_one_way_and_cut_later, 0, 2 * BOTH);
    tcase_add_loop_test(tc, a_pause_ends_and_nothing_is_lost, 0, BOTH);
    tcase_add_loop_test(tc, some_connects_are_refused_and_the_others_work, 0, BOTH);
    tcase_add_loop_test(tc, a_server_that_refuses_tells_its_core_nothing, 0, BOTH);
    tcase_add_loop_test(tc, short_reads_and_writes_lose_nothing, 0, BOTH);
    tcase_add_loop_test(tc, a_rate_is_kept_in_both_directions, 0, BOTH);
    tcase_add_loop_test(tc, a_corrupt_read_differs_in_one_bit, 0, BOTH);
    tcase_add_loop_test(tc, messages_are_lost_doubled_and_swapped_as_a_whole, 0,
                        LEN(message_faults));
    tcase_add_loop_test(tc, a_wrong_option_is_an_error_of_check_and_of_opening, 0, LEN(wrong));
    tcase_add_test(tc, a_host_that_knows_no_inner_transport_is_refused);
    tcase_add_loop_test(tc, the_same_seed_does_the_same, 0, BOTH);
    tcase_add_test(tc, without_faults_the_calls_are_the_inner_ones);
    tcase_add_loop_test(tc, a_faulty_life_ends_in_good_order_without_memory, 0, 16);
    suite_add_tcase(suite, tc);
    return suite;
}
