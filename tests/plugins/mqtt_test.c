/* plugins/mqtt: the wire, and what a broker can do to links; each test has a broker of its own. */
#include "plugins/mqtt/mqtt.h"
#include "tests/support/broker.h"
#include "tests/support/queue.h"
#include "tools/conform/rig.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const struct nqt_module mqtt_LTX_nqt1_module;

static char port[8];
/* The time-out is what a test waits for that nobody answers. */
static const struct nqtest_opt usual[] = {{"port", port}, {"connect_timeout", "4s"}, {NULL, NULL}};
static const struct nqtest_opt tiny[] = {
    {"port", port}, {"window", "8KiB"}, {"packet", "2KiB"}, {NULL, NULL}};
static const struct nqtest_opt qos1[] = {{"port", port}, {"qos", "1"}, {NULL, NULL}};
static const struct nqtest_opt named[] = {{"port", port}, {"host", "localhost"}, {NULL, NULL}};
static const struct nqtest_opt old[] = {{"port", port}, {"version", "3.1.1"}, {NULL, NULL}};

static const struct nqtest_transport mqtt = {
    .module = &mqtt_LTX_nqt1_module,
    .server = usual,
    .client = usual,
    .tiny_server = tiny,
    .tiny_client = tiny,
};

static void setup(void)
{
    nqtest_fds_of_library = true;
    snprintf(port, sizeof(port), "%u", nqtest_broker(""));
}

/* ---- the wire --------------------------------------------------------------------------- */

START_TEST(a_head_is_read_as_it_was_written)
{
    const struct mqtt_head head = {MQTT_DATA,          true,       0x1234, 0x89abcdef, 1ull << 63,
                                   0xfedcba9876543210, 0xffffffff, 7};
    uint8_t at[MQTT_HEAD];
    struct mqtt_head back;

    mqtt_head_write(at, &head);
    ck_assert(mqtt_head_read(at, sizeof(at), &back));
    ck_assert_int_eq(back.type, head.type);
    ck_assert(back.ack_now);
    ck_assert_uint_eq(back.credit, head.credit);
    ck_assert_uint_eq(back.number, head.number);
    ck_assert_uint_eq(back.client, head.client);
    ck_assert_uint_eq(back.server, head.server);
    ck_assert_uint_eq(back.seq, head.seq);
    ck_assert_uint_eq(back.ack, head.ack);
}
END_TEST

START_TEST(heads_that_make_no_sense_are_not_read)
{
    struct mqtt_head head = {.type = MQTT_OPEN};
    uint8_t at[MQTT_HEAD + 8] = {0};

    mqtt_head_write(at, &head);
    ck_assert(mqtt_head_read(at, sizeof(at), &head));
    ck_assert(!mqtt_head_read(at, MQTT_HEAD, &head)); /* OPEN has a body */
    ck_assert(!mqtt_head_read(at, 0, &head));
    at[1] = 0;
    ck_assert(!mqtt_head_read(at, sizeof(at), &head));
    at[1] = MQTT_CLAIM + 1;
    ck_assert(!mqtt_head_read(at, sizeof(at), &head));
    at[1] = MQTT_DATA;
    for (size_t len = 0; len < MQTT_HEAD; len++)
        ck_assert(!mqtt_head_read(at, len, &head));
    ck_assert(mqtt_head_read(at, MQTT_HEAD, &head));
    at[0] ^= 1;
    ck_assert(!mqtt_head_read(at, sizeof(at), &head));
}
END_TEST

/* ---- bodies, without a link's other parts ---- */

static void *piece_mem(nqt_core *core, void *was, size_t len)
{
    (void)core;
    if (len)
        return realloc(was, len);
    free(was);
    return NULL;
}

static const struct nqt_host piece_host = {.size = sizeof(piece_host), .mem = piece_mem};
static struct nqtp_mod piece_mod = {.host = &piece_host};
static struct nqtp_ep piece_ep = {.mod = &piece_mod};

static uint32_t piece_refs(const struct mqtt_rx *rx)
{
    return atomic_load(&rx->refs);
}

/* Unpack `len` bytes that `rx` has one reference on.  @return as mqtt_unpack() */
static int piece_unpack(struct nqtp_link *link, struct mqtt_rx *rx, const void *body, size_t len,
                        struct nqt_buf **bufs)
{
    size_t at = 0;

