/* Options: the table and its check. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netqueue/transport_x509.h>
#include <string.h>
#include <strings.h>

static const char *const opts_versions[] = {"auto", "5", "3.1.1", NULL};

const struct nqt_opt mqtt_opt_table[MQTT_OPTIONS] = {
    {.name = "host",
     .def = "127.0.0.1",
     .type = NQT_OPT_STR,
     .help = "Name or address of the broker"},
    {.name = "port",
     .def = "1883",
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 65535,
     .help = "Port of the broker"},
    {.name = "server",
     .def = "netqueue",
     .type = NQT_OPT_STR,
     .help = "Name that separates servers on one broker; part of the topics"},
    {.name = "user", .type = NQT_OPT_STR, .help = "Name to log in to the broker with"},
    {.name = "password",
     .type = NQT_OPT_STR,
     .flags = NQT_OPT_SECRET,
     .help = "Password to log in to the broker with"},
    {.name = "version",
     .def = "auto",
     .type = NQT_OPT_ENUM,
     .choices = opts_versions,
     .help = "Of MQTT; auto: 5, or 3.1.1 where the broker knows no 5"},
    {.name = "qos",
     .def = "0",
     .type = NQT_OPT_INT,
     .min = 0,
     .max = 1,
     .help = "Quality of service towards the broker; lost records are noticed with both"},
    {.name = "packet",
     .def = "256KiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = MQTT_PACKET_LEAST,
     .max = 8 << 20,
     .help = "Largest payload of one publish, unless the broker allows less"},
    {.name = "window",
     .def = "2MiB",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .min = 4096,
     .max = 16 << 20,
     .help = "Bytes that may be on their way to this side over one link"},
    {.name = "keepalive",
     .def = "15s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = MQTT_NS_PER_S,
     .max = 65535 * MQTT_NS_PER_S,
     .help = "Silence after which the broker is asked for a sign of life, in whole seconds"},
    {.name = "connect_timeout",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = MQTT_NS_PER_S,
     .max = 3600 * MQTT_NS_PER_S,
     .help = "Time to reach the broker and to be answered by the server"},
    {.name = "trust_broker",
     .def = "false",
     .type = NQT_OPT_BOOL,
     .help = "Whoever runs the broker, or may publish there, may read and write this queue; "
             "needed unless the broker is on this host, or there is a pre-shared key"},
    {.name = "tls.ca",
     .type = NQT_OPT_PATH,
     .help = "TLS to the broker: who may have signed its certificate; without it whom the system "
             "trusts"},
    {.name = "tls.cert",
     .type = NQT_OPT_PATH,
     .help = "This side's certificate for the broker, and those that signed it"},
    NQT_TLS_OPTION_KEY,
    {.name = "tls.crl",
     .type = NQT_OPT_PATH,
     .help = "Cannot be had: name the broker's own authority as ca, and replace that file"},
    {.name = "tls.name",
     .type = NQT_OPT_STR,
     .help = "Cannot be had: the broker's certificate must be for host"},
    {.name = "tls.version",
     .type = NQT_OPT_ENUM,
     .choices = nqt_tls_versions,
     .help = "The oldest version of TLS that is spoken; 1.3 when it is not set"},
    {.name = "tls.uuid",
     .type = NQT_OPT_BOOL,
     .help = "Cannot be had: the certificate is the broker's; pre-shared keys say who a peer is"},
};

static int opts_numbers(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *opts,
                        struct nqt_error *err)
{
    int64_t port = 0, qos = 0, packet = 0, window = 0, keepalive = 0, connecting = 0;
    const struct nqt_number all[] = {
        {"port", &port},           {"qos", &qos},
        {"packet", &packet},       {"window", &window},
        {"keepalive", &keepalive}, {"connect_timeout", &connecting},
    };
    int rc = nqt_cfg_numbers(host, cfg, all, sizeof(all) / sizeof(all[0]), err);

    if (rc)
        return rc;
    opts->port = (uint16_t)port;
    opts->qos = (int)qos;
    opts->packet = (uint32_t)packet;
    opts->window = (uint32_t)window;
    opts->keepalive_s = (int)((keepalive + MQTT_NS_PER_S - 1) / MQTT_NS_PER_S);
    opts->connect_timeout_ns = connecting;
    return NQT_OK;
}

static int opts_version(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *opts,
                        struct nqt_error *err)
{
    static const int versions[] = {MQTTVERSION_DEFAULT, MQTTVERSION_5, MQTTVERSION_3_1_1};
    uint32_t which = 0;
    int rc = nqt_cfg_choice(host, cfg, "version", opts_versions, &which, err);

    opts->version = versions[which];
    return rc;
}

/* It becomes one level of a topic. */
static int opts_check_server(const char *name, struct nqt_error *err)
{
    for (const char *at = name; *at; at++)
        if (strchr("/+#$", *at) || (unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
            return nqt_fail(err, NQT_E_CONFIG,
                            "server: only printable ASCII without space and / + # $");
    return NQT_OK;
}

/* Literal addresses and the one name that stands for them, as the core judges hosts. */
static bool opts_is_loopback(const char *host)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
    return strcasecmp(host, "localhost") == 0;
}

/* A broker elsewhere reads and writes as it likes, unless what passes is proven end to end. */
static int opts_trust(const struct nqt_host *host, nqt_cfg *cfg, const struct mqtt_opts *opts,
                      struct nqt_error *err)
{
    int64_t trust = 0, proven = 0;

    if (!host->cfg_int(cfg, NQT_FACT_PROVEN, &proven) && proven)
        return NQT_OK;

    if (opts_is_loopback(opts->host) || (!host->cfg_int(cfg, "trust_broker", &trust) && trust))
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG,
                    "trust_broker: the broker \"%.60s\" is not on this host, and can read and "
                    "forge all that passes: use a pre-shared key, or set \"trust_broker\": true",
                    opts->host);
}

