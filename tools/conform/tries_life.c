/* Coming up, closing at any time, and what cannot work.  See try.h. */
#include "tools/conform/try.h"
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

/* ---- up ------------------------------------------------------------------------------- */

static void an_endpoint_comes_up_and_ends(int round)
{
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    int fds = nqtest_fds();
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep = NULL;

    NQTEST_MUST(NONE, host, "mod_open() failed");
    nqtest_ep_open(host, round, round ? nqtest_tested->server : nqtest_tested->client, &ep, &err);
    NQTEST_MUST(NONE, ep, "ep_open() of the %s failed: %s (are its options right?)",
                round ? "server" : "client", err.text);
    NQTEST_UNTIL(nqtest_is_ep_up, ep);
    NQTEST_MUST(NONE, ep->ups == 1, "EP_UP came %u times", ep->ups);
    nqtest_host_free(host);
    if (nqtest_tested->module->threading == NQT_THREADING_LOOP)
        nqtest_until_fds(fds - 2); /* the host had two */
}

static void a_link_comes_up_on_both_sides(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    nqtest_settle(5);
    NQTEST_COMPARE(NONE, rig.server->naccepted, ==, 1);
    nqtest_rig_free(&rig);
}

static void a_link_knows_its_peer(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_info info = {.size = sizeof(info)};
    struct nqtest_link *ends[] = {rig.c, rig.s};

    for (size_t i = 0; i < LEN(ends); i++) {
        NQTEST_COMPARE(NONE, nqtest_tested->module->ops->info(ends[i]->plugin, &info), ==, NQT_OK);
        NQTEST_MUST(NONE, strcmp(info.peer, ends[i]->peer) == 0,
                    "info() says that the peer is \"%s\", LINK_UP said \"%s\"", info.peer,
                    ends[i]->peer);
        NQTEST_MUST(NONE, *info.peer && *info.local, "info() has no peer or no local name");
        NQTEST_COMPARE(NONE, info.caps & ~nqtest_tested->module->caps, ==, 0);
    }
    nqtest_rig_free(&rig);
}

struct count {
    const unsigned *is;
    unsigned want;
};

static bool is_reached(const void *count)
{
    const struct count *own = count;

    return *own->is >= own->want;
}

/* Until `*is` is `want`, and not beyond it.  A library's threads take their time. */
static void until_count(const unsigned *is, unsigned want)
{
    const struct count count = {is, want};

    NQTEST_UNTIL(is_reached, &count);
    NQTEST_COMPARE(NONE, *is, ==, want);
}

/* Whoever sends more than a greeting before attach() may be refused: so that comes first. */
static void many_links_of_one_endpoint_do_not_mix(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_link *links[30];

    for (unsigned i = 0; i < LEN(links); i++) {
        links[i] = nqtest_connect(rig.client, NULL);
        NQTEST_UNTIL(nqtest_is_up, links[i]);
        until_count(&rig.server->naccepted, i + 2);
        NQTEST_UNTIL(nqtest_is_up, rig.server->accepted[i + 1]);
        nqtest_push(links[i], 1000 * i, 777, 2, 3);
    }
    for (unsigned i = 0; i < LEN(links); i++)
        nqtest_until_received(rig.server->accepted[i + 1], 1000 * i);
    nqtest_rig_free(&rig);
}

/* ---- close at any time ------------------------------------------------------------------ */

static void close_right_after_connect(int round)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    for (int i = 0; i < round; i++)
        nqtest_turn(0);
    nqtest_close(link);
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_settle(5);
    nqtest_rig_free(&rig);
}

static void close_before_attach_ends_the_other_side(void)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link;

    rig.server->accept = NQTEST_REFUSE;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    NQTEST_COMPARE(NONE, rig.server->naccepted, ==, 0);
    nqtest_rig_free(&rig);
}

