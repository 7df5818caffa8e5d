/* The steps of a connection to the broker, in the order in which they happen:
 *
 *     resolve -> connect -> subscribe -> claim (server) */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt_broker.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_NUDGE_NS (MQTT_NS_PER_S / 100)
#define CONNECT_BUFFERED 65535         /* records in paho, at most; windows keep it far below */
#define CONNECT_CLAIM_NS MQTT_NS_PER_S /* for another server to say that it lives */

/* ---- the steps -------------------------------------------------------------------------- */

/* What a person had better look at.  With TLS paho often says no more than that it failed. */
static const char *connect_hint(const struct nqtp_ep *ep, int code)
{
    if (code == NQT_E_AUTH && *ep->step_tls)
        return "; the broker's certificate is refused: is it valid, and signed by one in \"ca\"?";
    if (code != NQT_E_UNREACHABLE)
        return "";
    if (!ep->opts.tls.on)
        return "; is the broker running?";
    if (strstr(ep->step_tls, "handshake failure") || strstr(ep->step_tls, "protocol version"))
        return "; no version of TLS in common (\"tls\".\"version\" is the oldest that is spoken)";
    return "; is the broker running, does it speak TLS, is its certificate for \"host\", does it "
           "accept \"cert\" and \"key\"?";
}

static int connect_fail(const struct nqtp_ep *ep, int code, struct nqt_error *err, const char *what)
{
    return nqt_fail_native(err, code, "mqtt", ep->step_reason, "%s: %s: %s%s", ep->place, what,
                           ep->step_text, connect_hint(ep, code));
}

/* paho takes its lists and threads away with its last client, and waits meanwhile without its lock:
 * a client that is made then would be in lists that are gone.  So clients of all endpoints are made
 * and destroyed one after the other.  Not under an endpoint's mtx. */
static pthread_mutex_t connect_clients = PTHREAD_MUTEX_INITIALIZER;

void mqtt_client_destroy(MQTTAsync *client)
{
    pthread_mutex_lock(&connect_clients);
    MQTTAsync_destroy(client);
    pthread_mutex_unlock(&connect_clients);
}

static int connect_create(struct nqtp_ep *ep, const char *uri, int version, struct nqt_error *err)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
    MQTTAsync client = NULL;
    char name[40];
    int rc;

    options.MQTTVersion = version;
    options.maxBufferedMessages = CONNECT_BUFFERED;
    options.restoreMessages = 0;
    if (ep->opts.wire == NQT_WIRE_PLAIN)
        snprintf(name, sizeof(name), "%s", ep->opts.name);
    else
        snprintf(name, sizeof(name), "nq1-%016" PRIx64, ep->id);
    pthread_mutex_lock(&connect_clients);
    rc = MQTTAsync_createWithOptions(&client, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                     &options);
    pthread_mutex_unlock(&connect_clients);
    pthread_mutex_lock(&ep->mtx);
    ep->client = client;
    ep->step_version = version;
    pthread_mutex_unlock(&ep->mtx);
    if (!rc)
        rc = mqtt_step_hear(ep);
    if (!rc)
        return NQT_OK;
    return nqt_fail_native(err, NQT_E_NOMEM, "mqtt", rc, "%s: no client: %s", ep->place,
                           MQTTAsync_strerror(rc));
}

size_t mqtt_gone(const struct nqtp_ep *ep, uint8_t record[MQTT_CONTROL], int code, const char *text)
{
    const struct mqtt_head head = {
        .type = MQTT_GONE, .client = ep->listen ? 0 : ep->tag, .server = ep->listen ? ep->tag : 0};

    mqtt_head_write(record, &head);
    return MQTT_HEAD + mqtt_reason_write(record + MQTT_HEAD, code, text);
}

const char *mqtt_gone_topic(const struct nqtp_ep *ep, char topic[MQTT_TOPIC_MAX])
{
    if (ep->listen)
        return ep->server_topic;
    mqtt_topic(topic, ep->opts.server, "in", ep->id);
    return topic;
}

static MQTTAsync_connectOptions connect_options(const struct nqtp_ep *ep)
{
    const MQTTAsync_connectOptions five = MQTTAsync_connectOptions_initializer5;
    const MQTTAsync_connectOptions three = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions options = ep->step_version == MQTTVERSION_5 ? five : three;

    options.keepAliveInterval = ep->opts.keepalive_s;
    options.connectTimeout = (int)(ep->opts.connect_timeout_ns / MQTT_NS_PER_S);
    options.MQTTVersion = ep->step_version;
    if (ep->step_version == MQTTVERSION_5)
        options.cleanstart = 1;
    else
        options.cleansession = 1;
    if (*ep->opts.user)
        options.username = ep->opts.user;
    if (*ep->opts.password)
        options.password = ep->opts.password;
    return options;
}

