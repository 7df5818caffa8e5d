/* plugins/tcp with certificates: mutual TLS, and who is not let in, with
 * the reason on both sides. */
#include "tests/plugins/tcp_raw.h"
#include "tests/support/certs.h"
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AT(name) nqtest_certs[NQTEST_##name##_PEM]
#define AT_KEY(name) nqtest_certs[NQTEST_##name##_KEY]

/* Options: who one is, whom one trusts, where. */
#define IS(name)                \
    {"tls.cert", AT(name)},     \
    {                           \
        "tls.key", AT_KEY(name) \
    }
#define TRUSTS(name)       \
    {                      \
        "tls.ca", AT(name) \
    }
#define HERE                \
    {                       \
        "host", "127.0.0.1" \
    }
#define ANY_PORT    \
    {               \
        "port", "0" \
    }
#define END        \
    {              \
        NULL, NULL \
    }

/* ---- both have certificates -------------------------------------------------------------- */

static const struct nqtest_opt server[] = {HERE, ANY_PORT, TRUSTS(CA), IS(SERVER), END};
static const struct nqtest_opt client[] = {HERE, TRUSTS(CA), IS(CLIENT), END};
static const struct nqtest_opt tiny_server[] = {
    HERE, ANY_PORT, TRUSTS(CA), IS(SERVER), {"receive_buffer", "2048"}, END};
static const struct nqtest_opt tiny_client[] = {
    HERE, TRUSTS(CA), IS(CLIENT), {"send_buffer", "4096"}, END};

static const struct nqtest_transport tcp_tls = {
    .module = &tcp_LTX_nqt1_module,
    .server = server,
    .client = client,
    .tiny_server = tiny_server,
    .tiny_client = tiny_client,
    .port = "port",
};

/* ---- who is let in ---------------------------------------------------------------------- */

static const struct nqtest_opt plain_server[] = {HERE, ANY_PORT, END};
static const struct nqtest_opt plain_client[] = {HERE, END};
static const struct nqtest_opt open_server[] = {HERE, ANY_PORT, IS(SERVER), END};
static const struct nqtest_opt old_server[] = {
    HERE, ANY_PORT, IS(SERVER), {"tls.version", "1.2"}, END};
static const struct nqtest_opt unnamed_client[] = {HERE, TRUSTS(CA), END};
static const struct nqtest_opt named_client[] = {HERE, TRUSTS(CA), {"tls.name", "localhost"}, END};
static const struct nqtest_opt elsewhere_server[] = {HERE, ANY_PORT, IS(ELSEWHERE), END};
static const struct nqtest_opt elsewhere_client[] = {
    HERE, TRUSTS(CA), {"tls.name", "elsewhere.test"}, END};
static const struct nqtest_opt careful_server[] = {
    HERE, ANY_PORT, TRUSTS(CA), IS(SERVER), {"tls.crl", AT(CRL)}, {"tls.uuid", "true"}, END};
static const struct nqtest_opt careful_client[] = {
    HERE, TRUSTS(CA), IS(CLIENT), {"tls.crl", AT(CRL)}, {"tls.uuid", "true"}, END};

static const struct {
    const struct nqtest_opt *server, *client;
} fits[] = {
    {server, client},
    {open_server, unnamed_client},
    {open_server, client}, /* nobody asks for the client's */
    {old_server, unnamed_client},
    {open_server, named_client},
    {elsewhere_server, elsewhere_client},
    {careful_server, careful_client},
};

static struct nqt_info link_info(const struct nqtest_link *link)
{
    struct nqt_info info = {.size = sizeof(info)};

    ck_assert_int_eq(tcp_LTX_nqt1_module.ops->info(link->plugin, &info), NQT_OK);
    return info;
}

START_TEST(those_who_know_each_other_talk_in_secret)
{
    struct nqtest_rig rig = nqtest_rig_up(fits[_i].server, fits[_i].client);

    nqtest_push(rig.c, 3 << 20, 100000, 4, 4);
    nqtest_until_received(rig.s, 3 << 20);
    nqtest_push(rig.s, 1000, 10, 1, 10);
    nqtest_until_received(rig.c, 1000);
    ck_assert(link_info(rig.c).caps & NQT_CAP_CONFIDENTIAL);
    ck_assert(link_info(rig.s).caps & NQT_CAP_CONFIDENTIAL);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_a_certificate_names_is_known_when_it_was_asked_for)
{
    struct nqtest_rig rig = nqtest_rig_up(careful_server, careful_client);

    ck_assert(link_info(rig.s).caps & NQT_CAP_PEER_IDENTITY);
    ck_assert_str_eq(link_info(rig.s).peer_identity, "urn:uuid:" NQTEST_CERT_CLIENT);
    ck_assert_str_eq(link_info(rig.c).peer_identity, "urn:uuid:" NQTEST_CERT_SERVER);
    nqtest_rig_free(&rig);
    rig = nqtest_rig_up(server, client);
    ck_assert(!(link_info(rig.s).caps & NQT_CAP_PEER_IDENTITY));
    ck_assert_ptr_null(link_info(rig.s).peer_identity);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(without_certificates_nothing_is_said_to_be_secret)
{
    struct nqtest_rig rig = nqtest_rig_up(plain_server, plain_client);

    ck_assert(!(link_info(rig.c).caps & NQT_CAP_CONFIDENTIAL));
    nqtest_rig_free(&rig);
}
END_TEST

/* A misfit of one certificate: all the rest is in order. */
#define SERVER_IS(name)               \
    (const struct nqtest_opt[])       \
    {                                 \
        HERE, ANY_PORT, IS(name), END \
    }
#define CLIENT_IS(name)                 \
    (const struct nqtest_opt[])         \
    {                                   \
        HERE, TRUSTS(CA), IS(name), END \
    }

static const struct {
    const struct nqtest_opt *server, *client;
    int at_server, at_client; /* codes */
    const char *server_says, *client_says;
} misfits[] = {
    {SERVER_IS(EXPIRED), client, NQT_E_AUTH, NQT_E_AUTH, "this side's certificate*has expired",
     "the server's certificate*has expired"},
    {SERVER_IS(EARLY), client, NQT_E_AUTH, NQT_E_AUTH, "this side's certificate*not valid yet",
     "the server's certificate*not yet valid"},
    {SERVER_IS(ELSEWHERE), client, NQT_E_AUTH, NQT_E_AUTH, "this side's certificate*another name",
     "the server's certificate*not for \"127.0.0.1\""},
    {open_server, elsewhere_client, NQT_E_AUTH, NQT_E_AUTH, "this side's certificate*another name",
     "the server's certificate*not for \"elsewhere.test\""},
    {SERVER_IS(NOBODY), client, NQT_E_AUTH, NQT_E_AUTH, "this side's certificate*another name",
     "the server's certificate*not for \"127.0.0.1\""},
    {SERVER_IS(OTHER), client, NQT_E_AUTH, NQT_E_AUTH,
     "this side's certificate*nobody that the other side trusts",
     "the server's certificate*self-signed"},
    {SERVER_IS(REVOKED), careful_client, NQT_E_AUTH, NQT_E_AUTH,
     "this side's certificate*it was revoked", "the server's certificate*revoked"},
    {SERVER_IS(REVOKED), (const struct nqtest_opt[]){HERE, {"tls.version", "1.3"}, END}, NQT_E_AUTH,
     NQT_E_AUTH, "nobody that the other side trusts", "unable to get local issuer"},
    {server, CLIENT_IS(EXPIRED), NQT_E_AUTH, NQT_E_AUTH, "the client's certificate*has expired",
     "this side's certificate*has expired"},
    {server, CLIENT_IS(OTHER), NQT_E_AUTH, NQT_E_AUTH, "the client's certificate*self-signed",
     "this side's certificate*nobody that the other side trusts"},
    {careful_server, CLIENT_IS(REVOKED), NQT_E_AUTH, NQT_E_AUTH, "the client's certificate*revoked",
     "this side's certificate*it was revoked"},
    {careful_server, CLIENT_IS(NOBODY), NQT_E_AUTH, NQT_E_AUTH,
     "the client's certificate*names no UUID", "this side's certificate*another name or UUID"},
    {server, unnamed_client, NQT_E_AUTH, NQT_E_AUTH, "the client has no certificate",
     "wants a certificate: \"tls\" needs \"cert\" and \"key\""},
    {server, plain_client, NQT_E_PROTOCOL, NQT_E_PROTOCOL, "does not speak TLS",
     "the other side speaks TLS*has no \"tls\""},
    {plain_server, client, NQT_E_PROTOCOL, NQT_E_PROTOCOL,
     "the other side speaks TLS*has no \"tls\"", "does not speak TLS*has no \"tls\""},
};

/* `text` has the parts of `pattern`, which * separates, in order. */
static bool says(const char *text, const char *pattern)
{
    char part[128];
    size_t len;

    for (; *pattern; pattern += len + (pattern[len] == '*')) {
        len = strcspn(pattern, "*");
        snprintf(part, sizeof(part), "%.*s", (int)len, pattern);
        text = strstr(text, part);
        if (!text)
            return false;
        text += len;
    }
    return true;
}

static bool is_up_or_down(const void *link)
{
    return nqtest_is_up(link) || nqtest_is_down(link);
}

static bool has_one(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->naccepted;
}

/* End the client's socket below its link: as somebody between could. */
static void cut(void)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof(peer);

        if (!getpeername(fd, (struct sockaddr *)&peer, &len) && peer.sin_family == AF_INET)
            (void)shutdown(fd, SHUT_WR);
    }
}

