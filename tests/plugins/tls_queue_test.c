/* TLS below whole queues: what both sides say of one that does not belong, the UUID in a
 * certificate, and files that change while clients are connected.  That all else works is shown by
 * the tests of queues, which run over TLS as one of their transports. */
#include "tests/support/certs.h"
#include "tests/support/port.h"
#include "tests/support/queue.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))

static unsigned port;
static const char *transport;

/* A side of this purpose and id with the certificate; `tls` is more of that object. */
static nq_queue *side(const char *purpose, const char *id, enum nqtest_cert cert, const char *tls)
{
    return nqtest_open("{'purpose': '%s', 'id': '%s', 'transport': '%s', 'port': %u,"
                       " 'tls': {'ca': '%s', 'cert': '%s', 'key': '%s'%s}}",
                       purpose, id, transport, port, nqtest_certs[NQTEST_CA_PEM],
                       nqtest_certs[cert], nqtest_certs[cert + 1], tls);
}

static nq_queue *plain_side(const char *purpose)
{
    return nqtest_open("{'purpose': '%s', 'transport': 'tcp', 'port': %u}", purpose, port);
}

static void setup(void)
{
    transport = "tcp";
    nqtest_choose_place(NQTEST_TCP);
    ck_assert_int_eq(sscanf(strstr(nqtest_place(), "'port': "), "'port': %u", &port), 1);
}

static void setup_grpc(void)
{
    setup();
    transport = "grpc";
}

static void ends(nq_queue *client, nq_queue *server)
{
    struct nq_close_report report;

    ck_assert_int_ge(nq_close(client, 0, &report), 0);
    nq_free(client);
    ck_assert_int_ge(nq_close(server, 0, &report), 0);
    nq_free(server);
}

/* ---- the UUID --------------------------------------------------------------------------- */

START_TEST(who_is_named_by_his_certificate_comes_in)
{
    nq_queue *server = side("server", NQTEST_CERT_SERVER, NQTEST_SERVER_PEM, ", 'uuid': true");
    nq_queue *client = side("client", NQTEST_CERT_CLIENT, NQTEST_CLIENT_PEM, ", 'uuid': true");

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("it is me"));
    nqtest_get_text(server, "it is me");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

#ifdef TCP_TLS_KEYLOG
#define KEYS_ARE_LOGGED true
#else
#define KEYS_ARE_LOGGED false
#endif

/* What other programs take for an order to write the keys of their connections to a file is none
 * here, but for tcp in a build for debugging. */
START_TEST(the_keys_of_connections_are_written_nowhere)
{
    char path[128];
    nq_queue *server, *client;

    snprintf(path, sizeof(path), "%s/%s.log", nqtest_certs_folder, transport);
    ck_assert_int_eq(setenv("SSLKEYLOGFILE", path, 1), 0);
    server = side("server", NQTEST_CERT_SERVER, NQTEST_SERVER_PEM, "");
    client = side("client", NQTEST_CERT_CLIENT, NQTEST_CLIENT_PEM, "");
    nqtest_put(client, nqtest_msg("a secret"));
    nqtest_get_text(server, "a secret");
    nqtest_end(client);
    nqtest_end(server);
    ck_assert_int_eq(access(path, F_OK) == 0, KEYS_ARE_LOGGED && !strcmp(transport, "tcp"));
}
END_TEST

#define STRANGE_ID "00000000-0000-4000-8000-0000000000ff"

static const struct {
    const char *server, *client; /* ids that they claim */
    const char *server_says, *client_says;
    nq_reason at_server, at_client;
} claims[] = {
    {NQTEST_CERT_SERVER, STRANGE_ID, "the certificate is for another id",
     "the certificate is for another id", NQ_REASON_IDENTITY, NQ_REASON_IDENTITY},
    {STRANGE_ID, NQTEST_CERT_CLIENT, "the client refuses: the certificate is for another id",
     "the server's certificate is for another id", NQ_REASON_IDENTITY, NQ_REASON_IDENTITY},
};

