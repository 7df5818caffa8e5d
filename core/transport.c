/* Modules and endpoints over the slots of a module.  Links are in transport_link.c, what plugins
 * call back in transport_host.c. */
#include "core/transport_inside.h"

#include "core/err.h"
#include "core/log.h"
#include "core/options.h"
#include <stdlib.h>

/* ---- errors of plugins -> ours ---------------------------------------------------------- */

nq_err nqi_transport_err(const char *name, int rc, const struct nqt_error *err)
{
    static const nq_err map[] = {
        [-NQT_E_NOMEM] = NQ_ERR_NOMEM,      [-NQT_E_CONFIG] = NQ_ERR_CONFIG,
        [-NQT_E_SYS] = NQ_ERR_SYS,          [-NQT_E_REFUSED] = NQ_ERR_LINK,
        [-NQT_E_UNREACHABLE] = NQ_ERR_LINK, [-NQT_E_LOST] = NQ_ERR_LINK,
        [-NQT_E_EOF] = NQ_ERR_LINK,         [-NQT_E_PROTOCOL] = NQ_ERR_PROTO,
        [-NQT_E_AUTH] = NQ_ERR_LINK,        [-NQT_E_UNSUPPORTED] = NQ_ERR_UNSUPPORTED,
        [-NQT_E_CLOSED] = NQ_ERR_CLOSED,    [-NQT_E_INVAL] = NQ_ERR_PLUGIN,
    };
    nq_err ours = rc < 0 && (size_t)-rc < NQI_LEN(map) ? map[-rc] : NQ_ERR_PLUGIN;

    return nqi_fail(ours, "transport %s: %.*s", name, (int)sizeof(err->text),
                    err->text[0] ? err->text : nq_strerror(ours));
}

const char *nqi_transport_name(const nqt_core *core)
{
    return core->module->name;
}

uint64_t nqi_transport_count(const nqt_core *core, uint32_t id)
{
    return id < NQI_LEN(core->counts)
               ? (uint64_t)atomic_load_explicit(&core->counts[id], memory_order_relaxed)
               : 0;
}

/* ---- modules ---------------------------------------------------------------------------- */

/* Rules between options, before any endpoint. */
static int transport_check(nqt_core *core, struct nqt_error *err)
{
    const struct nqt_ops *ops = core->module->ops;

    return NQT_HAS(struct nqt_ops, ops, check)
               ? ops->check(&nqi_transport_host, core, (nqt_cfg *)core->options, err)
               : NQT_OK;
}

static void transport_free(nqt_core *core)
{
    pthread_mutex_destroy(&core->log_lock);
    free(core);
}

static nq_err transport_new(const struct nqt_module *module, struct nqi_options *options,
                            nqt_core **ret)
{
    nqt_core *core = calloc(1, sizeof(*core));

    if (!core)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for transport %s", module->name);
    core->module = module;
    core->options = options;
    pthread_mutex_init(&core->log_lock, NULL);
    *ret = core;
    return NQ_OK;
}

nq_err nqi_transport_check(const struct nqt_module *module, struct nqi_options *options)
{
    struct nqt_error err = {.size = sizeof(err)};
    nqt_core *core = NULL;
    nq_err failed = transport_new(module, options, &core);
    int rc;

    if (failed)
        return failed;
    rc = transport_check(core, &err);
    transport_free(core);
    return rc < 0 ? nqi_transport_err(module->name, rc, &err) : NQ_OK;
}

nq_err nqi_transport_open(const struct nqt_module *module, struct nqi_options *options,
                          nqt_core **ret)
{
    struct nqt_error err = {.size = sizeof(err)};
    nqt_core *core = NULL;
    nq_err failed = transport_new(module, options, &core);
    int rc;

    if (failed)
        return failed;
    rc = module->ops->mod_open(&nqi_transport_host, core, &core->mod, &err);
    if (rc < 0) {
        transport_free(core);
        return nqi_transport_err(module->name, rc, &err);
    }
    rc = transport_check(core, &err);
    if (rc < 0) {
        nqi_transport_close(core);
        return nqi_transport_err(module->name, rc, &err);
    }
    *ret = core;
    return NQ_OK;
}

void nqi_transport_close(nqt_core *core)
{
    if (!core)
        return;
    core->module->ops->mod_close(core->mod);
    transport_free(core);
}

/* ---- endpoints -------------------------------------------------------------------------- */

static void ep_free(nqt_ep *ep)
{
    nqi_ep_health_fini(ep);
    nqi_strand_unref(ep->serial.strand);
    free(ep);
}

