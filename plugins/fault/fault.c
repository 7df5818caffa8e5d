/* fault: another transport, with faults on the way.
 *
 * This file holds the table, the module and endpoints; see fault.h for the rest.  Relies on the
 * host's cfg_inner for the inner module and its options, and starts no thread itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_fail(struct nqt_error *err, int code, const char *format, ...)
{
    va_list args;

    if (!err || err->size < sizeof(*err))
        return code;
    *err = (struct nqt_error){.size = err->size, .code = code};
    va_start(args, format);
    vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

void fault_log(const struct nqtp_mod *mod, uint32_t level, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    mod->host->log(mod->core, level, text);
}

void *fault_alloc(const struct nqtp_mod *mod, size_t len)
{
    void *mem = mod->host->mem(mod->core, NULL, len);

    if (mem)
        memset(mem, 0, len);
    return mem;
}

void fault_free(const struct nqtp_mod *mod, void *mem)
{
    if (mem)
        mod->host->mem(mod->core, mem, 0);
}

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
    struct fault_use *use = fault_alloc(mod, sizeof(*use));
    struct nqtp_mod *inner = NULL;
    int rc;

    if (!use)
        return fault_fail(err, NQT_E_NOMEM, "no memory for the transport %s", module->name);
    use->table = fault_host_table(mod->host);
    use->mod = mod;
    use->module = module;
    rc = module->ops->mod_open(&use->table, (nqt_core *)use, &inner, err);
    if (rc) {
        fault_free(mod, use);
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
    const struct nqt_event event = {
        .size = sizeof(event), .kind = NQT_EV_EP_CLOSED, .ep = ep->cookie};

    if (atomic_fetch_sub_explicit(&ep->refs, 1, memory_order_acq_rel) != 1)
        return;
    /* The memory first: mod_close() may follow the event at once. */
    fault_free(mod, atomic_load(&ep->spare));
    fault_free(mod, ep);
    mod->host->emit(mod->core, &event, 1);
}

/* A link of its own for an ACCEPT that finds no memory: it is not counted, and holds no
 * reference. */
static bool ep_spare(struct nqtp_ep *ep)
{
    struct nqtp_link *spare = fault_alloc(ep->mod, sizeof(*spare));

    atomic_store(&ep->spare, spare);
    return spare;
}

static int ep_open_inner(struct nqtp_ep *ep, nqt_cfg *cfg, int listen, struct nqt_error *err)
{
    struct nqtp_ep *inner = NULL;
    int rc;

    if (listen && !ep_spare(ep))
        return fault_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
    rc = ep->ops->ep_open(ep->use->inner, (nqt_ep *)ep, ep->serial, cfg, listen, &inner, err);
    ep->inner = inner;
    return rc;
}

static int fault_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                         int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = fault_alloc(mod, sizeof(*ep));
    const struct nqt_module *module = NULL;
    nqt_cfg *inner_cfg = NULL;
    int rc;

    if (!ep)
        return fault_fail(err, NQT_E_NOMEM, "no memory for an endpoint");
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
        fault_free(mod, atomic_load(&ep->spare));
        fault_free(mod, ep);
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
        return fault_fail(err, NQT_E_NOMEM, "no memory for the transport fault");
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
        fault_free(mod, use);
    }
    pthread_mutex_destroy(&mod->mtx);
    fault_free(mod, mod);
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

static const void *fault_ext(struct nqtp_mod *mod, const char *id)
{
    (void)mod;
    (void)id;
    return NULL;
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
    .ext = fault_ext,
    .rx_poll = fault_rx_poll,
    .rx_arm = fault_rx_arm,
};

NQT_MODULE(fault) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 0,
    .needs_minor = 1,
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