/* The client's end may be up before, or only then. */
static void an_accepted_link_waits_unread_until_it_is_attached(void)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link, *other;
    bool early;

    rig.server->accept = NQTEST_KEEP;
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_has_waiting, rig.server);
    nqtest_settle(10);
    early = link->ups;
    if (early)
        nqtest_push(link, 1000, 100, 1, 10);
    nqtest_settle(10);
    other = nqtest_attach(rig.server);
    NQTEST_UNTIL(nqtest_is_up, other);
    NQTEST_UNTIL(nqtest_is_up, link);
    if (!early)
        nqtest_push(link, 1000, 100, 1, 10);
    nqtest_until_received(other, 1000);
    nqtest_rig_free(&rig);
}

static bool has_three_waiting(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->nwaiting == 3;
}

static void the_endpoint_ends_only_after_links_that_were_never_attached(void)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);

    rig.server->accept = NQTEST_KEEP;
    for (int i = 0; i < 3; i++)
        (void)nqtest_connect(rig.client, NULL);
    nqtest_until_or(NQTEST_RULE_UP, has_three_waiting, rig.server, "three times ACCEPT");
    nqtest_settle(5);
    nqtest_ep_close(rig.server);
    nqtest_settle(5);
    NQTEST_MUST(NONE, !rig.server->closed, "EP_CLOSED while links of it are not closed");
    nqtest_rig_free(&rig);
}

static void close_inside_a_receive(int round)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    rig.s->close_inside = true;
    rig.s->space = 100;
    if (round)
        rig.s->stop_at = 1; /* and the commit says so, too */
    nqtest_push(rig.c, 1 << 20, 1000, 1, 64);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    nqtest_rig_free(&rig);
}

static void close_inside_a_poll(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    if (!nqtest_tested->module->ops->rx_poll)
        nqtest_leave_out("no rx_poll()");
    rig.s->close_inside = true;
    nqtest_push(rig.c, 1000, 1000, 1, 1);
    nqtest_poll_until(nqtest_is_close_called, rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    nqtest_rig_free(&rig);
}

static void close_with_a_started_buffer_gives_it_back(void)
{
    struct nqtest_rig rig = nqtest_rig_tiny();

    if (nqtest_can(NQT_CAP_RX_HOLD))
        NQTEST_COMPARE(NONE, nqtest_hold(rig.s, 1), ==, NQT_OK);
    nqtest_push(rig.c, 8 << 20, 1 << 20, 4, 8);
    nqtest_close(rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    nqtest_rig_free(&rig);
}

static void close_of_both_sides_at_once(int round)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    nqtest_push(rig.c, 100000, 1000, 1, 10);
    nqtest_push(rig.s, 100000, 1000, 1, 10);
    nqtest_close(round ? rig.s : rig.c);
    nqtest_close(round ? rig.c : rig.s);
    NQTEST_UNTIL(nqtest_is_closed, rig.c);
    NQTEST_UNTIL(nqtest_is_closed, rig.s);
    nqtest_rig_free(&rig);
}

static void slots_of_a_link_that_is_down_do_no_harm(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *buf = nqtest_buf(0, 10, 1);
    struct nqt_info info = {.size = sizeof(info)};
    uint32_t taken;

    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    NQTEST_COMPARE(NONE, nqtest_send(rig.c, &buf, 1, &taken), <, 0);
    if (nqtest_can(NQT_CAP_RX_HOLD)) {
        NQTEST_COMPARE(NONE, nqtest_hold(rig.c, 1), ==, NQT_OK);
        NQTEST_COMPARE(NONE, nqtest_hold(rig.c, 0), ==, NQT_OK);
    }
    if (nqtest_can(NQT_CAP_DRAIN))
        NQTEST_COMPARE(NONE, nqtest_shutdown(rig.c), ==, NQT_OK);
    NQTEST_COMPARE(NONE, nqtest_tested->module->ops->info(rig.c->plugin, &info), ==, NQT_OK);
    if (nqtest_tested->module->ops->rx_poll)
        NQTEST_COMPARE(NONE, nqtest_rx_poll(rig.c), ==, 0);
    nqtest_rig_free(&rig);
}

/* ---- what cannot work --------------------------------------------------------------------- */

static void nobody_listens_is_a_reason_for_link_down(void)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_tested->server, nqtest_tested->client);
    struct nqtest_link *link;

    nqtest_ep_close(rig.server);
    link = nqtest_connect(rig.client, NULL);
    nqtest_until_or(NQTEST_RULE_NOBODY, nqtest_is_down, link, "LINK_DOWN");
    NQTEST_MUST(NONE, !link->ups, "LINK_UP without anybody there");
    nqtest_close(link);
    NQTEST_UNTIL(nqtest_is_closed, link);
    nqtest_rig_free(&rig);
}

