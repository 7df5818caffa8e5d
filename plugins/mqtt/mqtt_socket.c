/* Addresses, and what paho does not do for its sockets. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt_broker.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOCKET_SEND_BUFFER (4 << 20)

/* ---- the address, and the socket behind paho's back ------------------------------------- */

/* With TLS paho gets the name, which it holds against the certificate, and resolves it again: it
 * takes an address of IPv4 where there is one. */
int mqtt_resolve(const struct nqtp_ep *ep, unsigned which, bool *more, char uri[MQTT_URI_MAX],
                 struct sockaddr_storage *addr, struct nqt_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    const struct addrinfo *at;
    char port[8], text[INET6_ADDRSTRLEN];
    const char *at_name;
    int rc;

    *more = false;
    snprintf(port, sizeof(port), "%u", ep->opts.port);
    rc = getaddrinfo(ep->opts.host, port, &hints, &list);
    if (rc)
        return nqt_fail(err, NQT_E_UNREACHABLE, "broker of %s: %s", ep->place, gai_strerror(rc));
    for (at = list; which-- && at->ai_next;)
        at = at->ai_next;
    *more = at->ai_next && !ep->opts.tls.on;
    while (ep->opts.tls.on && at->ai_family != AF_INET && at->ai_next)
        at = at->ai_next;
    memset(addr, 0, sizeof(*addr));
    memcpy(addr, at->ai_addr, at->ai_addrlen);
    rc = getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
    freeaddrinfo(list);
    if (rc)
        return nqt_fail(err, NQT_E_UNREACHABLE, "broker of %s: %s", ep->place, gai_strerror(rc));
    at_name = ep->opts.tls.on ? ep->opts.host : text;
    snprintf(uri, MQTT_URI_MAX, strchr(at_name, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
             ep->opts.tls.on ? "ssl" : "tcp", at_name, ep->opts.port);
    return NQT_OK;
}

static bool socket_is_peer(int fd, const struct sockaddr_storage *addr)
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
void mqtt_tune(const struct sockaddr_storage *addr)
{
    const int on = 1, room = SOCKET_SEND_BUFFER;
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (!dir)
        return;
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir) || !socket_is_peer(fd, addr))
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    closedir(dir);
}

/* ---- waking paho ------------------------------------------------------------------------ */

/* paho's thread sleeps up to 1 s for input of the sockets that it knew when it began; one that is
 * just being connected waits for that.  So while an endpoint connects, another one of the process
 * that is up asks its broker for something that means nothing. */
static struct {
    pthread_mutex_t mtx; /* taken before an endpoint's */
    struct nqtp_ep *first;
} socket_up = {.mtx = PTHREAD_MUTEX_INITIALIZER};

void mqtt_enlist(struct nqtp_ep *ep)
{
    pthread_mutex_lock(&socket_up.mtx);
    ep->next_up = socket_up.first;
    socket_up.first = ep;
    pthread_mutex_unlock(&socket_up.mtx);
}

void mqtt_delist(struct nqtp_ep *ep)
{
    struct nqtp_ep **at = &socket_up.first;

    pthread_mutex_lock(&socket_up.mtx);
    while (*at != ep)
        at = &(*at)->next_up;
    *at = ep->next_up;
    pthread_mutex_unlock(&socket_up.mtx);
}

void mqtt_nudge(void)
{
    pthread_mutex_lock(&socket_up.mtx);
    for (struct nqtp_ep *ep = socket_up.first; ep; ep = ep->next_up) {
        MQTTAsync client = mqtt_enter(ep, 0);

        if (!client)
            continue;
        (void)MQTTAsync_unsubscribe(client, "nq1/-/-", NULL);
        mqtt_exit(ep);
        break;
    }
    pthread_mutex_unlock(&socket_up.mtx);
}
