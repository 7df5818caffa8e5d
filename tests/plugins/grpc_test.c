/* plugins/grpc: what is special of gRPC. */
#include "tools/conform/rig.h"
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

extern const struct nqt_module grpc_LTX_nqt1_module;

static const struct nqtest_opt server[] = {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {{"host", "127.0.0.1"},
                                                {"port", "0"},
                                                {"message", "4KiB"},
                                                {"send_queue", "4KiB"},
                                                {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {
    {"host", "127.0.0.1"}, {"message", "4KiB"}, {"send_queue", "4KiB"}, {NULL, NULL}};

static const struct nqtest_transport grpc = {
    .module = &grpc_LTX_nqt1_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

/* Some descriptors of the library's stay open once it was in use. */
static void setup(void)
{
    grpc_init();
}

static bool no_bufs(const void *arg)
{
    (void)arg;
    return !nqtest_bufs;
}

/* ---- sending ---------------------------------------------------------------------------- */

START_TEST(what_waits_leaves_together)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    long before = rig.client_host->send_calls;

    nqtest_push(rig.c, 100 * 2000, 100, 1, 50);
    nqtest_until_received(rig.s, 100 * 2000);
    /* However fast a message leaves: those of one send() are in one. */
    ck_assert_int_le(rig.client_host->send_calls - before, 40);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(the_cores_memory_is_referred_to_and_given_back)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct nqt_buf *buf = nqtest_buf(0, 32 << 20, 5);
    uint32_t taken;

    ck_assert_int_eq(nqtest_hold(rig.s, 1), NQT_OK);
    ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
    nqtest_settle(5);
    ck_assert_int_eq(nqtest_bufs, 1); /* windows and sockets hold less than that */
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, 32 << 20);
    NQTEST_UNTIL(no_bufs, NULL);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- addresses -------------------------------------------------------------------------- */

static const struct {
    const char *host, *peer;
} hosts[] = {{"127.0.0.1", "127.0.0.1:"}, {"::1", "[::1]:"}, {"localhost", ""}, {"*", ""}};

START_TEST(addresses_and_names_are_served)
{
    const struct nqtest_opt at[] = {{"host", hosts[_i].host}, {"port", "0"}, {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_up(at, at);

    ck_assert(!strncmp(rig.c->peer, hosts[_i].peer, strlen(hosts[_i].peer)));
    ck_assert(!strncmp(rig.s->peer, hosts[_i].peer, strlen(hosts[_i].peer)));
    nqtest_push(rig.c, 10, 10, 1, 1);
    nqtest_until_received(rig.s, 10);
    nqtest_rig_free(&rig);
}
END_TEST

static const struct nqtest_opt wrong[][3] = {
    {{"host", "a/b"}, {NULL, NULL}},
    {{"host", "dns:///a"}, {NULL, NULL}},
    {{"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}},
};

START_TEST(options_that_cannot_be_meant_are_errors_of_opening)
{
    nqtest_open_is_refused(&grpc_LTX_nqt1_module, false, wrong[_i], NQT_E_CONFIG, NULL);
}
END_TEST

START_TEST(a_name_that_does_not_exist_takes_the_endpoint_down)
{
    static const struct nqtest_opt at[] = {{"host", "nowhere.test"}, {"port", "0"}, {NULL, NULL}};
    struct nqtest_host *host = nqtest_host_new(&grpc_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    host->names[0] = (struct nqtest_opt){"nowhere.test", ""};
    ck_assert_int_eq(nqtest_ep_open(host, true, at, &ep, NULL), NQT_OK);
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    ck_assert_ptr_nonnull(strstr(ep->err.text, "nowhere.test"));
    nqtest_host_free(host);
}
END_TEST

/* ---- strangers -------------------------------------------------------------------------- */

/* A client that uses gRPC as it likes. */
struct bare {
    grpc_completion_queue *cq;
    grpc_channel *channel;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    unsigned tags; /* bits of those that came */
};

enum { BARE_OPEN = 1, BARE_STATUS = 2, BARE_SENT = 4 };

static void bare_start(struct bare *bare, const grpc_op *ops, size_t n, uintptr_t tag)
{
    ck_assert_int_eq(grpc_call_start_batch(bare->call, ops, n, (void *)tag, NULL), GRPC_CALL_OK);
}

static void bare_open(struct bare *bare, const struct nqtest_ep *ep, const char *method)
{
    grpc_channel_credentials *creds = grpc_insecure_credentials_create();
    const grpc_op open[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &bare->initial},
    };
    const grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                            .data.recv_status_on_client = {.trailing_metadata = &bare->trailing,
                                                           .status = &bare->status,
                                                           .status_details = &bare->details}};

    *bare = (struct bare){.cq = grpc_completion_queue_create_for_next(NULL)};
    bare->channel = grpc_channel_create(ep->name, creds, NULL);
    grpc_channel_credentials_release(creds);
    bare->call = grpc_channel_create_call(bare->channel, NULL, GRPC_PROPAGATE_DEFAULTS, bare->cq,
                                          grpc_slice_from_static_string(method), NULL,
                                          gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_metadata_array_init(&bare->initial);
    grpc_metadata_array_init(&bare->trailing);
    bare_start(bare, &status, 1, BARE_STATUS);
    bare_start(bare, open, 2, BARE_OPEN);
}

static void bare_look(struct bare *bare)
{
    grpc_event event = grpc_completion_queue_next(bare->cq, gpr_time_0(GPR_CLOCK_REALTIME), NULL);

    if (event.type == GRPC_OP_COMPLETE)
        bare->tags |= (unsigned)(uintptr_t)event.tag;
}

static bool bare_is_open(const void *bare)
{
    bare_look((struct bare *)(uintptr_t)bare);
    return ((const struct bare *)bare)->tags & BARE_OPEN;
}

static bool bare_is_over(const void *bare)
{
    bare_look((struct bare *)(uintptr_t)bare);
    return ((const struct bare *)bare)->tags & BARE_STATUS;
}

static void bare_close(struct bare *bare)
{
    (void)grpc_call_cancel(bare->call, NULL);
    NQTEST_UNTIL(bare_is_over, bare);
    grpc_metadata_array_destroy(&bare->initial);
    grpc_metadata_array_destroy(&bare->trailing);
    grpc_slice_unref(bare->details);
    grpc_call_unref(bare->call);
    grpc_channel_destroy(bare->channel);
    grpc_completion_queue_shutdown(bare->cq);
    while (grpc_completion_queue_next(bare->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(bare->cq);
}

START_TEST(a_call_of_another_method_is_refused_and_in_nobodys_way)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    struct bare bare;

    bare_open(&bare, rig.server, "/other.Service/Call");
    NQTEST_UNTIL(bare_is_over, &bare);
    ck_assert_int_eq(bare.status, GRPC_STATUS_UNIMPLEMENTED);
    ck_assert_uint_eq(rig.server->naccepted, 1);
    bare_close(&bare);
    nqtest_push(rig.c, 1000, 100, 1, 10);
    nqtest_until_received(rig.s, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_message_beyond_the_limit_ends_its_call_only)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    grpc_slice bytes = grpc_slice_malloc(5 << 20);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&bytes, 1);
    const grpc_op send = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = message};
    struct bare bare;

    bare_open(&bare, rig.server, "/netqueue.Transport/Link");
    NQTEST_UNTIL(bare_is_open, &bare);
    bare_start(&bare, &send, 1, BARE_SENT);
    NQTEST_UNTIL(bare_is_over, &bare);
    ck_assert_int_ne(bare.status, GRPC_STATUS_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.server->accepted[1]);
    ck_assert_int_eq(rig.server->accepted[1]->err.code, NQT_E_LOST);
    ck_assert_uint_eq(rig.server->accepted[1]->received, 0);
    bare_close(&bare);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(bytes);
    nqtest_push(rig.c, 1000, 100, 1, 10);
    nqtest_until_received(rig.s, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_call_that_breaks_is_lost_and_not_ended)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct bare bare;

    bare_open(&bare, rig.server, "/netqueue.Transport/Link");
    NQTEST_UNTIL(bare_is_open, &bare);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    bare_close(&bare);
    NQTEST_UNTIL(nqtest_is_down, rig.server->accepted[0]);
    ck_assert_int_eq(rig.server->accepted[0]->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_peer_that_never_reads_does_not_hold_the_end_up)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    struct bare bare;

    bare_open(&bare, rig.server, "/netqueue.Transport/Link");
    NQTEST_UNTIL(bare_is_open, &bare);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    nqtest_push(rig.server->accepted[0], 16 << 20, 1 << 20, 4, 4);
    nqtest_settle(5);
    nqtest_host_free(rig.server_host); /* fails when it takes long */
    nqtest_host_free(rig.client_host);
    bare_close(&bare);
    NQTEST_UNTIL(no_bufs, NULL);
    nqtest_until_fds(rig.fds);
}
END_TEST

/* A server that takes connections and says nothing. */
START_TEST(a_server_that_does_not_answer_is_given_up)
{
    struct nqtest_opt at[] = {
        {"host", "127.0.0.1"}, {"port", ""}, {"connect_timeout", "50ms"}, {NULL, NULL}};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct nqtest_host *host = nqtest_host_new(&grpc_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;
    struct nqtest_link *link;
    char port[8];

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(port, sizeof(port), "%u", ntohs(addr.sin_port));
    at[1].value = port;
    ck_assert_int_eq(nqtest_ep_open(host, false, at, &ep, NULL), 0);
    link = nqtest_connect(ep, NULL);
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(link->err.text, "connect_timeout"));
    nqtest_host_free(host);
    close(fd);
}
END_TEST

/* HTTP/2's preface and empty SETTINGS: a client that makes no call. */
static const unsigned char idle[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
static const size_t said[] = {0, 3, sizeof(idle)};

START_TEST(who_makes_no_call_is_sent_away)
{
    static const struct nqtest_opt at[] = {
        {"host", "127.0.0.1"}, {"port", "0"}, {"connect_timeout", "100ms"}, {NULL, NULL}};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct nqtest_host *host = nqtest_host_new(&grpc_LTX_nqt1_module, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct nqtest_ep *ep;
    char bytes[4096];
    ssize_t n;

    ck_assert_int_eq(nqtest_ep_open(host, true, at, &ep, NULL), 0);
    addr.sin_port = htons((uint16_t)atoi(strrchr(ep->name, ':') + 1));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(send(fd, idle, said[_i], MSG_NOSIGNAL), (ssize_t)said[_i]);
    do
        n = recv(fd, bytes, sizeof(bytes), 0);
    while (n > 0);
    ck_assert(n == 0 || errno == ECONNRESET);
    close(fd);
    nqtest_host_free(host);
}
END_TEST

/* ---- the plain wire --------------------------------------------------------------------- */

#define ROUND "/grpc/comm"

static const char *const wires[] = {"0", "1", "2"}; /* native, plain, both */
static const struct nqtest_opt plain_client[] = {
    {"host", "127.0.0.1"}, {NQT_FACT_WIRE, "1"}, {"send_queue", "4KiB"}, {NULL, NULL}};

/* The server's end is there once it heard something. */
static struct nqtest_rig plain_up(const char *wire, const char *idle_timeout)
{
    const struct nqtest_opt at[] = {{"host", "127.0.0.1"},
                                    {"port", "0"},
                                    {NQT_FACT_WIRE, wire},
                                    {"idle_timeout", idle_timeout},
                                    {"connect_timeout", "1s"},
                                    {"send_queue", "4KiB"},
                                    {NULL, NULL}};
    struct nqtest_rig rig = nqtest_rig_endpoints(at, plain_client);

    rig.c = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, rig.c);
    nqtest_push(rig.c, 24, 24, 1, 1);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    nqtest_until_received(rig.s, 24);
    return rig;
}

static void bare_half_close(struct bare *bare)
{
    const grpc_op end = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};

    bare_start(bare, &end, 1, BARE_SENT);
}

static grpc_status_code bare_ask(const struct nqtest_ep *ep, const char *method)
{
    grpc_status_code status;
    struct bare bare;

    bare_open(&bare, ep, method);
    bare_half_close(&bare);
    NQTEST_UNTIL(bare_is_over, &bare);
    status = bare.status;
    bare_close(&bare);
    return status;
}

START_TEST(the_method_tells_the_wire)
{
    const struct nqtest_opt at[] = {
        {"host", "127.0.0.1"}, {"port", "0"}, {NQT_FACT_WIRE, wires[_i]}, {NULL, NULL}};
    struct nqtest_host *host = nqtest_host_new(&grpc_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, at, &ep, NULL), 0);
    /* It brings nothing, so no link is made for it. */
    ck_assert_int_eq(bare_ask(ep, ROUND), _i ? GRPC_STATUS_UNAVAILABLE : GRPC_STATUS_UNIMPLEMENTED);
    ck_assert_uint_eq(ep->naccepted, 0);
    if (_i == NQT_WIRE_PLAIN)
        ck_assert_int_eq(bare_ask(ep, "/netqueue.Transport/Link"), GRPC_STATUS_UNIMPLEMENTED);
    nqtest_host_free(host);
}
END_TEST

START_TEST(rounds_carry_everything_in_order)
{
    struct nqtest_rig rig = plain_up(wires[_i], "60s");
    struct nqt_info info = {.size = sizeof(info)};

    ck_assert_int_eq(grpc_LTX_nqt1_module.ops->info(rig.s->plugin, &info), NQT_OK);
    ck_assert(info.caps & NQT_CAP_PLAIN);
    ck_assert(!(info.caps & NQT_CAP_PEER_PRESENCE));
    nqtest_push(rig.c, 300000, 700, 1, 20);
    nqtest_push(rig.s, 200000, 3000, 2, 5);
    nqtest_until_received(rig.s, 24 + 300000);
    nqtest_until_received(rig.c, 200000);
    nqtest_rig_free(&rig);
}
END_TEST

/* Either side's last bytes go with the next round. */
START_TEST(what_was_taken_before_a_shutdown_arrives)
{
    struct nqtest_rig rig = plain_up("1", "60s");
    struct nqtest_link *from = _i ? rig.s : rig.c, *to = _i ? rig.c : rig.s;
    struct nqt_buf *buf = nqtest_buf(_i ? 0 : 24, 100000, 1);
    uint32_t taken;

    ck_assert_int_eq(nqtest_send(from, &buf, 1, &taken), NQT_OK);
    ck_assert_int_eq(nqtest_shutdown(from), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, from);
    ck_assert_int_eq(from->err.code, NQT_E_EOF);
    nqtest_until_received(to, (_i ? 0 : 24) + 100000);
    nqtest_rig_free(&rig);
}
END_TEST

/* gRPC does not tell, so what counts is that no call comes: here, because it is held. */
START_TEST(a_client_without_calls_is_lost)
{
    struct nqtest_rig rig = plain_up("1", "50ms");

    ck_assert_int_eq(nqtest_hold(rig.c, 1), NQT_OK);
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    ck_assert_ptr_nonnull(strstr(rig.s->err.text, "idle_timeout"));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_client_whose_session_is_gone_learns_it)
{
    struct nqtest_rig rig = plain_up("1", "60s");

    nqtest_close(rig.s);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_LOST);
    nqtest_rig_free(&rig);
}
END_TEST

static bool is_up_or_down(const void *link)
{
    return nqtest_is_up(link) || nqtest_is_down(link);
}

/* Its answer to the first round may be there before that round was known to have begun. */
START_TEST(a_server_without_rounds_is_named)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, plain_client);

    rig.c = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(is_up_or_down, rig.c);
    if (!nqtest_is_down(rig.c))
        nqtest_push(rig.c, 24, 24, 1, 1);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_PROTOCOL);
    ck_assert_ptr_nonnull(strstr(rig.c->err.text, "does not speak the wire"));
    nqtest_rig_free(&rig);
}
END_TEST

/* One call of the connection is held; others are served, and the endpoint closes. */
START_TEST(a_call_that_is_held_is_in_nobodys_way)
{
    struct nqtest_rig rig = plain_up("1", "60s");
    struct bare bare;

    bare_open(&bare, rig.server, ROUND);
    NQTEST_UNTIL(bare_is_open, &bare);
    nqtest_push(rig.c, 1000, 100, 1, 10);
    nqtest_until_received(rig.s, 1024);
    if (_i) /* connect_timeout ends it, or the endpoint's end */
        NQTEST_UNTIL(bare_is_over, &bare);
    else
        nqtest_host_free(rig.server_host);
    bare_close(&bare);
    if (_i)
        nqtest_host_free(rig.server_host);
    nqtest_host_free(rig.client_host);
    nqtest_until_fds(rig.fds);
}
END_TEST

/* ---- processes -------------------------------------------------------------------------- */

START_TEST(a_child_cannot_use_what_its_parent_uses)
{
    struct nqtest_rig rig = nqtest_rig_usual();
    pid_t child = fork();
    int status;

    if (!child) {
        struct nqt_error err = {.size = sizeof(err)};
        struct nqtp_mod *mod;
        const struct nqt_ops *ops = grpc_LTX_nqt1_module.ops;
        int rc = ops->mod_open(&rig.client_host->table, (nqt_core *)rig.client_host, &mod, &err);

        _exit(rc == NQT_E_UNSUPPORTED && strstr(err.text, "fork") ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    nqtest_push(rig.c, 1000, 100, 1, 10);
    nqtest_until_received(rig.s, 1000);
    nqtest_rig_free(&rig);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("grpc");
    TCase *tc = tcase_create("grpc"), *strangers = tcase_create("strangers"),
          *plain = tcase_create("plain");

    nqtest_tested = &grpc;
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, what_waits_leaves_together);
    tcase_add_test(tc, the_cores_memory_is_referred_to_and_given_back);
    tcase_add_loop_test(tc, addresses_and_names_are_served, 0, LEN(hosts));
    tcase_add_loop_test(tc, options_that_cannot_be_meant_are_errors_of_opening, 0, LEN(wrong));
    tcase_add_test(tc, a_name_that_does_not_exist_takes_the_endpoint_down);
    tcase_add_test(tc, a_child_cannot_use_what_its_parent_uses);
    suite_add_tcase(suite, tc);
    tcase_add_checked_fixture(strangers, setup, NULL);
    tcase_set_timeout(strangers, 30);
    tcase_add_test(strangers, a_call_of_another_method_is_refused_and_in_nobodys_way);
    tcase_add_test(strangers, a_message_beyond_the_limit_ends_its_call_only);
    tcase_add_test(strangers, a_call_that_breaks_is_lost_and_not_ended);
    tcase_add_test(strangers, a_peer_that_never_reads_does_not_hold_the_end_up);
    tcase_add_test(strangers, a_server_that_does_not_answer_is_given_up);
    tcase_add_loop_test(strangers, who_makes_no_call_is_sent_away, 0, LEN(said));
    suite_add_tcase(suite, strangers);
    tcase_add_checked_fixture(plain, setup, NULL);
    tcase_set_timeout(plain, 30);
    tcase_add_loop_test(plain, the_method_tells_the_wire, 0, LEN(wires));
    tcase_add_loop_test(plain, rounds_carry_everything_in_order, 1, LEN(wires));
    tcase_add_loop_test(plain, what_was_taken_before_a_shutdown_arrives, 0, 2);
    tcase_add_test(plain, a_client_without_calls_is_lost);
    tcase_add_test(plain, a_client_whose_session_is_gone_learns_it);
    tcase_add_test(plain, a_server_without_rounds_is_named);
    tcase_add_loop_test(plain, a_call_that_is_held_is_in_nobodys_way, 0, 2);
    suite_add_tcase(suite, plain);
    return suite;
}
