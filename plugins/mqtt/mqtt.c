/* mqtt: queues over an MQTT broker, with Eclipse paho's asynchronous client.  README.md has the
 * topics, the records and the states. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mqtt.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

uint64_t mqtt_random(void)
{
    static _Atomic uint64_t count;
    struct timespec now;
    uint64_t value;

    if (getrandom(&value, sizeof(value), 0) == (ssize_t)sizeof(value) && value)
        return value;
    /* Names must differ, they need not be secret. */
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec << 32 ^ (uint64_t)now.tv_nsec) + atomic_fetch_add(&count, 1) + 1;
}

/* ---- endpoints -------------------------------------------------------------------------- */

void mqtt_ep_ref(struct nqtp_ep *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

static void ep_free(struct nqtp_ep *ep)
{
    pthread_cond_destroy(&ep->cond);
    pthread_mutex_destroy(&ep->mtx);
    explicit_bzero(ep->opts.password, sizeof(ep->opts.password));
    nqt_free(ep->mod->host, ep->mod->core, ep);
}

void mqtt_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The memory first: mod_close() may follow the event at once. */
    ep_free(ep);
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

static void ep_init_waiting(struct nqtp_ep *ep)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&ep->mtx, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ep->cond, &attr);
    pthread_condattr_destroy(&attr);
}

static void ep_name(struct nqtp_ep *ep)
{
    ep->id = mqtt_random();
    snprintf(ep->place, sizeof(ep->place), "mqtt:%s:%u/%s", ep->opts.host, ep->opts.port,
             ep->opts.server);
    mqtt_topic(ep->own_topic, ep->opts.server, ep->listen ? "in" : "out", ep->id);
    snprintf(ep->server_topic, sizeof(ep->server_topic), "nq1/%s/server", ep->opts.server);
}

static int mqtt_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                        int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    bool fine = true;
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    atomic_init(&ep->refs, 1);
    ep_init_waiting(ep);
    rc = mqtt_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc) {
        ep_name(ep);
        pthread_mutex_lock(&ep->mtx);
        fine = !listen || mqtt_broker_want(ep);
        pthread_mutex_unlock(&ep->mtx);
    }
    if (!fine)
        rc = nqt_fail_native(err, NQT_E_SYS, "errno", EAGAIN, "%s: no thread for the broker",
                             ep->place);
    if (rc) {
        ep_free(ep);
        return rc;
    }
    if (!listen) /* a server's is up when its broker is */
        (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP);
    *out = ep;
    return NQT_OK;
}

static void mqtt_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    pthread_mutex_lock(&ep->mtx);
    ep->closing = true;
    pthread_cond_broadcast(&ep->cond);
    pthread_mutex_unlock(&ep->mtx);
    mqtt_ep_unref(ep);
}

/* ---- the module ------------------------------------------------------------------------- */

static int mqtt_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport mqtt");
    *mod = (struct nqtp_mod){.host = host, .core = core};
    *out = mod;
    return NQT_OK;
}

static void mqtt_mod_close(struct nqtp_mod *mod)
{
    nqt_free(mod->host, mod->core, mod);
}

static int mqtt_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                      struct nqt_error *err)
{
    struct mqtt_opts opts;
    int rc;

    (void)core;
    memset(&opts, 0, sizeof(opts));
    rc = mqtt_opts_read(host, cfg, &opts, err);
    explicit_bzero(opts.password, sizeof(opts.password));
    return rc;
}

static const struct nqt_ops mqtt_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = mqtt_mod_open,
    .mod_close = mqtt_mod_close,
    .check = mqtt_check,
    .ep_open = mqtt_ep_open,
    .ep_close = mqtt_ep_close,
    .connect = mqtt_connect,
    .attach = mqtt_attach,
    .send = mqtt_send,
    .rx_hold = mqtt_rx_hold,
    .shutdown = mqtt_shutdown,
    .close = mqtt_close,
    .info = mqtt_info,
    .ext = nqt_no_ext,
    .rx_limit = mqtt_rx_limit,
};

NQT_MODULE(mqtt) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_OWN,
    .nopt = MQTT_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = MQTT_CAPS | NQT_CAP_PLAIN,
    .name = "mqtt",
    .version = "0.1.0",
    .wire = "nq1",
    .license = "MIT",
    .summary = "Through an MQTT broker, 5 or 3.1.1",
    .opt = mqtt_opt_table,
    .ops = &mqtt_ops,
};
