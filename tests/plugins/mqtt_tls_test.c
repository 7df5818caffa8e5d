/* plugins/mqtt: whose broker is trusted, and TLS to it. */
#include "plugins/mqtt/mqtt.h"
#include "tests/support/broker.h"
#include "tests/support/certs.h"
#include "tools/conform/rig.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct nqt_module mqtt_LTX_nqt1_module;

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define AT(name) nqtest_certs[NQTEST_##name##_PEM]
#define AT_KEY(name) nqtest_certs[NQTEST_##name##_KEY]

static char port[8];

static const struct nqtest_transport mqtt = {.module = &mqtt_LTX_nqt1_module};

/* ---- options ---------------------------------------------------------------------------- */

static int open_client(const struct nqtest_opt *opts, struct nqt_error *err)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;
    int rc;

    *err = (struct nqt_error){.size = sizeof(*err)};
    rc = nqtest_ep_open(host, false, opts, &ep, err);
    nqtest_host_free(host);
    return rc;
}

static const struct {
    const char *host;
    bool here;
} hosts[] = {
    {"127.0.0.1", true},  {"127.1.2.3", true},       {"localhost", true},    {"::1", true},
    {"192.0.2.1", false}, {"broker.example", false}, {"2001:db8::1", false}, {"127.evil", false},
};

START_TEST(a_broker_elsewhere_must_be_trusted)
{
    struct nqtest_opt opts[] = {{"host", hosts[_i].host}, {NULL, NULL}, {NULL, NULL}};
    struct nqt_error err;

    ck_assert_int_eq(open_client(opts, &err), hosts[_i].here ? NQT_OK : NQT_E_CONFIG);
    if (!hosts[_i].here)
        ck_assert_ptr_nonnull(strstr(err.text, "set \"trust_broker\": true"));
    opts[1] = (struct nqtest_opt){"trust_broker", "true"};
    ck_assert_int_eq(open_client(opts, &err), NQT_OK);
    opts[1] = (struct nqtest_opt){NQT_FACT_PROVEN, "true"};
    ck_assert_int_eq(open_client(opts, &err), NQT_OK);
    opts[1] = (struct nqtest_opt){NQT_FACT_PROVEN, "false"};
    ck_assert_int_eq(open_client(opts, &err), hosts[_i].here ? NQT_OK : NQT_E_CONFIG);
}
END_TEST

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

static const struct {
    struct nqtest_opt opts[3];
    const char *part;
} wrong[] = {
    {{{"tls.ca", "/nowhere/ca.pem"}}, "cannot read /nowhere/ca.pem"},
    {{{"tls.ca", "/dev/null"}}, "no \"BEGIN CERTIFICATE\""},
    {{{"tls.ca", "/dev/null"}, {"tls.cert", "/dev/null"}}, "go together"},
    {{{"tls.ca", "/dev/null"}, {"tls.key", "/dev/null"}}, "go together"},
    {{{"tls.cert", AT(CLIENT)}, {"tls.key", AT_KEY(SERVER)}}, "key values mismatch"},
    {{{"tls.crl", AT(CRL)}}, "tls.crl: paho looks at no list*as \"ca\" name the broker's own"},
    {{{"tls.name", "localhost"}}, "tls.name: paho*against \"host\" only"},
    {{{"tls.uuid", "true"}}, "tls.uuid: the certificate is the broker's*use pre-shared keys"},
    {{{"tls.version", "1.1"}}, "tls.version"},
};

START_TEST(files_that_make_no_sense_are_refused)
{
    struct nqt_error err;

    ck_assert_int_eq(open_client(wrong[_i].opts, &err), NQT_E_CONFIG);
    ck_assert_msg(says(err.text, wrong[_i].part), "%s", err.text);
}
END_TEST

/* What says no more than what holds anyway is no error. */
START_TEST(keys_that_ask_for_nothing_else_are_taken)
{
    static const struct nqtest_opt opts[] = {
        {"tls.name", "127.0.0.1"}, {"tls.uuid", "false"}, {"tls.version", "1.3"}, {NULL, NULL}};
    struct nqt_error err;

    ck_assert_int_eq(open_client(opts, &err), NQT_OK);
}
END_TEST

/* ---- the broker ------------------------------------------------------------------------- */