    rx->body = body;
    rx->len = len;
    return mqtt_unpack(link, rx, &at, bufs, 4);
}

static const struct {
    uint8_t body[24];
    size_t len;
} bad_pieces[] = {
    {{1, 0, 0, 0x80, 'a', 1, 0}, 7},                   /* no room for a length */
    {{1, 0, 0, 0x80, 'a', 2, 0, 0, 0x80, 'b'}, 10},    /* longer than what there is */
    {{1, 0, 0, 0x80, 'a', 0, 0, 0, 0}, 9},             /* of nothing, and it ends nothing */
    {{1, 0, 0, 0x80, 'a', 1, 0, 0, 0, 'b', 0, 0}, 12}, /* it ends neither buffer nor publish */
};

START_TEST(a_piece_that_makes_no_sense_leaves_nothing)
{
    struct nqtp_link link = {.ep = &piece_ep};
    struct mqtt_rx rx = {.refs = 1};
    struct nqt_buf *bufs[4];

    ck_assert_int_eq(piece_unpack(&link, &rx, bad_pieces[_i].body, bad_pieces[_i].len, bufs),
                     NQT_E_PROTOCOL);
    ck_assert_uint_eq(piece_refs(&rx), 1); /* what came whole before it is not kept either */
    mqtt_part_drop(&link);
    ck_assert_uint_eq(piece_refs(&rx), 1);
}
END_TEST

START_TEST(a_buffer_of_too_many_pieces_is_refused)
{
    static const uint8_t piece[] = {1, 0, 0, 0, 'a'};
    struct nqtp_link link = {.ep = &piece_ep};
    struct mqtt_rx rx = {.refs = 1};
    struct nqt_buf *bufs[4];

    for (uint32_t i = 0; i < MQTT_PIECES; i++)
        ck_assert_int_eq(piece_unpack(&link, &rx, piece, sizeof(piece), bufs), 0);
    ck_assert_int_eq(piece_unpack(&link, &rx, piece, sizeof(piece), bufs), NQT_E_PROTOCOL);
    mqtt_part_drop(&link);
    ck_assert_uint_eq(piece_refs(&rx), 1);
}
END_TEST

START_TEST(a_reason_from_outside_is_printable_and_one_of_ours)
{
    uint8_t at[MQTT_CONTROL];
    char text[MQTT_CAUSE_MAX], longer[2 * MQTT_CONTROL];
    size_t len = mqtt_reason_write(at, NQT_E_EOF,
                                   "a\n\x01\xff"
                                   "b");
    int code;

    mqtt_reason_read(at, len, &code, text);
    ck_assert_int_eq(code, NQT_E_EOF);
    ck_assert_str_eq(text, "a???b");
    mqtt_reason_read(at, 3, &code, text);
    ck_assert_int_eq(code, NQT_E_LOST);
    ck_assert_str_eq(text, "");
    mqtt_store_u32(at, 77);
    mqtt_reason_read(at, 4, &code, text);
    ck_assert_int_eq(code, NQT_E_LOST);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    len = mqtt_reason_write(at, NQT_E_AUTH, longer);
    ck_assert_uint_eq(len, MQTT_CONTROL - MQTT_HEAD);
    mqtt_reason_read(at, len, &code, text);
    ck_assert_uint_eq(strlen(text), MQTT_CAUSE_MAX - 1);
}
END_TEST

START_TEST(a_topic_ends_with_the_id)
{
    static const char *const none[] = {"",
                                       "/",
                                       "nq1/a/server",
                                       "nq1/a/in/0123456789abcde",
                                       "nq1/a/in/0123456789abcdeF",
                                       "nq1/a/in/00123456789abcdef"};
    char topic[MQTT_TOPIC_MAX];
    uint64_t id = 0;

    mqtt_topic(topic, "name", "in", 0x0123456789abcdef);
    ck_assert_str_eq(topic, "nq1/name/in/0123456789abcdef");
    ck_assert(mqtt_topic_id(topic, strlen(topic), &id));
    ck_assert_uint_eq(id, 0x0123456789abcdef);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
        ck_assert_msg(!mqtt_topic_id(none[i], strlen(none[i]), &id), "%s", none[i]);
}
END_TEST

/* ---- options ---------------------------------------------------------------------------- */