static bool has_lost_one(const void *ep)
{
    const struct nqtest_ep *listener = ep;

    return listener->naccepted && listener->accepted[0]->downs;
}

START_TEST(strangers_are_kept_out_and_both_sides_know_why)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(misfits[_i].server, misfits[_i].client);
    struct nqtest_link *at_client = nqtest_connect(rig.client, NULL), *at_server;

    /* As a session does: a client that thinks it is in speaks first. */
    NQTEST_UNTIL(is_up_or_down, at_client);
    if (nqtest_is_up(at_client) && !nqtest_is_down(at_client))
        nqtest_push(at_client, 264, 264, 1, 1);
    NQTEST_UNTIL(has_lost_one, rig.server);
    NQTEST_UNTIL(nqtest_is_down, at_client);
    at_server = rig.server->accepted[0];
    ck_assert_msg(says(at_server->err.text, misfits[_i].server_says), "%s", at_server->err.text);
    ck_assert_msg(says(at_client->err.text, misfits[_i].client_says), "%s", at_client->err.text);
    ck_assert_int_eq(at_server->err.code, misfits[_i].at_server);
    ck_assert_int_eq(at_client->err.code, misfits[_i].at_client);
    ck_assert_uint_eq(at_server->received, 0);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- options ---------------------------------------------------------------------------- */

