/* Names of hosts and their addresses: those that a test gives, and no network. */
#include "tools/conform/host_in.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int host_resolve(nqt_serial *serial, const char *name, uint16_t port, uint32_t flags,
                        nqt_resolved_fn fn, void *arg)
{
    struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;
    struct nqtest_call *call;

    nqtest_must_be_in_serial(host);
    if (nqtest_fails(&host->fail_other))
        return NQT_E_NOMEM;
    call = calloc(1, sizeof(*call));
    snprintf(call->name, sizeof(call->name), "%s", name ? name : "");
    call->passive = flags & NQT_RESOLVE_PASSIVE;
    call->resolved = fn;
    call->arg = arg;
    call->port = port;
    call->next = host->questions;
    host->questions = call;
    return NQT_OK;
}

static const char *host_lookup(const struct nqtest_host *host, const struct nqtest_call *call)
{
    if (!*call->name)
        return call->passive ? "0.0.0.0" : "127.0.0.1";
    for (size_t i = 0; i < 8 && host->names[i].name; i++)
        if (strcmp(host->names[i].name, call->name) == 0)
            return host->names[i].value;
    return "";
}

void nqtest_answer(const struct nqtest_host *host, const struct nqtest_call *call)
{
    struct nqt_error err = {.size = sizeof(err), .code = NQT_E_UNREACHABLE};
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } sa[8];
    struct nqt_addr addrs[8];
    char list[256], *save = NULL;
    uint32_t n = 0;

    memset(sa, 0, sizeof(sa));
    snprintf(list, sizeof(list), "%s", host_lookup(host, call));
    for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        bool v4 = inet_pton(AF_INET, one, &sa[n].in.sin_addr) == 1;

        sa[n].in.sin_port = htons(call->port);
        sa[n].in.sin_family = AF_INET;
        if (!v4) {
            memset(&sa[n], 0, sizeof(sa[n]));
            sa[n].in6.sin6_family = AF_INET6;
            sa[n].in6.sin6_port = htons(call->port);
            NQTEST_COMPARE(NONE, inet_pton(AF_INET6, one, &sa[n].in6.sin6_addr), ==, 1);
        }
        addrs[n] = (struct nqt_addr){.size = sizeof(addrs[0]),
                                     .len = v4 ? sizeof(sa[n].in) : sizeof(sa[n].in6),
                                     .addr = &sa[n]};
        n++;
    }
    snprintf(err.text, sizeof(err.text), "resolve %.100s: no such name", call->name);
    call->resolved(call->arg, n ? addrs : NULL, n, n ? NULL : &err);
}

void nqtest_serve_names(struct nqt_host *table)
{
    table->resolve = host_resolve;
}