START_TEST(who_claims_another_id_than_his_certificate_is_refused)
{
    const char *server_tls = _i ? "" : ", 'uuid': true", *client_tls = _i ? ", 'uuid': true" : "";
    nq_queue *server = side("server", claims[_i].server, NQTEST_SERVER_PEM, server_tls);
    nq_queue *client = side("client", claims[_i].client, NQTEST_CLIENT_PEM, client_tls);
    struct nq_event at_server = nqtest_event(server, NQ_EVENT_REFUSED);
    struct nq_event at_client = nqtest_event(client, NQ_EVENT_REFUSED);

    ck_assert_msg(strstr(at_server.text, claims[_i].server_says), "%s", at_server.text);
    ck_assert_msg(strstr(at_client.text, claims[_i].client_says), "%s", at_client.text);
    ck_assert_int_eq(at_server.reason, claims[_i].at_server);
    ck_assert_int_eq(at_client.reason, claims[_i].at_client);
    ck_assert_uint_eq(nqtest_stats(server).peers, 0);
    ends(client, server);
}
END_TEST

/* ---- a former life ---------------------------------------------------------------------- */

/* Both sides with their own ids and certificates; `tls` is more of that object at the server. */
static nq_queue *named_server(const char *tls)
{
    return side("server", NQTEST_CERT_SERVER, NQTEST_SERVER_PEM, tls);
}

static nq_queue *named_client(void)
{
    return side("client", NQTEST_CERT_CLIENT, NQTEST_CLIENT_PEM, "");
}

/* One that does nothing while nobody drives it. */
static nq_queue *named_client_that_waits(void)
{
    return side("client", NQTEST_CERT_CLIENT, NQTEST_CLIENT_PEM,
                "}, 'progress': {'mode': 'manual'");
}

START_TEST(who_is_named_by_his_certificate_takes_the_place_of_his_former_life)
{
    nq_queue *server = named_server(", 'uuid': true"), *old = named_client(), *fresh;

    nqtest_put(old, nqtest_msg("before"));
    nqtest_get_text(server, "before");
    nq_free(old); /* without a good-bye: the server keeps its session */
    fresh = named_client();
    nqtest_event(fresh, NQ_EVENT_PEER_UP);
    nqtest_put(fresh, nqtest_msg("after"));
    nqtest_get_text(server, "after");
    ck_assert_uint_eq(nqtest_stats(server).peers, 1);
    nqtest_end(fresh);
    nqtest_end(server);
}
END_TEST

/* Also while the former life is alive: the one that came last counts, and the other one hears it,
 * once it is driven: then it would take the place back. */
