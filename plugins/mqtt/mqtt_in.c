/* What arrives, on paho's thread and under paho's lock: filed with its link, which is poked.  Only
 * answers to what no link is there for, and to OPEN, are given here. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An answer, published when the mutex is left; len = 0: none. */
struct in_answer {
    uint64_t tag;
    size_t len;
    bool retain;
    char topic[MQTT_TOPIC_MAX];
    uint8_t record[MQTT_CONTROL];
};

void mqtt_rx_unref(struct mqtt_rx *rx)
{
    if (atomic_fetch_sub_explicit(&rx->refs, 1, memory_order_acq_rel) != 1)
        return;
    MQTTAsync_freeMessage(&rx->msg);
    free(rx);
}

/* ---- answers: under mtx ----------------------------------------------------------------- */

static void answer_end(const struct nqtp_ep *ep, uint64_t id, const struct mqtt_head *to, int code,
                       const char *text, struct in_answer *answer)
{
    struct mqtt_head head = *to;

    head.type = MQTT_END;
    head.ack_now = false;
    head.credit = 0;
    head.seq = head.ack = 0;
    mqtt_head_write(answer->record, &head);
    answer->len = MQTT_HEAD + mqtt_reason_write(answer->record + MQTT_HEAD, code, text);
    answer->tag = ep->tag;
    mqtt_topic(answer->topic, ep->opts.server, ep->listen ? "out" : "in", id);
}

static void answer_accept(const struct nqtp_link *link, struct in_answer *answer)
{
    const struct nqtp_ep *ep = link->ep;
    const struct mqtt_head head = mqtt_out_head(link, MQTT_ACCEPT);

    mqtt_head_write(answer->record, &head);
    mqtt_store_u32(answer->record + MQTT_HEAD, ep->opts.window);
    mqtt_store_u32(answer->record + MQTT_HEAD + 4, ep->opts.packet);
    answer->len = MQTT_HEAD + 8;
    answer->tag = ep->tag;
    memcpy(answer->topic, link->topic, sizeof(answer->topic));
}

/* ---- records of a link: under mtx ------------------------------------------------------- */

/* What the peer takes: OPEN's and ACCEPT's body. */
static void in_terms(struct nqtp_link *link, const uint8_t *body)
{
    link->window = mqtt_load_u32(body);
    link->peer_packet = mqtt_load_u32(body + 4);
    if (link->peer_packet < MQTT_PACKET_LEAST)
        link->peer_packet = MQTT_PACKET_LEAST;
}

static void in_gap(struct nqtp_link *link, uint32_t lost)
{
    char text[MQTT_CAUSE_MAX];

    snprintf(text, sizeof(text), "%u records were lost between the broker and the ends", lost);
    mqtt_link_end(link, NQT_E_LOST, false, text);
}

/* True: the message is the link's now. */
static bool in_data(struct nqtp_link *link, const struct mqtt_head *head, MQTTAsync_message *msg)
{
    const struct nqtp_ep *ep = link->ep;
    uint32_t ahead = head->seq - link->rx_seq;
    size_t len = (size_t)msg->payloadlen - MQTT_HEAD;
    struct mqtt_rx *rx;

    if (link->end_code || (int32_t)ahead <= 0) /* over, or a copy */
        return false;
    if (ahead > 1) {
        in_gap(link, ahead - 1);
        return false;
    }
    if (link->in_bytes + len > 2 * (uint64_t)ep->opts.window + ep->opts.packet ||
        head->seq - link->rx_up > 2 * MQTT_CREDIT) {
        mqtt_link_end(link, NQT_E_PROTOCOL, false, "more than the window allows");
        return false;
    }
    if (link->rx_limit && link->in_cost + len + MQTT_RX_COST > link->rx_limit) {
        mqtt_link_end(link, NQT_E_PROTOCOL, false, mqtt_too_much);
        return false;
    }
    rx = malloc(sizeof(*rx));
    if (!rx) {
        mqtt_link_end(link, NQT_E_NOMEM, false, "no memory for what came");
        return false;
    }
    *rx = (struct mqtt_rx){.msg = msg,
                           .body = (const uint8_t *)msg->payload + MQTT_HEAD,
                           .len = len,
                           .seq = head->seq,
                           .ack_now = head->ack_now};
    atomic_init(&rx->refs, 1);
    if (link->in_last)
        link->in_last->next = rx;
    else
        link->in_first = rx;
    link->in_last = rx;
    link->in_bytes += len;
    link->in_cost += mqtt_rx_cost(rx);
    link->rx_seq = head->seq;
    mqtt_link_poke(link);
    return true;
}

