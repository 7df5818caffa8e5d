/* plugins/grpc with certificates: the contract suite over mutual TLS, and who is not let in. */
#include "tests/plugins/contract.h"
#include "tests/support/certs.h"
#include <grpc/grpc.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AT(name) nqtest_certs[NQTEST_##name##_PEM]
#define AT_KEY(name) nqtest_certs[NQTEST_##name##_KEY]

extern const struct nqt_module grpc_LTX_nqt0_module;

/* ---- the contract ----------------------------------------------------------------------- */

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
    .module = &grpc_LTX_nqt0_module,
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
static const struct nqtest_opt misled_client[] = {
    {"host", "127.0.0.1"}, {"tls.ca", AT(OTHER)}, {NULL, NULL}};
static const struct nqtest_opt false_client[] = {{"host", "127.0.0.1"},
                                                 {"tls.ca", AT(CA)},
                                                 {"tls.cert", AT(OTHER)},
                                                 {"tls.key", AT_KEY(OTHER)},
                                                 {NULL, NULL}};

static const struct {
    const struct nqtest_opt *server, *client;
} fits[] = {{server, client}, {named_server, knowing_client}, {named_server, client}};

static uint64_t link_caps(const struct nqtest_link *link)
{
    struct nqt_info info = {.size = sizeof(info)};

    ck_assert_int_eq(grpc_LTX_nqt0_module.ops->info(link->plugin, &info), NQT_OK);
    return info.caps;
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

static const struct {
    const struct nqtest_opt *server, *client;
    int code; /* 0 = which one is not told */
    const char *text;
} misfits[] = {
    {named_server, misled_client, NQT_E_AUTH, "certificate"},
    {server, knowing_client, 0, "cert"},
    {server, false_client, 0, "cert"},
    {server, plain_client, 0, "TLS"},
    {plain_server, knowing_client, NQT_E_PROTOCOL, "TLS"},
};

START_TEST(strangers_are_kept_out_with_a_reason)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(misfits[_i].server, misfits[_i].client);
    struct nqtest_link *link = nqtest_connect(rig.client, NULL);

    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert(!nqtest_is_up(link));
    if (misfits[_i].code)
        ck_assert_int_eq(link->err.code, misfits[_i].code);
    ck_assert_msg(strstr(link->err.text, misfits[_i].text), "%s", link->err.text);
    ck_assert(!nqtest_has_accepted(rig.server) && !nqtest_has_waiting(rig.server));
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
     "fit?"},
    {false, {{"tls.cert", AT(CLIENT)}, {"tls.key", AT_KEY(CLIENT)}, {NULL, NULL}}, "no \"ca\""},
    {false, {{"tls.ca", AT(JUNK)}, {NULL, NULL}}, "in PEM form"},
};

START_TEST(files_that_cannot_be_meant_are_errors_of_opening)
{
    nqtest_open_is_refused(&grpc_LTX_nqt0_module, wrongs[_i].listen, wrongs[_i].opts, NQT_E_CONFIG,
                           wrongs[_i].text);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("grpc_tls");
    TCase *tc = tcase_create("grpc_tls");

    nqtest_certs_make();
    nqtest_contract(suite, &grpc_tls, setup);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, those_who_know_each_other_talk_in_secret, 0, LEN(fits));
    tcase_add_test(tc, without_certificates_nothing_is_said_to_be_secret);
    tcase_add_loop_test(tc, strangers_are_kept_out_with_a_reason, 0, LEN(misfits));
    tcase_add_loop_test(tc, files_that_cannot_be_meant_are_errors_of_opening, 0, LEN(wrongs));
    suite_add_tcase(suite, tc);
    return suite;
}