START_TEST(names_that_would_be_more_than_one_level_of_a_topic_are_refused)
{
    static const char *const names[] = {"", "a/b", "a+", "#", "$sys", "a b", "\xc3\xa4"};
    struct nqtest_opt opts[] = {{"server", NULL}, {NULL, NULL}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        opts[0].value = names[i];
        nqtest_open_is_refused(&mqtt_LTX_nqt1_module, true, opts, NQT_E_CONFIG, "server");
    }
}
END_TEST

START_TEST(a_password_without_a_user_is_refused)
{
    static const struct nqtest_opt opts[] = {{"password", "x"}, {NULL, NULL}};

    nqtest_open_is_refused(&mqtt_LTX_nqt1_module, false, opts, NQT_E_CONFIG, "user");
}
END_TEST

/* ---- the broker ------------------------------------------------------------------------- */

static void exchange(struct nqtest_rig *rig)
{
    nqtest_push(rig->c, 3 << 20, 300001, 3, 4);
    nqtest_push(rig->s, 1 << 20, 777, 1, 64);
    nqtest_until_received(rig->s, rig->c->tx.end);
    nqtest_until_received(rig->c, rig->s->tx.end);
}

START_TEST(other_settings_carry_bytes_as_well)
{
    static const struct nqtest_opt *const all[] = {qos1, old, tiny, named};
    struct nqtest_rig rig = nqtest_rig_up(all[_i], all[_i]);

    exchange(&rig);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(ends_of_different_settings_understand_each_other)
{
    struct nqtest_rig rig = nqtest_rig_up(_i ? old : tiny, _i ? qos1 : usual);

    exchange(&rig);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_broker_that_is_lost_takes_links_down_and_the_server_returns)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_link *link;
    unsigned tries = 0;

    exchange(&rig);
    nqtest_broker_kill();
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    NQTEST_UNTIL(nqtest_is_ep_down, rig.server);
    ck_assert_int_eq(rig.c->err.code, NQT_E_LOST);
    ck_assert_ptr_nonnull(strstr(rig.c->err.text, "broker"));
    link = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(link->err.text, "is the broker running"));
    rig.server->ups = 0;
    nqtest_broker("");
    NQTEST_UNTIL(nqtest_is_ep_up, rig.server);
    do {
        ck_assert_uint_lt(tries++, 20);
        link = nqtest_connect(rig.client, NULL);
        while (!link->ups && !link->downs)
            nqtest_turn(5);
    } while (!link->ups);
    nqtest_push(link, 1000, 100, 1, 10);
    while (rig.server->naccepted < 2)
        nqtest_turn(5);
    nqtest_until_received(rig.server->accepted[1], 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_broker_that_is_not_there_is_said_once)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    nqtest_broker_kill();
    ck_assert_int_eq(nqtest_ep_open(host, true, usual, &ep, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    ck_assert_ptr_nonnull(strstr(ep->err.text, "is the broker running"));
    nqtest_settle(700);
    ck_assert_uint_eq(ep->downs, 1);
    nqtest_broker("");
    NQTEST_UNTIL(nqtest_is_ep_up, ep);
    nqtest_host_free(host);
}
END_TEST

static bool is_waiting_no_more(const void *link)
{
    return ((const struct nqtest_link *)link)->received == 1000;
}

/* SIGSTOP: the connection stays, and nothing moves. */
START_TEST(a_broker_that_stops_holds_senders_back_and_nothing_is_lost)
{
    struct nqtest_rig rig = nqtest_rig_tiny();
    struct nqt_buf *buf;
    uint32_t taken = 1;
    uint64_t done = 0;

    nqtest_broker_pause(true);
    while (taken) {
        buf = nqtest_buf(done, 500, 1);
        ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
        done += taken * 500;
        ck_assert_uint_lt(done, 64 << 10);
    }
    nqtest_broker_pause(false);
    rig.c->tx.done = rig.c->tx.end = done;
    nqtest_until_received(rig.s, done);
    rig.s->received = 0;
    rig.s->raw = true;
    nqtest_push(rig.c, 1000, 100, 1, 1);
    nqtest_until(is_waiting_no_more, rig.s, "what follows");
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(packets_stay_below_the_brokers_limit)
{
    struct nqtest_rig rig;

    nqtest_broker_kill();
    nqtest_broker("max_packet_size 4000");
    rig = nqtest_rig_usual();
    exchange(&rig);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_broker_that_wants_a_password_says_so)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *server, *client;
    struct nqtest_link *link;

    nqtest_broker_kill();
    nqtest_broker("password_file /dev/null\nallow_anonymous false");
    ck_assert_int_eq(nqtest_ep_open(host, true, _i ? old : usual, &server, NULL), 0);
    ck_assert_int_eq(nqtest_ep_open(host, false, _i ? old : usual, &client, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_down, server);
    ck_assert_int_eq(server->err.code, NQT_E_AUTH);
    link = nqtest_connect(client, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_AUTH);
    nqtest_host_free(host);
}
END_TEST

START_TEST(servers_of_different_names_share_a_broker)
{
    static const struct nqtest_opt a[] = {{"port", port}, {"server", "a"}, {NULL, NULL}};
    static const struct nqtest_opt b[] = {{"port", port}, {"server", "b"}, {NULL, NULL}};
    struct nqtest_rig rig_a = nqtest_rig_up(a, a), rig_b = nqtest_rig_up(b, b);

    nqtest_push(rig_a.c, 10, 10, 1, 1);
    nqtest_push(rig_b.c, 20, 10, 1, 1);
    nqtest_until_received(rig_a.s, 10);
    nqtest_until_received(rig_b.s, 20);
    nqtest_host_free(rig_b.client_host);
    nqtest_host_free(rig_b.server_host);
    nqtest_rig_free(&rig_a);
}
END_TEST

static bool is_acknowledged(const void *arg)
{
    struct nqtp_link *link = ((const struct nqtest_link *)arg)->plugin;
    bool all;

    pthread_mutex_lock(&link->ep->mtx);
    all = link->tx_acked == link->tx_seq;
    pthread_mutex_unlock(&link->ep->mtx);
    return all;
}

static bool is_unwatched(const void *arg)
{
    return !((const struct nqtest_link *)arg)->plugin->watching;
}

/* Also when the clock had stopped after other records, which were acknowledged. */
START_TEST(a_record_without_an_answer_is_asked_for_at_the_first_look)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    long calls;

    nqtest_push(rig.c, 10, 10, 1, 1);
    nqtest_advance(rig.client_host, MQTT_PROBE_NS);
    NQTEST_UNTIL(is_acknowledged, rig.c);
    nqtest_advance(rig.client_host, MQTT_PROBE_NS);
    NQTEST_UNTIL(is_unwatched, rig.c);
    nqtest_broker_pause(true);
    nqtest_hold_time(rig.client_host);
    nqtest_push(rig.c, 10, 10, 1, 1);
    calls = atomic_load(&rig.client_host->send_calls);
    nqtest_advance(rig.client_host, MQTT_PROBE_NS);
    nqtest_settle(50);
    ck_assert_int_eq(atomic_load(&rig.client_host->send_calls), calls + 1);
    nqtest_broker_pause(false);
    nqtest_until_received(rig.s, 20);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_client_that_comes_first_waits_for_its_server)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *server, *client;
    struct nqtest_link *link;

    ck_assert_int_eq(nqtest_ep_open(host, false, usual, &client, NULL), 0);
    link = nqtest_connect(client, NULL);
    nqtest_settle(300);
    ck_assert(!link->ups && !link->downs);
    ck_assert_int_eq(nqtest_ep_open(host, true, usual, &server, NULL), 0);
    NQTEST_UNTIL(nqtest_is_up, link);
    NQTEST_UNTIL(nqtest_has_accepted, server);
    nqtest_push(link, 1000, 100, 1, 10);
    nqtest_until_received(server->accepted[0], 1000);
    nqtest_host_free(host);
}
END_TEST

