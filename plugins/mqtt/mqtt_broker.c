/* The connection to the broker, on a thread of the endpoint's own: finding the broker's address
 * and ending a client of paho's both block.
 *
 *     wait until wanted -> connect (mqtt_connect.c) -> up ... lost -> end
 *
 * Between up and lost the core's threads publish; the client is ended when no such call runs any
 * more. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt_broker.h"
#include <netqueue/transport_thread.h>

#define BROKER_PAUSE_LEAST (MQTT_NS_PER_S / 10)
#define BROKER_PAUSE_MOST (5 * MQTT_NS_PER_S)
#define BROKER_REPOST_NS (MQTT_NS_PER_S / 20)
#define BROKER_END_NS (2 * MQTT_NS_PER_S) /* for the last records to get out */

/* ---- publishing ------------------------------------------------------------------------- */

MQTTAsync mqtt_enter(struct nqtp_ep *ep, uint64_t tag)
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

void mqtt_exit(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&ep->mtx);
    if (!--ep->users && !ep->up)
        pthread_cond_broadcast(&ep->cond);
    pthread_mutex_unlock(&ep->mtx);
}

int mqtt_publish(struct nqtp_ep *ep, uint64_t tag, const char *topic, const void *payload,
                 size_t len, bool retain)
{
    MQTTAsync client = mqtt_enter(ep, tag);
    int rc;

    if (!client)
        return NQT_E_LOST;
    rc = MQTTAsync_send(client, topic, (int)len, payload, ep->opts.qos, retain, NULL);
    mqtt_exit(ep);
    if (rc != MQTTASYNC_SUCCESS)
        return NQT_E_LOST;
    ep->mod->host->count(ep->mod->core, NQT_COUNT_SEND_CALLS, 1);
    return NQT_OK;
}

/* ---- a connection's life ---------------------------------------------------------------- */

static void broker_disconnect(struct nqtp_ep *ep)
{
    const MQTTAsync_disconnectOptions five = MQTTAsync_disconnectOptions_initializer5;
    const MQTTAsync_disconnectOptions three = MQTTAsync_disconnectOptions_initializer;
    MQTTAsync_disconnectOptions options = ep->step_version == MQTTVERSION_5 ? five : three;
    int64_t until = mqtt_clock() + BROKER_END_NS;

    options.timeout = 500;
    mqtt_step_of_disconnect(ep, &options);
    if (MQTTAsync_disconnect(ep->client, &options))
        return;
    pthread_mutex_lock(&ep->mtx);
    while (ep->step == MQTT_STEP_ASKED && !ep->lost && mqtt_wait(ep, until))
        continue;
    pthread_mutex_unlock(&ep->mtx);
}

void mqtt_broker_end(struct nqtp_ep *ep, bool gone)
{
    uint8_t record[MQTT_CONTROL];
    char topic[MQTT_TOPIC_MAX];
    MQTTAsync client;
    bool joined;
    size_t len;

    pthread_mutex_lock(&ep->mtx);
    ep->up = false;
    while (ep->users)
        pthread_cond_wait(&ep->cond, &ep->mtx);
    client = ep->client;
    joined = ep->joined && !ep->broken;
    pthread_mutex_unlock(&ep->mtx);
    if (!client)
        return;
    if (joined && gone && ep->opts.wire != NQT_WIRE_PLAIN) {
        len = mqtt_gone(ep, record, NQT_E_EOF, "ended in good order");
        (void)MQTTAsync_send(client, mqtt_gone_topic(ep, topic), (int)len, record, ep->opts.qos,
                             ep->listen && ep->step_retain, NULL);
    }
    if (joined) /* else the broker publishes the last will */
        broker_disconnect(ep);
    mqtt_client_destroy(&client);
    mqtt_plain_forget(ep);
    pthread_mutex_lock(&ep->mtx);
    ep->client = NULL;
    pthread_mutex_unlock(&ep->mtx);
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
    nqt_tell_health(ep->mod->host, ep->cookie, NQT_HEALTH_READY, ep->place);
    broker_repost(ep); /* those that wait for the broker go on */
    if (ep->listen && !ep->closing)
        (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = ep->place);
    while (!ep->lost && !ep->closing) {
        if (!ep->repost) {
            pthread_cond_wait(&ep->cond, &ep->mtx);
            continue;
        }
        if (!mqtt_wait(ep, mqtt_clock() + BROKER_REPOST_NS))
            broker_repost(ep);
    }
    ep->up = false;
    nqt_fail(err, ep->lost ? NQT_E_LOST : NQT_E_CLOSED, "%s: the connection to the broker: %s",
             ep->place, ep->lost ? ep->step_text : "closed");
    pthread_mutex_unlock(&ep->mtx);
}

/* One connection from the first try to the end.  @return it was up */
static bool broker_live(struct nqtp_ep *ep, struct nqt_error *err)
{
    bool up;

    nqt_tell_health(ep->mod->host, ep->cookie, NQT_HEALTH_CONNECTING, ep->place);
    up = !mqtt_open(ep, err);
    if (up) {
        mqtt_enlist(ep);
        broker_stay(ep, err);
        mqtt_delist(ep);
    }
    pthread_mutex_lock(&ep->mtx);
    ep->up = ep->here = false;
    mqtt_links_end(ep, err->code, err->text);
    ep->wanted = false;
    if (!ep->closing)
        nqt_tell_health(ep->mod->host, ep->cookie, NQT_HEALTH_FAILING, err->text);
    pthread_mutex_unlock(&ep->mtx);
    mqtt_broker_end(ep, up);
    return up;
}

/* ---- the thread ------------------------------------------------------------------------- */

/* Rest until there is something to do.  False: the endpoint is closing. */
static bool broker_rest(struct nqtp_ep *ep, int64_t pause)
{
    int64_t until = mqtt_clock() + pause;
    bool go;

    pthread_mutex_lock(&ep->mtx);
    while (!ep->closing) {
        int64_t now = mqtt_clock();

        if (ep->listen ? now >= until : ep->wanted)
            break;
        if (ep->repost && !mqtt_wait(ep, now + BROKER_REPOST_NS))
            broker_repost(ep);
        else if (ep->listen)
            mqtt_wait(ep, until);
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

/* The join is the endpoint's serial's.  Without memory for that it waits for some: a thread that
 * nobody joins may outlive what OpenSSL does at exit, and then leaves its error state behind. */
static void broker_ask_for_join(struct nqtp_ep *ep)
{
    while (ep->mod->host->post(ep->serial, broker_thread_over, ep)) {
        pthread_mutex_lock(&ep->mtx);
        (void)mqtt_wait(ep, mqtt_clock() + BROKER_REPOST_NS);
        pthread_mutex_unlock(&ep->mtx);
    }
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
            (void)NQT_EMIT_EP(ep, NQT_EV_EP_DOWN, .err = &err);
            told = true;
        }
        pthread_mutex_unlock(&ep->mtx);
    }
    pthread_mutex_lock(&ep->mtx);
    mqtt_links_end(ep, NQT_E_CLOSED, "the endpoint is closed");
    nqt_tell_health(ep->mod->host, ep->cookie, NQT_HEALTH_CLOSED, NULL);
    pthread_mutex_unlock(&ep->mtx);
    broker_ask_for_join(ep);
    return NULL;
}

static bool broker_start(struct nqtp_ep *ep)
{
    int rc;

    mqtt_ep_ref(ep);
    rc = nqt_thread_start(&ep->thread, NULL, broker_run, ep);
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
