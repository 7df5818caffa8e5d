/* The connection to the broker, on a thread of the endpoint's own: finding the broker's address
 * and ending a client of paho's both block, and this file reads in the order in which it happens.
 *
 *     wait until wanted -> resolve -> connect -> claim (server) -> subscribe -> up ... lost -> end
 *
 * paho's callbacks fill in ep->step_* and wake the thread.  Between up and lost the core's threads
 * publish; the client is ended when no such call runs any more. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BROKER_PAUSE_LEAST (MQTT_NS_PER_S / 10)
#define BROKER_PAUSE_MOST (5 * MQTT_NS_PER_S)
#define BROKER_REPOST_NS (MQTT_NS_PER_S / 20)
#define BROKER_NUDGE_NS (MQTT_NS_PER_S / 100)
#define BROKER_END_NS (2 * MQTT_NS_PER_S) /* for the last records to get out */
#define BROKER_SEND_BUFFER (4 << 20)
#define BROKER_BUFFERED 65535         /* records in paho, at most; windows keep it far below */
#define BROKER_CLAIM_NS MQTT_NS_PER_S /* for another server to say that it lives */

/* ---- waiting: under mtx ----------------------------------------------------------------- */

static int64_t broker_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MQTT_NS_PER_S + now.tv_nsec;
}

/* Until signalled, or that time.  False: it is over. */
static bool broker_wait(struct nqtp_ep *ep, int64_t until)
{
    const struct timespec at = {.tv_sec = until / MQTT_NS_PER_S, .tv_nsec = until % MQTT_NS_PER_S};

    return pthread_cond_timedwait(&ep->cond, &ep->mtx, &at) != ETIMEDOUT;
}

/* Wait for what paho was asked for.  @return NQT_OK, or NQT_E_* with ep->step_text */
static int broker_await(struct nqtp_ep *ep, int64_t until)
{
    while (ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost)
        if (!broker_wait(ep, until))
            break;
    if (ep->step == MQTT_STEP_DONE)
        return NQT_OK;
    if (ep->step == MQTT_STEP_ASKED && !ep->lost)
        snprintf(ep->step_text, sizeof(ep->step_text), "%s",
                 ep->closing ? "closed" : "no answer in time");
    return ep->step_code < 0 ? ep->step_code : NQT_E_UNREACHABLE;
}

/* Is it still unanswered then? */
static bool broker_is_asking(struct nqtp_ep *ep, int64_t then)
{
    bool asking;

    pthread_mutex_lock(&ep->mtx);
    while (ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost)
        if (!broker_wait(ep, then))
            break;
    asking = ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost;
    pthread_mutex_unlock(&ep->mtx);
    return asking;
}

static void broker_ask(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    ep->step = MQTT_STEP_ASKED;
    if (!ep->lost) { /* else why is told there */
        ep->step_code = ep->step_reason = 0;
        ep->step_text[0] = '\0';
    }
    pthread_mutex_unlock(&ep->mtx);
}

/* ---- paho's callbacks: on its threads, under its lock ----------------------------------- */

static void step_end(struct nqtp_ep *ep, enum mqtt_step step, int code, int reason,
                     const char *text)
{
    pthread_mutex_lock(&ep->mtx);
    if (ep->step == MQTT_STEP_ASKED) {
        ep->step = step;
        ep->step_code = code;
        ep->step_reason = reason;
        snprintf(ep->step_text, sizeof(ep->step_text), "%s", text ? text : "refused");
        pthread_cond_broadcast(&ep->cond);
    }
    pthread_mutex_unlock(&ep->mtx);
}

static int step_code_of(int reason)
{
    switch (reason) {
    case 4: /* of 3.1.1 */
    case 5:
    case MQTTREASONCODE_BAD_USER_NAME_OR_PASSWORD:
    case MQTTREASONCODE_NOT_AUTHORIZED:
    case MQTTREASONCODE_BANNED:
        return NQT_E_AUTH;
    default:
        return reason > 0 ? NQT_E_REFUSED : NQT_E_UNREACHABLE;
    }
}

static void on_done(void *context, MQTTAsync_successData *data)
{
    struct nqtp_ep *ep = context;

    (void)data;
    step_end(ep, MQTT_STEP_DONE, 0, 0, NULL);
}

