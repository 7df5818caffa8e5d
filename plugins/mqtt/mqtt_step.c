/* One thing at a time is asked of paho, whose answer comes on its threads and under its lock: it is
 * kept in ep->step_* and wakes the endpoint's thread. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt_broker.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- waiting: under mtx ----------------------------------------------------------------- */

int64_t mqtt_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MQTT_NS_PER_S + now.tv_nsec;
}

bool mqtt_wait(struct nqtp_ep *ep, int64_t until)
{
    const struct timespec at = {.tv_sec = until / MQTT_NS_PER_S, .tv_nsec = until % MQTT_NS_PER_S};

    return pthread_cond_timedwait(&ep->cond, &ep->mtx, &at) != ETIMEDOUT;
}

int mqtt_step_await(struct nqtp_ep *ep, int64_t until)
{
    while (ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost)
        if (!mqtt_wait(ep, until))
            break;
    if (ep->step == MQTT_STEP_DONE)
        return NQT_OK;
    if (ep->step == MQTT_STEP_ASKED && !ep->lost)
        snprintf(ep->step_text, sizeof(ep->step_text), "%s",
                 ep->closing ? "closed" : "no answer in time");
    return ep->step_code < 0 ? ep->step_code : NQT_E_UNREACHABLE;
}

bool mqtt_step_is_asking(struct nqtp_ep *ep, int64_t then)
{
    bool asking;

    pthread_mutex_lock(&ep->mtx);
    while (ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost)
        if (!mqtt_wait(ep, then))
            break;
    asking = ep->step == MQTT_STEP_ASKED && !ep->closing && !ep->lost;
    pthread_mutex_unlock(&ep->mtx);
    return asking;
}

static void step_ask(struct nqtp_ep *ep)
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
        if (step == MQTT_STEP_FAILED && *ep->step_tls)
            text = ep->step_tls;
        snprintf(ep->step_text, sizeof(ep->step_text), "%s", text ? text : "refused");
        if (strstr(ep->step_text, "certificate"))
            ep->step_code = NQT_E_AUTH;
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

static void step_lost(struct nqtp_ep *ep, int code, const char *text)
{
    pthread_mutex_lock(&ep->mtx);
    ep->broken = true;
    mqtt_broker_leave(ep, code, text);
    pthread_mutex_unlock(&ep->mtx);
}

static void on_lost(void *context, char *cause)
{
    step_lost(context, NQT_E_LOST, cause && *cause ? cause : "connection lost");
}

static void on_disconnected(void *context, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
    const char *text = MQTTReasonCode_toString(reason);

    (void)properties;
    step_lost(context, NQT_E_LOST, text ? text : "ended by the broker");
}

int mqtt_step_hear(struct nqtp_ep *ep)
{
    int rc = MQTTAsync_setCallbacks(ep->client, ep, on_lost, mqtt_on_message, NULL);

    if (!rc && ep->step_version == MQTTVERSION_5)
        rc = MQTTAsync_setDisconnected(ep->client, ep, on_disconnected);
    return rc;
}

static int on_tls(const char *text, size_t len, void *context)
{
    struct nqtp_ep *ep = context;
    const char *end = text + len;

    /* thread:error:number:library:function:reason:file:line:more */
    for (unsigned i = 0; i < 5 && text < end; text++)
        i += *text == ':';
    pthread_mutex_lock(&ep->mtx);
    snprintf(ep->step_tls, sizeof(ep->step_tls), "%.*s", (int)strcspn(text, ":\n"), text);
    pthread_mutex_unlock(&ep->mtx);
    return 1;
}

/* ---- asking ----------------------------------------------------------------------------- */

/* What three types of paho's have under the same names. */
#define STEP_SET_ANSWERS(options, ep, done5)       \
    do {                                           \
        (options)->context = (ep);                 \
        if ((ep)->step_version == MQTTVERSION_5) { \
            (options)->onSuccess5 = (done5);       \
            (options)->onFailure5 = on_failed5;    \
        } else {                                   \
            (options)->onSuccess = on_done;        \
            (options)->onFailure = on_failed;      \
        }                                          \
    } while (0)

void mqtt_step_of_connect(struct nqtp_ep *ep, MQTTAsync_connectOptions *options)
{
    STEP_SET_ANSWERS(options, ep, on_connected5);
    ep->step_tls[0] = '\0';
    step_ask(ep);
}

void mqtt_step_of_tls(struct nqtp_ep *ep, MQTTAsync_SSLOptions *ssl)
{
    ssl->ssl_error_cb = on_tls;
    ssl->ssl_error_context = ep;
}

void mqtt_step_of_request(struct nqtp_ep *ep, MQTTAsync_responseOptions *options)
{
    STEP_SET_ANSWERS(options, ep, on_done5);
    step_ask(ep);
}

void mqtt_step_of_disconnect(struct nqtp_ep *ep, MQTTAsync_disconnectOptions *options)
{
    STEP_SET_ANSWERS(options, ep, on_done5);
    step_ask(ep);
}