static void in_end(struct nqtp_link *link, const struct mqtt_head *head, const uint8_t *body,
                   size_t len)
{
    char text[MQTT_CAUSE_MAX];
    int code;

    mqtt_reason_read(body, len, &code, text);
    if (code == NQT_E_EOF && head->seq != link->rx_seq)
        in_gap(link, head->seq - link->rx_seq);
    else
        mqtt_link_end(link, code, true, text);
}

/* True: the message is the link's now. */
static bool in_link(struct nqtp_link *link, const struct mqtt_head *head, MQTTAsync_message *msg)
{
    const uint8_t *body = (const uint8_t *)msg->payload + MQTT_HEAD;
    size_t len = (size_t)msg->payloadlen - MQTT_HEAD;

    link->heard = true;
    switch (head->type) {
    case MQTT_ACCEPT:
        if (link->ep->listen || link->accepted)
            return false;
        link->accepted = true;
        link->server_tag = head->server;
        link->credit = head->credit < MQTT_CREDIT ? head->credit : MQTT_CREDIT;
        in_terms(link, body);
        mqtt_link_poke(link);
        return false;
    case MQTT_DATA:
        mqtt_out_acked(link, head);
        return in_data(link, head, msg);
    case MQTT_ACK:
        mqtt_out_acked(link, head);
        return false;
    case MQTT_PROBE:
        mqtt_out_acked(link, head);
        if (head->seq != link->rx_seq) {
            in_gap(link, head->seq - link->rx_seq);
            return false;
        }
        link->ack_due = true;
        mqtt_link_poke(link);
        return false;
    case MQTT_END:
        in_end(link, head, body, len);
        return false;
    default:
        return false;
    }
}

/* ---- a server's: under mtx -------------------------------------------------------------- */

static void in_open(struct nqtp_ep *ep, uint64_t id, const struct mqtt_head *head,
                    const uint8_t *body, struct in_answer *answer)
{
    struct nqtp_link *link = mqtt_link_find(ep, id, head->number);

    if (link && link->client_tag == head->client) { /* again: the answer was lost */
        answer_accept(link, answer);
        return;
    }
    if (link || ep->closing || ep->nstrangers >= MQTT_STRANGERS) {
        answer_end(ep, id, head, NQT_E_REFUSED,
                   ep->closing ? "the server is closing" : "too many links that wait", answer);
        return;
    }
    link = mqtt_link_accept(ep, id, head);
    if (!link) {
        answer_end(ep, id, head, NQT_E_REFUSED, "the server has no memory", answer);
        return;
    }
    in_terms(link, body);
    link->credit = head->credit < MQTT_CREDIT ? head->credit : MQTT_CREDIT;
    answer_accept(link, answer);
    if (!NQT_EMIT_LINK(link, NQT_EV_ACCEPT))
        return;
    answer_end(ep, id, head, NQT_E_REFUSED, "the server has no memory", answer);
    mqtt_link_refuse(link);
}

/* A client's connection is over. */
static void in_gone(struct nqtp_ep *ep, uint64_t id, const struct mqtt_head *head,
                    const uint8_t *body, size_t len)
{
    char text[MQTT_CAUSE_MAX];
    int code;

    mqtt_reason_read(body, len, &code, text);
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next)
            if (link->id == id && link->client_tag == head->client)
                mqtt_link_end(link, code, true, text);
}

static void answer_here(const struct nqtp_ep *ep, struct in_answer *answer)
{
    const struct mqtt_head here = {.type = MQTT_HERE, .server = ep->tag};

    mqtt_head_write(answer->record, &here);
    answer->len = MQTT_HEAD;
    answer->retain = ep->step_retain;
    answer->tag = ep->tag;
    memcpy(answer->topic, ep->server_topic, sizeof(answer->topic));
}

/* Another server speaks while this one is there, or wants to be. */
static void in_rival(struct nqtp_ep *ep, const struct mqtt_head *head, struct in_answer *answer)
{
    ep->rival = true;
    pthread_cond_broadcast(&ep->cond);
    if (!ep->here)
        return;
    /* Both began at the same time: one yields. */
    if (head->type == MQTT_HERE && head->server < ep->tag) {
        mqtt_broker_leave(ep, NQT_E_REFUSED,
                          "the name is in use by another server; choose another \"server\"");
        return;
    }
    answer_here(ep, answer);
}

/* ---- a client's: under mtx -------------------------------------------------------------- */

/* The server `ep->server_tag` is no more.  Links that it has not answered wait for the next one. */
static void in_server_gone(struct nqtp_ep *ep, int code, const char *text)
{
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next)
            if (link->accepted && link->server_tag == ep->server_tag)
                mqtt_link_end(link, code, true, text);
    ep->server_tag = 0;
}