static void on_done5(void *context, MQTTAsync_successData5 *data)
{
    step_end(context, MQTT_STEP_DONE, 0, data ? (int)data->reasonCode : 0, NULL);
}

static const char *step_reason_3(int reason)
{
    static const char *const texts[] = {NULL,
                                        "protocol version not accepted",
                                        "name of the client not accepted",
                                        "the broker is not available",
                                        "bad user name or password",
                                        "not authorized"};

    return reason > 0 && reason < 6 ? texts[reason] : NULL;
}

static void on_failed(void *context, MQTTAsync_failureData *data)
{
    int code = data ? data->code : 0;
    const char *text = step_reason_3(code);

    if (!text)
        text = data && data->message ? data->message : MQTTAsync_strerror(code);
    step_end(context, MQTT_STEP_FAILED, step_code_of(code), code, text);
}

static void on_failed5(void *context, MQTTAsync_failureData5 *data)
{
    int reason = data ? (int)data->reasonCode : 0;
    const char *text = reason ? MQTTReasonCode_toString((enum MQTTReasonCodes)reason) : NULL;

    if (!reason && data && data->code > 0) /* a broker that answers in 3.1.1 */
        reason = data->code;
    if (!text)
        text = step_reason_3(reason);
    if (!text)
        text = data && data->message ? data->message : MQTTAsync_strerror(data ? data->code : -1);
    step_end(context, MQTT_STEP_FAILED, step_code_of(reason), reason, text);
}

static void on_connected5(void *context, MQTTAsync_successData5 *data)
{
    struct nqtp_ep *ep = context;

    pthread_mutex_lock(&ep->mtx);
    if (data &&
        MQTTProperties_hasProperty(&data->properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE))
        ep->step_packet = (uint32_t)MQTTProperties_getNumericValue(
            &data->properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE);
    if (data && MQTTProperties_hasProperty(&data->properties, MQTTPROPERTY_CODE_RETAIN_AVAILABLE))
        ep->step_retain = MQTTProperties_getNumericValue(&data->properties,
                                                         MQTTPROPERTY_CODE_RETAIN_AVAILABLE) > 0;
    if (data && MQTTProperties_hasProperty(&data->properties, MQTTPROPERTY_CODE_MAXIMUM_QOS))
        ep->step_qos =
            MQTTProperties_getNumericValue(&data->properties, MQTTPROPERTY_CODE_MAXIMUM_QOS) > 0;
    pthread_mutex_unlock(&ep->mtx);
    step_end(ep, MQTT_STEP_DONE, 0, 0, NULL);
}

void mqtt_broker_leave(struct nqtp_ep *ep, int code, const char *text)
{
    if (!ep->lost) {
        ep->lost = true;
        ep->step_code = code;
        snprintf(ep->step_text, sizeof(ep->step_text), "%s", text);
    }
    pthread_cond_broadcast(&ep->cond);
}

static void broker_lost(struct nqtp_ep *ep, int code, const char *text)
{
    pthread_mutex_lock(&ep->mtx);
    ep->broken = true;
    mqtt_broker_leave(ep, code, text);
    pthread_mutex_unlock(&ep->mtx);
}

static void on_lost(void *context, char *cause)
{
    broker_lost(context, NQT_E_LOST, cause && *cause ? cause : "connection lost");
}

static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
    const char *text = MQTTReasonCode_toString(reason);

    (void)properties;
    broker_lost(context, NQT_E_LOST, text ? text : "ended by the broker");
}

/* ---- publishing ------------------------------------------------------------------------- */

/* paho's client, if the connection `tag` (0: any) is up; then broker_exit() must follow. */
static MQTTAsync broker_enter(struct nqtp_ep *ep, uint64_t tag)
{
    MQTTAsync client = NULL;

    pthread_mutex_lock(&ep->mtx);
    if (ep->up && !ep->lost && (!tag || ep->tag == tag)) {
        client = ep->client;
        ep->users++;
    }
    pthread_mutex_unlock(&ep->mtx);
    return client;
}

static void broker_exit(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    if (!--ep->users && !ep->up)
        pthread_cond_broadcast(&ep->cond);
    pthread_mutex_unlock(&ep->mtx);
}

