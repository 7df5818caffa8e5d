/* The links of an endpoint: made, found, listed, and told of what comes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <inttypes.h>
#include <stdio.h>

/* ---- the endpoint's table: under mtx ---------------------------------------------------- */

static struct nqtp_link **link_bucket(struct nqtp_ep *ep, uint64_t id, uint32_t number)
{
    return &ep->links[(id ^ id >> 32 ^ number) % MQTT_BUCKETS];
}

struct nqtp_link *mqtt_link_find(struct nqtp_ep *ep, uint64_t id, uint32_t number)
{
    struct nqtp_link *link = *link_bucket(ep, id, number);

    while (link && (link->id != id || link->number != number))
        link = link->next;
    return link;
}

void mqtt_link_list(struct nqtp_link *link)
{
    struct nqtp_link **at = link_bucket(link->ep, link->id, link->number);

    link->next = *at;
    *at = link;
    link->listed = true;
    link->ep->nlinks++;
}

void mqtt_link_unlist(struct nqtp_link *link)
{
    struct nqtp_link **at = link_bucket(link->ep, link->id, link->number);

    if (!link->listed)
        return;
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    link->listed = false;
    link->ep->nlinks--;
    if (link->state == MQTT_ACCEPTED)
        link->ep->nstrangers--;
}

void mqtt_link_poke(struct nqtp_link *link)
{
    if (!link->attached || link->posted)
        return;
    link->posted = !link->ep->mod->host->post(link->serial, mqtt_link_work, link);
    if (link->posted)
        return;
    link->ep->repost = true;
    pthread_cond_broadcast(&link->ep->cond);
}

void mqtt_link_end(struct nqtp_link *link, int code, bool theirs, const char *text)
{
    if (link->end_code)
        return;
    link->end_code = code ? code : NQT_E_LOST;
    link->end_theirs = theirs;
    snprintf(link->end_text, sizeof(link->end_text), "%s", text);
    mqtt_link_poke(link);
}

void mqtt_links_end(struct nqtp_ep *ep, int code, const char *text)
{
    for (unsigned i = 0; i < MQTT_BUCKETS; i++)
        for (struct nqtp_link *link = ep->links[i]; link; link = link->next)
            mqtt_link_end(link, code, true, text);
}

/* ---- making ----------------------------------------------------------------------------- */

struct nqtp_link *mqtt_link_new(struct nqtp_ep *ep, uint64_t id, uint32_t number)
{
    struct nqtp_link *link = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*link));
    char *client, *server;

    if (!link)
        return NULL;
    mqtt_ep_ref(ep);
    link->ep = ep;
    link->serial = ep->serial;
    link->id = id;
    link->number = number;
    link->credit = 1;
    link->window = link->peer_packet = MQTT_PACKET_LEAST;
    mqtt_topic(link->topic, ep->opts.server, ep->listen ? "out" : "in", id);
    client = ep->listen ? link->peer : link->local;
    server = ep->listen ? link->local : link->peer;
    snprintf(client, sizeof(link->peer), "%s/%016" PRIx64 "-%" PRIu32, ep->place, id, number);
    snprintf(server, sizeof(link->peer), "%s", ep->place);
    return link;
}

void mqtt_link_free(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    nqt_free(ep->mod->host, ep->mod->core, link);
    mqtt_ep_unref(ep);
}

struct nqtp_link *mqtt_link_accept(struct nqtp_ep *ep, uint64_t id, const struct mqtt_head *head)
{
    struct nqtp_link *link = mqtt_link_new(ep, id, head->number);

    if (!link)
        return NULL;
    link->state = MQTT_ACCEPTED;
    link->accepted = true;
    link->client_tag = head->client;
    link->server_tag = ep->tag;
    link->rx_limit = MQTT_UNATTACHED;
    mqtt_link_list(link);
    ep->nstrangers++;
    return link;
}

void mqtt_link_refuse(struct nqtp_link *link)
{
    struct nqtp_ep *ep = link->ep;

    mqtt_link_unlist(link);
    nqt_free(ep->mod->host, ep->mod->core, link);
    atomic_fetch_sub(&ep->refs, 1); /* the thread's is left */
}