/* paho has no word for "1.3 and nothing older".  Of this cipher, the only one of 1.2 that it may
 * offer then, it has no key, so that it offers none. */
#define CONNECT_NOT_1_2 "PSK-AES256-GCM-SHA384"

static const char *connect_file(const char *path)
{
    return *path ? path : NULL;
}

/* paho reads the files at each connection.  `verify` holds the broker's name against its
 * certificate; without a trustStore the system's counts. */
static void connect_tls(struct nqtp_ep *ep, MQTTAsync_SSLOptions *ssl)
{
    const struct nqt_tls_opts *tls = &ep->opts.tls;

    ssl->trustStore = connect_file(tls->files.ca);
    ssl->keyStore = connect_file(tls->files.cert);
    ssl->privateKey = connect_file(tls->files.key);
    ssl->enableServerCertAuth = 1;
    ssl->verify = 1;
    ssl->sslVersion = MQTT_SSL_VERSION_DEFAULT;
    ssl->enabledCipherSuites = tls->version == NQT_TLS_1_2 ? NQT_TLS_CIPHERS_1_2 : CONNECT_NOT_1_2;
    mqtt_step_of_tls(ep, ssl);
}

/* CONNECT, with a last will.  @return NQT_OK, NQT_E_* */
static int connect_connect(struct nqtp_ep *ep, int64_t until, struct nqt_error *err)
{
    MQTTAsync_connectOptions options = connect_options(ep);
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
    char topic[MQTT_TOPIC_MAX];
    uint8_t record[MQTT_CONTROL];
    int rc;

    will.topicName = mqtt_gone_topic(ep, topic);
    will.payload.len = (int)mqtt_gone(ep, record, NQT_E_LOST, "the broker lost it");
    will.payload.data = record;
    will.qos = ep->opts.qos;
    will.retained = ep->listen;
    if (ep->opts.wire != NQT_WIRE_PLAIN)
        options.will = &will;
    connect_tls(ep, &ssl);
    if (ep->opts.tls.on)
        options.ssl = &ssl;
    mqtt_step_of_connect(ep, &options);
    rc = MQTTAsync_connect(ep->client, &options);
    if (rc)
        return nqt_fail_native(err, NQT_E_UNREACHABLE, "mqtt", rc, "%s: %s", ep->place,
                               MQTTAsync_strerror(rc));
    while (mqtt_clock() < until && mqtt_step_is_asking(ep, mqtt_clock() + CONNECT_NUDGE_NS))
        mqtt_nudge();
    pthread_mutex_lock(&ep->mtx);
    rc = mqtt_step_await(ep, mqtt_clock());
    ep->joined = !rc;
    pthread_mutex_unlock(&ep->mtx);
    return rc ? connect_fail(ep, rc, err, "connecting") : NQT_OK;
}

static int connect_subscribe(struct nqtp_ep *ep, const char *topic, int64_t until,
                             struct nqt_error *err)
{
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    char what[MQTT_TOPIC_MAX + 32];
    int rc;

    mqtt_step_of_request(ep, &response);
    rc = MQTTAsync_subscribe(ep->client, topic, 1, &response);
    pthread_mutex_lock(&ep->mtx);
    rc = rc ? NQT_E_LOST : mqtt_step_await(ep, until);
    pthread_mutex_unlock(&ep->mtx);
    snprintf(what, sizeof(what), "subscribing to %s", topic);
    return rc ? connect_fail(ep, rc, err, what) : NQT_OK;
}

/* The second answer of the broker comes behind what is retained for the first topic. */
static int connect_subscribe_all(struct nqtp_ep *ep, int64_t until, struct nqt_error *err)
{
    char topic[MQTT_TOPIC_MAX];
    int rc = NQT_OK;

    mqtt_plain_hears(ep, topic);
    if (ep->opts.wire != NQT_WIRE_NATIVE)
        rc = connect_subscribe(ep, topic, until, err);
    if (rc || ep->opts.wire == NQT_WIRE_PLAIN)
        return rc;
    rc = connect_subscribe(ep, ep->server_topic, until, err);
    snprintf(topic, sizeof(topic), "nq1/%s/in/+", ep->opts.server);
    return rc ? rc : connect_subscribe(ep, ep->listen ? topic : ep->own_topic, until, err);
}

