/* What streams receive: room for it, and a look at what came. */
#include "tools/conform/host_in.h"
#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>

void nqtest_receive(struct nqtest_link *link, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (link->received + i < sizeof(link->head))
            link->head[link->received + i] = (char)bytes[i];
        if (!link->raw && bytes[i] != nqtest_pattern(link->received + i))
            nqtest_broken(NQTEST_RULE_BYTES, __FILE__, __LINE__, "wrong byte at %" PRIu64,
                          link->received + i);
    }
    link->received += len;
}

static int host_rx_space(nqt_link *opaque, size_t want, struct iovec *iov, uint32_t *niov)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;
    size_t left = want && want < link->space ? want : link->space;

    nqtest_must_be_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_space() without rx_commit()");
    NQTEST_MUST(ONCE, link->ups && !link->downs && !link->close_called,
                "rx_space() of a dead link");
    if (link->space_refusal)
        return link->space_refusal;
    link->in_rx = true;
    link->ngiven = link->space_segs;
    for (uint32_t i = 0; i < link->ngiven; i++) {
        size_t share = left / (link->ngiven - i);

        link->given[i] = (struct iovec){malloc(share ? share : 1), share};
        iov[i] = link->given[i];
        left -= share;
    }
    *niov = link->ngiven;
    return NQT_OK;
}

static void rx_refill(const struct nqtest_link *link, size_t n)
{
    static const char zeros[65536];

    if (n && link->received + n < link->refill)
        NQTEST_COMPARE(NONE, send(link->refill_fd, zeros, n, MSG_NOSIGNAL), ==, (ssize_t)n);
}

static int host_rx_commit(nqt_link *opaque, size_t n)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    nqtest_must_be_in_serial(link->host);
    NQTEST_MUST(RXSPACE, link->in_rx, "rx_commit() without rx_space()");
    link->in_rx = false;
    rx_refill(link, n);
    for (uint32_t i = 0; i < link->ngiven; i++) {
        size_t share = n < link->given[i].iov_len ? n : link->given[i].iov_len;

        nqtest_receive(link, link->given[i].iov_base, share);
        n -= share;
        nqtest_retire(link->given[i].iov_base, link->given[i].iov_len);
    }
    NQTEST_COMPARE(RXSPACE, n, ==, 0);
    if (link->close_inside && link->received) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

/* What is kept is unreferenced by the test. */
static int host_rx_give(nqt_link *opaque, struct nqt_buf *buf)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    nqtest_must_be_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_give() without rx_commit()");
    for (uint32_t i = 0; i < buf->nseg; i++)
        nqtest_receive(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
    link->views++;
    if (link->keep && link->nkept < sizeof(link->kept) / sizeof(link->kept[0]))
        link->kept[link->nkept++] = buf;
    else
        buf->ops->unref(buf);
    if (link->close_inside) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

static int host_rx_bytes(nqt_link *opaque, const void *data, size_t len)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    nqtest_must_be_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_bytes() without rx_commit()");
    NQTEST_MUST(ONCE, link->ups && !link->downs && !link->close_called,
                "rx_bytes() of a dead link");
    nqtest_receive(link, data, len);
    if (link->hold_inside)
        NQTEST_COMPARE(NONE, link->host->module->ops->rx_hold(link->plugin, 1), ==, NQT_OK);
    if (link->close_inside) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

void nqtest_serve_receiving(struct nqt_host *table)
{
    table->rx_space = host_rx_space;
    table->rx_commit = host_rx_commit;
    table->rx_give = host_rx_give;
    table->rx_bytes = host_rx_bytes;
}
