/* Links over the slots of a module: a client's, which it connects, and a server's, which it takes
 * from an endpoint.  A link is released after its last event, and not before it was closed. */
#include "core/transport_inside.h"

#include "core/err.h"
#include "core/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TLINK_REST (10 * NQI_NS_PER_S) /* where the next try fails like the last one */
#define TLINK_REST_MOST (3600 * NQI_NS_PER_S)

static int tlink_poll(void *arg)
{
    nqt_link *link = arg;

    return link->ep->core->module->ops->rx_poll(link->plug);
}

static int tlink_arm(void *arg, int on)
{
    nqt_link *link = arg;

    return link->ep->core->module->ops->rx_arm(link->plug, on);
}

/* A client's link is all that its endpoint has; a server's come and go. */
static void tlink_see(nqt_link *link, nq_health_state state, const char *text)
{
    if (!link->ep->listen)
        nqi_ep_health_seen(link->ep, state, text);
}

/* A client's endpoint failed, and is left in peace for a while where its transport says so. */
static void tlink_rest(const nqt_link *link, const struct nqt_error *err)
{
    int64_t pause = NQI_MIN((int64_t)err->retry_ms * NQI_NS_PER_MS, TLINK_REST_MOST);

    if (err->code == NQT_E_CONFIG || err->code == NQT_E_AUTH)
        pause = NQI_MAX(pause, TLINK_REST);
    if (!link->ep->listen)
        link->ep->rests_until = pause ? nqi_now() + pause : 0;
}

static void tlink_finish(struct nqi_work *work);

static nqt_link *tlink_new(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                           const struct nqi_tlink_events *events, void *arg)
{
    const struct nqt_ops *ops = ep->core->module->ops;
    nqt_link *link = calloc(1, sizeof(*link));

    if (!link) {
        nqi_fail(NQ_ERR_NOMEM, "no memory for a link");
        return NULL;
    }
    link->serial.strand = nqi_strand_ref(strand);
    link->serial.loop = loop;
    link->ep = ep;
    link->events = events;
    link->arg = arg;
    link->end.run = tlink_finish;
    link->send_bytes = NQT_HAS(struct nqt_ops, ops, send_bytes) ? ops->send_bytes : NULL;
    if (NQT_HAS(struct nqt_ops, ops, rx_poll) && NQT_HAS(struct nqt_ops, ops, rx_arm))
        link->hot =
            (struct nqi_hot){.poll = tlink_poll, .arm = tlink_arm, .arg = link, .strand = strand};
    return link;
}

static void tlink_free(nqt_link *link)
{
    struct nqi_strand *strand = link->serial.strand;

    nqi_hot_del(nqi_loop_hot(link->serial.loop), &link->hot);
    nqi_cut_fini(link);
    free(link);
    nqi_strand_unref(strand);
}

/* The last event. */
static void tlink_finish(struct nqi_work *work)
{
    nqt_link *link = NQI_CONTAINER(work, nqt_link, end);
    const struct nqi_tlink_events *events = link->events;
    void *arg = link->arg;

    tlink_free(link);
    events->closed(arg);
}

void nqi_tlink_end(nqt_link *link, int code, const char *text)
{
    struct nqt_error err = {.size = sizeof(err), .code = code};
    struct nqt_event event = {
        .size = sizeof(event), .kind = NQT_EV_LINK_DOWN, .ep = link->ep, .link = link, .err = &err};

    snprintf(err.text, sizeof(err.text), "%s", text);
    nqi_transport_host.emit(link->ep->core, &event, 1);
}

void nqi_tlink_breach(nqt_link *link, const char *rule)
{
    char text[216];

    snprintf(text, sizeof(text), "transport %s breaks the contract: %s",
             link->ep->core->module->name, rule);
    nqi_log(NQ_LOG_ERROR, "%s", text);
    nqi_tlink_end(link, NQT_E_INVAL, text);
}

/* The module has answered.  A link that it refused never was. */
static nq_err tlink_begin(nqt_link *link, int rc, const struct nqt_error *err, nqt_link **ret)
{
    const char *name = link->ep->core->module->name;

    if (rc < 0) {
        nqi_requests_cancel(&link->serial);
        tlink_free(link);
        return nqi_transport_err(name, rc, err);
    }
    *ret = link;
    return NQ_OK;
}

