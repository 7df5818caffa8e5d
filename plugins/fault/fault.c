/* fault: another transport, with faults on the way.
 *
 * This file holds the table, the module and endpoints; see fault.h for the rest.  Relies on the
 * host's cfg_inner for the inner module and its options, and starts no thread itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"

int64_t fault_now(const struct nqtp_link *link)
{
    const struct nqtp_mod *mod = link->ep->mod;

    return mod->host->now_ns(mod->core);
}

/* ---- the inner modules ------------------------------------------------------------------ */

/* Under mod->mtx. */
static int use_open(struct nqtp_mod *mod, const struct nqt_module *module, struct fault_use **out,
                    struct nqt_error *err)
{
    struct fault_use *use = nqt_alloc(mod->host, mod->core, sizeof(*use));
    struct nqtp_mod *inner = NULL;
    int rc;

    if (!use)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport %s", module->name);
    use->table = fault_host_table(mod->host);
    use->mod = mod;
    use->module = module;
    rc = module->ops->mod_open(&use->table, (nqt_core *)use, &inner, err);
    if (rc) {
        nqt_free(mod->host, mod->core, use);
        return rc;
    }
    use->inner = inner;
    use->next = mod->uses;
    mod->uses = use;
    *out = use;
    return NQT_OK;
}

/* One for each inner module; it stays until mod_close. */
static int use_get(struct nqtp_mod *mod, const struct nqt_module *module, struct fault_use **out,
                   struct nqt_error *err)
{
    struct fault_use *use;
    int rc = NQT_OK;

    pthread_mutex_lock(&mod->mtx);
    for (use = mod->uses; use && use->module != module;)
        use = use->next;
    if (use)
        *out = use;
    else
        rc = use_open(mod, module, out, err);
    pthread_mutex_unlock(&mod->mtx);
    return rc;
}

/* ---- endpoints -------------------------------------------------------------------------- */

void fault_ep_ref(struct nqtp_ep *ep)
{
    atomic_fetch_add_explicit(&ep->refs, 1, memory_order_relaxed);
}

void fault_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    nqt_ep *cookie = ep->cookie;

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The memory first: mod_close() may follow the event at once. */
    nqt_free(mod->host, mod->core, atomic_load(&ep->spare));
    nqt_free(mod->host, mod->core, ep);
    nqt_emit_ep_closed(mod->host, mod->core, cookie);
}

/* A link of its own for an ACCEPT that finds no memory: it is not counted, and holds no
 * reference. */
static bool ep_spare(struct nqtp_ep *ep)
{
    struct nqtp_link *spare = nqt_alloc(ep->mod->host, ep->mod->core, sizeof(*spare));

    atomic_store(&ep->spare, spare);
    return spare;
}

static int ep_open_inner(struct nqtp_ep *ep, nqt_cfg *cfg, int listen, struct nqt_error *err)
{
    struct nqtp_ep *inner = NULL;
    int rc;

    if (listen && !ep_spare(ep))
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    rc = ep->ops->ep_open(ep->use->inner, (nqt_ep *)ep, ep->serial, cfg, listen, &inner, err);
    ep->inner = inner;
    return rc;
}

static int fault_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                         int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqt_alloc(mod->host, mod->core, sizeof(*ep));
    const struct nqt_module *module = NULL;
    nqt_cfg *inner_cfg = NULL;
    int rc;

    if (!ep)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    atomic_init(&ep->refs, 1);
    rc = fault_opts_read(mod->host, cfg, &ep->opts, &module, &inner_cfg, err);
    if (!rc)
        rc = use_get(mod, module, &ep->use, err);
    if (!rc) {
        ep->ops = module->ops;
        ep->message = module->caps & NQT_CAP_MESSAGE;
        ep->lossy = ep->opts.drop || ep->opts.duplicate || ep->opts.reorder;
        ep->active = fault_opts_active(&ep->opts);
        rc = ep_open_inner(ep, inner_cfg, listen, err);
    }
    if (rc) {
        nqt_free(mod->host, mod->core, atomic_load(&ep->spare));
        nqt_free(mod->host, mod->core, ep);
        return rc;
    }
    *out = ep;
    return NQT_OK;
}

static void fault_ep_close(struct nqtp_ep *ep)
{
    ep->ops->ep_close(ep->inner);
}

/* ---- the module ------------------------------------------------------------------------- */

static int fault_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                          struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport fault");
    *mod = (struct nqtp_mod){.host = host, .core = core};
    pthread_mutex_init(&mod->mtx, NULL);
    *out = mod;
    return NQT_OK;
}

static void fault_mod_close(struct nqtp_mod *mod)
{
    struct fault_use *use;

    while ((use = mod->uses)) {
        mod->uses = use->next;
        use->module->ops->mod_close(use->inner);
        nqt_free(mod->host, mod->core, use);
    }
    pthread_mutex_destroy(&mod->mtx);
    nqt_free(mod->host, mod->core, mod);
}

/* The inner module's rules, too: as its core we are on the stack only. */
static int fault_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                       struct nqt_error *err)
{
    struct nqtp_mod mod = {.host = host, .core = core};
    struct fault_use use = {.table = fault_host_table(host), .mod = &mod};
    struct fault_opts opts;
    nqt_cfg *inner_cfg = NULL;
    int rc = fault_opts_read(host, cfg, &opts, &use.module, &inner_cfg, err);

    if (rc || !FAULT_CAN(use.module->ops, check))
        return rc;
    return use.module->ops->check(&use.table, (nqt_core *)&use, inner_cfg, err);
}

static const struct nqt_ops fault_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = fault_mod_open,
    .mod_close = fault_mod_close,
    .check = fault_check,
    .ep_open = fault_ep_open,
    .ep_close = fault_ep_close,
    .connect = fault_connect,
    .attach = fault_attach,
    .send = fault_send,
    .rx_hold = fault_rx_hold,
    .shutdown = fault_shutdown,
    .close = fault_close,
    .info = fault_info,
    .ext = nqt_no_ext,
    .rx_poll = fault_rx_poll,
    .rx_arm = fault_rx_arm,
    .rx_limit = fault_limit_rx,
};

NQT_MODULE(fault) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_LOOP,
    .nopt = FAULT_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = FAULT_CAPS,
    .name = "fault",
    .version = "0.1.0",
    .wire = "as the inner transport",
    .license = "MIT",
    .summary = "Another transport, with faults on the way, for tests",
    .opt = fault_opt_table,
    .ops = &fault_ops,
};