int mqtt_publish(struct nqtp_ep *ep, uint64_t tag, const char *topic, const void *payload,
                 size_t len, bool retain)
{
    MQTTAsync client = broker_enter(ep, tag);
    int rc;

    if (!client)
        return NQT_E_LOST;
    rc = MQTTAsync_send(client, topic, (int)len, payload, ep->opts.qos, retain, NULL);
    broker_exit(ep);
    if (rc != MQTTASYNC_SUCCESS)
        return NQT_E_LOST;
    ep->mod->host->count(ep->mod->core, NQT_COUNT_SEND_CALLS, 1);
    return NQT_OK;
}

/* ---- waking paho ------------------------------------------------------------------------ */

/* paho's thread sleeps up to 1 s for input of the sockets that it knew when it began; one that is
 * just being connected waits for that.  So while an endpoint connects, another one of the process
 * that is up asks its broker for something that means nothing. */
static struct {
    pthread_mutex_t mtx; /* taken before an endpoint's */
    struct nqtp_ep *first;
} broker_up = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static void broker_enlist(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&broker_up.mtx);
    ep->next_up = broker_up.first;
    broker_up.first = ep;
    pthread_mutex_unlock(&broker_up.mtx);
}

static void broker_delist(struct nqtp_ep *ep)
{
    struct nqtp_ep **at = &broker_up.first;

    pthread_mutex_lock(&broker_up.mtx);
    while (*at != ep)
        at = &(*at)->next_up;
    *at = ep->next_up;
    pthread_mutex_unlock(&broker_up.mtx);
}

static void broker_nudge(void)
{
    pthread_mutex_lock(&broker_up.mtx);
    for (struct nqtp_ep *ep = broker_up.first; ep; ep = ep->next_up) {
        MQTTAsync client = broker_enter(ep, 0);

        if (!client)
            continue;
        (void)MQTTAsync_unsubscribe(client, "nq1/-/-", NULL);
        broker_exit(ep);
        break;
    }
    pthread_mutex_unlock(&broker_up.mtx);
}

/* ---- the address, and the socket behind paho's back ------------------------------------- */

/* The broker's address number `which`, as paho wants it.  Blocks as long as the resolver does.
 * @param more  [out] there is one after it */
static int broker_resolve(const struct nqtp_ep *ep, unsigned which, bool *more, char *uri,
                          size_t cap, struct sockaddr_storage *addr, struct nqt_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    const struct addrinfo *at;
    char port[8], text[INET6_ADDRSTRLEN];
    int rc;

    *more = false;
    snprintf(port, sizeof(port), "%u", ep->opts.port);
    rc = getaddrinfo(ep->opts.host, port, &hints, &list);
    if (rc)
        return mqtt_fail(err, NQT_E_UNREACHABLE, 0, "broker of %s: %s", ep->place,
                         gai_strerror(rc));
    for (at = list; which-- && at->ai_next;)
        at = at->ai_next;
    *more = at->ai_next;
    memset(addr, 0, sizeof(*addr));
    memcpy(addr, at->ai_addr, at->ai_addrlen);
    rc = getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    if (rc)
        return mqtt_fail(err, NQT_E_UNREACHABLE, 0, "broker of %s: %s", ep->place,
                         gai_strerror(rc));
    snprintf(uri, cap, addr->ss_family == AF_INET6 ? "tcp://[%s]:%u" : "tcp://%s:%u", text,
             ep->opts.port);
    return NQT_OK;
}

static bool broker_is_peer(int fd, const struct sockaddr_storage *addr)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);

    memset(&peer, 0, sizeof(peer));
    if (getpeername(fd, (struct sockaddr *)&peer, &len) || peer.ss_family != addr->ss_family)
        return false;
    if (peer.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)&peer, *b = (const void *)addr;

        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    if (peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)&peer, *b = (const void *)addr;

        return a->sin6_port == b->sin6_port &&
               memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
    }
    return false;
}

/* paho lets nobody at its socket, and leaves Nagle's delay on: with the acknowledgements that the
 * system delays, that costs 44 ms wherever two small packets follow each other.  What the system's
 * buffer does not take at once waits for paho's next look, which may be a second away: so the
 * buffer holds what a link may have under way.  Sockets whose peer is the broker are looked for;
 * others of the process that go there lose nothing by it. */
static void broker_tune(const struct sockaddr_storage *addr)
{
    const int on = 1, room = BROKER_SEND_BUFFER;
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir) || !broker_is_peer(fd, addr))
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    closedir(dir);
}