/* With this certificate.  It may have given up root before it reads the files. */
static void broker(enum nqtest_cert cert, const char *more)
{
    char lines[640];

    nqtest_tested = &mqtt;
    nqtest_fds_of_library = true;
    snprintf(lines, sizeof(lines), "chmod 755 '%s' && chmod 644 '%s'/*", nqtest_certs_folder,
             nqtest_certs_folder);
    ck_assert_int_eq(system(lines), 0);
    snprintf(lines, sizeof(lines), "certfile %s\nkeyfile %s\n%s", nqtest_certs[cert],
             nqtest_certs[cert + 1], more);
    snprintf(port, sizeof(port), "%u", nqtest_broker(lines));
}

/* One that speaks nothing newer than TLS 1.2. */
static void old_broker(void)
{
    char path[128], text[] = "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                             "MaxProtocol = TLSv1.2\n";
    FILE *file;

    snprintf(path, sizeof(path), "%s/old.cnf", nqtest_certs_folder);
    file = fopen(path, "we");
    ck_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    setenv("OPENSSL_CONF", path, 1);
    broker(NQTEST_SERVER_PEM, "");
    unsetenv("OPENSSL_CONF");
}

/* One that asks for certificates. */
static void careful_broker(void)
{
    char more[512];

    snprintf(more, sizeof(more), "require_certificate true\ncafile %s\ncrlfile %s", AT(CA),
             AT(CRL));
    broker(NQTEST_SERVER_PEM, more);
}

/* ---- links ------------------------------------------------------------------------------ */

static void exchange(const struct nqtest_opt *opts)
{
    struct nqtest_rig rig = nqtest_rig_up(opts, opts);

    nqtest_push(rig.c, 3 << 20, 300001, 3, 4);
    nqtest_push(rig.s, 1 << 20, 777, 1, 64);
    nqtest_until_received(rig.s, rig.c->tx.end);
    nqtest_until_received(rig.c, rig.s->tx.end);
    nqtest_rig_free(&rig);
}

START_TEST(bytes_pass_through_an_encrypted_broker)
{
    const struct nqtest_opt opts[] = {{"port", port},
                                      {"host", _i ? "localhost" : "127.0.0.1"},
                                      {"version", _i ? "3.1.1" : "auto"},
                                      {"tls.ca", AT(CA)},
                                      {NULL, NULL}};

    broker(NQTEST_SERVER_PEM, "");
    exchange(opts);
}
END_TEST

START_TEST(a_broker_that_the_system_knows_is_trusted)
{
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.version", "1.3"}, {NULL, NULL}};

    setenv("SSL_CERT_FILE", AT(CA), 1);
    broker(NQTEST_SERVER_PEM, "");
    exchange(opts);
}
END_TEST

START_TEST(an_old_broker_is_spoken_to_when_that_was_asked_for)
{
    const struct nqtest_opt opts[] = {
        {"port", port}, {"tls.ca", AT(CA)}, {"tls.version", "1.2"}, {NULL, NULL}};

    old_broker();
    exchange(opts);
}
END_TEST

START_TEST(a_broker_that_wants_a_certificate_gets_it)
{
    const struct nqtest_opt opts[] = {{"port", port},
                                      {"tls.ca", AT(CA)},
                                      {"tls.cert", AT(CLIENT)},
                                      {"tls.key", AT_KEY(CLIENT)},
                                      {NULL, NULL}};

    careful_broker();
    exchange(opts);
}
END_TEST

/* The server's endpoint does not come up, and says why. */
static void check_refused(const struct nqtest_opt *opts, const char *part)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &ep, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    ck_assert_uint_eq(ep->ups, 0);
    ck_assert_msg(says(ep->err.text, part), "%s", ep->err.text);
    nqtest_host_free(host);
}

static const struct {
    enum nqtest_cert cert;
    const char *text;
} brokers[] = {
    {NQTEST_EXPIRED_PEM, "verify failed; the broker's certificate is refused: is it valid"},
    {NQTEST_EARLY_PEM, "verify failed; the broker's certificate is refused: is it valid"},
    {NQTEST_ELSEWHERE_PEM, "is its certificate for \"host\""},
    {NQTEST_NOBODY_PEM, "is its certificate for \"host\""},
    {NQTEST_OTHER_PEM, "verify failed; the broker's certificate is refused*signed by one in"},
};

START_TEST(a_broker_whose_certificate_does_not_fit_is_not_spoken_to)
{
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.ca", AT(CA)}, {NULL, NULL}};

    broker(brokers[_i].cert, "");
    check_refused(opts, brokers[_i].text);
}
END_TEST