static const struct {
    bool listen;
    struct nqtest_opt opts[6];
    const char *text;
} wrongs[] = {
    {true, {ANY_PORT, TRUSTS(CA), END}, "a server needs"},
    {true, {ANY_PORT, {"tls.uuid", "false"}, END}, "a server needs"},
    {true, {ANY_PORT, {"tls.cert", AT(SERVER)}, END}, "go together"},
    {true, {ANY_PORT, IS(SERVER), {"tls.uuid", "true"}, END}, "tls.uuid: a server asks"},
    {true, {ANY_PORT, IS(SERVER), {"tls.crl", AT(CRL)}, END}, "tls.crl: a server asks"},
    {true, {ANY_PORT, {"tls.cert", AT(JUNK)}, {"tls.key", AT_KEY(SERVER)}, END}, "in PEM form"},
    {true,
     {ANY_PORT, {"tls.cert", AT(SERVER)}, {"tls.key", "/nowhere"}, END},
     "/nowhere: No such file"},
    {true,
     {ANY_PORT, {"tls.cert", AT(SERVER)}, {"tls.key", AT_KEY(CLIENT)}, END},
     "key values mismatch"},
    {true,
     {ANY_PORT, {"tls.cert", AT(SERVER)}, {"tls.key", nqtest_certs[NQTEST_LOCKED_KEY]}, END},
     "tls.key"},
    {true, {ANY_PORT, TRUSTS(CA), IS(SERVER), {"tls.crl", AT(CA)}, END}, "no \"BEGIN X509 CRL\""},
    {false, {TRUSTS(JUNK), END}, "in PEM form"},
    {false, {TRUSTS(CA), {"tls.version", "1.1"}, END}, "tls.version"},
};