/* The second server's attempt at the place of the first: refused, at once or later. */
static struct nqtest_ep *open_second(const struct nqtest_rig *rig)
{
    struct nqtest_ep *second = NULL;
    int rc = nqtest_ep_open(rig->client_host, true,
                            nqtest_with_port(nqtest_tested->server, rig->server), &second, NULL);

    if (!rc)
        NQTEST_UNTIL(nqtest_is_ep_down, second);
    NQTEST_MUST(NONE, !second || !second->ups, "two endpoints listen at the same place");
    return second;
}

static void two_servers_at_one_address_is_an_error_of_the_second(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_ep *second = open_second(&rig);

    /* The first is none the worse, and its place is free when it has gone. */
    nqtest_push(rig.c, 10, 10, 1, 1);
    nqtest_until_received(rig.s, 10);
    nqtest_ep_close(rig.server);
    for (unsigned i = 0; i < rig.server->naccepted; i++) /* the second may have knocked */
        nqtest_close(rig.server->accepted[i]);
    until_count(&rig.server->closed, 1);
    if (!second)
        NQTEST_COMPARE(NONE,
                       nqtest_ep_open(rig.client_host, true,
                                      nqtest_with_port(nqtest_tested->server, rig.server), &second,
                                      NULL),
                       ==, 0);
    NQTEST_UNTIL(nqtest_is_ep_up, second);
    nqtest_rig_free(&rig);
}

static void a_listening_endpoint_does_not_connect(void)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_error err = {.size = sizeof(err)};

    NQTEST_MUST(NONE, !nqtest_connect(rig.server, &err),
                "nqtest_connect(rig.server, &err) is not NULL");
    NQTEST_COMPARE(NONE, err.code, <, 0);
    nqtest_rig_free(&rig);
}

/* ---- the list ------------------------------------------------------------------------------- */

#define PRESENCE NQT_CAP_PEER_PRESENCE

const struct nqtest_try nqtest_tries_life[] = {
    {NQTEST_RULE_OPEN, .each = an_endpoint_comes_up_and_ends, .rounds = 2},
    {NQTEST_RULE_UP, .run = a_link_comes_up_on_both_sides},
    {NQTEST_RULE_INFO, .run = a_link_knows_its_peer},
    {NQTEST_RULE_MANY, .run = many_links_of_one_endpoint_do_not_mix},
    {NQTEST_RULE_EARLY, .each = close_right_after_connect, .rounds = 4},
    {NQTEST_RULE_REFUSE, .run = close_before_attach_ends_the_other_side, .caps = PRESENCE},
    {NQTEST_RULE_UNREAD, .run = an_accepted_link_waits_unread_until_it_is_attached},
    {NQTEST_RULE_EPLAST, .run = the_endpoint_ends_only_after_links_that_were_never_attached},
    {NQTEST_RULE_INSIDE, .each = close_inside_a_receive, .rounds = 2},
    {NQTEST_RULE_INSIDE, .run = close_inside_a_poll},
    {NQTEST_RULE_BOTH, .run = close_with_a_started_buffer_gives_it_back},
    {NQTEST_RULE_BOTH, .each = close_of_both_sides_at_once, .rounds = 2},
    {NQTEST_RULE_DEAD, .run = slots_of_a_link_that_is_down_do_no_harm, .caps = PRESENCE},
    {NQTEST_RULE_NOBODY, .run = nobody_listens_is_a_reason_for_link_down},
    {NQTEST_RULE_INUSE, .run = two_servers_at_one_address_is_an_error_of_the_second},
    {NQTEST_RULE_LISTENER, .run = a_listening_endpoint_does_not_connect},
    {.rule = NQTEST_RULE_NONE},
};