START_TEST(an_old_broker_is_not_spoken_to_unasked)
{
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.ca", AT(CA)}, {NULL, NULL}};

    old_broker();
    check_refused(opts, "handshake failure; no version of TLS in common");
}
END_TEST

static const struct nqtest_opt clients[][2] = {
    {{NULL, NULL}},
    {{"tls.cert", AT(EXPIRED)}, {"tls.key", AT_KEY(EXPIRED)}},
    {{"tls.cert", AT(OTHER)}, {"tls.key", AT_KEY(OTHER)}},
    {{"tls.cert", AT(REVOKED)}, {"tls.key", AT_KEY(REVOKED)}},
};

START_TEST(who_the_broker_refuses_is_told_what_to_look_at)
{
    const struct nqtest_opt opts[] = {
        {"port", port}, {"tls.ca", AT(CA)}, clients[_i][0], clients[_i][1], {NULL, NULL}};

    careful_broker();
    check_refused(opts, "does it accept \"cert\" and \"key\"?");
}
END_TEST

START_TEST(a_broker_without_encryption_is_not_spoken_to)
{
    const struct nqtest_opt opts[] = {
        {"port", port}, {"tls.ca", AT(CA)}, {"connect_timeout", "2s"}, {NULL, NULL}};

    nqtest_tested = &mqtt;
    nqtest_fds_of_library = true;
    snprintf(port, sizeof(port), "%u", nqtest_broker(""));
    check_refused(opts, "");
}
END_TEST

/* ---- files that change ------------------------------------------------------------------ */

static void copy(enum nqtest_cert from, const char *to)
{
    char command[512];

    snprintf(command, sizeof(command), "cp '%s' '%s.new' && mv '%s.new' '%s'", nqtest_certs[from],
             to, to, to);
    ck_assert_int_eq(system(command), 0);
}

static bool was_up_twice(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->ups >= 2;
}

/* The broker has a new authority: the next connection trusts what the file says then. */
START_TEST(the_next_connection_goes_by_the_files_as_they_are_then)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt1_module, 0);
    char ca[128];
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.ca", ca}, {NULL, NULL}};
    struct nqtest_ep *ep;

    snprintf(ca, sizeof(ca), "%s/now.pem", nqtest_certs_folder);
    copy(NQTEST_CA_PEM, ca);
    broker(NQTEST_SERVER_PEM, "");
    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &ep, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_up, ep);
    nqtest_broker_end();
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    copy(NQTEST_OTHER_PEM, ca);
    broker(NQTEST_OTHER_PEM, "");
    NQTEST_UNTIL(was_up_twice, ep);
    nqtest_broker_end();
    nqtest_host_free(host);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("mqtt and trust");
    TCase *options = tcase_create("options"), *tls = tcase_create("TLS");

    tcase_add_loop_test(options, a_broker_elsewhere_must_be_trusted, 0, LEN(hosts));
    tcase_add_loop_test(options, files_that_make_no_sense_are_refused, 0, LEN(wrong));
    tcase_add_test(options, keys_that_ask_for_nothing_else_are_taken);
    suite_add_tcase(suite, options);
    nqtest_certs_make();
    if (!nqtest_broker_installed()) {
        puts("# mosquitto is not installed: no test of TLS");
        return suite;
    }
    tcase_add_checked_fixture(tls, NULL, nqtest_broker_threads_end);
    tcase_set_timeout(tls, 60);
    tcase_add_loop_test(tls, bytes_pass_through_an_encrypted_broker, 0, 2);
    tcase_add_test(tls, a_broker_that_the_system_knows_is_trusted);
    tcase_add_test(tls, an_old_broker_is_spoken_to_when_that_was_asked_for);
    tcase_add_test(tls, a_broker_that_wants_a_certificate_gets_it);
    tcase_add_loop_test(tls, a_broker_whose_certificate_does_not_fit_is_not_spoken_to, 0,
                        LEN(brokers));
    tcase_add_test(tls, an_old_broker_is_not_spoken_to_unasked);
    tcase_add_loop_test(tls, who_the_broker_refuses_is_told_what_to_look_at, 0, LEN(clients));
    tcase_add_test(tls, the_next_connection_goes_by_the_files_as_they_are_then);
    tcase_add_test(tls, a_broker_without_encryption_is_not_spoken_to);
    suite_add_tcase(suite, tls);
    return suite;
}