/* It may have missed an OPEN that was said before. */
static void in_server_came(struct nqtp_ep *ep, uint64_t tag)
{
    if (ep->server_tag && ep->server_tag != tag)
        in_server_gone(ep, NQT_E_LOST, "another server has taken the name");
    ep->server_tag = tag;
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next) {
            link->call = !link->accepted;
            if (link->call)
                mqtt_link_poke(link);
        }
}

/* What a server says of itself. */
static void in_presence(struct nqtp_ep *ep, const struct mqtt_head *head,
                        const MQTTAsync_message *msg, struct in_answer *answer)
{
    const uint8_t *body = (const uint8_t *)msg->payload + MQTT_HEAD;
    char text[MQTT_CAUSE_MAX];
    int code;

    if (head->server == ep->tag)
        return;
    if (head->type == MQTT_HERE && ep->listen && !msg->retained) {
        in_rival(ep, head, answer);
    } else if (head->type == MQTT_HERE && ep->listen) {
        ep->server_tag = head->server;
    } else if (head->type == MQTT_HERE) {
        in_server_came(ep, head->server);
    } else if (head->type == MQTT_GONE && ep->here) {
        answer_here(ep, answer); /* the last will of one that did not get the name */
    } else if (head->type == MQTT_GONE && ep->server_tag == head->server) {
        mqtt_reason_read(body, (size_t)msg->payloadlen - MQTT_HEAD, &code, text);
        if (ep->listen)
            ep->server_tag = 0;
        else
            in_server_gone(ep, code, text);
        pthread_cond_broadcast(&ep->cond);
    }
}

/* ---- everything ------------------------------------------------------------------------- */

/* Under mtx.  True: the message was taken. */
static bool in_record(struct nqtp_ep *ep, const char *topic, size_t topic_len,
                      const struct mqtt_head *head, MQTTAsync_message *msg,
                      struct in_answer *answer)
{
    const uint8_t *body = (const uint8_t *)msg->payload + MQTT_HEAD;
    size_t len = (size_t)msg->payloadlen - MQTT_HEAD;
    struct nqtp_link *link;
    uint64_t id = 0;

    if (!mqtt_topic_id(topic, topic_len, &id)) {
        in_presence(ep, head, msg, answer);
        return false;
    }
    /* Before a server has the name, what comes is another one's. */
    if (msg->retained || (ep->listen && !ep->here))
        return false;
    if (ep->listen && head->type == MQTT_GONE)
        in_gone(ep, id, head, body, len);
    if (ep->listen && head->type == MQTT_OPEN)
        in_open(ep, id, head, body, answer);
    if (ep->listen && head->type == MQTT_CLAIM && head->server != ep->tag)
        in_rival(ep, head, answer);
    if (head->type == MQTT_OPEN || head->type >= MQTT_GONE)
        return false;
    link = mqtt_link_find(ep, id, head->number);
    if (link && link->client_tag == head->client &&
        (link->server_tag == head->server || head->type == MQTT_ACCEPT || !link->server_tag))
        return in_link(link, head, msg);
    if (head->type != MQTT_END && head->type != MQTT_ACK)
        answer_end(ep, id, head, NQT_E_LOST, "the link is not known here any more", answer);
    return false;
}

int mqtt_on_message(void *context, char *topic, int topic_len, MQTTAsync_message *msg)
{
    struct nqtp_ep *ep = context;
    struct in_answer answer = {.len = 0};
    struct mqtt_head head;
    bool taken = false;

    size_t len = topic_len ? (size_t)topic_len : strlen(topic);

    if (mqtt_plain_is_topic(ep, topic, len)) {
        pthread_mutex_lock(&ep->mtx);
        taken = mqtt_plain_in(ep, topic, msg);
        pthread_mutex_unlock(&ep->mtx);
        ep->mod->host->count(ep->mod->core, NQT_COUNT_RECV_CALLS, 1);
    } else if (mqtt_head_read(msg->payload, (size_t)msg->payloadlen, &head)) {
        pthread_mutex_lock(&ep->mtx);
        taken = in_record(ep, topic, len, &head, msg, &answer);
        pthread_mutex_unlock(&ep->mtx);
        ep->mod->host->count(ep->mod->core, NQT_COUNT_RECV_CALLS, 1);
    }
    if (answer.len)
        (void)mqtt_publish(ep, answer.tag, answer.topic, answer.record, answer.len, answer.retain);
    MQTTAsync_free(topic);
    if (!taken)
        MQTTAsync_freeMessage(&msg);
    return 1;
}
