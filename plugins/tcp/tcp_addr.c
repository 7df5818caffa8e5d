/* Addresses as text and back, error codes, log lines: the small things that every other file of
 * the plugin needs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void tcp_addr_text(const struct tcp_addr *addr, char out[TCP_NAME_MAX])
{
    char text[INET6_ADDRSTRLEN] = "?";
    char scope[IF_NAMESIZE + 1] = "";

    if (addr->u.sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &addr->u.in.sin_addr, text, sizeof(text));
        snprintf(out, TCP_NAME_MAX, "%s:%u", text, ntohs(addr->u.in.sin_port));
        return;
    }
    inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, text, sizeof(text));
    if (addr->u.in6.sin6_scope_id)
        snprintf(scope, sizeof(scope), "%%%u", addr->u.in6.sin6_scope_id);
    snprintf(out, TCP_NAME_MAX, "[%s%s]:%u", text, scope, ntohs(addr->u.in6.sin6_port));
}

bool tcp_addr_from(const void *sa, size_t len, struct tcp_addr *out)
{
    struct tcp_addr addr = {.len = (socklen_t)len};

    if (!sa || len < sizeof(addr.u.sa) || len > sizeof(addr.u))
        return false;
    memcpy(&addr.u, sa, len);
    if (!(addr.u.sa.sa_family == AF_INET && len >= sizeof(addr.u.in)) &&
        !(addr.u.sa.sa_family == AF_INET6 && len >= sizeof(addr.u.in6)))
        return false;
    *out = addr;
    return true;
}

bool tcp_addr_numeric(const char *host, uint16_t port, struct tcp_addr *out)
{
    struct tcp_addr addr = {.len = sizeof(addr.u.in)};

    if (inet_pton(AF_INET, host, &addr.u.in.sin_addr) == 1) {
        addr.u.in.sin_family = AF_INET;
        addr.u.in.sin_port = htons(port);
        *out = addr;
        return true;
    }
    addr = (struct tcp_addr){.len = sizeof(addr.u.in6)};
    if (inet_pton(AF_INET6, host, &addr.u.in6.sin6_addr) != 1)
        return false;
    addr.u.in6.sin6_family = AF_INET6;
    addr.u.in6.sin6_port = htons(port);
    *out = addr;
    return true;
}

uint32_t tcp_addr_known(const struct tcp_opts *opts, bool listen, struct tcp_addr out[2])
{
    bool star = strcmp(opts->host, "*") == 0, any = star && listen;
    uint32_t n = 0;

    if (!star && strcasecmp(opts->host, "localhost") != 0)
        return tcp_addr_numeric(opts->host, opts->port, out);
    if (opts->family != AF_INET6)
        n += tcp_addr_numeric(any ? "0.0.0.0" : "127.0.0.1", opts->port, &out[n]);
    if (opts->family != AF_INET)
        n += tcp_addr_numeric(any ? "::" : "::1", opts->port, &out[n]);
    return n;
}

void tcp_addr_set_port(struct tcp_addr *addr, uint16_t port)
{
    if (addr->u.sa.sa_family == AF_INET)
        addr->u.in.sin_port = htons(port);
    else
        addr->u.in6.sin6_port = htons(port);
}

uint16_t tcp_addr_port(const struct tcp_addr *addr)
{
    return ntohs(addr->u.sa.sa_family == AF_INET ? addr->u.in.sin_port : addr->u.in6.sin6_port);
}

bool tcp_addr_is_loopback(const struct tcp_addr *addr)
{
    const struct in6_addr *in6 = &addr->u.in6.sin6_addr;

    if (addr->u.sa.sa_family == AF_INET)
        return ntohl(addr->u.in.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127);
}

bool tcp_addr_is_any(const struct tcp_addr *addr)
{
    if (addr->u.sa.sa_family == AF_INET)
        return addr->u.in.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&addr->u.in6.sin6_addr);
}

bool tcp_addr_equal(const struct tcp_addr *a, const struct tcp_addr *b)
{
    if (a->u.sa.sa_family != b->u.sa.sa_family || tcp_addr_port(a) != tcp_addr_port(b))
        return false;
    if (a->u.sa.sa_family == AF_INET)
        return a->u.in.sin_addr.s_addr == b->u.in.sin_addr.s_addr;
    return IN6_ARE_ADDR_EQUAL(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr);
}

int tcp_code(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return NQT_E_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case ETIMEDOUT:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return NQT_E_UNREACHABLE;
    case ECONNRESET:
    case EPIPE:
        return NQT_E_LOST;
    case ENOMEM:
    case ENOBUFS:
        return NQT_E_NOMEM;
    default:
        return NQT_E_SYS;
    }
}
