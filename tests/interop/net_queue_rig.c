/* See net_queue_rig.h. */
#include "tests/interop/net_queue_rig.h"
#include "tests/support/certs.h"
#include "tests/support/port.h"
#include <stdio.h>
#include <string.h>

static struct {
    const char *name;
    const char *module; /* that Python needs */
    const char *package;
} kinds[] = {{"tcp", "", "python3"},
             {"tls", "", "python3"},
             {"mqtt", "paho.mqtt.client", "python3-paho-mqtt"},
             {"grpc", "grpc", "python3-grpcio"}};

#define KINDS ((int)(sizeof(kinds) / sizeof(*kinds)))

static int places[KINDS]; /* kinds that are here */
static int place_count = -1;
static int chosen;
static unsigned port;

static bool old_carries(const char *transport)
{
    const struct nq_transport_info *info = NULL;

    /* No assertions: this is not inside a test. */
    for (size_t i = 0; nq_transport_info(transport, &info) == NQ_OK && info->caps[i]; i++)
        if (strcmp(info->caps[i], "plain") == 0)
            return true;
    printf("# %s does not carry this wire\n", transport);
    return false;
}

static bool old_is_here(int kind)
{
    const char *transport = strcmp(kinds[kind].name, "tls") ? kinds[kind].name : "tcp";

    if (nqtest_transport_of(transport) < 0)
        return false; /* it is not built, or the broker is missing, as that has said */
    if (!old_carries(transport))
        return false;
    if (nqtest_python_has(kinds[kind].module))
        return true;
    printf("# %s is not installed: nothing runs over %s\n", kinds[kind].package, kinds[kind].name);
    return false;
}

int nqtest_old_places(void)
{
    if (place_count < 0) {
        place_count = 0;
        for (int kind = 0; kind < KINDS; kind++)
            if (old_is_here(kind))
                places[place_count++] = kind;
    }
    return place_count;
}

bool nqtest_old_is(int place, const char *transport)
{
    return strcmp(kinds[places[place]].name, transport) == 0;
}

TCase *nqtest_old_case(Suite *suite, const char *name, double seconds)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, nqtest_python_start, nqtest_python_end);
    tcase_add_checked_fixture(tc, NULL, nqtest_broker_threads_end);
    tcase_set_timeout(tc, seconds);
    suite_add_tcase(suite, tc);
    return tc;
}

void nqtest_old_choose(int place)
{
    chosen = place;
    port = nqtest_old_is(place, "mqtt") ? nqtest_broker("") : nqtest_free_port();
}

static const char *old_transport(void)
{
    return nqtest_old_is(chosen, "tls") ? "tcp" : kinds[places[chosen]].name;
}

/* Members of an object of ours, or of a command: the server's files, or the client's. */
static const char *old_tls(bool server)
{
    static char text[512];

    if (!nqtest_old_is(chosen, "tls"))
        return "";
    if (server)
        snprintf(text, sizeof(text), ", 'tls': {'cert': '%s', 'key': '%s'}",
                 nqtest_certs[NQTEST_SERVER_PEM], nqtest_certs[NQTEST_SERVER_KEY]);
    else
        snprintf(text, sizeof(text), ", 'tls': {'ca': '%s'}", nqtest_certs[NQTEST_CA_PEM]);
    return text;
}

/* What is published for a server that has not subscribed yet is lost, on this wire for good. */
static void old_await_ready(nq_queue *server)
{
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    struct nq_health_info info;
    size_t count;

    while (nq_health(server, &info, 1, &count) == NQ_OK && info.state != NQ_HEALTH_READY) {
        ck_assert_int_lt(nqtest_clock(), until);
        ck_assert_int_ge(nq_poll(server), 0);
    }
}

nq_queue *nqtest_old_open(const char *purpose, const char *wire, const char *more)
{
    bool server = strcmp(purpose, "server") == 0;
    nq_queue *queue =
        nqtest_open("{'purpose': '%s', 'wire': '%s', 'transport': '%s', 'host': '127.0.0.1', "
                    "'port': %u%s%s%s}",
                    purpose, wire, old_transport(), port, old_tls(server),
                    server ? ", 'id': '" NQTEST_SERVER "'" : "", more);

    if (server)
        old_await_ready(queue);
    return queue;
}

nq_queue *nqtest_old_server(const char *more)
{
    return nqtest_old_open("server", "net-queue", more);
}

nq_queue *nqtest_old_client(const char *more)
{
    return nqtest_old_open("client", "net-queue", more);
}

/* Pieces of 16 MiB are more than the broker keeps for a slow reader. */
static void old_say(const char *purpose, const char *end, const char *more)
{
    nqtest_python_say(
        "{'do': '%s', 'end': '%s', 'transport': '%s', 'host': '127.0.0.1', "
        "'port': %u%s%s%s}",
        purpose, end, old_transport(), port, old_tls(strcmp(purpose, "server") == 0),
        nqtest_old_is(chosen, "mqtt") && !strstr(more, "'piece'") ? ", 'piece': 262144" : "", more);
}

void nqtest_python_server(const char *end, const char *more)
{
    old_say("server", end, more);
    nqtest_python_await(end, "listening");
}

void nqtest_python_client(const char *end, const char *more)
{
    old_say("client", end, more);
}

void nqtest_python_joined(nq_queue *server, const char *end, const char *more)
{
    nqtest_python_client(end, more);
    nqtest_python_await(end, "ini");
    nqtest_event(server, NQ_EVENT_PEER_UP);
}

nq_queue *nqtest_old_joined(const char *end, const char *more)
{
    nq_queue *client = nqtest_old_client(more);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_python_await(end, "ini");
    return client;
}

void nqtest_old_put(nq_queue *queue, nq_msg *msg)
{
    ck_assert_int_eq(nqtest_outcome(nqtest_put_future(queue, msg), NULL), NQ_HANDED);
}
