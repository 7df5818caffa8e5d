/* What the files of the connection to the broker share.
 *
 *   mqtt_broker.c   a connection's life, on a thread of each endpoint; publishing
 *   mqtt_connect.c  its steps from an address to the last subscription
 *   mqtt_step.c     asking paho for one thing, and its answer
 *   mqtt_socket.c   addresses, and the socket behind paho's back
 *
 * Thread: the endpoint's own, unless a comment says more. */
#ifndef MQTT_BROKER_H
#define MQTT_BROKER_H

#include "mqtt.h"
#include <netinet/in.h>
#include <sys/socket.h>

/* ---- mqtt_step.c ------------------------------------------------------------------------ */

int64_t mqtt_clock(void); /* as the waits below count */
/* Until signalled, or that time.  False: it is over.  Under mtx. */
bool mqtt_wait(struct nqtp_ep *ep, int64_t until);

/* Have paho's answer come here; then ask. */
void mqtt_step_of_connect(struct nqtp_ep *ep, MQTTAsync_connectOptions *options);
void mqtt_step_of_request(struct nqtp_ep *ep, MQTTAsync_responseOptions *options);
void mqtt_step_of_disconnect(struct nqtp_ep *ep, MQTTAsync_disconnectOptions *options);
/* What the encryption does not like is the answer's text. */
void mqtt_step_of_tls(struct nqtp_ep *ep, MQTTAsync_SSLOptions *ssl);
/* Have messages and losses of ep->client come.  @return as paho does */
int mqtt_step_hear(struct nqtp_ep *ep);

/* Is it still unanswered then?  Not under mtx. */
bool mqtt_step_is_asking(struct nqtp_ep *ep, int64_t then);
/* Wait for the answer.  Under mtx.  @return NQT_OK, or NQT_E_* with ep->step_text */
int mqtt_step_await(struct nqtp_ep *ep, int64_t until);

/* ---- mqtt_socket.c ---------------------------------------------------------------------- */

#define MQTT_URI_MAX (MQTT_HOST_MAX + 32)

/* The broker's address number `which`, as paho wants it.  Blocks as long as the resolver does.
 * @param more  [out] there is one after it */
int mqtt_resolve(const struct nqtp_ep *ep, unsigned which, bool *more, char uri[MQTT_URI_MAX],
                 struct sockaddr_storage *addr, struct nqt_error *err);
/* No delay, and a buffer for a whole window, on sockets whose peer is the broker. */
void mqtt_tune(const struct sockaddr_storage *addr);

/* An endpoint that is up, and no more: mqtt_nudge() has one of them wake paho. */
void mqtt_enlist(struct nqtp_ep *ep);
void mqtt_delist(struct nqtp_ep *ep);
void mqtt_nudge(void);

/* ---- mqtt_connect.c --------------------------------------------------------------------- */

/* Connect.  With `auto` a refusal for the version's sake is followed by 3.1.1. */
int mqtt_open(struct nqtp_ep *ep, struct nqt_error *err);
/* The end of what mqtt_open() made; waits for paho's threads when it is the last one. */
void mqtt_client_destroy(MQTTAsync *client);
/* GONE, and where it is published.  @return the record's length */
size_t mqtt_gone(const struct nqtp_ep *ep, uint8_t record[MQTT_CONTROL], int code,
                 const char *text);
const char *mqtt_gone_topic(const struct nqtp_ep *ep, char topic[MQTT_TOPIC_MAX]);

/* ---- mqtt_broker.c ---------------------------------------------------------------------- */

/* paho's client, if the connection `tag` (0: any) is up; then mqtt_exit() must follow.  Any
 * thread, not under mtx. */
MQTTAsync mqtt_enter(struct nqtp_ep *ep, uint64_t tag);
void mqtt_exit(struct nqtp_ep *ep);
/* End paho's client; in good order if it is connected.  @param gone  it was known, so say GONE */
void mqtt_broker_end(struct nqtp_ep *ep, bool gone);

#endif
