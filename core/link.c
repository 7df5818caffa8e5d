/* Between the transport and the owner of a link: where bytes are read to, the clock of the
 * handshake, and the end.  The greeting is in link_greet.c.
 *
 * Reading: while the owner has room of its own for a large body, the transport reads straight into
 * it, and a little behind it for the next heads; else into a pooled staging buffer that lives for
 * one read. */
#include "core/link_inside.h"

#include "core/err.h"
#include "core/pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINK_STAGING ((size_t)48 << 10) /* the largest block that takes no lock in the pool */
#define LINK_STAGING_LITTLE 4096u

nq_reason nqi_link_reason(const struct nqt_error *err)
{
    switch (err ? err->code : NQT_E_LOST) {
    case NQT_E_REFUSED:
    case NQT_E_UNREACHABLE:
    case NQT_E_CONFIG:
        return NQ_REASON_REFUSED;
    case NQT_E_AUTH:
        return NQ_REASON_AUTH;
    case NQT_E_NOMEM:
        return NQ_REASON_NO_MEMORY;
    case NQT_E_PROTOCOL:
        return NQ_REASON_PROTOCOL;
    default:
        return NQ_REASON_LINK_LOST;
    }
}

/* ---- life ------------------------------------------------------------------------------- */

static void link_stop_clock(struct nqi_link *link)
{
    nqi_watch_del(link->clock);
    link->clock = NULL;
}

static void link_free(struct nqi_link *link)
{
    nqi_link_end_greeting(link);
    nqi_lossy_free(link->lossy);
    nqi_pool_free(link->staging, link->staging_size);
    free(link);
}

void nqi_link_close(struct nqi_link *link)
{
    if (link->closing)
        return;
    link->closing = true;
    nqi_link_stop_moving(link);
    link->state = LINK_DOWN;
    link_stop_clock(link);
    if (link->lossy)
        nqi_lossy_part(link->lossy);
    nqi_tlink_close(link->tlink);
}

/* Report once that the link is of no more use, and close it. */
void nqi_link_fail(struct nqi_link *link, nq_reason reason, const char *text)
{
    bool told = link->state == LINK_DRAINING;

    if (link->state == LINK_DOWN)
        return;
    if (link->state == LINK_MOVING && link->greeting->joined) {
        link->greeting->lost = reason;
        return;
    }
    nqi_link_stop_moving(link);
    link->state = LINK_DOWN;
    link_stop_clock(link);
    if (!told)
        link->events->down(link->arg, link, reason, text);
    nqi_link_close(link);
}

static void link_on_clock(void *arg)
{
    struct nqi_link *link = arg;

    nqi_link_fail(link, NQ_REASON_TIMED_OUT,
                  link->self ? "no hello within 10 s" : "no answer to the hello within 10 s");
}

static void link_start_clock(struct nqi_link *link, int64_t ns)
{
    if (!link->clock &&
        nqi_timer_add(nqi_tlink_serial(link->tlink), link_on_clock, link, &link->clock))
        return; /* without memory for a clock the transport's own time-outs remain */
    nqi_timer_set(link->clock, nqi_now() + ns);
}

void nqi_link_settled(struct nqi_link *link)
{
    link_stop_clock(link);
}

static void link_shut_down(void *arg)
{
    struct nqi_link *link = arg;

    if (!nqi_tlink_shutdown(link->tlink))
        nqi_link_close(link);
}

void nqi_link_drain(struct nqi_link *link)
{
    if (link->state == LINK_DOWN || link->state == LINK_DRAINING)
        return;
    link->state = LINK_DRAINING;
    link_start_clock(link, NQI_DRAIN_NS);
    if (link->lossy)
        nqi_lossy_drain(link->lossy);
    else
        link_shut_down(link);
}

