/* Links: the plugin's slots that are for them. */
#include "tools/conform/host_in.h"
#include <stdlib.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------- */

static struct nqtest_link *link_new(struct nqtest_ep *ep)
{
    struct nqtest_link *link = calloc(1, sizeof(*link));

    link->host = ep->host;
    link->ep = ep;
    link->serial = nqtest_serial_new(ep->host);
    link->raw = ep->host->raw;
    link->space = 65536;
    link->space_segs = 2;
    link->next = ep->host->links;
    ep->host->links = link;
    return link;
}

struct nqtest_link *nqtest_connect(struct nqtest_ep *ep, struct nqt_error *err)
{
    struct nqtest_host *host = ep->host;
    struct nqtest_link *link = link_new(ep);
    struct nqt_error own = {.size = sizeof(own)};
    int rc;

    nqtest_enter(host, "connect()");
    rc = host->module->ops->connect(ep->plugin, (nqt_link *)link, (nqt_serial *)link->serial,
                                    &link->plugin, &own);
    if (rc) {
        NQTEST_COMPARE(ERROR, rc, <, 0);
        NQTEST_MUST(ERROR, *own.text, "an error without a text");
        nqtest_look_for_secret(own.text, "an error of connect()");
        if (err)
            *err = own;
        host->links = link->next;
    }
    nqtest_leave(host);
    if (!rc)
        return link;
    free(link->serial);
    free(link);
    return NULL;
}

static struct nqtp_link *ep_take_waiting(struct nqtest_ep *ep)
{
    struct nqtp_link *plugin = ep->waiting[0];

    NQTEST_COMPARE(NONE, ep->nwaiting, >, 0);
    memmove(ep->waiting, ep->waiting + 1, --ep->nwaiting * sizeof(ep->waiting[0]));
    return plugin;
}

struct nqtest_link *nqtest_attach(struct nqtest_ep *ep)
{
    struct nqtest_link *link = link_new(ep);

    link->plugin = ep_take_waiting(ep);
    ep->accepted[ep->naccepted++ % 64] = link;
    nqtest_enter(ep->host, "attach()");
    NQTEST_COMPARE(
        NONE,
        ep->host->module->ops->attach(link->plugin, (nqt_link *)link, (nqt_serial *)link->serial),
        ==, NQT_OK);
    nqtest_leave(ep->host);
    return link;
}

void nqtest_refuse(struct nqtest_ep *ep)
{
    struct nqtp_link *plugin = ep_take_waiting(ep);

    nqtest_enter(ep->host, "close()");
    ep->host->module->ops->close(plugin);
    nqtest_leave(ep->host);
}

void nqtest_close(struct nqtest_link *link)
{
    if (link->closed)
        return;
    link->close_called = true;
    nqtest_enter(link->host, "close()");
    link->host->module->ops->close(link->plugin);
    NQTEST_MUST(CLOSED, !link->closed, "LINK_CLOSED was handled inside close()");
    nqtest_leave(link->host);
}

int nqtest_hold(struct nqtest_link *link, int hold)
{
    int rc;

    nqtest_enter(link->host, "rx_hold()");
    rc = link->host->module->ops->rx_hold(link->plugin, hold);
    nqtest_leave(link->host);
    return rc;
}

int nqtest_shutdown(struct nqtest_link *link)
{
    int rc;

    nqtest_enter(link->host, "shutdown()");
    rc = link->host->module->ops->shutdown(link->plugin);
    nqtest_leave(link->host);
    return rc;
}

int nqtest_rx_poll(struct nqtest_link *link)
{
    int rc;

    nqtest_enter(link->host, "rx_poll()");
    rc = link->host->module->ops->rx_poll(link->plugin);
    nqtest_leave(link->host);
    return rc;
}

int nqtest_rx_arm(struct nqtest_link *link, int on)
{
    int rc;

    nqtest_enter(link->host, "rx_arm()");
    rc = link->host->module->ops->rx_arm(link->plugin, on);
    nqtest_leave(link->host);
    return rc;
}

/* ---- sending ------------------------------------------------------------------------- */

int nqtest_send_bytes(struct nqtest_link *link, uint64_t at, size_t len)
{
    uint8_t bytes[4096];
    int rc;

    for (size_t i = 0; i < len; i++)
        bytes[i] = nqtest_pattern(at + i);
    nqtest_enter(link->host, "send_bytes()");
    rc = link->host->module->ops->send_bytes(link->plugin, bytes, len);
    nqtest_leave(link->host);
    return rc;
}

int nqtest_send(struct nqtest_link *link, struct nqt_buf **bufs, uint32_t n, uint32_t *taken)
{
    int rc;

    nqtest_enter(link->host, "send()");
    link->sends++;
    *taken = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++)
        nqtest_buf_seal(bufs[i]);
    rc = link->host->module->ops->send(link->plugin, bufs, n, 0, taken);
    NQTEST_COMPARE(TAKEN, *taken, <=, n);
    if (rc)
        NQTEST_COMPARE(TAKEN, *taken, ==, 0);
    else if (*taken < n)
        link->short_send = true;
    for (uint32_t i = *taken; i < n; i++)
        bufs[i]->ops->unref(bufs[i]);
    nqtest_leave(link->host);
    return rc;
}

int nqtest_loan(struct nqtest_link *link, size_t len, struct nqt_buf **ret)
{
    int rc;

    nqtest_enter(link->host, "loan()");
    rc = link->host->module->ops->loan(link->plugin, len, ret);
    nqtest_leave(link->host);
    return rc;
}

void nqtest_push(struct nqtest_link *link, uint64_t len, size_t buf_len, uint32_t nseg,
                 uint32_t batch)
{
    struct nqtest_tx *tx = &link->tx;
    struct nqt_buf *bufs[64];

    if (buf_len)
        *tx = (struct nqtest_tx){tx->done, tx->done + len, buf_len, nseg, batch};
    while (tx->done < tx->end && !link->downs && !link->close_called && !link->short_send) {
        uint64_t at = tx->done, lens[64] = {0};
        uint32_t n = 0, taken;

        for (; n < tx->batch && at < tx->end; at += lens[n++]) {
            lens[n] = tx->end - at < tx->buf_len ? tx->end - at : tx->buf_len;
            bufs[n] = nqtest_buf(at, (size_t)lens[n], tx->nseg);
        }
        if (nqtest_send(link, bufs, n, &taken))
            return;
        for (uint32_t i = 0; i < taken; i++)
            tx->done += lens[i];
    }
}
