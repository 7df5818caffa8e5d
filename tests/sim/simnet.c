/* simnet: a network in memory that does what the simulation says.
 *
 *     send --> flight of the direction, due later --> rx_space, rx_commit of the other end
 *
 * Two links make a wire.  Each has a flight: what was sent towards it and did not arrive.  A wire
 * that is cut delivers nothing more; its ends go down when `down_at` comes, and when that is never
 * they find out by themselves.
 *
 * Here: chance, endpoints, the module, and what the simulation asks for.  The wires are in
 * simnet_wire.c, the links in simnet_link.c. */
#include "tests/sim/simnet_inside.h"

#include <stdio.h>
#include <string.h>

struct nqsim_state nqsim_state;

uint64_t nqsim_draw(uint64_t n)
{
    nqsim_state.random ^= nqsim_state.random << 13;
    nqsim_state.random ^= nqsim_state.random >> 7;
    nqsim_state.random ^= nqsim_state.random << 17;
    return n ? (nqsim_state.random >> 11) % n : 0;
}

int64_t nqsim_now(const struct nqtp_link *link)
{
    nqsim_state.now = link->ep->mod->host->now_ns(link->ep->mod->core);
    return nqsim_state.now;
}

void *nqsim_mem(const struct nqtp_mod *mod, void *old, size_t len)
{
    void *at = mod->host->mem(mod->core, old, len);

    if (at && !old)
        memset(at, 0, len);
    return at;
}

/* ---- endpoints and the module ----------------------------------------------------------- */

void nqsim_ep_unref(struct nqtp_ep *ep)
{
    const struct nqtp_mod *mod = ep->mod;
    const struct nqt_event event = {
        .size = sizeof(event), .kind = NQT_EV_EP_CLOSED, .ep = ep->cookie};

    if (--ep->refs)
        return;
    mod->host->mem(mod->core, ep, 0);
    mod->host->emit(mod->core, &event, 1);
}

static int sim_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                       int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    struct nqtp_ep *ep = nqsim_mem(mod, NULL, sizeof(*ep));
    const struct nqt_event event = {.size = sizeof(event),
                                    .kind = NQT_EV_EP_UP,
                                    .ep = cookie,
                                    .peer_name = listen ? "sim" : NULL};
    const char *node = NULL;

    if (!ep || mod->host->cfg_str(cfg, "node", &node)) {
        err->code = NQT_E_NOMEM;
        return NQT_E_NOMEM;
    }
    ep->mod = mod;
    ep->cookie = cookie;
    ep->serial = serial;
    ep->listen = listen;
    ep->refs = 1;
    snprintf(ep->node, sizeof(ep->node), "%s", node);
    if (listen) {
        ep->next = nqsim_state.servers;
        nqsim_state.servers = ep;
    }
    mod->host->emit(mod->core, &event, 1);
    *out = ep;
    return NQT_OK;
}

static void sim_ep_close(struct nqtp_ep *ep)
{
    if (ep->closed)
        return;
    ep->closed = true;
    for (struct nqtp_ep **at = &nqsim_state.servers; *at; at = &(*at)->next)
        if (*at == ep) {
            *at = ep->next;
            break;
        }
    nqsim_ep_unref(ep);
}

static int sim_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                        struct nqt_error *err)
{
    struct nqtp_mod *mod = host->mem(core, NULL, sizeof(*mod));

    if (!mod) {
        err->code = NQT_E_NOMEM;
        return NQT_E_NOMEM;
    }
    *mod = (struct nqtp_mod){.host = host, .core = core};
    *out = mod;
    return NQT_OK;
}

static void sim_mod_close(struct nqtp_mod *mod)
{
    nqsim_mem(mod, mod, 0);
}

/* ---- the simulation's side -------------------------------------------------------------- */

static void net_begin(uint64_t seed, uint64_t lossy)
{
    nqsim_state.lossy = lossy;
    nqsim_state.random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    nqsim_state.bytes = 0;
    nqsim_state.ncuts = 0;
    nqsim_intruder_begin();
    nqsim_tamper_begin();
}

static void net_set_weather(const struct nqsim_weather *weather)
{
    nqsim_state.weather = *weather;
    for (struct wire *wire = nqsim_state.wires; wire; wire = wire->next) {
        wire->left = weather->cut_every ? nqsim_draw(2 * (uint64_t)weather->cut_every) : UINT64_MAX;
        for (int i = 0; i < 2; i++)
            nqsim_poke(wire->end[i]);
    }
}

static bool net_cut(unsigned n, bool silent)
{
    unsigned count = 0;

    for (struct wire *wire = nqsim_state.wires; wire; wire = wire->next)
        count++;
    if (!count)
        return false;
    n %= count;
    for (struct wire *wire = nqsim_state.wires; wire; wire = wire->next)
        if (!n--)
            nqsim_wire_cut(wire, silent);
    return true;
}

static void net_crash(const char *node)
{
    for (struct wire *wire = nqsim_state.wires; wire; wire = wire->next)
        for (int i = 0; i < 2; i++)
            if (wire->end[i] && strcmp(wire->end[i]->ep->node, node) == 0) {
                wire->end[i]->mute = true;
                nqsim_wire_cut(wire, nqsim_draw(4) == 0);
                break;
            }
}

static uint64_t net_bytes(void)
{
    return nqsim_state.bytes;
}

static unsigned net_cuts(void)
{
    return nqsim_state.ncuts;
}

__attribute__((visibility("default"))) extern const struct nqsim_net nqsim_net;
const struct nqsim_net nqsim_net = {.begin = net_begin,
                                    .set_weather = net_set_weather,
                                    .cut = net_cut,
                                    .crash = net_crash,
                                    .bytes = net_bytes,
                                    .cuts = net_cuts,
                                    .intrude = nqsim_intrude,
                                    .withdraw = nqsim_withdraw,
                                    .intruders = nqsim_intruders,
                                    .tampered = nqsim_tampered};

static const struct nqt_opt sim_options[] = {
    {.name = "node", .def = "server", .type = NQT_OPT_STR, .help = "Who this is"},
};

static const struct nqt_ops sim_ops = {.size = sizeof(struct nqt_ops),
                                       .mod_open = sim_mod_open,
                                       .mod_close = sim_mod_close,
                                       .ep_open = sim_ep_open,
                                       .ep_close = sim_ep_close,
                                       .connect = nqsim_connect,
                                       .attach = nqsim_attach,
                                       .send = nqsim_send,
                                       .rx_hold = nqsim_rx_hold,
                                       .shutdown = nqsim_shutdown,
                                       .close = nqsim_close,
                                       .info = nqsim_info};

NQT_MODULE(simnet) = {.magic = NQT_MAGIC,
                      .abi_major = 1,
                      .size = sizeof(struct nqt_module),
                      .threading = NQT_THREADING_LOOP,
                      .nopt = 1,
                      .opt_size = sizeof(struct nqt_opt),
                      .caps = NQT_CAP_STREAM | NQT_CAP_MESSAGE | NQT_CAP_LOSSY | NQT_CAP_LISTEN |
                              NQT_CAP_CONNECT | NQT_CAP_PEER_PRESENCE | NQT_CAP_GATHER |
                              NQT_CAP_RX_HOLD | NQT_CAP_DRAIN,
                      .name = "simnet",
                      .version = "0.1.0",
                      .wire = "simnet",
                      .license = "MIT",
                      .summary = "A network in memory, for the simulation",
                      .opt = sim_options,
                      .ops = &sim_ops};