/* What paho cannot do, and what does instead. */
static int opts_tls_limits(const struct mqtt_opts *opts, struct nqt_error *err)
{
    if (*opts->tls.crl)
        return nqt_fail(err, NQT_E_CONFIG,
                        "tls.crl: paho looks at no list of what was revoked: as \"ca\" name the "
                        "broker's own certificate, or an authority of its own, and replace that "
                        "file");
    if (*opts->tls.name && strcasecmp(opts->tls.name, opts->host) != 0)
        return nqt_fail(err, NQT_E_CONFIG,
                        "tls.name: paho holds the broker's certificate against \"host\" only: say "
                        "there what it is for, and let the resolver lead to the broker");
    if (opts->tls.uuid)
        return nqt_fail(err, NQT_E_CONFIG,
                        "tls.uuid: the certificate is the broker's, and says nothing of the peers "
                        "behind it: use pre-shared keys");
    return NQT_OK;
}

/* Which topics, and by which name; earlier cores know one wire only. */
static void opts_wire(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *opts)
{
    const char *id = "";
    size_t n = 0;

    if (host->cfg_int(cfg, NQT_FACT_WIRE, &opts->wire))
        opts->wire = NQT_WIRE_NATIVE;
    if (opts->wire == NQT_WIRE_NATIVE || host->cfg_str(cfg, NQT_FACT_ID, &id))
        return;
    for (; *id && n + 1 < sizeof(opts->name); id++)
        if (*id != '-')
            opts->name[n++] = *id;
    opts->name[n] = '\0';
}

static int opts_tls(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *opts,
                    struct nqt_error *err)
{
    int rc = nqt_tls_opts_read(host, cfg, &opts->tls, err);

    if (!rc)
        rc = opts_tls_limits(opts, err);
    return rc ? rc : mqtt_tls_check(opts, err);
}

int mqtt_tls_check(const struct mqtt_opts *opts, struct nqt_error *err)
{
    SSL_CTX *ctx = NULL;
    int rc = opts->tls.on ? nqt_x509_load(&opts->tls, NULL, NULL, &ctx, err) : NQT_OK;

    SSL_CTX_free(ctx);
    return rc;
}

int mqtt_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *out,
                   struct nqt_error *err)
{
    struct mqtt_opts *opts = out;
    int rc = nqt_cfg_text(host, cfg, "host", true, opts->host, sizeof(opts->host), err);

    if (!rc)
        rc = nqt_cfg_text(host, cfg, "server", true, opts->server, sizeof(opts->server), err);
    if (!rc)
        rc = opts_check_server(opts->server, err);
    if (!rc)
        rc = nqt_cfg_text(host, cfg, "user", false, opts->user, sizeof(opts->user), err);
    if (!rc)
        rc =
            nqt_cfg_text(host, cfg, "password", false, opts->password, sizeof(opts->password), err);
    if (!rc)
        rc = opts_version(host, cfg, opts, err);
    if (!rc)
        rc = opts_numbers(host, cfg, opts, err);
    opts_wire(host, cfg, opts);
    if (!rc)
        rc = opts_trust(host, cfg, opts, err);
    if (!rc)
        rc = opts_tls(host, cfg, opts, err);
    if (rc)
        return rc;
    if (*opts->password && !*opts->user)
        return nqt_fail(err, NQT_E_CONFIG, "password: there is no \"user\"");
    if (opts->packet > opts->window / 2)
        opts->packet = opts->window / 2;
    return NQT_OK;
}