static void connect_say(struct nqtp_ep *ep, enum mqtt_type type, const char *topic)
{
    const struct mqtt_head head = {.type = type, .server = ep->tag};
    uint8_t record[MQTT_HEAD];

    mqtt_head_write(record, &head);
    (void)mqtt_publish(ep, ep->tag, topic, record, sizeof(record),
                       type == MQTT_HERE && ep->step_retain);
}

/* Server: say that it is here, unless another one answers that it is. */
static int connect_claim(struct nqtp_ep *ep, struct nqt_error *err)
{
    int64_t until = mqtt_clock() + CONNECT_CLAIM_NS;
    bool rival, ask;

    pthread_mutex_lock(&ep->mtx);
    ep->up = true;
    ask = ep->server_tag;
    pthread_mutex_unlock(&ep->mtx);
    if (ask)
        connect_say(ep, MQTT_CLAIM, ep->own_topic);
    pthread_mutex_lock(&ep->mtx);
    while (ep->server_tag && !ep->rival && !ep->lost && !ep->closing)
        if (!mqtt_wait(ep, until))
            break;
    rival = ep->rival;
    ep->here = !rival;
    pthread_mutex_unlock(&ep->mtx);
    if (rival)
        return nqt_fail(err, NQT_E_REFUSED,
                        "%s: the name is in use by another server; choose another \"server\"",
                        ep->place);
    connect_say(ep, MQTT_HERE, ep->server_topic);
    return NQT_OK;
}

static int connect_limits(struct nqtp_ep *ep, struct nqt_error *err)
{
    uint32_t room = UINT32_MAX;

    if (ep->opts.qos && !ep->step_qos)
        return nqt_fail(err, NQT_E_CONFIG, "%s: the broker allows QoS 0 only: set \"qos\": 0",
                        ep->place);
    if (ep->step_packet)
        room = ep->step_packet > MQTT_TOPIC_MAX + 16 ? ep->step_packet - MQTT_TOPIC_MAX - 16 : 0;
    if (room < MQTT_PACKET_LEAST / 2)
        return nqt_fail(err, NQT_E_CONFIG, "%s: the broker's largest packet, %u, is too small",
                        ep->place, ep->step_packet);
    pthread_mutex_lock(&ep->mtx);
    ep->packet = room < ep->opts.packet ? room : ep->opts.packet;
    pthread_mutex_unlock(&ep->mtx);
    return NQT_OK;
}

static int connect_try_one(struct nqtp_ep *ep, int version, unsigned which, bool *more,
                           int64_t until, struct nqt_error *err)
{
    struct sockaddr_storage addr;
    char uri[MQTT_URI_MAX];
    int rc = mqtt_resolve(ep, which, more, uri, &addr, err);

    if (!rc)
        rc = connect_create(ep, uri, version, err);
    if (!rc)
        rc = connect_connect(ep, until, err);
    if (rc)
        return rc;
    mqtt_tune(&addr);
    rc = connect_limits(ep, err);
    if (!rc)
        rc = connect_subscribe_all(ep, until, err);
    return rc || !ep->listen || ep->opts.wire == NQT_WIRE_PLAIN ? rc : connect_claim(ep, err);
}

/* ---- one try after the other ------------------------------------------------------------ */

static void connect_reset(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    ep->joined = ep->lost = ep->broken = ep->rival = ep->here = false;
    ep->tag = mqtt_random();
    ep->server_tag = 0;
    ep->step_packet = 0;
    ep->step_qos = ep->step_retain = true;
    pthread_mutex_unlock(&ep->mtx);
}

/* One address of the broker after the other. */
static int connect_try(struct nqtp_ep *ep, int version, int64_t until, struct nqt_error *err)
{
    unsigned which = 0;
    bool more;
    int rc;

    connect_reset(ep);
    while ((rc = connect_try_one(ep, version, which++, &more, until, err)) == NQT_E_UNREACHABLE &&
           more) {
        mqtt_broker_end(ep, false);
        connect_reset(ep);
    }
    return rc;
}

int mqtt_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    int64_t until = mqtt_clock() + ep->opts.connect_timeout_ns;
    int rc = mqtt_tls_check(&ep->opts, err); /* they may have changed; paho would not say why */
    int reason;

    if (rc)
        return rc;
    rc = connect_try(ep, ep->opts.version ? ep->opts.version : MQTTVERSION_5, until, err);
    if (!rc || ep->opts.version)
        return rc;
    pthread_mutex_lock(&ep->mtx);
    reason = ep->step_reason;
    pthread_mutex_unlock(&ep->mtx);
    if (reason != 1 && reason != MQTTREASONCODE_UNSUPPORTED_PROTOCOL_VERSION)
        return rc;
    mqtt_broker_end(ep, false);
    return connect_try(ep, MQTTVERSION_3_1_1, until, err);
}
