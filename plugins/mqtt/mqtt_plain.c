/* The plain wire: what the Python library net-queue says over a broker.  QoS 0, not retained; each
 * publish carries the next bytes of a stream, cut anywhere.
 *
 *     client  hears s2c/NAME, says c2s/NAME      server  hears c2s/+, says s2c/NAME
 *
 * NAME is the client's UUID in 32 digits, so a server has one link for each topic; what comes on a
 * topic without one makes it.  Nothing tells that the other side is gone, or that a piece was lost:
 * that is for whoever reads the stream.  Nothing can be held back either. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt_broker.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_WAY 4 /* "c2s/" */
#define PLAIN_NAME 32

/* ---- names ------------------------------------------------------------------------------ */

bool mqtt_plain_is_topic(const struct nqtp_ep *ep, const char *topic, size_t len)
{
    return ep->opts.wire != NQT_WIRE_NATIVE && len == PLAIN_WAY + PLAIN_NAME &&
           memcmp(topic, ep->listen ? "c2s/" : "s2c/", PLAIN_WAY) == 0 &&
           strspn(topic + PLAIN_WAY, "0123456789abcdef") >= PLAIN_NAME;
}

void mqtt_plain_hears(const struct nqtp_ep *ep, char topic[MQTT_TOPIC_MAX])
{
    snprintf(topic, MQTT_TOPIC_MAX, "%s/%s", ep->listen ? "c2s" : "s2c",
             ep->listen ? "+" : ep->opts.name);
}

static uint64_t plain_id(const char *client)
{
    char half[PLAIN_NAME / 2 + 1];
    uint64_t id;

    memcpy(half, client, sizeof(half) - 1);
    half[sizeof(half) - 1] = '\0';
    id = strtoull(half, NULL, 16);
    memcpy(half, client + PLAIN_NAME / 2, sizeof(half) - 1);
    return id * UINT64_C(0x9e3779b97f4a7c15) ^ strtoull(half, NULL, 16);
}

/* The digits of a topic as an UUID is written. */
static void plain_write_named(const char *digits, char out[46])
{
    snprintf(out, 46, "urn:uuid:%.8s-%.4s-%.4s-%.4s-%.12s", digits, digits + 8, digits + 12,
             digits + 16, digits + 20);
}

void mqtt_plain_name(struct nqtp_link *link, const char *client)
{
    char *their = link->ep->listen ? link->peer : link->local;

    link->plain = true;
    snprintf(link->topic, sizeof(link->topic), "%s/%.32s", link->ep->listen ? "s2c" : "c2s",
             client);
    snprintf(their, sizeof(link->peer), "%s/%.32s", link->ep->place, client);
    if (link->ep->listen)
        plain_write_named(client, link->named);
}

/* ---- in: under mtx ---------------------------------------------------------------------- */

static struct nqtp_link *plain_accept(struct nqtp_ep *ep, const char *client)
{
    const struct mqtt_head head = {.client = 0, .number = 0};
    struct nqtp_link *link;

    if (!ep->listen || ep->closing || ep->nstrangers >= MQTT_STRANGERS)
        return NULL;
    link = mqtt_link_accept(ep, plain_id(client), &head);
    if (!link)
        return NULL;
    mqtt_plain_name(link, client);
    if (!NQT_EMIT_LINK(link, NQT_EV_ACCEPT))
        return link;
    mqtt_link_refuse(link);
    return NULL;
}

static bool plain_keep(struct nqtp_link *link, MQTTAsync_message *msg)
{
    uint64_t most = link->attached ? MQTT_PLAIN_INBOX : MQTT_PLAIN_STRANGER;
    struct mqtt_rx *rx;

    if (link->end_code || !msg->payloadlen)
        return false;
    if (link->in_first && link->in_bytes + (uint64_t)msg->payloadlen > most) {
        mqtt_link_end(link, NQT_E_LOST, false, "more came than could be taken");
        return false;
    }
    rx = malloc(sizeof(*rx));
    if (!rx) {
        mqtt_link_end(link, NQT_E_NOMEM, false, "no memory for what came");
        return false;
    }
    *rx = (struct mqtt_rx){.msg = msg, .body = msg->payload, .len = (size_t)msg->payloadlen};
    atomic_init(&rx->refs, 1);
    if (link->in_last)
        link->in_last->next = rx;
    else
        link->in_first = rx;
    link->in_last = rx;
    link->in_bytes += rx->len;
    link->in_cost += mqtt_rx_cost(rx);
    mqtt_link_poke(link);
    return true;
}

