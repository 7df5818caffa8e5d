/* plugins/mqtt: whose broker is trusted, and TLS to it, with certificates that the openssl command
 * makes. */
#include "plugins/mqtt/mqtt.h"
#include "tests/plugins/contract.h"
#include "tests/support/broker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern const struct nqt_module mqtt_LTX_nqt0_module;

static pid_t maker; /* of the certificates, which it removes at its end */
static char folder[128], port[8];
static char good_cert[160], good_key[160], other_cert[160], other_key[160]; /* for another name */

static const struct nqtest_transport mqtt = {.module = &mqtt_LTX_nqt0_module};

/* ---- options ---------------------------------------------------------------------------- */

static int open_client(const struct nqtest_opt *opts, struct nqt_error *err)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt0_module, 0);
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

static const struct {
    struct nqtest_opt opts[3];
    const char *part;
} wrong[] = {
    {{{"tls.ca", "/nowhere/ca.pem"}}, "cannot read /nowhere/ca.pem"},
    {{{"tls.cert", "/dev/null"}, {"tls.key", "/dev/null"}}, "no \"ca\""},
    {{{"tls.ca", "/dev/null"}, {"tls.cert", "/dev/null"}}, "go together"},
    {{{"tls.ca", "/dev/null"}, {"tls.key", "/dev/null"}}, "go together"},
};

START_TEST(files_that_make_no_sense_are_refused)
{
    nqtest_open_is_refused(&mqtt_LTX_nqt0_module, false, wrong[_i].opts, NQT_E_CONFIG,
                           wrong[_i].part);
}
END_TEST

/* ---- certificates ----------------------------------------------------------------------- */

/* One that signed itself, for `names`. */
static bool make(const char *key, const char *cert, const char *names)
{
    char command[768];

    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
             " -subj /CN=netqueue -keyout '%s' -out '%s' -addext 'subjectAltName=%s' 2>/dev/null",
             key, cert, names);
    /* The broker may have given up root before it reads them. */
    return system(command) == 0 && chmod(key, 0644) == 0 && chmod(cert, 0644) == 0;
}

static void name(char path[160], const char *file)
{
    snprintf(path, 160, "%s/%s", folder, file);
}

static bool make_all(void)
{
    const char *top = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%.100s/nq-tls-XXXXXX", top ? top : "/tmp");
    if (!mkdtemp(folder) || chmod(folder, 0755))
        return false;
    name(good_key, "good.key");
    name(good_cert, "good.pem");
    name(other_key, "other.key");
    name(other_cert, "other.pem");
    return make(good_key, good_cert, "IP:127.0.0.1,DNS:localhost") &&
           make(other_key, other_cert, "DNS:elsewhere.example");
}

static void remove_all(void)
{
    if (getpid() != maker)
        return;
    unlink(good_key);
    unlink(good_cert);
    unlink(other_key);
    unlink(other_cert);
    rmdir(folder);
}

static void broker(const char *cert, const char *key, const char *more)
{
    char lines[640];

    nqtest_tested = &mqtt;
    nqtest_fds_of_library = true;
    snprintf(lines, sizeof(lines), "certfile %s\nkeyfile %s\n%s", cert, key, more);
    snprintf(port, sizeof(port), "%u", nqtest_broker(lines));
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
                                      {"tls.ca", good_cert},
                                      {NULL, NULL}};

    broker(good_cert, good_key, "");
    exchange(opts);
}
END_TEST

START_TEST(a_broker_that_wants_a_certificate_gets_it)
{
    const struct nqtest_opt opts[] = {{"port", port},
                                      {"tls.ca", good_cert},
                                      {"tls.cert", other_cert},
                                      {"tls.key", other_key},
                                      {NULL, NULL}};
    char more[256];

    snprintf(more, sizeof(more), "require_certificate true\ncafile %s", other_cert);
    broker(good_cert, good_key, more);
    exchange(opts);
}
END_TEST

/* The server's endpoint does not come up, and says why. */
static void check_refused(const struct nqtest_opt *opts, const char *part)
{
    struct nqtest_host *host = nqtest_host_new(&mqtt_LTX_nqt0_module, 0);
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, opts, &ep, NULL), 0);
    NQTEST_UNTIL(nqtest_is_ep_down, ep);
    ck_assert_uint_eq(ep->ups, 0);
    ck_assert_msg(strstr(ep->err.text, part) != NULL, "%s", ep->err.text);
    nqtest_host_free(host);
}

START_TEST(a_broker_that_somebody_else_signed_is_not_spoken_to)
{
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.ca", other_cert}, {NULL, NULL}};

    broker(good_cert, good_key, "");
    check_refused(opts, "certificate");
}
END_TEST

START_TEST(a_broker_with_another_name_is_not_spoken_to)
{
    const struct nqtest_opt opts[] = {{"port", port}, {"tls.ca", other_cert}, {NULL, NULL}};

    broker(other_cert, other_key, "");
    check_refused(opts, "TLS");
}
END_TEST

START_TEST(a_broker_without_encryption_is_not_spoken_to)
{
    const struct nqtest_opt opts[] = {
        {"port", port}, {"tls.ca", good_cert}, {"connect_timeout", "2s"}, {NULL, NULL}};

    nqtest_tested = &mqtt;
    nqtest_fds_of_library = true;
    snprintf(port, sizeof(port), "%u", nqtest_broker(""));
    check_refused(opts, "");
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("mqtt and trust");
    TCase *options = tcase_create("options"), *tls = tcase_create("TLS");

    tcase_add_loop_test(options, a_broker_elsewhere_must_be_trusted, 0,
                        (int)(sizeof(hosts) / sizeof(hosts[0])));
    tcase_add_loop_test(options, files_that_make_no_sense_are_refused, 0,
                        (int)(sizeof(wrong) / sizeof(wrong[0])));
    suite_add_tcase(suite, options);
    if (!nqtest_broker_installed() || !make_all()) {
        puts("# mosquitto or openssl is not installed: no test of TLS");
        return suite;
    }
    maker = getpid();
    atexit(remove_all);
    tcase_add_checked_fixture(tls, NULL, nqtest_broker_threads_end);
    tcase_set_timeout(tls, 60);
    tcase_add_loop_test(tls, bytes_pass_through_an_encrypted_broker, 0, 2);
    tcase_add_test(tls, a_broker_that_wants_a_certificate_gets_it);
    tcase_add_test(tls, a_broker_that_somebody_else_signed_is_not_spoken_to);
    tcase_add_test(tls, a_broker_with_another_name_is_not_spoken_to);
    tcase_add_test(tls, a_broker_without_encryption_is_not_spoken_to);
    suite_add_tcase(suite, tls);
    return suite;
}
