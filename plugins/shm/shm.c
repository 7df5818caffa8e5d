/* shm: one link is two outboxes in shared memory and a unix socket.  README.md says how.
 *
 * This file holds the table and the module, see shm.h for the rest. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shm.h"

static int shm_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                        struct nqt_error *err)
{
    struct nqtp_mod *mod = nqt_alloc(host, core, sizeof(*mod));

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport shm");
    mod->host = host;
    mod->core = core;
    atomic_init(&mod->epochs, 0);
    atomic_init(&mod->bells, 0);
    *out = mod;
    return NQT_OK;
}

static void shm_mod_close(struct nqtp_mod *mod)
{
    nqt_free(mod->host, mod->core, mod);
}

static int shm_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                     struct nqt_error *err)
{
    struct shm_opts opts;

    (void)core;
    return shm_opts_read(host, cfg, &opts, err);
}

static const struct nqt_ops shm_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = shm_mod_open,
    .mod_close = shm_mod_close,
    .check = shm_check,
    .ep_open = shm_ep_open,
    .ep_close = shm_ep_close,
    .connect = shm_connect,
    .attach = shm_attach,
    .send = shm_send,
    .loan = shm_loan,
    .rx_hold = shm_rx_hold,
    .shutdown = shm_shutdown,
    .close = shm_close,
    .info = shm_info,
    .ext = nqt_no_ext,
    .rx_poll = shm_rx_poll,
    .rx_arm = shm_rx_arm,
    .send_bytes = shm_send_bytes,
};

NQT_MODULE(shm) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_LOOP,
    .nopt = SHM_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = SHM_CAPS,
    .name = "shm",
    .version = "0.1.0",
    .wire = "shm",
    .license = "MIT",
    .summary = "Shared memory between processes of one machine",
    .opt = shm_opt_table,
    .ops = &shm_ops,
};