START_TEST(files_that_cannot_be_meant_are_errors_of_opening)
{
    nqtest_open_is_refused(&tcp_LTX_nqt1_module, wrongs[_i].listen, wrongs[_i].opts, NQT_E_CONFIG,
                           wrongs[_i].text);
}
END_TEST

/* A child that has a terminal to ask at opens a server whose key wants a password.  A question
 * would be answered by nobody. */
START_TEST(nobody_is_asked_for_the_password_of_a_key)
{
    const struct nqtest_opt locked[] = {
        ANY_PORT, {"tls.cert", AT(SERVER)}, {"tls.key", nqtest_certs[_i]}, END};
    char said[256];
    ssize_t len;
    int terminal, status;
    pid_t child = forkpty(&terminal, NULL, NULL, NULL);

    ck_assert_int_ge(child, 0);
    if (!child) {
        nqtest_open_is_refused(&tcp_LTX_nqt1_module, true, locked, NQT_E_CONFIG, "tls.key");
        _exit(0);
    }
    len = read(terminal, said, sizeof(said)); /* fails when the other end is closed */
    if (len > 0)
        kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(len <= 0, "it says: %.*s", (int)len, said);
    ck_assert_int_eq(status, 0);
    close(terminal);
}
END_TEST

/* ---- handshakes that do not end --------------------------------------------------------- */

START_TEST(a_silent_stranger_has_so_much_time_and_harms_nobody)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(server, client);
    int fd = nqtest_raw_connect("127.0.0.1", nqtest_port(rig.server));
    struct nqtest_link *good;

    NQTEST_UNTIL(has_one, rig.server);
    if (_i)
        ck_assert_int_eq(write(fd, "\x16\x03\x01\x02", 4), 4); /* a record begins */
    good = nqtest_connect(rig.client, NULL);
    NQTEST_UNTIL(nqtest_is_up, good);
    nqtest_push(good, 1000, 1000, 1, 1);
    nqtest_until_received(rig.server->accepted[1], 1000);
    ck_assert_uint_eq(rig.server->accepted[0]->downs, 0);
    nqtest_advance(rig.server_host, INT64_C(10000000000));
    NQTEST_UNTIL(nqtest_is_down, rig.server->accepted[0]);
    ck_assert_msg(says(rig.server->accepted[0]->err.text, "handshake*within connect_timeout"), "%s",
                  rig.server->accepted[0]->err.text);
    ck_assert_uint_eq(rig.server->accepted[1]->downs, 0);
    close(fd);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(an_end_that_is_not_said_is_no_good_end)
{
    struct nqtest_rig rig = nqtest_rig_up(server, client);

    cut();
    NQTEST_UNTIL(nqtest_is_down, rig.s);
    ck_assert_int_eq(rig.s->err.code, NQT_E_LOST);
    ck_assert_msg(says(rig.s->err.text, "cut off"), "%s", rig.s->err.text);
    nqtest_rig_free(&rig);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("tcp_tls");
    TCase *tc = tcase_create("tcp_tls");

    nqtest_tested = &tcp_tls;
    nqtest_certs_make();
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, those_who_know_each_other_talk_in_secret, 0, LEN(fits));
    tcase_add_test(tc, who_a_certificate_names_is_known_when_it_was_asked_for);
    tcase_add_test(tc, without_certificates_nothing_is_said_to_be_secret);
    tcase_add_loop_test(tc, strangers_are_kept_out_and_both_sides_know_why, 0, LEN(misfits));
    tcase_add_loop_test(tc, files_that_cannot_be_meant_are_errors_of_opening, 0, LEN(wrongs));
    tcase_add_loop_test(tc, nobody_is_asked_for_the_password_of_a_key, NQTEST_LOCKED_KEY,
                        NQTEST_LOCKED_OLD_KEY + 1);
    tcase_add_loop_test(tc, a_silent_stranger_has_so_much_time_and_harms_nobody, 0, 2);
    tcase_add_test(tc, an_end_that_is_not_said_is_no_good_end);
    suite_add_tcase(suite, tc);
    return suite;
}
