/* See contract.h. */
#include "tests/plugins/contract.h"
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static const struct nqtest_transport *tested;

/* ---- the rig -------------------------------------------------------------------------- */

const struct nqtest_opt *nqtest_with_port(const struct nqtest_opt *base,
                                          const struct nqtest_ep *server)
{
    static struct nqtest_opt opts[16];
    static char port[16];
    const char *colon = strrchr(server->name, ':');
    size_t n = 0;

    for (; base && base->name; base++)
        if (!tested->port || strcmp(base->name, tested->port) != 0)
            opts[n++] = *base;
    if (tested->port && colon) {
        strncpy(port, colon + 1, sizeof(port) - 1);
        opts[n++] = (struct nqtest_opt){tested->port, port};
    }
    ck_assert_uint_lt(n, LEN(opts));
    opts[n] = (struct nqtest_opt){NULL, NULL};
    return opts;
}

struct nqtest_rig nqtest_rig_endpoints(const struct nqtest_opt *server,
                                       const struct nqtest_opt *client)
{
    struct nqtest_rig rig = {.fds = nqtest_fds()};

    rig.server_host = nqtest_host_new(tested->module, 0);
    rig.client_host = nqtest_host_new(tested->module, 0);
    ck_assert_int_eq(nqtest_ep_open(rig.server_host, true, server, &rig.server, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.server);
    ck_assert_int_eq(nqtest_ep_open(rig.client_host, false, nqtest_with_port(client, rig.server),
                                    &rig.client, NULL),
                     0);
    NQTEST_UNTIL(nqtest_is_ep_up, rig.client);
    return rig;
}

struct nqtest_rig nqtest_rig_up(const struct nqtest_opt *server, const struct nqtest_opt *client)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);

    rig.c = nqtest_connect(rig.client, NULL);
    ck_assert_ptr_nonnull(rig.c);
    NQTEST_UNTIL(nqtest_is_up, rig.c);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    return rig;
}

void nqtest_rig_free(struct nqtest_rig *rig)
{
    nqtest_host_free(rig->client_host);
    nqtest_host_free(rig->server_host);
    ck_assert_int_eq(nqtest_bufs, 0);
    ck_assert_int_eq(nqtest_fds(), rig->fds);
}

static uint64_t awaited;

static bool has_received(const void *link)
{
    return ((const struct nqtest_link *)link)->received >= awaited;
}

void nqtest_until_received(const struct nqtest_link *link, uint64_t len)
{
    awaited = len;
    NQTEST_UNTIL(has_received, link);
    ck_assert_uint_eq(link->received, len);
}

/* What `which` of the module's capabilities says; a test of what is not there passes. */
static bool can(uint64_t which)
{
    return tested->module->caps & which;
}

static struct nqtest_rig up(void)
{
    return nqtest_rig_up(tested->server, tested->client);
}

static struct nqtest_rig tiny(void)
{
    return nqtest_rig_up(tested->tiny_server, tested->tiny_client);
}

/* ---- up ------------------------------------------------------------------------------- */

START_TEST(the_descriptor_keeps_the_rules)
{
    const struct nqt_module *module = tested->module;
    const struct nqt_ops *ops = module->ops;
    bool stream = module->caps & NQT_CAP_STREAM, message = module->caps & NQT_CAP_MESSAGE;

    ck_assert_uint_eq(module->magic, NQT_MAGIC);
    ck_assert_uint_eq(module->abi_major, NQT_ABI_MAJOR);
    ck_assert(stream != message);
    ck_assert(ops->mod_open && ops->mod_close && ops->ep_open && ops->ep_close && ops->connect);
    ck_assert(ops->attach && ops->send && ops->close && ops->info && ops->ext);
    ck_assert_int_eq(!!ops->rx_hold, !!(module->caps & NQT_CAP_RX_HOLD));
    ck_assert_int_eq(!!ops->shutdown, !!(module->caps & NQT_CAP_DRAIN));
    ck_assert_int_eq(!!ops->loan, !!(module->caps & NQT_CAP_LOAN_TX));
    ck_assert_int_eq(!ops->rx_poll, !ops->rx_arm);
    ck_assert_int_eq(!ops->poll, !ops->poll_wake);
    for (uint32_t i = 0; i < module->nopt; i++) {
        ck_assert_ptr_nonnull(module->opt[i].help);
        ck_assert_int_eq(module->opt[i].type == NQT_OPT_ENUM, !!module->opt[i].choices);
    }
}
END_TEST