bool mqtt_plain_in(struct nqtp_ep *ep, const char *topic, MQTTAsync_message *msg)
{
    const char *client = topic + PLAIN_WAY;
    struct nqtp_link *link = NULL;

    if (msg->retained)
        return false;
    for (unsigned i = 0; i < MQTT_BUCKETS && !ep->listen && !link; i++)
        for (link = ep->links[i]; link && !link->plain;)
            link = link->next;
    if (ep->listen)
        link = mqtt_link_find(ep, plain_id(client), 0);
    if (!link)
        link = plain_accept(ep, client);
    if (!link || memcmp(link->topic + PLAIN_WAY, client, PLAIN_NAME) != 0)
        return false;
    return plain_keep(link, msg);
}

/* ---- out -------------------------------------------------------------------------------- */

/* A publish that paho has. */
struct mqtt_flight {
    struct nqtp_ep *ep; /* lives until paho's client is gone */
    struct mqtt_flight *next, **at;
    size_t len;
};

/* Under mtx. */
static void plain_remove(struct mqtt_flight *flight)
{
    *flight->at = flight->next;
    if (flight->next)
        flight->next->at = flight->at;
    flight->ep->plain_flight -= flight->len;
    free(flight);
}

static void plain_add(struct nqtp_ep *ep, struct mqtt_flight *flight)
{
    flight->next = ep->flights;
    if (flight->next)
        flight->next->at = &flight->next;
    flight->at = &ep->flights;
    ep->flights = flight;
    ep->plain_flight += flight->len;
}

void mqtt_plain_forget(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    while (ep->flights)
        plain_remove(ep->flights);
    pthread_mutex_unlock(&ep->mtx);
}

/* On paho's threads, under its lock. */
static void plain_landed(struct mqtt_flight *flight)
{
    struct nqtp_ep *ep = flight->ep;

    pthread_mutex_lock(&ep->mtx);
    plain_remove(flight);
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next)
            if (link->plain && link->waits) {
                link->waits = false;
                mqtt_link_poke(link);
            }
    pthread_mutex_unlock(&ep->mtx);
}

static void plain_sent(void *context, MQTTAsync_successData *data)
{
    (void)data;
    plain_landed(context);
}

static void plain_sent5(void *context, MQTTAsync_successData5 *data)
{
    (void)data;
    plain_landed(context);
}

static void plain_failed(void *context, MQTTAsync_failureData *data)
{
    (void)data;
    plain_landed(context);
}

static void plain_failed5(void *context, MQTTAsync_failureData5 *data)
{
    (void)data;
    plain_landed(context);
}

int mqtt_plain_publish(struct nqtp_ep *ep, uint64_t tag, const char *topic, const void *payload,
                       size_t len)
{
    MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
    struct mqtt_flight *flight = malloc(sizeof(*flight));
    MQTTAsync client = flight ? mqtt_enter(ep, tag) : NULL;
    int rc;

    if (!client) {
        free(flight);
        return NQT_E_LOST;
    }
    *flight = (struct mqtt_flight){.ep = ep, .len = len};
    pthread_mutex_lock(&ep->mtx);
    plain_add(ep, flight);
    pthread_mutex_unlock(&ep->mtx);
    response.context = flight;
    if (ep->step_version == MQTTVERSION_5) {
        response.onSuccess5 = plain_sent5;
        response.onFailure5 = plain_failed5;
    } else {
        response.onSuccess = plain_sent;
        response.onFailure = plain_failed;
    }
    rc = MQTTAsync_send(client, topic, (int)len, payload, 0, 0, &response);
    if (rc != MQTTASYNC_SUCCESS)
        plain_landed(flight);
    mqtt_exit(ep);
    if (rc != MQTTASYNC_SUCCESS)
        return NQT_E_LOST;
    ep->mod->host->count(ep->mod->core, NQT_COUNT_SEND_CALLS, 1);
    return NQT_OK;
}