/* ---- the steps -------------------------------------------------------------------------- */

static int broker_fail(const struct nqtp_ep *ep, int code, struct nqt_error *err, const char *what)
{
    return mqtt_fail(err, code, ep->step_reason, "%s: %s: %s%s", ep->place, what, ep->step_text,
                     code == NQT_E_UNREACHABLE ? "; is the broker running?" : "");
}

static int broker_create(struct nqtp_ep *ep, const char *uri, int version, struct nqt_error *err)
{
    MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
    MQTTAsync client = NULL;
    char name[32];
    int rc;

    options.MQTTVersion = version;
    options.maxBufferedMessages = BROKER_BUFFERED;
    options.restoreMessages = 0;
    snprintf(name, sizeof(name), "nq1-%016" PRIx64, ep->id);
    rc = MQTTAsync_createWithOptions(&client, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                     &options);
    if (!rc)
        rc = MQTTAsync_setCallbacks(client, ep, on_lost, mqtt_on_message, NULL);
    if (!rc && version == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(client, ep, on_disconnected);
    pthread_mutex_lock(&ep->mtx);
    ep->client = client;
    ep->step_version = version;
    pthread_mutex_unlock(&ep->mtx);
    if (!rc)
        return NQT_OK;
    return mqtt_fail(err, NQT_E_NOMEM, rc, "%s: no client: %s", ep->place, MQTTAsync_strerror(rc));
}

static size_t broker_gone(const struct nqtp_ep *ep, uint8_t record[MQTT_CONTROL], int code,
                          const char *text)
{
    const struct mqtt_head head = {
        .type = MQTT_GONE, .client = ep->listen ? 0 : ep->tag, .server = ep->listen ? ep->tag : 0};

    mqtt_head_write(record, &head);
    return MQTT_HEAD + mqtt_reason_write(record + MQTT_HEAD, code, text);
}

static const char *broker_will_topic(const struct nqtp_ep *ep, char topic[MQTT_TOPIC_MAX])
{
    if (ep->listen)
        return ep->server_topic;
    mqtt_topic(topic, ep->opts.server, "in", ep->id);
    return topic;
}

/* CONNECT, with a last will.  @return NQT_OK, NQT_E_* */
static int broker_connect(struct nqtp_ep *ep, int64_t until, struct nqt_error *err)
{
    bool five = ep->step_version == MQTTVERSION_5;
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions options5 = MQTTAsync_connectOptions_initializer5;
    MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
    char topic[MQTT_TOPIC_MAX];
    uint8_t record[MQTT_CONTROL];
    int rc;

    if (five)
        options = options5;
    will.topicName = broker_will_topic(ep, topic);
    will.payload.len = (int)broker_gone(ep, record, NQT_E_LOST, "the broker lost it");
    will.payload.data = record;
    will.qos = ep->opts.qos;
    will.retained = ep->listen;
    options.will = &will;
    options.keepAliveInterval = ep->opts.keepalive_s;
    options.connectTimeout = (int)(ep->opts.connect_timeout_ns / MQTT_NS_PER_S);
    options.MQTTVersion = ep->step_version;
    options.cleansession = !five;
    options.cleanstart = five;
    if (*ep->opts.user)
        options.username = ep->opts.user;
    if (*ep->opts.password)
        options.password = ep->opts.password;
    options.context = ep;
    if (five) {
        options.onSuccess5 = on_connected5;
        options.onFailure5 = on_failed5;
    } else {
        options.onSuccess = on_done;
        options.onFailure = on_failed;
    }
    broker_ask(ep);
    rc = MQTTAsync_connect(ep->client, &options);
    if (rc)
        return mqtt_fail(err, NQT_E_UNREACHABLE, rc, "%s: %s", ep->place, MQTTAsync_strerror(rc));
    while (broker_now() < until && broker_is_asking(ep, broker_now() + BROKER_NUDGE_NS))
        broker_nudge();
    pthread_mutex_lock(&ep->mtx);
    rc = broker_await(ep, broker_now());
    pthread_mutex_unlock(&ep->mtx);
    return rc ? broker_fail(ep, rc, err, "connecting") : NQT_OK;
}

static void broker_response(struct nqtp_ep *ep, MQTTAsync_responseOptions *response)
{
    response->context = ep;
    if (ep->step_version == MQTTVERSION_5) {
        response->onSuccess5 = on_done5;
        response->onFailure5 = on_failed5;
    } else {
        response->onSuccess = on_done;
        response->onFailure = on_failed;
    }
    broker_ask(ep);
}

static int broker_subscribe(struct nqtp_ep *ep, const char *topic, int64_t until,
                            struct nqt_error *err)
{
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    char what[MQTT_TOPIC_MAX + 32];
    int rc;

    broker_response(ep, &response);
    rc = MQTTAsync_subscribe(ep->client, topic, 1, &response);
    pthread_mutex_lock(&ep->mtx);
    rc = rc ? NQT_E_LOST : broker_await(ep, until);
    pthread_mutex_unlock(&ep->mtx);
    snprintf(what, sizeof(what), "subscribing to %s", topic);
    return rc ? broker_fail(ep, rc, err, what) : NQT_OK;
}

/* The second answer of the broker comes behind what is retained for the first topic. */
static int broker_subscribe_all(struct nqtp_ep *ep, int64_t until, struct nqt_error *err)
{
    char topic[MQTT_TOPIC_MAX];
    int rc = broker_subscribe(ep, ep->server_topic, until, err);

    snprintf(topic, sizeof(topic), "nq1/%s/in/+", ep->opts.server);
    return rc ? rc : broker_subscribe(ep, ep->listen ? topic : ep->own_topic, until, err);
}

static void broker_say(struct nqtp_ep *ep, enum mqtt_type type, const char *topic)
{
    const struct mqtt_head head = {.type = type, .server = ep->tag};
    uint8_t record[MQTT_HEAD];

    mqtt_head_write(record, &head);
    (void)mqtt_publish(ep, ep->tag, topic, record, sizeof(record),
                       type == MQTT_HERE && ep->step_retain);
}

/* Server: say that it is here, unless another one answers that it is. */
static int broker_claim(struct nqtp_ep *ep, struct nqt_error *err)
{
    int64_t until = broker_now() + BROKER_CLAIM_NS;
    bool rival, ask;

    pthread_mutex_lock(&ep->mtx);
    ep->up = true;
    ask = ep->server_tag;
    pthread_mutex_unlock(&ep->mtx);
    if (ask)
        broker_say(ep, MQTT_CLAIM, ep->own_topic);
    pthread_mutex_lock(&ep->mtx);
    while (ep->server_tag && !ep->rival && !ep->lost && !ep->closing)
        if (!broker_wait(ep, until))
            break;
    rival = ep->rival;
    ep->here = !rival;
    pthread_mutex_unlock(&ep->mtx);
    if (rival)
        return mqtt_fail(err, NQT_E_REFUSED, 0,
                         "%s: the name is in use by another server; choose another \"server\"",
                         ep->place);
    broker_say(ep, MQTT_HERE, ep->server_topic);
    return NQT_OK;
}

static int broker_limits(struct nqtp_ep *ep, struct nqt_error *err)
{
    uint32_t room = UINT32_MAX;

    if (ep->opts.qos && !ep->step_qos)
        return mqtt_fail(err, NQT_E_CONFIG, 0, "%s: the broker allows QoS 0 only: set \"qos\": 0",
                         ep->place);
    if (ep->step_packet)
        room = ep->step_packet > MQTT_TOPIC_MAX + 16 ? ep->step_packet - MQTT_TOPIC_MAX - 16 : 0;
    if (room < MQTT_PACKET_LEAST / 2)
        return mqtt_fail(err, NQT_E_CONFIG, 0, "%s: the broker's largest packet, %u, is too small",
                         ep->place, ep->step_packet);
    pthread_mutex_lock(&ep->mtx);
    ep->packet = room < ep->opts.packet ? room : ep->opts.packet;
    pthread_mutex_unlock(&ep->mtx);
    return NQT_OK;
}

static int broker_try_one(struct nqtp_ep *ep, int version, unsigned which, bool *more,
                          int64_t until, struct nqt_error *err)
{
    struct sockaddr_storage addr;
    char uri[INET6_ADDRSTRLEN + 32];
    int rc = broker_resolve(ep, which, more, uri, sizeof(uri), &addr, err);

    if (!rc)
        rc = broker_create(ep, uri, version, err);
    if (!rc)
        rc = broker_connect(ep, until, err);
    if (rc)
        return rc;
    broker_tune(&addr);
    rc = broker_limits(ep, err);
    if (!rc)
        rc = broker_subscribe_all(ep, until, err);
    return rc || !ep->listen ? rc : broker_claim(ep, err);
}

/* ---- a connection's life ---------------------------------------------------------------- */

static void broker_disconnect(struct nqtp_ep *ep)
{
    bool five = ep->step_version == MQTTVERSION_5;
    MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions options5 = MQTTAsync_disconnectOptions_initializer5;
    int64_t until = broker_now() + BROKER_END_NS;

    if (five)
        options = options5;
    options.timeout = 500;
    options.context = ep;
    if (five) {
        options.onSuccess5 = on_done5;
        options.onFailure5 = on_failed5;
    } else {
        options.onSuccess = on_done;
        options.onFailure = on_failed;
    }
    broker_ask(ep);
    if (MQTTAsync_disconnect(ep->client, &options))
        return;
    pthread_mutex_lock(&ep->mtx);
    while (ep->step == MQTT_STEP_ASKED && !ep->lost && broker_wait(ep, until))
        continue;
    pthread_mutex_unlock(&ep->mtx);
}

/* End paho's client; in good order if it is connected. */
static void broker_end(struct nqtp_ep *ep, bool connected)
{
    uint8_t record[MQTT_CONTROL];
    char topic[MQTT_TOPIC_MAX];
    MQTTAsync client;
    size_t len;

    pthread_mutex_lock(&ep->mtx);
    ep->up = false;
    while (ep->users)
        pthread_cond_wait(&ep->cond, &ep->mtx);
    client = ep->client;
    pthread_mutex_unlock(&ep->mtx);
    if (!client)
        return;
    if (connected) {
        len = broker_gone(ep, record, NQT_E_EOF, "ended in good order");
        (void)MQTTAsync_send(client, broker_will_topic(ep, topic), (int)len, record, ep->opts.qos,
                             ep->listen && ep->step_retain, NULL);
        broker_disconnect(ep);
    }
    MQTTAsync_destroy(&client);
    pthread_mutex_lock(&ep->mtx);
    ep->client = NULL;
    pthread_mutex_unlock(&ep->mtx);
}

static void broker_reset(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    ep->lost = ep->broken = ep->rival = ep->here = false;
    ep->tag = mqtt_random();
    ep->server_tag = 0;
    ep->step_packet = 0;
    ep->step_qos = ep->step_retain = true;
    pthread_mutex_unlock(&ep->mtx);
}

/* One address of the broker after the other. */
static int broker_try(struct nqtp_ep *ep, int version, int64_t until, struct nqt_error *err)
{
    unsigned which = 0;
    bool more;
    int rc;

    broker_reset(ep);
    while ((rc = broker_try_one(ep, version, which++, &more, until, err)) == NQT_E_UNREACHABLE &&
           more) {
        broker_end(ep, false);
        broker_reset(ep);
    }
    return rc;
}

/* Connect.  With `auto` a refusal for the version's sake is followed by 3.1.1. */
static int broker_open(struct nqtp_ep *ep, struct nqt_error *err)
{
    int64_t until = broker_now() + ep->opts.connect_timeout_ns;
    int rc = broker_try(ep, ep->opts.version ? ep->opts.version : MQTTVERSION_5, until, err);
    int reason;

    if (!rc || ep->opts.version)
        return rc;
    pthread_mutex_lock(&ep->mtx);
    reason = ep->step_reason;
    pthread_mutex_unlock(&ep->mtx);
    if (reason != 1 && reason != MQTTREASONCODE_UNSUPPORTED_PROTOCOL_VERSION)
        return rc;
    broker_end(ep, false);
    return broker_try(ep, MQTTVERSION_3_1_1, until, err);
}

/* Links that could not be told so for lack of memory. */
static void broker_repost(struct nqtp_ep *ep)
{
    ep->repost = false;
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next)
            mqtt_link_poke(link);
}