START_TEST(of_two_that_are_named_alike_the_later_one_stays)
{
    nq_queue *server = named_server(", 'uuid': true"), *old = named_client_that_waits(), *fresh;

    nqtest_event(old, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    fresh = named_client();
    nqtest_event(fresh, NQ_EVENT_PEER_UP);
    nqtest_put(fresh, nqtest_msg("it is me now"));
    nqtest_get_text(server, "it is me now");
    ck_assert_uint_eq(nqtest_stats(server).peers, 1);
    nqtest_end(fresh);
    nqtest_event(old, NQ_EVENT_PEER_GONE);
    ck_assert_int_ge(nq_close(old, 0, NULL), 0);
    nq_free(old);
    nqtest_end(server);
}
END_TEST

/* A certificate that is good for coming in is no proof of an id where nobody asks for that. */
START_TEST(without_uuid_a_certificate_takes_nobodys_place)
{
    nq_queue *server = named_server(""), *client = named_client(), *second;

    nqtest_event(client, NQ_EVENT_PEER_UP);
    second = named_client();
    ck_assert_int_eq(nqtest_event(second, NQ_EVENT_REFUSED).reason, NQ_REASON_DUPLICATE);
    ck_assert_int_ge(nq_close(second, 0, NULL), 0);
    nq_free(second);
    nqtest_put(client, nqtest_msg("still here"));
    nqtest_get_text(server, "still here");
    ck_assert_uint_eq(nqtest_drain_events(client, NQ_EVENT_PEER_DOWN), 0);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* ---- the older wire --------------------------------------------------------------------- */

/* A server of both wires; `tls` is more of that object.  A client's words on the older wire are an
 * id, which nothing proves but a certificate. */
static nq_queue *server_of_both(const char *tls)
{
    return nqtest_open("{'purpose': 'server', 'id': '%s', 'wire': 'both', 'transport': '%s',"
                       " 'port': %u, 'tls': {'ca': '%s', 'cert': '%s', 'key': '%s'%s}}",
                       NQTEST_CERT_SERVER, transport, port, nqtest_certs[NQTEST_CA_PEM],
                       nqtest_certs[NQTEST_SERVER_PEM], nqtest_certs[NQTEST_SERVER_KEY], tls);
}

static nq_queue *older_client(const char *id, const char *more)
{
    return nqtest_open("{'purpose': 'client', 'id': '%s', 'wire': 'net-queue', 'transport': '%s',"
                       " 'port': %u, 'tls': {'ca': '%s', 'cert': '%s', 'key': '%s'}%s}",
                       id, transport, port, nqtest_certs[NQTEST_CA_PEM],
                       nqtest_certs[NQTEST_CLIENT_PEM], nqtest_certs[NQTEST_CLIENT_KEY], more);
}

START_TEST(a_certificate_proves_the_id_on_the_older_wire)
{
    nq_queue *server = server_of_both(", 'uuid': true");
    nq_queue *client = older_client(NQTEST_CERT_CLIENT, "");

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_put(client, nqtest_msg("it is me"));
    nqtest_get_text(server, "it is me");
    nqtest_put(server, nqtest_msg("so it is"));
    nqtest_get_text(client, "so it is");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* With `uuid` it must be the certificate's; without it nothing is proven, and whom certificates are
 * asked of must have proven something. */
START_TEST(who_proves_another_id_or_none_is_refused_on_the_older_wire)
{
    nq_queue *server = server_of_both(_i ? "" : ", 'uuid': true");
    nq_queue *client = older_client(_i ? NQTEST_CERT_CLIENT : STRANGE_ID, "");
    struct nq_event event = nqtest_event(server, NQ_EVENT_REFUSED);

    ck_assert_int_eq(event.reason, NQ_REASON_IDENTITY);
    ck_assert_msg(strstr(event.text, _i ? "\"tls\" needs \"uuid\"" : "is for another id"), "%s",
                  event.text);
    ck_assert_uint_eq(nqtest_stats(server).peers, 0);
    ends(client, server);
}
END_TEST

START_TEST(of_two_that_are_named_alike_the_later_one_stays_on_the_older_wire)
{
    nq_queue *server = server_of_both(", 'uuid': true"), *fresh;
    nq_queue *old = older_client(NQTEST_CERT_CLIENT, ", 'progress': {'mode': 'manual'}");

    nqtest_event(old, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    fresh = older_client(NQTEST_CERT_CLIENT, "");
    nqtest_event(fresh, NQ_EVENT_PEER_UP);
    nqtest_put(fresh, nqtest_msg("it is me now"));
    nqtest_get_text(server, "it is me now");
    ck_assert_uint_eq(nqtest_stats(server).peers, 1);
    nqtest_end(fresh);
    nqtest_event(old, NQ_EVENT_PEER_GONE);
    ck_assert_int_ge(nq_close(old, 0, NULL), 0);
    nq_free(old);
    nqtest_end(server);
}
END_TEST

/* ---- certificates for some -------------------------------------------------------------- */

static void write_key(char path[128])
{
    FILE *file;

    snprintf(path, 128, "%s/psk.json", nqtest_certs_folder);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "{\"key\": \"0123456789abcdef0123456789abcdef\"}");
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

/* No place lets in who shows a certificate and who shows none: a server has a place for each, under
 * one handle, and what each asks for is asked of everybody there. */
START_TEST(certificates_for_some_and_keys_for_others_are_two_entries)
{
    unsigned with = nqtest_free_port(), without = nqtest_free_port();
    nq_queue *server, *named, *keyed, *neither;
    char key[128];

    write_key(key);
    server = nqtest_open(
        "{'purpose': 'server', 'transports': [{'transport': '%s', 'port': %u, 'tls': {'ca': '%s',"
        " 'cert': '%s', 'key': '%s'}}, {'transport': '%s', 'port': %u, 'psk': '%s', 'tls': {'cert':"
        " '%s', 'key': '%s'}}]}",
        transport, with, nqtest_certs[NQTEST_CA_PEM], nqtest_certs[NQTEST_SERVER_PEM],
        nqtest_certs[NQTEST_SERVER_KEY], transport, without, key, nqtest_certs[NQTEST_SERVER_PEM],
        nqtest_certs[NQTEST_SERVER_KEY]);
    port = with;
    named = named_client();
    keyed = nqtest_open("{'purpose': 'client', 'transport': '%s', 'port': %u, 'psk': '%s',"
                        " 'tls': {'ca': '%s'}}",
                        transport, without, key, nqtest_certs[NQTEST_CA_PEM]);
    nqtest_event(named, NQ_EVENT_PEER_UP);
    nqtest_event(keyed, NQ_EVENT_PEER_UP);
    for (int i = 0; i < 2; i++) {
        neither = nqtest_open("{'purpose': 'client', 'transport': '%s', 'port': %u, 'tls':"
                              " {'ca': '%s'}}",
                              transport, i ? without : with, nqtest_certs[NQTEST_CA_PEM]);
        ck_assert_int_eq(nqtest_event(neither, NQ_EVENT_REFUSED).reason, NQ_REASON_AUTH);
        ck_assert_int_ge(nq_close(neither, 0, NULL), 0);
        nq_free(neither);
    }
    nqtest_end(named);
    nqtest_end(keyed);
    nqtest_end(server);
    ck_assert_int_eq(unlink(key), 0);
}
END_TEST

/* ---- one side without TLS --------------------------------------------------------------- */

START_TEST(a_side_without_tls_is_told_from_a_broken_one)
{
    nq_queue *server =
        _i ? side("server", NQTEST_CERT_SERVER, NQTEST_SERVER_PEM, "") : plain_side("server");
    nq_queue *client =
        _i ? plain_side("client") : side("client", NQTEST_CERT_CLIENT, NQTEST_CLIENT_PEM, "");
    struct nq_event at_server = nqtest_event(server, NQ_EVENT_REFUSED);
    struct nq_event at_client = nqtest_event(client, NQ_EVENT_REFUSED);
    const char *without = "the other side speaks TLS, and this configuration has no \"tls\"";

    ck_assert_msg(strstr(at_server.text, _i ? "does not speak TLS" : without), "%s",
                  at_server.text);
    ck_assert_msg(strstr(at_client.text, _i ? without : "does not speak TLS"), "%s",
                  at_client.text);
    ends(client, server);
}
END_TEST

/* ---- a transport that cannot prove who is there ------------------------------------------ */

/* A failure that lasts is told with its reason, and is no end: the next transport of the list is
 * tried at once, and this one again after a rest. */
START_TEST(whose_certificate_is_refused_is_left_for_the_next_transport)
{
    nq_queue *server = side("server", NQTEST_CERT_SERVER, NQTEST_OTHER_PEM, "");
    nq_queue *other = nqtest_open("{'purpose': 'server', 'transport': 'shm', 'path': '%s/q'}",
                                  nqtest_certs_folder);
    nq_queue *client =
        nqtest_open("{'purpose': 'client', 'transports': [{'transport': '%s',"
                    " 'port': %u, 'tls': {'ca': '%s'}},"
                    " {'transport': 'shm', 'path': '%s/q'}]}",
                    transport, port, nqtest_certs[NQTEST_CA_PEM], nqtest_certs_folder);
    struct nq_event event = nqtest_event(client, NQ_EVENT_REFUSED);

    ck_assert_int_eq(event.reason, NQ_REASON_AUTH);
    ck_assert_str_eq(event.transport, transport);
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_PEER_UP).transport, "shm");
    nqtest_put(client, nqtest_msg("there is another way"));
    nqtest_get_text(other, "there is another way");
    nqtest_end(client);
    nqtest_end(other);
    ck_assert_int_ge(nq_close(server, 0, NULL), 0);
    nq_free(server);
}
END_TEST

/* ---- configuration ---------------------------------------------------------------------- */

START_TEST(with_tls_a_queue_may_be_anywhere)
{
    nq_queue *queue = NULL;

    ck_assert_int_eq(nqtest_try_open(&queue,
                                     "{'purpose': 'server', 'transport': 'tcp', 'host': '*',"
                                     " 'port': 0}"),
                     NQ_ERR_CONFIG);
    ck_assert_int_eq(nqtest_try_open(&queue,
                                     "{'purpose': 'server', 'transport': 'tcp', 'host': '*',"
                                     " 'port': 0, 'tls': {'cert': '%s', 'key': '%s'}}",
                                     nqtest_certs[NQTEST_SERVER_PEM],
                                     nqtest_certs[NQTEST_SERVER_KEY]),
                     NQ_OK);
    nqtest_end(queue);
}
END_TEST

START_TEST(an_empty_tls_is_no_tls_and_an_error)
{
    nq_queue *queue = NULL;

    ck_assert_int_eq(
        nqtest_try_open(&queue, "{'purpose': 'client', 'transport': 'tcp', 'tls': {}}"),
        NQ_ERR_CONFIG);
    ck_assert_msg(strstr(nq_error(), "/tls"), "%s", nq_error());
}
END_TEST

/* ---- new files -------------------------------------------------------------------------- */

static void copy(const char *from, const char *to)
{
    char command[512];

    snprintf(command, sizeof(command), "cp '%s' '%s.new' && mv '%s.new' '%s'", from, to, to, to);
    ck_assert_int_eq(system(command), 0);
}

static void show(enum nqtest_cert cert)
{
    char to[128];

    snprintf(to, sizeof(to), "%s/now.pem", nqtest_certs_folder);
    copy(nqtest_certs[cert], to);
    snprintf(to, sizeof(to), "%s/now.key", nqtest_certs_folder);
    copy(nqtest_certs[cert + 1], to);
}

static nq_queue *client_that_sees(const char *name)
{
    return nqtest_open("{'purpose': 'client', 'transport': '%s', 'port': %u,"
                       " 'tls': {'ca': '%s', 'name': '%s'}}",
                       transport, port, nqtest_certs[NQTEST_CA_PEM], name);
}

/* Until a client is let in under this name: the server looks at its files once a second. */
static nq_queue *client_once_seen(const char *name)
{
    nq_queue *client;
    struct nq_event event;

    for (int64_t until = nqtest_clock() + NQTEST_WAIT; nqtest_clock() < until;) {
        client = client_that_sees(name);
        do
            ck_assert_int_eq(nq_event_get(client, NQTEST_WAIT, &event), NQ_OK);
        while (event.kind != NQ_EVENT_PEER_UP && event.kind != NQ_EVENT_REFUSED);
        if (event.kind == NQ_EVENT_PEER_UP)
            return client;
        ck_assert_int_ge(nq_close(client, 0, NULL), 0);
        nq_free(client);
    }
    ck_abort_msg("%s is never seen", name);
}

START_TEST(changed_files_serve_new_clients_and_broken_ones_nobody)
{
    nq_queue *server, *before, *after, *later;
    char path[128];

    show(NQTEST_SERVER_PEM);
    server = nqtest_open("{'purpose': 'server', 'transport': '%s', 'port': %u, 'tls':"
                         " {'cert': '%s/now.pem', 'key': '%s/now.key'}}",
                         transport, port, nqtest_certs_folder, nqtest_certs_folder);
    before = client_once_seen("localhost");
    show(NQTEST_ELSEWHERE_PEM);
    after = client_once_seen("elsewhere.test");
    snprintf(path, sizeof(path), "%s/now.pem", nqtest_certs_folder);
    copy(nqtest_certs[NQTEST_JUNK_PEM], path);
    later = client_once_seen("elsewhere.test");
    nqtest_put(before, nqtest_msg("old"));
    nqtest_get_text(server, "old");
    nqtest_put(after, nqtest_msg("new"));
    nqtest_get_text(server, "new");
    nqtest_end(before);
    nqtest_end(after);
    nqtest_end(later);
    nqtest_end(server);
}
END_TEST

/* What every transport passes that knows who a certificate names. */
static TCase *each_transport(const char *name, void (*fixture)(void))
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, fixture, NULL);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, the_keys_of_connections_are_written_nowhere);
    tcase_add_test(tc, who_is_named_by_his_certificate_comes_in);
    tcase_add_loop_test(tc, who_claims_another_id_than_his_certificate_is_refused, 0, LEN(claims));
    tcase_add_test(tc, who_is_named_by_his_certificate_takes_the_place_of_his_former_life);
    tcase_add_test(tc, of_two_that_are_named_alike_the_later_one_stays);
    tcase_add_test(tc, without_uuid_a_certificate_takes_nobodys_place);
    tcase_add_test(tc, a_certificate_proves_the_id_on_the_older_wire);
    tcase_add_loop_test(tc, who_proves_another_id_or_none_is_refused_on_the_older_wire, 0, 2);
    tcase_add_test(tc, of_two_that_are_named_alike_the_later_one_stays_on_the_older_wire);
    tcase_add_test(tc, certificates_for_some_and_keys_for_others_are_two_entries);
    if (nqtest_transport_of("shm") >= 0)
        tcase_add_test(tc, whose_certificate_is_refused_is_left_for_the_next_transport);
    tcase_add_test(tc, changed_files_serve_new_clients_and_broken_ones_nobody);
    return tc;
}

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tls below queues");
    TCase *tcp = each_transport("tcp", setup);

    nqtest_certs_make();
    tcase_add_loop_test(tcp, a_side_without_tls_is_told_from_a_broken_one, 0, 2);
    tcase_add_test(tcp, with_tls_a_queue_may_be_anywhere);
    tcase_add_test(tcp, an_empty_tls_is_no_tls_and_an_error);
    suite_add_tcase(suite, tcp);
    if (nqtest_transport_of("grpc") >= 0)
        suite_add_tcase(suite, each_transport("grpc", setup_grpc));
    return suite;
}