/* ---- strangers -------------------------------------------------------------------------- */

static bool has_inbox(const void *arg)
{
    struct nqtp_link *link = ((const struct nqtest_link *)arg)->plugin;
    bool has;

    pthread_mutex_lock(&link->ep->mtx);
    has = link->in_first;
    pthread_mutex_unlock(&link->ep->mtx);
    return has;
}

static bool has_ended_the_first(const void *ep)
{
    struct nqtp_link *link = ((const struct nqtest_ep *)ep)->waiting[0];
    bool has;

    pthread_mutex_lock(&link->ep->mtx);
    has = link->end_code;
    pthread_mutex_unlock(&link->ep->mtx);
    return has;
}

static int limit(struct nqtest_link *link, size_t len)
{
    return link->host->module->ops->rx_limit(link->plugin, len);
}

/* Sizes of pieces: the first ends it in the inbox, or the second where the buffer is gathered. */
static const struct nqtest_opt pieces_of_2k[] = {{"port", port}, {"packet", "2KiB"}, {NULL, NULL}};
static const struct nqtest_opt pieces_of_1k[] = {{"port", port}, {"packet", "1KiB"}, {NULL, NULL}};

START_TEST(more_than_a_greeting_ends_a_link_of_which_no_more_may_be_kept)
{
    struct nqtest_rig rig = nqtest_rig_up(usual, _i ? pieces_of_1k : pieces_of_2k);

    ck_assert_int_eq(limit(rig.s, 2048), NQT_OK);
    nqtest_push(rig.c, 1000, 100, 1, 10); /* whole buffers are handed up, and not kept */
    nqtest_until_received(rig.s, 1000);
    nqtest_push(rig.c, 3 << 20, 3 << 20, 1, 1);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(rig.s->err.text, "more than a greeting"));
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_ptr_nonnull(strstr(rig.c->err.text, "more than a greeting"));
    ck_assert_uint_eq(rig.s->received, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

/* Each costs more than its bytes. */
START_TEST(many_small_pieces_are_more_than_a_greeting)
{
    struct nqtp_link link = {.ep = &piece_ep, .rx_limit = 2048};
    struct mqtt_rx rx = {.refs = 1};
    struct nqt_buf *bufs[4];

    for (unsigned i = 0; i < 8; i++) {
        ck_assert_uint_le(link.part.cost, link.rx_limit);
        ck_assert_int_eq(piece_unpack(&link, &rx, (const uint8_t[]){1, 0, 0, 0, 'a'}, 5, bufs), 0);
    }
    ck_assert_uint_gt(link.part.cost, link.rx_limit);
    mqtt_part_drop(&link);
    ck_assert_uint_eq(link.part.cost, 0);
}
END_TEST

START_TEST(a_limit_that_comes_late_ends_a_link_that_keeps_more)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    nqtest_push(rig.c, 64 << 10, 64 << 10, 1, 1);
    NQTEST_UNTIL(has_inbox, rig.s);
    ck_assert_int_eq(limit(rig.s, 2048), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_PROTOCOL);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(whoever_is_known_may_send_large_buffers_again)
{
    struct nqtest_rig rig = nqtest_rig_usual();

    ck_assert_int_eq(limit(rig.s, 2048), NQT_OK);
    nqtest_push(rig.c, 300, 300, 1, 1);
    nqtest_until_received(rig.s, 300);
    ck_assert_int_eq(limit(rig.s, 0), NQT_OK);
    exchange(&rig);
    nqtest_rig_free(&rig);
}
END_TEST

/* A server whose core has not taken it yet, and does not for a while. */
START_TEST(before_the_core_has_a_link_no_more_than_a_greeting_is_kept_of_it)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *server, *client;
    struct nqtest_link *link;

    ck_assert_int_eq(nqtest_ep_open(host, true, usual, &server, NULL), 0);
    ck_assert_int_eq(nqtest_ep_open(host, false, usual, &client, NULL), 0);
    server->accept = NQTEST_KEEP;
    link = nqtest_connect(client, NULL);
    NQTEST_UNTIL(nqtest_has_waiting, server);
    NQTEST_UNTIL(nqtest_is_up, link);
    nqtest_push(link, 64 << 10, 64 << 10, 1, 1);
    NQTEST_UNTIL(has_ended_the_first, server);
    nqtest_attach(server);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_ptr_nonnull(strstr(link->err.text, "more than a greeting"));
    nqtest_host_free(host);
}
END_TEST

