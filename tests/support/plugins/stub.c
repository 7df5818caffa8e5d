/* A transport that does nothing, in many variants: what the loader must accept or refuse.
 *
 * STUB_ID names the symbol and, unless STUB_NAME says otherwise, the module; one more macro makes
 * each bad variant.  Like any plugin it includes transport.h and nothing else of this tree. */
#include <netqueue/transport.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUB_JOIN_(a, b) a##b
#define STUB_JOIN(a, b) STUB_JOIN_(a, b)
#define STUB_TEXT_(a) #a
#define STUB_TEXT(a) STUB_TEXT_(a)

#ifndef STUB_NAME
#define STUB_NAME STUB_TEXT(STUB_ID)
#endif
#ifndef STUB_MAGIC
#define STUB_MAGIC NQT_MAGIC
#endif
#ifndef STUB_SIZE
#define STUB_SIZE sizeof(struct nqt_module)
#endif
#ifndef STUB_MAJOR
#define STUB_MAJOR 1
#endif
#ifndef STUB_MINOR
#define STUB_MINOR 0
#endif
#ifndef STUB_THREADING
#define STUB_THREADING NQT_THREADING_LOOP
#endif
#ifndef STUB_CAPS
#define STUB_CAPS (NQT_CAP_MESSAGE | NQT_CAP_LISTEN | NQT_CAP_CONNECT | NQT_CAP_LOCAL_ONLY)
#endif
#ifndef STUB_SEND
#define STUB_SEND stub_send
#endif
#ifndef STUB_DEFAULT
#define STUB_DEFAULT "7"
#endif
#ifndef STUB_SYMBOL
#define STUB_SYMBOL STUB_JOIN(STUB_ID, _LTX_nqt1_module)
#endif

#ifdef STUB_UNDEFINED
int nqtest_nobody_defines_this(void);
#define STUB_PROBE() nqtest_nobody_defines_this()
#else
/* Something of libc, so that the file depends on it. */
#define STUB_PROBE() (getenv("PATH") ? 0 : 1)
#endif

static int stub_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                         struct nqt_error *err)
{
    (void)host;
    (void)core;
    (void)out;
    (void)err;
    return STUB_PROBE() ? NQT_E_SYS : NQT_E_UNSUPPORTED;
}

static void stub_mod_close(struct nqtp_mod *mod)
{
    (void)mod;
}

static int stub_check(const struct nqt_host *host, nqt_core *core, nqt_cfg *cfg,
                      struct nqt_error *err)
{
    int64_t count = 0;
    const char *mode = "";

    (void)core;
    if (host->cfg_int(cfg, "count", &count) || host->cfg_str(cfg, "mode", &mode) || count < 9 ||
        strcmp(mode, "slow") != 0)
        return NQT_OK;
    err->code = NQT_E_CONFIG;
    snprintf(err->text, sizeof(err->text), "count: 9 is too many for the mode \"slow\"");
    return NQT_E_CONFIG;
}

static int stub_ep_open(struct nqtp_mod *mod, nqt_ep *ep, nqt_serial *serial, nqt_cfg *cfg,
                        int listen, struct nqtp_ep **out, struct nqt_error *err)
{
    (void)mod;
    (void)ep;
    (void)serial;
    (void)cfg;
    (void)listen;
    (void)out;
    (void)err;
    return NQT_E_UNSUPPORTED;
}

static void stub_ep_close(struct nqtp_ep *ep)
{
    (void)ep;
}

static int stub_connect(struct nqtp_ep *ep, nqt_link *link, nqt_serial *serial,
                        struct nqtp_link **out, struct nqt_error *err)
{
    (void)ep;
    (void)link;
    (void)serial;
    (void)out;
    (void)err;
    return NQT_E_UNSUPPORTED;
}

static int stub_attach(struct nqtp_link *plink, nqt_link *link, nqt_serial *serial)
{
    (void)plink;
    (void)link;
    (void)serial;
    return NQT_E_UNSUPPORTED;
}

__attribute__((unused)) static int stub_send(struct nqtp_link *link, struct nqt_buf *const *bufs,
                                             uint32_t n, uint32_t flags, uint32_t *taken)
{
    (void)link;
    (void)bufs;
    (void)n;
    (void)flags;
    (void)taken;
    return NQT_E_UNSUPPORTED;
}

static void stub_close(struct nqtp_link *link)
{
    (void)link;
}

static int stub_info(struct nqtp_link *link, struct nqt_info *out)
{
    (void)link;
    (void)out;
    return NQT_E_UNSUPPORTED;
}

static const char *const stub_modes[] = {"slow", "fast", NULL};

static const struct nqt_opt stub_opts[] = {
    {.name = "count",
     .def = STUB_DEFAULT,
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 9,
     .help = "Number"},
    {.name = "mode", .def = "fast", .type = NQT_OPT_ENUM, .choices = stub_modes},
    {.name = "file", .type = NQT_OPT_PATH, .flags = NQT_OPT_REQUIRED, .help = "File"},
};

static const struct nqt_ops stub_ops = {
    .size = sizeof(struct nqt_ops),
    .mod_open = stub_mod_open,
    .mod_close = stub_mod_close,
    .check = stub_check,
    .ep_open = stub_ep_open,
    .ep_close = stub_ep_close,
    .connect = stub_connect,
    .attach = stub_attach,
    .send = STUB_SEND,
    .close = stub_close,
    .info = stub_info,
};

extern __attribute__((visibility("default"))) const struct nqt_module STUB_SYMBOL;
__attribute__((visibility("default"), used)) const struct nqt_module STUB_SYMBOL = {
    .magic = STUB_MAGIC,
    .size = STUB_SIZE,
    .abi_major = STUB_MAJOR,
    .needs_minor = STUB_MINOR,
    .threading = STUB_THREADING,
    .nopt = sizeof(stub_opts) / sizeof(stub_opts[0]),
    .opt_size = sizeof(struct nqt_opt),
    .caps = STUB_CAPS,
    .name = STUB_NAME,
    .version = "1.2.3",
    .license = "MIT",
    .summary = "A transport that does nothing",
    .opt = stub_opts,
    .ops = &stub_ops,
};