nq_err nqi_link_send(struct nqi_link *link, struct nqt_buf *const *bufs, uint32_t n,
                     uint32_t *taken)
{
    if (NQI_LIKELY(!link->lossy))
        return nqi_tlink_send(link->tlink, bufs, n, taken);
    nqi_lossy_send(link->lossy, bufs, n, taken);
    return NQ_OK;
}

bool nqi_link_copies(const struct nqi_link *link)
{
    return !link->lossy && nqi_tlink_copies(link->tlink);
}

bool nqi_link_send_bytes(struct nqi_link *link, const void *data, size_t len)
{
    return !link->lossy && nqi_tlink_send_bytes(link->tlink, data, len);
}

nq_err nqi_link_loan(struct nqi_link *link, size_t len, struct nqt_buf **ret)
{
    if (link->state != LINK_UP || link->lossy)
        return NQ_ERR_UNSUPPORTED;
    return nqi_tlink_loan(link->tlink, len, ret);
}

/* The other end is a peer, and no stranger that gets the least of everything. */
void nqi_link_rise(struct nqi_link *link)
{
    link->state = LINK_UP;
    if (link->lossy)
        nqi_lossy_trust(link->lossy);
}

/* A link that drains is read on, for its end. */
static nq_err link_received(const struct nqi_link *link, nq_err err)
{
    return link->state == LINK_DRAINING ? NQ_OK : err;
}

static nq_err link_receive(void *arg, const uint8_t *data, size_t len)
{
    struct nqi_link *link = arg;
    nq_err err;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    if (link->state == LINK_DRAINING)
        return NQ_OK;
    if (link->state == LINK_UP)
        return link_received(link, link->events->receive(link->arg, data, len));
    if (link->state == LINK_MOVING)
        err = nqi_fail(NQ_ERR_PROTO, "bytes before the welcome");
    else
        err = nqi_link_greet(link, data, len);
    if (err < 0 && link->state != LINK_DOWN)
        nqi_link_fail(link, err == NQ_ERR_PROTO ? NQ_REASON_PROTOCOL : NQ_REASON_NO_MEMORY,
                      nq_error());
    return err;
}

/* ---- the transport's events ------------------------------------------------------------- */

static void link_tell_writable(void *arg)
{
    struct nqi_link *link = arg;

    if (link->state == LINK_UP)
        link->events->writable(link->arg);
}

static const struct nqi_lossy_events link_lossy_events = {
    .receive = link_receive, .writable = link_tell_writable, .drained = link_shut_down};

static void link_on_up(void *arg)
{
    struct nqi_link *link = arg;

    if (!link->address[0])
        snprintf(link->address, sizeof(link->address), "%s", nqi_tlink_peer(link->tlink));
    if (nqi_tlink_caps(link->tlink) & NQT_CAP_LOSSY &&
        nqi_lossy_new(link->tlink, &link_lossy_events, link, &link->lossy)) {
        nqi_link_fail(link, NQ_REASON_NO_MEMORY, nq_error());
        return;
    }
    if (link->self) { /* the client speaks first */
        nqi_tlink_limit(link->tlink, NQI_GREETING_BYTES);
        link->state = LINK_HELLO;
        return;
    }
    nqi_link_rise(link);
    link->older = nqi_ep_wire(link->ep) == NQI_WIRE_OLDER;
    link_start_clock(link, NQI_GREETING_NS); /* for WELCOME, or ini */
    link->events->up(link->arg, link);
}

static void link_on_writable(void *arg)
{
    struct nqi_link *link = arg;

    if (link->state == LINK_DOWN)
        return;
    if (link->lossy)
        nqi_lossy_writable(link->lossy);
    else
        link_tell_writable(link);
}

