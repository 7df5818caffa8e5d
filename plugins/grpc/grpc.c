/* grpc: one call a link, a stream of bytes in each direction, in messages.
 *
 * This file holds the table and the module; see grpc.h and README.md for the rest. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "grpc.h"

static int grpc_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));
    int rc;

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport grpc");
    *mod = (struct nqtp_mod){.host = host, .core = core};
    rc = ngrpc_drive_new(&mod->drive, err);
    if (rc) {
        nqt_free(mod->host, mod->core, mod);
        return rc;
    }
    *out = mod;
    return NQT_OK;
}

static void grpc_mod_close(struct nqtp_mod *mod)
{
    ngrpc_drive_leave(mod->drive);
    nqt_free(mod->host, mod->core, mod);
}

static int grpc_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                      struct nqt_error *err)
{
    struct ngrpc_opts opts;
    int rc;

    (void)core;
    rc = ngrpc_opts_read(host, cfg, &opts, err);
    return rc ? rc : ngrpc_tls_check(&opts, err);
}

static const struct nqt_ops grpc_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = grpc_mod_open,
    .mod_close = grpc_mod_close,
    .check = grpc_check,
    .ep_open = ngrpc_ep_open,
    .ep_close = ngrpc_ep_close,
    .connect = ngrpc_connect,
    .attach = ngrpc_attach,
    .send = ngrpc_send,
    .rx_hold = ngrpc_rx_hold,
    .shutdown = ngrpc_shutdown,
    .close = ngrpc_close,
    .info = ngrpc_info,
    .ext = nqt_no_ext,
    .poll = ngrpc_poll,
    .poll_wake = ngrpc_poll_wake,
};

NQT_MODULE(grpc) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_OWN,
    .nopt = NGRPC_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = NGRPC_CAPS | NQT_CAP_PLAIN,
    .name = "grpc",
    .version = "0.1.0",
    .wire = "grpc",
    .license = "MIT",
    .summary = "gRPC streams over HTTP/2",
    .opt = ngrpc_opt_table,
    .ops = &grpc_ops,
};
