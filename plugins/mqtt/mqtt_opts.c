/* Options: the table and its check. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <string.h>

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
};

/* Copies; `needed`: it must not be empty. */
static int opts_text(const struct nqt_host *host, nqt_cfg *cfg, const char *name, bool needed,
                     char *out, size_t cap, struct nqt_error *err)
{
    const char *text = NULL;

    if (host->cfg_str(cfg, name, &text) || !text)
        text = "";
    if (needed && !*text)
        return mqtt_fail(err, NQT_E_CONFIG, 0, "%s: no value", name);
    if (strlen(text) >= cap)
        return mqtt_fail(err, NQT_E_CONFIG, 0, "%s: longer than %zu bytes", name, cap - 1);
    memcpy(out, text, strlen(text) + 1);
    return NQT_OK;
}

static int opts_numbers(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *opts,
                        struct nqt_error *err)
{
    int64_t port, qos, packet, window, keepalive, connecting;
    const struct {
        const char *name;
        int64_t *out;
    } all[] = {
        {"port", &port},           {"qos", &qos},
        {"packet", &packet},       {"window", &window},
        {"keepalive", &keepalive}, {"connect_timeout", &connecting},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (host->cfg_int(cfg, all[i].name, all[i].out))
            return mqtt_fail(err, NQT_E_CONFIG, 0, "%s: no value", all[i].name);
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
    char word[8];
    int rc = opts_text(host, cfg, "version", true, word, sizeof(word), err);

    for (size_t i = 0; !rc && opts_versions[i]; i++)
        if (strcmp(word, opts_versions[i]) == 0)
            opts->version = versions[i];
    return rc;
}

/* It becomes one level of a topic. */
static int opts_check_server(const char *name, struct nqt_error *err)
{
    for (const char *at = name; *at; at++)
        if (strchr("/+#$", *at) || (unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f)
            return mqtt_fail(err, NQT_E_CONFIG, 0,
                             "server: only printable ASCII without space and / + # $");
    return NQT_OK;
}

int mqtt_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct mqtt_opts *out,
                   struct nqt_error *err)
{
    struct mqtt_opts *opts = out;
    int rc = opts_text(host, cfg, "host", true, opts->host, sizeof(opts->host), err);

    if (!rc)
        rc = opts_text(host, cfg, "server", true, opts->server, sizeof(opts->server), err);
    if (!rc)
        rc = opts_check_server(opts->server, err);
    if (!rc)
        rc = opts_text(host, cfg, "user", false, opts->user, sizeof(opts->user), err);
    if (!rc)
        rc = opts_text(host, cfg, "password", false, opts->password, sizeof(opts->password), err);
    if (!rc)
        rc = opts_version(host, cfg, opts, err);
    if (!rc)
        rc = opts_numbers(host, cfg, opts, err);
    if (rc)
        return rc;
    if (*opts->password && !*opts->user)
        return mqtt_fail(err, NQT_E_CONFIG, 0, "password: there is no \"user\"");
    if (opts->packet > opts->window / 2)
        opts->packet = opts->window / 2;
    return NQT_OK;
}