static void ep_poll(void *arg, int64_t timeout_ns)
{
    nqt_ep *ep = arg;

    (void)ep->core->module->ops->poll(ep->plug, timeout_ns == NQI_NEVER ? -1 : timeout_ns);
}

static void ep_poll_wake(void *arg)
{
    nqt_ep *ep = arg;

    ep->core->module->ops->poll_wake(ep->plug);
}

/* The endpoint is where its loop sleeps. */
static void ep_offer_sleep(nqt_ep *ep)
{
    const struct nqt_ops *ops = ep->core->module->ops;
    const struct nqi_poller poller = {.poll = ep_poll, .wake = ep_poll_wake, .arg = ep};

    if (NQT_HAS(struct nqt_ops, ops, poll) && NQT_HAS(struct nqt_ops, ops, poll_wake))
        nqi_loop_set_poller(ep->serial.loop, &poller);
}

nq_err nqi_ep_open(nqt_core *core, struct nqi_loop *loop, bool listen,
                   const struct nqi_ep_events *events, void *arg, nqt_ep **ret)
{
    struct nqt_error err = {.size = sizeof(err)};
    nqt_ep *ep = calloc(1, sizeof(*ep));
    struct nqi_strand *strand = nqi_strand_new();
    int rc;

    if (!ep || !strand) {
        free(ep);
        nqi_strand_unref(strand);
        return nqi_fail(NQ_ERR_NOMEM, "no memory for an endpoint");
    }
    ep->serial.strand = strand;
    ep->serial.loop = loop;
    ep->core = core;
    ep->listen = listen;
    nqi_ep_health_init(ep);
    ep->events = events;
    ep->arg = arg;
    *ret = ep; /* events may come before the slot's result is looked at */
    nqi_strand_enter_new(strand);
    rc = core->module->ops->ep_open(core->mod, ep, (nqt_serial *)&ep->serial,
                                    (nqt_cfg *)core->options, listen, &ep->plug, &err);
    if (rc < 0)
        nqi_requests_cancel(&ep->serial);
    else
        ep_offer_sleep(ep);
    nqi_strand_ref(strand);
    nqi_strand_leave(strand);
    nqi_strand_unref(strand);
    if (rc >= 0)
        return NQ_OK;
    *ret = NULL;
    ep_free(ep);
    return nqi_transport_err(core->module->name, rc, &err);
}

void *nqi_ep_owner(const nqt_ep *ep)
{
    return ep->arg;
}

enum nqi_wire nqi_ep_wire(const nqt_ep *ep)
{
    return nqi_options_wire(ep->core->options);
}

int64_t nqi_ep_rests_until(const nqt_ep *ep)
{
    return ep->rests_until;
}

nqt_core *nqi_ep_core(const nqt_ep *ep)
{
    return ep->core;
}

static void ep_run_close(void *arg)
{
    nqt_ep *ep = arg;

    if (!nqi_loop_drop_poller(ep->serial.loop, ep)) {
        nqi_ep_close(ep); /* again, when whoever sleeps there came back */
        return;
    }
    nqi_requests_cancel(&ep->serial);
    ep->core->module->ops->ep_close(ep->plug);
}

void nqi_ep_close(nqt_ep *ep)
{
    nqi_post_in(&ep->serial, &ep->closing, ep_run_close, ep);
}

void nqi_ep_on_event(nqt_ep *ep, const struct nqt_event *event)
{
    void *arg = ep->arg;

    switch (event->kind) {
    case NQT_EV_EP_UP:
        if (ep->listen) /* a client's says nothing of the way there */
            nqi_ep_health_seen(ep, NQ_HEALTH_READY, event->peer_name);
        ep->events->up(arg, event->peer_name ? event->peer_name : "");
        break;
    case NQT_EV_EP_DOWN:
        nqi_ep_health_seen(ep, NQ_HEALTH_FAILING, event->err ? event->err->text : NULL);
        ep->events->down(arg, event->err);
        break;
    case NQT_EV_ACCEPT:
        ep->events->accepted(arg, event->plink, event->peer_name ? event->peer_name : "");
        break;
    case NQT_EV_EP_CLOSED: {
        const struct nqi_ep_events *events = ep->events;

        ep_free(ep);
        events->closed(arg);
        break;
    }
    default:
        nqi_log(NQ_LOG_ERROR, "transport %s breaks the contract: event %u without a link",
                ep->core->module->name, event->kind);
    }
}
