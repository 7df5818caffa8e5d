/* plugins/grpc with certificates: mutual TLS, and who is not let in. */
#include "tests/support/certs.h"
#include "tools/conform/rig.h"
#include <check.h>
#include <grpc/grpc.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AT(name) nqtest_certs[NQTEST_##name##_PEM]
#define AT_KEY(name) nqtest_certs[NQTEST_##name##_KEY]

extern const struct nqt_module grpc_LTX_nqt1_module;

/* ---- both have certificates -------------------------------------------------------------- */

#define MUTUAL_SERVER                                                                   \
    {"host", "127.0.0.1"}, {"port", "0"}, {"tls.ca", AT(CA)}, {"tls.cert", AT(SERVER)}, \
    {                                                                                   \
        "tls.key", AT_KEY(SERVER)                                                       \
    }
#define MUTUAL_CLIENT                                                    \
    {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {"tls.cert", AT(CLIENT)}, \
    {                                                                    \
        "tls.key", AT_KEY(CLIENT)                                        \
    }
#define TINY                 \
    {"message", "4KiB"},     \
    {                        \
        "send_queue", "4KiB" \
    }

static const struct nqtest_opt server[] = {MUTUAL_SERVER, {NULL, NULL}};
static const struct nqtest_opt client[] = {MUTUAL_CLIENT, {NULL, NULL}};
static const struct nqtest_opt tiny_server[] = {MUTUAL_SERVER, TINY, {NULL, NULL}};
static const struct nqtest_opt tiny_client[] = {MUTUAL_CLIENT, TINY, {NULL, NULL}};

static const struct nqtest_transport grpc_tls = {
    .module = &grpc_LTX_nqt1_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

static void setup(void)
{
    grpc_init();
}

/* ---- who is let in ---------------------------------------------------------------------- */

static const struct nqtest_opt plain_server[] = {
    {"host", "127.0.0.1"}, {"port", "0"}, {NULL, NULL}};
static const struct nqtest_opt plain_client[] = {{"host", "127.0.0.1"}, {NULL, NULL}};
static const struct nqtest_opt named_server[] = {{"host", "127.0.0.1"},
                                                 {"port", "0"},
                                                 {"tls.cert", AT(SERVER)},
                                                 {"tls.key", AT_KEY(SERVER)},
                                                 {NULL, NULL}};
static const struct nqtest_opt knowing_client[] = {
    {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {NULL, NULL}};
#define CAREFUL                                \
    {"tls.crl", nqtest_certs[NQTEST_CRL_PEM]}, \
    {                                          \
        "tls.uuid", "true"                     \
    }
static const struct nqtest_opt careful_server[] = {MUTUAL_SERVER, CAREFUL, {NULL, NULL}};
static const struct nqtest_opt careful_client[] = {MUTUAL_CLIENT, CAREFUL, {NULL, NULL}};
static const struct nqtest_opt named_client[] = {
    {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {"tls.name", "localhost"}, {NULL, NULL}};
static const struct nqtest_opt misnamed_client[] = {
    {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {"tls.name", "elsewhere.test"}, {NULL, NULL}};
static const struct nqtest_opt addressed_client[] = {
    {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {"tls.name", "127.0.0.2"}, {NULL, NULL}};
static const struct nqtest_opt system_client[] = {
    {"host", "127.0.0.1"}, {"tls.version", "1.2"}, {NULL, NULL}};

#define SERVER_IS(name)                                                                          \
    (const struct nqtest_opt[])                                                                  \
    {                                                                                            \
        {"host", "127.0.0.1"}, {"port", "0"}, {"tls.cert", AT(name)}, {"tls.key", AT_KEY(name)}, \
        {                                                                                        \
            NULL, NULL                                                                           \
        }                                                                                        \
    }
#define CLIENT_IS(name)                                                    \
    (const struct nqtest_opt[])                                            \
    {                                                                      \
        {"host", "127.0.0.1"}, {"tls.ca", AT(CA)}, {"tls.cert", AT(name)}, \
            {"tls.key", AT_KEY(name)},                                     \
        {                                                                  \
            NULL, NULL                                                     \
        }                                                                  \
    }

static const struct {
    const struct nqtest_opt *server, *client;
} fits[] = {
    {server, client},
    {named_server, knowing_client},
    {named_server, client}, /* nobody asks for the client's */
    {named_server, named_client},
    {SERVER_IS(ELSEWHERE), misnamed_client},
    {SERVER_IS(ELSEWHERE), addressed_client},
    {careful_server, careful_client},
};

static struct nqt_info link_info(const struct nqtest_link *link)
{
    struct nqt_info info = {.size = sizeof(info)};

    ck_assert_int_eq(grpc_LTX_nqt1_module.ops->info(link->plugin, &info), NQT_OK);
    return info;
}

static uint64_t link_caps(const struct nqtest_link *link)
{
    return link_info(link).caps;
}

START_TEST(those_who_know_each_other_talk_in_secret)
{
    struct nqtest_rig rig = nqtest_rig_up(fits[_i].server, fits[_i].client);

    nqtest_push(rig.c, 3 << 20, 100000, 4, 4);
    nqtest_until_received(rig.s, 3 << 20);
    nqtest_push(rig.s, 1000, 10, 1, 10);
    nqtest_until_received(rig.c, 1000);
    ck_assert(link_caps(rig.c) & NQT_CAP_CONFIDENTIAL);
    ck_assert(link_caps(rig.s) & NQT_CAP_CONFIDENTIAL);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(without_certificates_nothing_is_said_to_be_secret)
{
    struct nqtest_rig rig = nqtest_rig_up(plain_server, plain_client);

    ck_assert(!(link_caps(rig.c) & NQT_CAP_CONFIDENTIAL));
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_a_certificate_names_is_known_when_it_was_asked_for)
{
    struct nqtest_rig rig = nqtest_rig_up(careful_server, careful_client);

    ck_assert(link_caps(rig.s) & NQT_CAP_PEER_IDENTITY);
    ck_assert_str_eq(link_info(rig.s).peer_identity, "urn:uuid:" NQTEST_CERT_CLIENT);
    ck_assert_str_eq(link_info(rig.c).peer_identity, "urn:uuid:" NQTEST_CERT_SERVER);
    nqtest_rig_free(&rig);
    rig = nqtest_rig_up(server, client);
    ck_assert(!(link_caps(rig.s) & NQT_CAP_PEER_IDENTITY));
    ck_assert_ptr_null(link_info(rig.s).peer_identity);
    nqtest_rig_free(&rig);
}
END_TEST

static const struct {
    const struct nqtest_opt *server, *client;
    int code; /* of the client; 0 = which one is not told */
    const char *client_says;
    const char *server_says; /* NULL: it hears of no call */
} misfits[] = {
    {SERVER_IS(EXPIRED), knowing_client, NQT_E_AUTH,
     ": the server's certificate is refused: certificate has expired", NULL},
    {SERVER_IS(EARLY), client, NQT_E_AUTH,
     ": the server's certificate is refused: certificate is not yet valid", NULL},
    {SERVER_IS(ELSEWHERE), client, NQT_E_AUTH,
     ": the server's certificate is refused: it is not for \"127.0.0.1\"", NULL},
    {named_server, misnamed_client, NQT_E_AUTH,
     ": the server's certificate is refused: it is not for \"elsewhere.test\"", NULL},
    {named_server, addressed_client, NQT_E_AUTH,
     ": the server's certificate is refused: it is not for \"127.0.0.2\"", NULL},
    {SERVER_IS(NOBODY), client, NQT_E_AUTH,
     ": the server's certificate is refused: it is not for \"127.0.0.1\"", NULL},
    {SERVER_IS(OTHER), client, NQT_E_AUTH,
     ": the server's certificate is refused: self-signed certificate", NULL},
    {SERVER_IS(REVOKED), careful_client, NQT_E_AUTH,
     ": the server's certificate is refused: certificate revoked", NULL},
    {named_server, system_client, NQT_E_AUTH,
     ": the server's certificate is refused: unable to get local issuer certificate", NULL},
    {server, CLIENT_IS(EXPIRED), NQT_E_AUTH,
     "the client's certificate is refused: certificate has expired",
     "the client's certificate is refused: certificate has expired"},
    {server, CLIENT_IS(EARLY), NQT_E_AUTH, "certificate is not yet valid",
     "certificate is not yet valid"},
    {server, CLIENT_IS(OTHER), NQT_E_AUTH,
     "the server refuses this side: UNAUTHENTICATED: the client's certificate is refused: "
     "self-signed certificate",
     "the client's certificate is refused: self-signed certificate"},
    {careful_server, CLIENT_IS(REVOKED), NQT_E_AUTH, "certificate revoked", "certificate revoked"},
    {careful_server, CLIENT_IS(NOBODY), NQT_E_AUTH, "it names no UUID", "it names no UUID"},
    {server, knowing_client, NQT_E_AUTH, "the client has no certificate, which \"ca\" asks for",
     "the client has no certificate, which \"ca\" asks for"},
    {server, plain_client, 0, "TLS", NULL},
    {plain_server, knowing_client, NQT_E_PROTOCOL, "TLS", NULL},
};

static bool has_lost_one(const void *ep)
{
    const struct nqtest_ep *listener = ep;

    return listener->naccepted && listener->accepted[0]->downs;
}

START_TEST(strangers_are_kept_out_with_a_reason)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(misfits[_i].server, misfits[_i].client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert(!nqtest_is_up(link));
    if (misfits[_i].code)
        ck_assert_int_eq(link->err.code, misfits[_i].code);
    ck_assert_msg(strstr(link->err.text, misfits[_i].client_says), "%s", link->err.text);
    if (misfits[_i].server_says) {
        const struct nqtest_link *at_server;

        NQTEST_UNTIL(has_lost_one, rig.server);
        at_server = rig.server->accepted[0];
        ck_assert_int_eq(at_server->err.code, NQT_E_AUTH);
        ck_assert_msg(strstr(at_server->err.text, misfits[_i].server_says), "%s",
                      at_server->err.text);
        ck_assert(!nqtest_is_up(at_server));
        ck_assert_uint_eq(at_server->received, 0);
    } else {
        ck_assert(!nqtest_has_accepted(rig.server) && !nqtest_has_waiting(rig.server));
    }
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- the plain wire --------------------------------------------------------------------- */

#define OPTS_MAX 16

static struct nqtest_rig rounds_endpoints(const struct nqtest_opt *of_server,
                                          const struct nqtest_opt *of_client)
{
    static struct nqtest_opt opts[2][OPTS_MAX];
    const struct nqtest_opt *from[] = {of_server, of_client};

    for (unsigned side = 0; side < 2; side++) {
        unsigned n = 1;

        opts[side][0] = (struct nqtest_opt){NQT_FACT_WIRE, "1"};
        for (; from[side]->name; from[side]++)
            opts[side][n++] = *from[side];
        opts[side][n] = (struct nqtest_opt){NULL, NULL};
        ck_assert_uint_lt(n, OPTS_MAX);
    }
    return nqtest_rig_endpoints(opts[0], opts[1]);
}

START_TEST(rounds_know_certificates)
{
    struct nqtest_rig rig = rounds_endpoints(careful_server, careful_client);

    rig.c = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, rig.c);
    ck_assert_str_eq(link_info(rig.c).peer_identity, "urn:uuid:" NQTEST_CERT_SERVER);
    nqtest_push(rig.c, 24, 24, 1, 1);
    NQTEST_UNTIL(nqtest_has_accepted, rig.server);
    rig.s = rig.server->accepted[0];
    ck_assert_str_eq(link_info(rig.s).peer_identity, "urn:uuid:" NQTEST_CERT_CLIENT);
    nqtest_push(rig.c, 1000, 10, 1, 10); /* in later rounds of the same link */
    nqtest_until_received(rig.s, 1024);
    ck_assert_uint_eq(rig.server->naccepted, 1);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(strangers_have_no_rounds)
{
    struct nqtest_rig rig = rounds_endpoints(misfits[_i].server, misfits[_i].client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    NQTEST_UNTIL(nqtest_is_down, link);
    if (misfits[_i].code)
        ck_assert_int_eq(link->err.code, misfits[_i].code);
    ck_assert_msg(strstr(link->err.text, misfits[_i].client_says), "%s", link->err.text);
    if (misfits[_i].server_says) {
        NQTEST_UNTIL(has_lost_one, rig.server);
        ck_assert_int_eq(rig.server->accepted[0]->err.code, NQT_E_AUTH);
        ck_assert_uint_eq(rig.server->accepted[0]->received, 0);
    } else {
        ck_assert(!nqtest_has_accepted(rig.server) && !nqtest_has_waiting(rig.server));
    }
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- options ---------------------------------------------------------------------------- */

static const struct {
    bool listen;
    struct nqtest_opt opts[6];
    const char *text;
} wrongs[] = {
    {true, {{"port", "0"}, {"tls.ca", AT(CA)}, {NULL, NULL}}, "a server needs"},
    {true, {{"port", "0"}, {"tls.cert", AT(SERVER)}, {NULL, NULL}}, "go together"},
    {true,
     {{"port", "0"}, {"tls.cert", AT(JUNK)}, {"tls.key", AT_KEY(SERVER)}, {NULL, NULL}},
     "in PEM form"},
    {true,
     {{"port", "0"}, {"tls.cert", AT(SERVER)}, {"tls.key", "/nowhere"}, {NULL, NULL}},
     "/nowhere: No such file"},
    {true,
     {{"port", "0"}, {"tls.cert", AT(SERVER)}, {"tls.key", AT_KEY(CLIENT)}, {NULL, NULL}},
     "key values mismatch"},
    {true,
     {{"port", "0"},
      {"tls.cert", AT(SERVER)},
      {"tls.key", AT_KEY(SERVER)},
      {"tls.ca", AT(CA)},
      {"tls.crl", AT(CA)},
      {NULL, NULL}},
     "no \"BEGIN X509 CRL\""},
    {true,
     {{"port", "0"},
      {"tls.cert", AT(SERVER)},
      {"tls.key", AT_KEY(SERVER)},
      {"tls.uuid", "true"},
      {NULL, NULL}},
     "tls.uuid: a server asks"},
    {false, {{"tls.version", "1.3"}, {NULL, NULL}}, "say \"1.2\", or use the transport tcp"},
    {false, {{"tls.version", "1.1"}, {NULL, NULL}}, "tls.version"},
    {true, {{"port", "0"}, {"tls.uuid", "false"}, {NULL, NULL}}, "a server needs"},
    {false, {{"tls.ca", AT(JUNK)}, {NULL, NULL}}, "in PEM form"},
};

START_TEST(files_that_cannot_be_meant_are_errors_of_opening)
{
    nqtest_open_is_refused(&grpc_LTX_nqt1_module, wrongs[_i].listen, wrongs[_i].opts, NQT_E_CONFIG,
                           wrongs[_i].text);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("grpc_tls");
    TCase *tc = tcase_create("grpc_tls");

    nqtest_tested = &grpc_tls;
    nqtest_certs_make();
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, those_who_know_each_other_talk_in_secret, 0, LEN(fits));
    tcase_add_test(tc, who_a_certificate_names_is_known_when_it_was_asked_for);
    tcase_add_test(tc, without_certificates_nothing_is_said_to_be_secret);
    tcase_add_loop_test(tc, strangers_are_kept_out_with_a_reason, 0, LEN(misfits));
    tcase_add_loop_test(tc, strangers_have_no_rounds, 0, LEN(misfits));
    tcase_add_test(tc, rounds_know_certificates);
    tcase_add_loop_test(tc, files_that_cannot_be_meant_are_errors_of_opening, 0, LEN(wrongs));
    suite_add_tcase(suite, tc);
    return suite;
}