/* Up, until it is lost or closing. */
static void broker_stay(struct nqtp_ep *ep, struct nqt_error *err)
{
    pthread_mutex_lock(&ep->mtx);
    ep->up = true;
    ep->wanted = false;
    broker_repost(ep); /* those that wait for the broker go on */
    if (ep->listen && !ep->closing)
        mqtt_ep_emit(ep, NQT_EV_EP_UP, ep->place, NULL);
    while (!ep->lost && !ep->closing) {
        if (!ep->repost) {
            pthread_cond_wait(&ep->cond, &ep->mtx);
            continue;
        }
        if (!broker_wait(ep, broker_now() + BROKER_REPOST_NS))
            broker_repost(ep);
    }
    ep->up = false;
    mqtt_fail(err, ep->lost ? NQT_E_LOST : NQT_E_CLOSED, 0, "%s: the connection to the broker: %s",
              ep->place, ep->lost ? ep->step_text : "closed");
    pthread_mutex_unlock(&ep->mtx);
}

/* One connection from the first try to the end.  @return it was up */
static bool broker_live(struct nqtp_ep *ep, struct nqt_error *err)
{
    bool up = !broker_open(ep, err), connected;

    if (up) {
        broker_enlist(ep);
        broker_stay(ep, err);
        broker_delist(ep);
    }
    pthread_mutex_lock(&ep->mtx);
    ep->up = ep->here = false;
    connected = up && !ep->broken;
    mqtt_links_end(ep, err->code, err->text);
    ep->wanted = false;
    pthread_mutex_unlock(&ep->mtx);
    broker_end(ep, connected);
    return up;
}