nq_err nqi_tlink_connect(nqt_ep *ep, struct nqi_strand *strand, struct nqi_loop *loop,
                         const struct nqi_tlink_events *events, void *arg, nqt_link **ret)
{
    nqt_link *link = tlink_new(ep, strand, loop, events, arg);
    struct nqt_error err = {.size = sizeof(err)};
    int rc;

    if (!link)
        return NQ_ERR_NOMEM;
    tlink_see(link, NQ_HEALTH_CONNECTING, NULL);
    rc = ep->core->module->ops->connect(ep->plug, link, (nqt_serial *)&link->serial, &link->plug,
                                        &err);
    if (rc < 0) {
        err.code = rc;
        tlink_see(link, NQ_HEALTH_FAILING, err.text);
        tlink_rest(link, &err);
    }
    return tlink_begin(link, rc, &err, ret);
}

nq_err nqi_tlink_accept(nqt_ep *ep, struct nqtp_link *plink, struct nqi_strand *strand,
                        struct nqi_loop *loop, const struct nqi_tlink_events *events, void *arg,
                        nqt_link **ret)
{
    nqt_link *link = tlink_new(ep, strand, loop, events, arg);
    struct nqt_error err = {.size = sizeof(err)};
    int rc;

    if (!link)
        return NQ_ERR_NOMEM;
    link->plug = plink;
    rc = ep->core->module->ops->attach(plink, link, (nqt_serial *)&link->serial);
    return tlink_begin(link, rc, &err, ret);
}

void nqi_tlink_refuse(nqt_ep *ep, struct nqtp_link *plink)
{
    ep->core->module->ops->close(plink);
}

nq_err nqi_tlink_hand_over(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken)
{
    int rc = NQT_E_LOST;

    *taken = 0;
    if (link->up)
        rc = link->ep->core->module->ops->send(link->plug, bufs, n, 0, taken);
    if (*taken > n) {
        nqi_tlink_breach(link, "send() took more buffers than it was given");
        *taken = n;
        rc = NQT_E_INVAL;
    }
    return rc < 0 ? NQ_ERR_LINK : NQ_OK;
}

nq_err nqi_tlink_send(nqt_link *link, struct nqt_buf *const *bufs, uint32_t n, uint32_t *taken)
{
    nq_err err;

    *taken = 0;
    err = NQI_UNLIKELY(link->cuts) ? nqi_cut_send(link, bufs, n, taken)
                                   : nqi_tlink_hand_over(link, bufs, n, taken);
    for (uint32_t i = *taken; i < n; i++)
        bufs[i]->ops->unref(bufs[i]);
    return err;
}

bool nqi_tlink_copies(const nqt_link *link)
{
    return link->send_bytes;
}

bool nqi_tlink_send_bytes(nqt_link *link, const void *data, size_t len)
{
    return link->send_bytes && link->up && link->send_bytes(link->plug, data, len) > 0;
}

/* As the contract of loan() has it. */
static bool tlink_is_loan(const struct nqt_buf *buf, size_t len)
{
    return buf->nseg == 1 && buf->seg[0].iov_len == len &&
           (uintptr_t)buf->seg[0].iov_base % NQI_CACHE_LINE == 0;
}

nq_err nqi_tlink_loan(nqt_link *link, size_t len, struct nqt_buf **ret)
{
    const struct nqt_ops *ops = link->ep->core->module->ops;
    struct nqt_buf *buf = NULL;
    int rc;

    if (!link->up || !NQT_HAS(struct nqt_ops, ops, loan))
        return NQ_ERR_UNSUPPORTED;
    rc = ops->loan(link->plug, len, &buf);
    if (rc < 0)
        return rc == NQT_E_NOMEM ? NQ_AGAIN : NQ_ERR_UNSUPPORTED;
    if (tlink_is_loan(buf, len)) {
        *ret = buf;
        return NQ_OK;
    }
    buf->ops->unref(buf);
    nqi_tlink_breach(link, "loan() of another length, of several segments, or not aligned");
    return NQ_ERR_UNSUPPORTED;
}

void nqi_tlink_hold(nqt_link *link, bool hold)
{
    const struct nqt_ops *ops = link->ep->core->module->ops;

    if (link->up && NQT_HAS(struct nqt_ops, ops, rx_hold))
        ops->rx_hold(link->plug, hold);
}

void nqi_tlink_limit(nqt_link *link, size_t len)
{
    const struct nqt_ops *ops = link->ep->core->module->ops;

    if (link->up && NQT_HAS(struct nqt_ops, ops, rx_limit))
        ops->rx_limit(link->plug, len);
}

bool nqi_tlink_shutdown(nqt_link *link)
{
    const struct nqt_ops *ops = link->ep->core->module->ops;

    if (!link->up || !NQT_HAS(struct nqt_ops, ops, shutdown))
        return false;
    link->cut.shut = link->cut.rest;
    return link->cut.shut || ops->shutdown(link->plug) >= 0;
}