static nq_err link_on_message(void *arg, struct nqt_buf *buf)
{
    struct nqi_link *link = arg;
    nq_err err = NQ_OK;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    if (link->lossy)
        return nqi_lossy_message(link->lossy, buf);
    for (uint32_t i = 0; i < buf->nseg && !err; i++)
        err = link_receive(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
    return err;
}

static nq_err link_on_space(void *arg, struct iovec *iov, uint32_t *niov)
{
    struct nqi_link *link = arg;
    unsigned char *room;
    uint32_t n = 0;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    link->body = link->state == LINK_UP ? link->events->space(link->arg, &room) : 0;
    if (link->body)
        iov[n++] = (struct iovec){.iov_base = room, .iov_len = link->body};
    link->staging_size = link->body || link->large ? LINK_STAGING_LITTLE : LINK_STAGING;
    link->staging = nqi_pool_alloc(link->staging_size);
    if (link->staging)
        iov[n++] = (struct iovec){.iov_base = link->staging, .iov_len = link->staging_size};
    link->large = link->body;
    *niov = n;
    return n ? NQ_OK : nqi_fail(NQ_ERR_NOMEM, "no memory to read into");
}

static nq_err link_on_commit(void *arg, size_t len)
{
    struct nqi_link *link = arg;
    size_t body = NQI_MIN(len, link->body);
    uint8_t *staging = NQI_STEAL(link->staging);
    nq_err err = NQ_OK;

    if (body)
        err = link_received(link, link->events->commit(link->arg, body));
    if (!err && len > body)
        err = link_receive(link, staging, len - body);
    nqi_pool_free(staging, link->staging_size);
    return err;
}

static nq_err link_on_give(void *arg, struct nqt_buf *buf)
{
    struct nqi_link *link = arg;
    nq_err err = NQ_OK;

    if (link->state == LINK_DOWN)
        return NQ_ERR_CLOSED;
    if (link->state == LINK_UP && link->events->give && buf->nseg == 1)
        return link_received(link, link->events->give(link->arg, buf));
    for (uint32_t i = 0; i < buf->nseg && !err; i++)
        err = link_receive(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
    return err;
}

static void link_on_down(void *arg, const struct nqt_error *err)
{
    nqi_link_fail(arg, nqi_link_reason(err), err->text);
}

static void link_on_closed(void *arg)
{
    struct nqi_link *link = arg;
    const struct nqi_link_events *events = link->events;
    void *owner = link->arg;

    link_stop_clock(link);
    link_free(link);
    events->closed(owner);
}

static const struct nqi_tlink_events link_tlink_events = {
    .up = link_on_up,
    .writable = link_on_writable,
    .message = link_on_message,
    .space = link_on_space,
    .commit = link_on_commit,
    .give = link_on_give,
    .receive = link_receive,
    .down = link_on_down,
    .closed = link_on_closed,
};

/* ---- making ----------------------------------------------------------------------------- */

static struct nqi_link *link_new(nqt_ep *ep, const struct nqi_hello *self,
                                 const struct nqi_link_events *events, void *arg)
{
    struct nqi_link *link = calloc(1, sizeof(*link));

    if (link && self) {
        link->greeting = nqi_pool_alloc(sizeof(*link->greeting));
        if (!link->greeting) {
            free(link);
            link = NULL;
        }
    }
    if (!link) {
        nqi_fail(NQ_ERR_NOMEM, "no memory for a link");
        return NULL;
    }
    if (self)
        link->greeting->filled = 0;
    link->self = self;
    nqi_list_init(&link->list);
    link->ep = ep;
    link->events = events;
    link->arg = arg;
    return link;
}

nq_err nqi_link_connect(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                        const struct nqi_link_events *events, void *arg, struct nqi_link **ret)
{
    struct nqi_link *link = link_new(ep, NULL, events, arg);
    nq_err err;

    if (!link)
        return NQ_ERR_NOMEM;
    err = nqi_tlink_connect(ep, strand, loop, &link_tlink_events, link, &link->tlink);
    if (err) {
        link_free(link);
        return err;
    }
    *ret = link;
    return NQ_OK;
}

nq_err nqi_link_accept(nqt_ep *ep, struct nqtp_link *plink, const char *address,
                       struct nqi_loop *loop, const struct nqi_hello *self,
                       const struct nqi_link_events *events, void *arg)
{
    struct nqi_link *link = link_new(ep, self, events, arg);
    struct nqi_strand *strand = nqi_strand_new();
    nq_err err = NQ_ERR_NOMEM;

    if (link && strand) {
        snprintf(link->address, sizeof(link->address), "%s", address);
        link->source = nqi_source_read(address);
        nqi_strand_enter_new(strand);
        err = nqi_tlink_accept(ep, plink, strand, loop, &link_tlink_events, link, &link->tlink);
        if (!err) {
            link_start_clock(link, NQI_GREETING_NS);
            events->opened(arg, link);
        }
        nqi_strand_leave(strand);
    }
    nqi_strand_unref(strand);
    if (err) {
        nqi_tlink_refuse(ep, plink);
        if (link)
            link_free(link);
    }
    return err;
}

/* Before WELCOME goes out, after which anything may come. */
void nqi_link_bind(struct nqi_link *link, const struct nqi_link_events *events, void *arg)
{
    nqi_tlink_limit(link->tlink, 0);
    link->events = events;
    link->arg = arg;
}

bool nqi_link_can_hold(const struct nqi_link *link)
{
    return nqi_tlink_caps(link->tlink) & NQT_CAP_RX_HOLD;
}

void nqi_link_hold(struct nqi_link *link, bool hold)
{
    nqi_tlink_hold(link->tlink, hold);
}

bool nqi_link_is_older(const struct nqi_link *link)
{
    return link->older;
}

bool nqi_link_identity(const struct nqi_link *link, nq_uuid *ret)
{
    return nqi_tlink_identity(link->tlink, ret);
}

bool nqi_link_may_be(const struct nqi_link *link, const nq_uuid *id)
{
    nq_uuid proven;

    return !nqi_tlink_identity(link->tlink, &proven) || nq_uuid_equal(&proven, id);
}

bool nqi_link_may_be_named(const struct nqi_link *link, const nq_uuid *id)
{
    nq_uuid named;

    return !nqi_tlink_named(link->tlink, &named) || nq_uuid_equal(&named, id);
}

bool nqi_link_is(const struct nqi_link *link, const nq_uuid *id)
{
    nq_uuid proven;

    return nqi_tlink_identity(link->tlink, &proven) && nq_uuid_equal(&proven, id);
}

nqt_ep *nqi_link_ep(const struct nqi_link *link)
{
    return link->ep;
}

const char *nqi_link_transport(const struct nqi_link *link)
{
    return nqi_transport_name(nqi_ep_core(link->ep));
}

const char *nqi_link_address(const struct nqi_link *link)
{
    return link->address;
}

const struct nqi_source *nqi_link_source(const struct nqi_link *link)
{
    return &link->source;
}

/* A broker reads and writes all that passes, however safe the way to it is. */
uint64_t nqi_link_features(const struct nqi_link *link)
{
    uint64_t caps = nqi_tlink_caps(link->tlink);

    if (caps & NQT_CAP_LOCAL_ONLY)
        return NQI_FEATURE_SAFE;
    return caps & NQT_CAP_CONFIDENTIAL && !(caps & NQT_CAP_BROKERED) ? NQI_FEATURE_SAFE : 0;
}

struct nqi_list *nqi_link_list(struct nqi_link *link)
{
    return &link->list;
}

struct nqi_link *nqi_link_of_list(struct nqi_list *list)
{
    return NQI_CONTAINER(list, struct nqi_link, list);
}

struct nqi_serial *nqi_link_serial(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink);
}

struct nqi_strand *nqi_link_strand(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink)->strand;
}

struct nqi_loop *nqi_link_loop(struct nqi_link *link)
{
    return nqi_tlink_serial(link->tlink)->loop;
}