/* The whole way: a stranger to a server's queue, which goes on. */
START_TEST(a_stranger_who_sends_much_is_sent_away_by_a_queue_at_once)
{
    nq_queue *server = nqtest_server(nqtest_transport_of("mqtt"), "");
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    char name[32] = "";
    const struct nqtest_opt opts[] = {{"port", port}, {"server", name}, {NULL, NULL}};
    int64_t began = nqtest_clock();
    struct nq_event event;
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    ck_assert_int_eq(sscanf(strstr(nqtest_place(), "'server': "), "'server': '%31[^']", name), 1);
    ck_assert_int_eq(nqtest_ep_open(host, false, opts, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    nqtest_push(link, 3 << 20, 3 << 20, 1, 1);
    event = nqtest_event(server, NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, NQ_REASON_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(event.text, "more than a greeting"));
    ck_assert_int_lt(nqtest_clock() - began, 9 * 1000 * NQTEST_MS); /* not the handshake's clock */
    NQTEST_UNTIL(nqtest_is_down, link);
    nqtest_host_free(host);
    nqtest_end(server);
}
END_TEST

/* ---- the plain wire --------------------------------------------------------------------- */

#define CLIENT "00000000-0000-4000-8000-000000000001"

/* On the topic of CLIENT somebody says who he is; `last` is the last digit of that. */
static void say_ini(struct nqtest_link *link, uint8_t last)
{
    const uint8_t ini[24] = {[7] = 16, [14] = 0x40, [16] = 0x80, [23] = last};
    struct nqt_buf *buf = nqtest_buf(0, sizeof(ini), 1);
    uint32_t taken;

    memcpy(buf->seg[0].iov_base, ini, sizeof(ini));
    ck_assert_int_eq(nqtest_send(link, &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
}

/* What is said before the broker knows that the server hears it is lost. */
static uint64_t serves(nq_queue *queue)
{
    struct nq_health_info info;
    size_t n;

    ck_assert_int_eq(nq_health(queue, &info, 1, &n), NQ_OK);
    return info.state == NQ_HEALTH_READY;
}

START_TEST(who_says_another_name_than_that_of_his_topic_is_refused)
{
    nq_queue *server = nqtest_server(nqtest_transport_of("mqtt"), ", 'wire': 'net-queue'");
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    const struct nqtest_opt opts[] = {
        {"port", port}, {NQT_FACT_WIRE, "1"}, {NQT_FACT_ID, CLIENT}, {NULL, NULL}};
    struct nq_event event;
    struct nqtest_ep *ep;
    struct nqtest_link *link;

    ck_assert_int_eq(nqtest_ep_open(host, false, opts, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    NQTEST_UNTIL(nqtest_is_up, link);
    nqtest_drive_until(server, serves, 1);
    say_ini(link, _i ? 1 : 2);
    event = nqtest_event(server, _i ? NQ_EVENT_PEER_UP : NQ_EVENT_REFUSED);
    ck_assert_int_eq(event.reason, _i ? NQ_REASON_NONE : NQ_REASON_IDENTITY);
    ck_assert(_i || strstr(event.text, "not that of its topic"));
    nqtest_host_free(host);
    ck_assert_int_ge(nq_close(server, 0, NULL), 0);
    nq_free(server);
}
END_TEST

static bool is_failing(const void *ep)
{
    return nqtest_health_is(ep, NQT_HEALTH_FAILING, NULL);
}

static bool is_unreachable(const void *ep)
{
    return nqtest_health_is(ep, NQT_HEALTH_FAILING, "is the broker running?");
}

static bool is_ready(const void *ep)
{
    return nqtest_health_is(ep, NQT_HEALTH_READY, port);
}

static bool is_closed(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->closed;
}

/* Whatever becomes of links: nobody serves here. */
START_TEST(health_is_that_of_the_connection_to_the_broker)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_link *link;
    struct nqtest_ep *ep;

    nqtest_broker_kill();
    ck_assert_int_eq(nqtest_ep_open(host, _i, usual, &ep, NULL), 0);
    link = _i ? NULL : nqtest_connect(ep, NULL);
    NQTEST_UNTIL(is_unreachable, ep);
    nqtest_broker("");
    if (link) {
        NQTEST_UNTIL(nqtest_is_down, link);
        nqtest_close(link);
        link = nqtest_connect(ep, NULL);
    }
    NQTEST_UNTIL(is_ready, ep);
    nqtest_broker_kill();
    NQTEST_UNTIL(is_failing, ep);
    if (link)
        nqtest_close(link);
    nqtest_ep_close(ep);
    NQTEST_UNTIL(is_closed, ep);
    ck_assert(nqtest_health_is(ep, NQT_HEALTH_CLOSED, NULL));
    nqtest_host_free(host);
}
END_TEST

/* It hears the links of the first, which are none of its business. */
START_TEST(a_server_that_does_not_get_the_name_leaves_links_of_the_other_alone)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_link *third;
    struct nqtest_ep *second;

    ck_assert_int_eq(nqtest_ep_open(host, true, usual, &second, NULL), 0);
    while (!nqtest_is_ep_down(second)) {
        nqtest_push(rig.c, 10000, 100, 1, 10);
        nqtest_until_received(rig.s, rig.c->tx.end);
    }
    ck_assert_ptr_nonnull(strstr(second->err.text, "in use"));
    nqtest_settle(1500); /* it tries again */
    ck_assert_uint_eq(second->ups, 0);
    exchange(&rig);
    ck_assert(!rig.c->downs && !rig.s->downs);
    third = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, third);
    nqtest_close(third);
    nqtest_host_free(host);
    nqtest_rig_free(&rig);
}
END_TEST

static void add_broker(TCase *tc)
{
    tcase_add_loop_test(tc, other_settings_carry_bytes_as_well, 0, 4);
    tcase_add_loop_test(tc, ends_of_different_settings_understand_each_other, 0, 2);
    tcase_add_test(tc, a_broker_that_is_lost_takes_links_down_and_the_server_returns);
    tcase_add_test(tc, a_broker_that_is_not_there_is_said_once);
    tcase_add_test(tc, a_broker_that_stops_holds_senders_back_and_nothing_is_lost);
    tcase_add_test(tc, packets_stay_below_the_brokers_limit);
    tcase_add_loop_test(tc, a_broker_that_wants_a_password_says_so, 0, 2);
    tcase_add_test(tc, servers_of_different_names_share_a_broker);
    tcase_add_test(tc, a_record_without_an_answer_is_asked_for_at_the_first_look);
    tcase_add_test(tc, a_client_that_comes_first_waits_for_its_server);
    tcase_add_loop_test(tc, health_is_that_of_the_connection_to_the_broker, 0, 2);
    tcase_add_loop_test(tc, more_than_a_greeting_ends_a_link_of_which_no_more_may_be_kept, 0, 2);
    tcase_add_test(tc, a_limit_that_comes_late_ends_a_link_that_keeps_more);
    tcase_add_test(tc, whoever_is_known_may_send_large_buffers_again);
    tcase_add_test(tc, before_the_core_has_a_link_no_more_than_a_greeting_is_kept_of_it);
    tcase_add_test(tc, a_stranger_who_sends_much_is_sent_away_by_a_queue_at_once);
    tcase_add_loop_test(tc, who_says_another_name_than_that_of_his_topic_is_refused, 0, 2);
    tcase_add_test(tc, a_server_that_does_not_get_the_name_leaves_links_of_the_other_alone);
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("mqtt");
    TCase *wire = tcase_create("wire"), *broker = tcase_create("broker");

    nqtest_tested = &mqtt;
    tcase_add_test(wire, a_head_is_read_as_it_was_written);
    tcase_add_test(wire, heads_that_make_no_sense_are_not_read);
    tcase_add_loop_test(wire, a_piece_that_makes_no_sense_leaves_nothing, 0,
                        (int)(sizeof(bad_pieces) / sizeof(bad_pieces[0])));
    tcase_add_test(wire, a_buffer_of_too_many_pieces_is_refused);
    tcase_add_test(wire, many_small_pieces_are_more_than_a_greeting);
    tcase_add_test(wire, a_reason_from_outside_is_printable_and_one_of_ours);
    tcase_add_test(wire, a_topic_ends_with_the_id);
    tcase_add_test(wire, names_that_would_be_more_than_one_level_of_a_topic_are_refused);
    tcase_add_test(wire, a_password_without_a_user_is_refused);
    suite_add_tcase(suite, wire);
    if (!nqtest_broker_installed()) {
        puts("# mosquitto is not installed: only what needs no broker");
        return suite;
    }
    tcase_add_checked_fixture(broker, setup, nqtest_broker_threads_end);
    tcase_set_timeout(broker, 60);
    add_broker(broker);
    suite_add_tcase(suite, broker);
    return suite;
}