void nqi_tlink_close(nqt_link *link)
{
    if (link->closing)
        return;
    if (link->up)
        tlink_see(link, NQ_HEALTH_IDLE, NULL);
    link->closing = true;
    link->up = false;
    nqi_hot_del(nqi_loop_hot(link->serial.loop), &link->hot);
    nqi_requests_cancel(&link->serial);
    if (link->gone)
        nqi_strand_run(link->serial.strand, &link->end);
    else
        link->ep->core->module->ops->close(link->plug);
}

static struct nqt_info tlink_info(const nqt_link *link)
{
    struct nqt_info info = {.size = sizeof(info)};

    if (!link->up || link->ep->core->module->ops->info(link->plug, &info) < 0)
        info = (struct nqt_info){.size = sizeof(info)};
    return info;
}

const char *nqi_tlink_peer(const nqt_link *link)
{
    struct nqt_info info = tlink_info(link);

    return info.peer ? info.peer : "";
}

uint64_t nqi_tlink_caps(const nqt_link *link)
{
    return tlink_info(link).caps;
}

static bool tlink_read_identity(const nqt_link *link, bool proven, nq_uuid *ret)
{
    static const char urn[] = "urn:uuid:";
    struct nqt_info info = tlink_info(link);

    if (!(info.caps & NQT_CAP_PEER_IDENTITY) == proven || !info.peer_identity)
        return false;
    if (strncmp(info.peer_identity, urn, sizeof(urn) - 1) != 0 ||
        nq_uuid_parse(info.peer_identity + sizeof(urn) - 1, ret))
        *ret = (nq_uuid){0}; /* nobody that there could be */
    return true;
}

bool nqi_tlink_identity(const nqt_link *link, nq_uuid *ret)
{
    return tlink_read_identity(link, true, ret);
}

bool nqi_tlink_named(const nqt_link *link, nq_uuid *ret)
{
    return tlink_read_identity(link, false, ret);
}

uint64_t nqi_tlink_max_message(const nqt_link *link)
{
    return tlink_info(link).max_message;
}

struct nqi_serial *nqi_tlink_serial(nqt_link *link)
{
    return &link->serial;
}

void nqi_tlink_touch(nqt_link *link)
{
    nqi_hot_touch(nqi_loop_hot(link->serial.loop), &link->hot);
}

/* ---- events of links -------------------------------------------------------------------- */

static void tlink_down(nqt_link *link, const struct nqt_error *err)
{
    if (link->down || link->closing)
        return;
    tlink_see(link, err && err->code == NQT_E_EOF ? NQ_HEALTH_IDLE : NQ_HEALTH_FAILING,
              err ? err->text : NULL);
    if (err)
        tlink_rest(link, err);
    link->down = true;
    link->up = false;
    nqi_hot_del(nqi_loop_hot(link->serial.loop), &link->hot);
    link->events->down(link->arg, err);
}

static void tlink_message(nqt_link *link, const struct nqt_event *event)
{
    nq_err err = NQ_OK;

    for (uint32_t i = 0; i < event->nbuf; i++) {
        struct nqt_buf *buf = event->buf[i];

        if (link->up && !err)
            err = link->events->message(link->arg, buf);
        buf->ops->unref(buf);
    }
    nqi_tlink_touch(link);
}

static void tlink_up(nqt_link *link)
{
    struct nqt_info info;

    if (link->closing)
        return;
    if (link->up || link->down) {
        nqi_tlink_breach(link, "LINK_UP twice");
        return;
    }
    link->up = true;
    info = tlink_info(link);
    nqi_cut_init(link, &info);
    tlink_see(link, NQ_HEALTH_READY, info.peer ? info.peer : "");
    link->events->up(link->arg);
}

/* LINK_CLOSED.  Before close() the owner still has the link: it is told to let go. */
static void tlink_closed(nqt_link *link)
{
    if (link->closing) {
        tlink_finish(&link->end);
        return;
    }
    link->gone = true;
    link->up = false;
    nqi_tlink_breach(link, "LINK_CLOSED without close()");
}

void nqi_tlink_on_event(nqt_link *link, const struct nqt_event *event)
{
    switch (event->kind) {
    case NQT_EV_LINK_UP:
        tlink_up(link);
        break;
    case NQT_EV_WRITABLE:
        if (link->up && (!link->cuts || nqi_cut_writable(link)))
            link->events->writable(link->arg);
        break;
    case NQT_EV_RX:
        tlink_message(link, event);
        break;
    case NQT_EV_LINK_DOWN:
        tlink_down(link, event->err);
        break;
    case NQT_EV_LINK_CLOSED:
        tlink_closed(link);
        break;
    default:
        nqi_tlink_breach(link, "an event that a link does not have");
    }
}