/* ---- the thread ------------------------------------------------------------------------- */

/* Rest until there is something to do.  False: the endpoint is closing. */
static bool broker_rest(struct nqtp_ep *ep, int64_t pause)
{
    int64_t until = broker_now() + pause;
    bool go;

    pthread_mutex_lock(&ep->mtx);
    while (!ep->closing) {
        int64_t now = broker_now();

        if (ep->listen ? now >= until : ep->wanted)
            break;
        if (ep->repost && !broker_wait(ep, now + BROKER_REPOST_NS))
            broker_repost(ep);
        else if (ep->listen)
            broker_wait(ep, until);
        else if (!ep->repost)
            pthread_cond_wait(&ep->cond, &ep->mtx);
    }
    go = !ep->closing;
    pthread_mutex_unlock(&ep->mtx);
    return go;
}

static void broker_thread_over(void *arg)
{
    struct nqtp_ep *ep = arg;

    pthread_join(ep->thread, NULL);
    mqtt_ep_unref(ep);
}

static void *broker_run(void *arg)
{
    struct nqtp_ep *ep = arg;
    int64_t pause = 0;
    bool told = false;

    while (broker_rest(ep, pause)) {
        struct nqt_error err = {.size = sizeof(err)};

        if (broker_live(ep, &err)) {
            pause = BROKER_PAUSE_LEAST;
            told = false;
        } else {
            pause = pause * 2 > BROKER_PAUSE_LEAST ? pause * 2 : BROKER_PAUSE_LEAST;
            pause = pause < BROKER_PAUSE_MOST ? pause : BROKER_PAUSE_MOST;
        }
        pthread_mutex_lock(&ep->mtx);
        if (ep->listen && !told && !ep->closing) {
            mqtt_ep_emit(ep, NQT_EV_EP_DOWN, NULL, &err);
            told = true;
        }
        pthread_mutex_unlock(&ep->mtx);
    }
    pthread_mutex_lock(&ep->mtx);
    mqtt_links_end(ep, NQT_E_CLOSED, "the endpoint is closed");
    pthread_mutex_unlock(&ep->mtx);
    /* Joined in the endpoint's serial; without memory to post, nobody will. */
    if (ep->mod->host->post(ep->serial, broker_thread_over, ep)) {
        pthread_detach(pthread_self());
        mqtt_ep_unref(ep);
    }
    return NULL;
}

/* It has no business with the program's signals. */
static bool broker_start(struct nqtp_ep *ep)
{
    sigset_t all, before;
    int rc;

    mqtt_ep_ref(ep);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&ep->thread, NULL, broker_run, ep);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc)
        atomic_fetch_sub(&ep->refs, 1); /* not the last one */
    return !rc;
}

bool mqtt_broker_want(struct nqtp_ep *ep)
{
    ep->wanted = true;
    if (!ep->started)
        ep->started = broker_start(ep);
    pthread_cond_broadcast(&ep->cond);
    return ep->started;
}