START_TEST(a_link_comes_up_on_both_sides_and_knows_its_peer)
{
    struct nqtest_rig rig = up();
    struct nqt_info info = {.size = sizeof(info)};
    struct nqtest_link *ends[] = {rig.c, rig.s};

    for (size_t i = 0; i < LEN(ends); i++) {
        ck_assert_int_eq(tested->module->ops->info(ends[i]->plugin, &info), NQT_OK);
        ck_assert_str_eq(info.peer, ends[i]->peer);
        ck_assert(*info.peer && *info.local);
        ck_assert_uint_eq(info.caps & ~tested->module->caps, 0);
    }
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(many_links_of_one_endpoint_do_not_mix)
{
    struct nqtest_rig rig = up();
    struct nqtest_link *links[30];

    for (size_t i = 0; i < LEN(links); i++) {
        links[i] = nqtest_connect(rig.client, NULL);
        NQTEST_UNTIL(nqtest_is_up, links[i]);
        nqtest_push(links[i], 1000 * i, 777, 2, 3);
    }
    nqtest_settle(20);
    ck_assert_uint_eq(rig.server->naccepted, LEN(links) + 1);
    for (size_t i = 0; i < LEN(links); i++)
        nqtest_until_received(rig.server->accepted[i + 1], 1000 * i);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- delivery ------------------------------------------------------------------------- */

static const uint32_t segments[] = {1, 2, 7, 64, 1023, 1024, 1025, 3000};

START_TEST(buffers_of_any_number_of_segments_arrive_whole)
{
    struct nqtest_rig rig = up();
    uint32_t nseg = can(NQT_CAP_GATHER) ? segments[_i] : 1;
    size_t lens[] = {1, nseg / 2 + 1, nseg, 10 * nseg + 3, 30000};

    for (size_t i = 0; i < LEN(lens); i++) {
        rig.c->tx.end = rig.c->tx.done;
        nqtest_push(rig.c, 5 * lens[i], lens[i], nseg, 5);
        nqtest_until_received(rig.s, rig.c->tx.end);
    }
    if (can(NQT_CAP_MESSAGE))
        ck_assert_uint_eq(rig.s->messages, 5 * LEN(lens));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(empty_segments_and_buffers_are_taken)
{
    struct nqtest_rig rig = up();
    struct nqt_buf *bufs[4];
    uint32_t taken;

    bufs[0] = nqtest_buf(0, 0, 1);
    bufs[1] = nqtest_buf(0, 2, 4); /* two of the four are empty */
    bufs[2] = nqtest_buf(0, 0, 3);
    bufs[3] = nqtest_buf(2, 5, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 4, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 4);
    nqtest_until_received(rig.s, 7);
    bufs[0] = nqtest_buf(0, 0, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 0, &taken), NQT_OK);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(large_transfers_in_both_directions_at_once)
{
    struct nqtest_rig rig = up();
    const uint64_t len = 24 << 20;

    rig.s->space = rig.c->space = 1 << 20;
    rig.s->space_segs = 8;
    nqtest_push(rig.c, len, 1000003, 3, 4);
    nqtest_push(rig.s, len, 65536, 1, 16);
    nqtest_until_received(rig.s, len);
    nqtest_until_received(rig.c, len);
    nqtest_rig_free(&rig);
}
END_TEST

static const struct {
    size_t buf_len;
    uint32_t nseg, batch;
    size_t space;
} shapes[] = {
    {1, 1, 64, 65536}, {100, 3, 64, 7},      {5000, 5, 8, 1000},
    {70000, 2, 2, 64}, {300000, 1, 1, 4096}, {1 << 20, 1100, 3, 65536},
};

START_TEST(small_buffers_of_the_system_lose_and_reorder_nothing)
{
    struct nqtest_rig rig = tiny();
    uint64_t len = shapes[_i].buf_len < 10 ? 3000 : shapes[_i].space < 1000 ? 200000 : 1500000;

    rig.s->space = shapes[_i].space;
    nqtest_push(rig.c, len, shapes[_i].buf_len, can(NQT_CAP_GATHER) ? shapes[_i].nseg : 1,
                shapes[_i].batch);
    nqtest_until_received(rig.s, len);
    if (len > 100000 && (len / shapes[_i].buf_len > 10 || can(NQT_CAP_STREAM)))
        ck_assert_uint_gt(rig.c->writables, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_full_link_takes_nothing_until_it_is_writable)
{
    struct nqtest_rig rig = tiny();
    struct nqt_buf *buf;
    uint64_t done = 0;
    uint32_t taken = 1;

    if (!can(NQT_CAP_RX_HOLD))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    while (taken) {
        buf = nqtest_buf(done, 10000, 2);
        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        done += taken * 10000;
        ck_assert_uint_lt(done, 64 << 20);
    }
    nqtest_settle(10);
    buf = nqtest_buf(done, 1, 1);
    if (rig.c->short_send) {
        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        ck_assert_uint_eq(taken, 0);
    } else {
        buf->ops->unref(buf);
    }
    rig.c->tx.done = rig.c->tx.end = done; /* WRITABLE has nothing to go on with */
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, done);
    nqtest_settle(5);
    ck_assert_uint_gt(rig.c->writables, 0);
    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_until_received(rig.s, done + 100000);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(hold_stops_receiving_and_nothing_is_lost)
{
    struct nqtest_rig rig = up();
    uint64_t before;

    if (!can(NQT_CAP_RX_HOLD))
        goto out;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_until_received(rig.s, 5000);
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_settle(5); /* what was emitted before may still come */
    before = rig.s->received;
    nqtest_push(rig.c, 3000, 1000, 1, 3);
    nqtest_settle(30);
    ck_assert_uint_eq(rig.s->received, before);
    if (tested->module->ops->rx_poll) {
        ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
        ck_assert_uint_eq(rig.s->received, before);
    }
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK); /* twice is once */
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, 8000);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(space_that_is_refused_and_stopped_ends_reading)
{
    struct nqtest_rig rig = up();
    unsigned turns = 0;

    if (!can(NQT_CAP_STREAM) || !can(NQT_CAP_RX_HOLD))
        goto out;
    rig.s->space_refusal = NQT_E_CLOSED;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_settle(10);
    for (int i = 0; i < 20; i++)
        turns += nqtest_turn(0);
    ck_assert_uint_eq(turns, 0); /* no spinning */
    rig.s->space_refusal = 0;
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, 5000);
    rig.s->stop_at = 5001;
    rig.s->space = 100;
    nqtest_push(rig.c, 5000, 1000, 1, 5);
    nqtest_settle(10);
    ck_assert_uint_eq(rig.s->received, 5100);
    ck_assert_uint_eq(rig.s->downs, 0);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(polling_receives_what_is_there)
{
    struct nqtest_rig rig = up();

    if (!tested->module->ops->rx_poll)
        goto out;
    ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    while (!rig.s->received)
        nqtest_rx_poll(rig.s);
    ck_assert_uint_eq(rig.s->received, 100);
    ck_assert_int_eq(nqtest_rx_poll(rig.s), 0);
    ck_assert_int_eq(tested->module->ops->rx_arm(rig.s->plugin, 1), 0);
    nqtest_push(rig.c, 100, 100, 1, 1);
    nqtest_until_received(rig.s, 200);
out:
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the end -------------------------------------------------------------------------- */

START_TEST(what_arrives_before_a_sudden_end_is_a_prefix)
{
    struct nqtest_rig rig = _i ? tiny() : up();

    nqtest_push(rig.c, 8 << 20, 100000, 1, 4);
    nqtest_turn(0);
    nqtest_turn(0);
    nqtest_close(rig.c); /* the pattern is checked as it comes */
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_uint_le(rig.s->received, rig.c->tx.done);
    ck_assert(rig.s->err.code == NQT_E_EOF || rig.s->err.code == NQT_E_LOST);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(the_end_of_one_side_is_eof_on_the_other)
{
    struct nqtest_rig rig = up();
    struct nqtest_link *first = _i ? rig.s : rig.c, *second = _i ? rig.c : rig.s;

    nqtest_push(first, 1000, 100, 1, 10);
    nqtest_close(first);
    NQTEST_UNTIL(nqtest_is_down, second);
    ck_assert_int_eq(second->err.code, NQT_E_EOF);
    ck_assert_uint_eq(second->received, 1000);
    ck_assert_uint_eq(first->downs, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(shutdown_delivers_what_was_taken_and_takes_no_more)
{
    struct nqtest_rig rig = _i ? tiny() : up();
    struct nqt_buf *buf;
    uint32_t taken;

    if (!can(NQT_CAP_DRAIN))
        goto out;
    buf = nqtest_buf(0, 10, 1);
    nqtest_push(rig.c, 4 << 20, 300000, 1, 4);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_lt(nqtest_send(rig.c, &buf, 1, &taken), 0);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_EOF);
    ck_assert_uint_eq(rig.s->received, rig.c->tx.done);
    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_EOF);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(shutdown_does_not_wait_for_a_peer_that_stays)
{
    struct nqtest_rig rig = up();

    if (!can(NQT_CAP_DRAIN))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    nqtest_settle(5);
    nqtest_advance(rig.client_host, INT64_C(3000000000));
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_EOF);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(shutdown_of_one_direction_still_receives)
{
    struct nqtest_rig rig = up();

    if (!can(NQT_CAP_DRAIN))
        goto out;
    ck_assert_int_eq(nqtest_hold(rig.c, 1), NQT_OK);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    nqtest_settle(5);
    ck_assert_uint_eq(rig.c->received, 0);
    ck_assert_int_eq(nqtest_hold(rig.c, 0), NQT_OK);
    nqtest_until_received(rig.c, rig.s->tx.done);
out:
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- close at any time ------------------------------------------------------------------ */

START_TEST(close_right_after_connect)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(tested->server, tested->client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    for (int i = 0; i < _i; i++)
        nqtest_turn(0);
    nqtest_close(link);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_settle(5);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_before_attach_ends_the_other_side)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(tested->server, tested->client);
    struct nqtest_link *link;

    rig.server->accept = NQTEST_REFUSE;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_uint_eq(rig.server->naccepted, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(an_accepted_link_waits_unread_until_it_is_attached)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(tested->server, tested->client);
    struct nqtest_link *link, *other;

    rig.server->accept = NQTEST_KEEP;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    NQTEST_UNTIL(nqtest_has_waiting, rig.server);
    nqtest_push(link, 1000, 100, 1, 10);
    nqtest_settle(10);
    other = nqtest_attach(rig.server);
    NQTEST_UNTIL(nqtest_is_up, other);
    nqtest_until_received(other, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(the_endpoint_ends_only_after_links_that_were_never_attached)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(tested->server, tested->client);

    rig.server->accept = NQTEST_KEEP;
    for (int i = 0; i < 3; i++)
        NQTEST_UNTIL(nqtest_is_up, nqtest_connect(rig.client, NULL));
    NQTEST_UNTIL(nqtest_has_waiting, rig.server);
    nqtest_settle(5);
    ck_assert_uint_eq(rig.server->nwaiting, 3);
    nqtest_ep_close(rig.server);
    nqtest_settle(5);
    ck_assert_uint_eq(rig.server->closed, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_inside_a_receive)
{
    struct nqtest_rig rig = up();

    rig.s->close_inside = true;
    rig.s->space = 100;
    if (_i)
        rig.s->stop_at = 1; /* and the commit says so, too */
    nqtest_push(rig.c, 1 << 20, 1000, 1, 64);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_inside_a_poll)
{
    struct nqtest_rig rig = up();

    if (!tested->module->ops->rx_poll)
        goto out;
    rig.s->close_inside = true;
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    while (!rig.s->close_called)
        nqtest_rx_poll(rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
out:
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_with_a_started_buffer_gives_it_back)
{
    struct nqtest_rig rig = tiny();

    if (can(NQT_CAP_RX_HOLD))
        ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_push(rig.c, 8 << 20, 1 << 20, 4, 8);
    nqtest_close(rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(close_of_both_sides_at_once)
{
    struct nqtest_rig rig = up();

    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    nqtest_close(_i ? rig.s : rig.c);
    nqtest_close(_i ? rig.c : rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(slots_of_a_link_that_is_down_do_no_harm)
{
    struct nqtest_rig rig = up();
    struct nqt_buf *buf = nqtest_buf(0, 10, 1);
    struct nqt_info info = {.size = sizeof(info)};
    uint32_t taken;

    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_lt(nqtest_send(rig.c, &buf, 1, &taken), 0);
    if (can(NQT_CAP_RX_HOLD)) {
        ck_assert_int_eq(nqtest_hold(rig.c, 1), NQT_OK);
        ck_assert_int_eq(nqtest_hold(rig.c, 0), NQT_OK);
    }
    if (can(NQT_CAP_DRAIN))
        ck_assert_int_eq(nqtest_shutdown(rig.c), NQT_OK);
    ck_assert_int_eq(tested->module->ops->info(rig.c->plugin, &info), NQT_OK);
    if (tested->module->ops->rx_poll)
        ck_assert_int_eq(nqtest_rx_poll(rig.c), 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- what cannot work --------------------------------------------------------------------- */

START_TEST(nobody_listens_is_refused_with_the_address_in_the_text)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(tested->server, tested->client);
    struct nqtest_link *link;

    nqtest_ep_close(rig.server);
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_REFUSED);
    ck_assert_ptr_nonnull(strstr(link->err.text, "is the server running"));
    ck_assert_uint_eq(link->ups, 0);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(two_servers_at_one_address_is_an_error_of_the_second)
{
    struct nqtest_rig rig = up();
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *second = NULL;

    ck_assert_int_lt(nqtest_ep_open(rig.client_host, true,
                                    nqtest_with_port(tested->server, rig.server), &second, &err),
                     0);
    ck_assert_ptr_null(second);
    ck_assert_msg(strstr(err.text, "in use"), "%s", err.text);
    /* The first is none the worse, and its place is free when it has gone. */
    nqtest_push(rig.c, 10, 10, 1, 1);
    nqtest_until_received(rig.s, 10);
    nqtest_ep_close(rig.server);
    nqtest_close(rig.s);
    nqtest_settle(5);
    ck_assert_int_eq(nqtest_ep_open(rig.client_host, true,
                                    nqtest_with_port(tested->server, rig.server), &second, &err),
                     0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_listening_endpoint_does_not_connect)
{
    struct nqtest_rig rig = up();
    struct nqt_error err = {.size = sizeof(err)};

    ck_assert_ptr_null(nqtest_connect(rig.server, &err));
    ck_assert_int_lt(err.code, 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- no memory ------------------------------------------------------------------------------ */

/* A whole life in which one allocation (or post, timer, watch) fails.  It may end anywhere, but in
 * good order. */
static void life_with_failure(bool server, bool other, long nth)
{
    int fds = nqtest_fds();
    struct nqtest_host *hosts[2];
    struct nqtest_host *failing;
    struct nqtest_ep *eps[2] = {NULL, NULL};
    struct nqtest_link *link = NULL;

    for (int i = 0; i < 2; i++) {
        hosts[i] = nqtest_host_new(tested->module, !other && server == !i ? nth : 0);
        if (!hosts[i])
            hosts[i] = nqtest_host_new(tested->module, 0);
    }
    failing = hosts[server ? 0 : 1];
    if (other)
        failing->fail_other = nth;
    if (!nqtest_ep_open(hosts[0], true, tested->server, &eps[0], NULL) && eps[0]->ups &&
        !nqtest_ep_open(hosts[1], false, nqtest_with_port(tested->client, eps[0]), &eps[1], NULL))
        link = nqtest_connect(eps[1], NULL);
    nqtest_settle(2);
    if (link && link->ups && !link->downs)
        nqtest_push(link, 100000, 10000, 3, 4);
    nqtest_settle(2);
    if (can(NQT_CAP_DRAIN) && link && link->ups && !link->downs)
        (void)nqtest_shutdown(link);
    nqtest_settle(2);
    nqtest_host_free(hosts[1]);
    nqtest_host_free(hosts[0]);
    ck_assert_int_eq(nqtest_bufs, 0);
    ck_assert_int_eq(nqtest_fds(), fds);
}

START_TEST(the_nth_allocation_fails_on_the_server)
{
    life_with_failure(true, false, _i);
}
END_TEST

START_TEST(the_nth_allocation_fails_on_the_client)
{
    life_with_failure(false, false, _i);
}
END_TEST

START_TEST(the_nth_post_timer_or_watch_fails_on_the_server)
{
    life_with_failure(true, true, _i);
}
END_TEST

START_TEST(the_nth_post_timer_or_watch_fails_on_the_client)
{
    life_with_failure(false, true, _i);
}
END_TEST

/* ---- the suite ------------------------------------------------------------------------------ */

static void contract_life(TCase *tc)
{
    tcase_add_test(tc, the_descriptor_keeps_the_rules);
    tcase_add_test(tc, a_link_comes_up_on_both_sides_and_knows_its_peer);
    tcase_add_test(tc, many_links_of_one_endpoint_do_not_mix);
    tcase_add_loop_test(tc, close_right_after_connect, 0, 4);
    tcase_add_test(tc, close_before_attach_ends_the_other_side);
    tcase_add_test(tc, an_accepted_link_waits_unread_until_it_is_attached);
    tcase_add_test(tc, the_endpoint_ends_only_after_links_that_were_never_attached);
    tcase_add_loop_test(tc, close_inside_a_receive, 0, 2);
    tcase_add_test(tc, close_inside_a_poll);
    tcase_add_test(tc, close_with_a_started_buffer_gives_it_back);
    tcase_add_loop_test(tc, close_of_both_sides_at_once, 0, 2);
    tcase_add_test(tc, slots_of_a_link_that_is_down_do_no_harm);
    tcase_add_test(tc, nobody_listens_is_refused_with_the_address_in_the_text);
    tcase_add_test(tc, two_servers_at_one_address_is_an_error_of_the_second);
    tcase_add_test(tc, a_listening_endpoint_does_not_connect);
}

static void contract_delivery(TCase *tc)
{
    tcase_add_loop_test(tc, buffers_of_any_number_of_segments_arrive_whole, 0, LEN(segments));
    tcase_add_test(tc, empty_segments_and_buffers_are_taken);
    tcase_add_test(tc, large_transfers_in_both_directions_at_once);
    tcase_add_loop_test(tc, small_buffers_of_the_system_lose_and_reorder_nothing, 0, LEN(shapes));
    tcase_add_test(tc, a_full_link_takes_nothing_until_it_is_writable);
    tcase_add_test(tc, hold_stops_receiving_and_nothing_is_lost);
    tcase_add_test(tc, space_that_is_refused_and_stopped_ends_reading);
    tcase_add_test(tc, polling_receives_what_is_there);
    tcase_add_loop_test(tc, what_arrives_before_a_sudden_end_is_a_prefix, 0, 2);
    tcase_add_loop_test(tc, the_end_of_one_side_is_eof_on_the_other, 0, 2);
    tcase_add_loop_test(tc, shutdown_delivers_what_was_taken_and_takes_no_more, 0, 2);
    tcase_add_test(tc, shutdown_does_not_wait_for_a_peer_that_stays);
    tcase_add_test(tc, shutdown_of_one_direction_still_receives);
}

static void contract_failures(TCase *tc)
{
    tcase_add_loop_test(tc, the_nth_allocation_fails_on_the_server, 1, 9);
    tcase_add_loop_test(tc, the_nth_allocation_fails_on_the_client, 1, 9);
    tcase_add_loop_test(tc, the_nth_post_timer_or_watch_fails_on_the_server, 1, 9);
    tcase_add_loop_test(tc, the_nth_post_timer_or_watch_fails_on_the_client, 1, 9);
}

void nqtest_contract(Suite *suite, const struct nqtest_transport *transport, void (*setup)(void))
{
    TCase *life = tcase_create("contract, life"), *delivery = tcase_create("contract, delivery");
    TCase *failures = tcase_create("contract, failures");

    tested = transport;
    tcase_add_checked_fixture(life, setup, NULL);
    tcase_add_checked_fixture(delivery, setup, NULL);
    tcase_add_checked_fixture(failures, setup, NULL);
    tcase_set_timeout(delivery, 60);
    tcase_set_timeout(life, 30);
    tcase_set_timeout(failures, 30);
    contract_life(life);
    contract_delivery(delivery);
    contract_failures(failures);
    suite_add_tcase(suite, life);
    suite_add_tcase(suite, delivery);
    suite_add_tcase(suite, failures);
}
