/* tcp: one connection a link, a stream of bytes in each direction.
 *
 * This file holds the table and the module, see tcp.h for the rest.  Relies on sockets, and for
 * encrypted connections on OpenSSL: readiness, timers and name resolution are the host's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"

#define TCP_CAPS                                                                                  \
    (NQT_CAP_STREAM | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER | \
     NQT_CAP_RX_HOLD | NQT_CAP_DRAIN | NQT_CAP_CONFIDENTIAL | NQT_CAP_PEER_IDENTITY |             \
     NQT_CAP_PLAIN)

static int tcp_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                        struct nqt_error *err)
{
    struct nqtp_mod *mod = nqt_alloc(host, core, sizeof(*mod));

    if (!mod)
        return nqt_fail(err, NQT_E_NOMEM, "no memory for the transport tcp");
    mod->host = host;
    mod->core = core;
    atomic_init(&mod->epochs, 0);
    *out = mod;
    return NQT_OK;
}

static void tcp_mod_close(struct nqtp_mod *mod)
{
    nqt_free(mod->host, mod->core, mod);
}

static int tcp_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                     struct nqt_error *err)
{
    struct tcp_opts opts;
    int rc = tcp_opts_read(host, cfg, &opts, err);

    (void)core;
    return rc ? rc : tcp_tls_check(&opts, err);
}

static const struct nqt_ops tcp_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = tcp_mod_open,
    .mod_close = tcp_mod_close,
    .check = tcp_check,
    .ep_open = tcp_ep_open,
    .ep_close = tcp_ep_close,
    .connect = tcp_connect,
    .attach = tcp_attach,
    .send = tcp_send,
    .rx_hold = tcp_rx_hold,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .info = tcp_info,
    .ext = nqt_no_ext,
    .rx_poll = tcp_rx_poll,
    .rx_arm = tcp_rx_arm,
};

NQT_MODULE(tcp) = {
    .magic = NQT_MAGIC,
    .size = sizeof(struct nqt_module),
    .abi_major = 1,
    .needs_minor = 0,
    .threading = NQT_THREADING_LOOP,
    .nopt = TCP_OPTIONS,
    .opt_size = sizeof(struct nqt_opt),
    .caps = TCP_CAPS,
    .name = "tcp",
    .version = "0.1.0",
    .wire = "tcp",
    .license = "MIT",
    .summary = "TCP over IPv4 and IPv6, with TLS",
    .opt = tcp_opt_table,
    .ops = &tcp_ops,
};
