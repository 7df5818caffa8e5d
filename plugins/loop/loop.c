/* loop: queues of one process, joined without the system's help.
 *
 * It is there for tests: of the core without sockets, and of the MESSAGE half of the transport
 * interface.  Servers stand in a registry of the process, under their option `name`. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "loop.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct {
    pthread_mutex_t mtx; /* a leaf but for mem(), post() and emit(), and a pair's mutex */
    struct nqtp_ep *servers;
} registry = {.mtx = PTHREAD_MUTEX_INITIALIZER};

/* ---- options ---------------------------------------------------------------------------- */

#define LOOP_OPTIONS 2u
static const struct nqt_opt loop_opt_table[LOOP_OPTIONS] = {
    {.name = "name",
     .def = "default",
     .type = NQT_OPT_STR,
     .help = "What a server and its clients call each other by, within one process"},
    {.name = "slots",
     .def = "64",
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 65536,
     .help = "Buffers that may wait for a link; a sender that finds no room waits"},
};

static int loop_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct loop_opts *out,
                          struct nqt_error *err)
{
    int64_t slots = 0;
    const struct nqt_number number = {"slots", &slots};
    int rc = nqt_cfg_text(host, cfg, "name", true, out->name, sizeof(out->name), err);

    if (!rc)
        rc = nqt_cfg_numbers(host, cfg, &number, 1, err);
    if (rc)
        return rc;
    out->slots = (uint32_t)slots;
    return NQT_OK;
}

static int loop_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                      struct nqt_error *err)
{
    struct loop_opts opts;

    (void)core;
    return loop_opts_read(host, cfg, &opts, err);
}

/* ---- the registry ----------------------------------------------------------------------- */

/* Under the registry's mutex: where the server of that name is linked, or NULL there. */
static struct nqtp_ep **registry_find(const char *name)
{
    struct nqtp_ep **at = &registry.servers;

    while (*at && strcmp((*at)->opts.name, name) != 0)
        at = &(*at)->next;
    return at;
}

static bool registry_add(struct nqtp_ep *ep)
{
    struct nqtp_ep **at;
    bool free_name;

    pthread_mutex_lock(&registry.mtx);
    at = registry_find(ep->opts.name);
    free_name = !*at;
    if (free_name)
        *at = ep;
    pthread_mutex_unlock(&registry.mtx);
    return free_name;
}

static void registry_remove(struct nqtp_ep *ep)
{
    struct nqtp_ep **at;

    pthread_mutex_lock(&registry.mtx);
    at = registry_find(ep->opts.name);
    if (*at == ep)
        *at = ep->next;
    pthread_mutex_unlock(&registry.mtx);
}

bool loop_with_server(const char *name, int (*fn)(struct nqtp_ep *server, void *arg), void *arg,
                      int *ret)
{
    struct nqtp_ep *server;

    pthread_mutex_lock(&registry.mtx);
    server = *registry_find(name);
    if (server)
        *ret = fn(server, arg);
    pthread_mutex_unlock(&registry.mtx);
    return server;
}

/* ---- endpoints -------------------------------------------------------------------------- */

void loop_ep_ref(struct nqtp_ep *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

void loop_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The memory first: mod_close() may follow the event at once. */
    nqt_free(mod->host, mod->core, ep);
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

static int loop_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                        int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    char name[LOOP_TEXT_MAX];
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen != 0;
    atomic_init(&ep->refs, 1);
    rc = loop_opts_read(mod->host, cfg, &ep->opts, err);
    if (!rc && listen && !registry_add(ep))
        rc =
            nqt_fail_native(err, NQT_E_SYS, "errno", EADDRINUSE,
                            "listen on loop:%s: the name is in use in this process", ep->opts.name);
    if (rc) {
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    snprintf(name, sizeof(name), "loop:%s", ep->opts.name);
    (void)NQT_EMIT_EP(ep, NQT_EV_EP_UP, .peer_name = listen ? name : NULL);
    *out = ep;
    return NQT_OK;
}

static void loop_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    if (ep->listen)
        registry_remove(ep);
    loop_ep_unref(ep);
}

/* ---- the module ------------------------------------------------------------------------- */

static int loop_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport loop");
    *mod = (struct nqtp_mod){.host = host, .core = core};
    *out = mod;
    return NQT_OK;
}

static void loop_mod_close(struct nqtp_mod *mod)
{
    nqt_free(mod->host, mod->core, mod);
}

static const struct nqt_ops loop_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = loop_mod_open,
    .mod_close = loop_mod_close,
    .check = loop_check,
    .ep_open = loop_ep_open,
    .ep_close = loop_ep_close,
    .connect = loop_connect,
    .attach = loop_attach,
    .send = loop_send,
    .rx_hold = loop_rx_hold,
    .shutdown = loop_shutdown,
    .close = loop_close,
    .info = loop_info,
    .ext = nqt_no_ext,
};

NQT_MODULE(loop) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_LOOP,
    .nopt = LOOP_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = LOOP_CAPS,
    .name = "loop",
    .version = "0.1.0",
    .wire = "loop",
    .license = "MIT",
    .summary = "Queues of one process, for tests",
    .opt = loop_opt_table,
    .ops = &loop_ops,
};
