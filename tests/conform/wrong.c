/* wrong: the transport of tests/outside/unixsock.c with one fault, which NQ_WRONG in the
 * environment names.  Each breaks one rule of `netqueue conform`; tests/conform/wrong_test.sh has
 * the list.
 *
 * The faults lie around the good code: in the host's table that it sees, in its slots, and in a
 * descriptor that is changed when the file is loaded. */
#include <netqueue/transport_kit.h>
#undef NQT_MODULE
#define NQT_MODULE(id) static const struct nqt_module good_module
#include "tests/outside/unixsock.c"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define MANY 16
#define ENDPOINTS 8 /* of clients */
#define DEPTH 8     /* the option's end */
#define TAGS 64
#define REUSED 64

static struct nqt_ops ops;
static struct nqt_opt options[4];
extern __attribute__((visibility("default"))) struct nqt_module wrong_LTX_nqt1_module;
__attribute__((visibility("default"), used)) struct nqt_module wrong_LTX_nqt1_module;

static const struct nqt_host *real;
static struct nqt_host twisted;
static nqt_ep *last_ep; /* that opened, with its serial; NULL = closed */
static nqt_serial *last_serial;
static nqt_watch *timer;
static unsigned accepted, endpoints;
static pthread_t home, idler;
static bool idles;
static void *volatile leaked; /* all but the last */
static struct iovec space[8];
static uint64_t received;
static const struct nqtp_link *foreign; /* its peer is another process */
static struct {
    struct nqt_buf buf;
    struct iovec seg;
    uint8_t bytes[65536];
} reused[REUSED];
static unsigned reused_next;

static bool is(const char *fault)
{
    const char *named = getenv("NQ_WRONG");

    return named && strcmp(named, fault) == 0;
}

static void *idle(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* ---- events ------------------------------------------------------------------------------- */

static void look_at_peer(const struct nqtp_link *link)
{
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);

    (void)getsockopt(link->stream.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
    if (peer.pid && peer.pid != getpid())
        foreign = link;
}

/* @return it is not emitted at all */
static bool swallows(const struct nqt_event *event)
{
    switch (event->kind) {
    case NQT_EV_EP_UP:
        return is("no-ep-up");
    case NQT_EV_LINK_UP:
        return is("no-link-up") && event->plink->state == UNIX_UP && event->plink->ep->fd >= 0;
    case NQT_EV_WRITABLE:
        return is("no-writable");
    case NQT_EV_LINK_DOWN:
        return (is("no-link-down") && event->err->code == NQT_E_EOF) ||
               (is("deaf") && event->plink == foreign);
    case NQT_EV_ACCEPT:
        return is("sixteen") && ++accepted > MANY;
    default:
        return false;
    }
}

static bool is_doubled(uint32_t kind)
{
    return (kind == NQT_EV_LINK_DOWN && is("down-twice")) ||
           (kind == NQT_EV_LINK_CLOSED && is("closed-twice"));
}

static int emit_one(nqt_core *core, struct nqt_event event)
{
    struct nqt_error err = event.err ? *event.err : (struct nqt_error){.size = sizeof(err)};
    struct nqt_event more = event;

    if (swallows(&event))
        return NQT_OK;
    if (event.kind == NQT_EV_LINK_UP)
        look_at_peer(event.plink);
    if (event.kind == NQT_EV_LINK_UP && is("epoch"))
        event.epoch = 0;
    if (event.kind == NQT_EV_LINK_DOWN) {
        if (is("no-text"))
            *err.text = '\0';
        if (is("lost") && err.code == NQT_E_EOF)
            err.code = NQT_E_LOST;
        event.err = &err;
    }
    if (event.kind == NQT_EV_EP_CLOSED && event.ep == last_ep) {
        if (is("late-post"))
            (void)real->post(last_serial, nothing, NULL);
        last_ep = NULL;
    }
    (void)real->emit(core, &event, 1);
    more.kind = NQT_EV_WRITABLE;
    if (event.kind == NQT_EV_LINK_UP && is("eager"))
        (void)real->emit(core, &more, 1);
    return is_doubled(event.kind) ? real->emit(core, &event, 1) : NQT_OK;
}

static int twisted_emit(nqt_core *core, const struct nqt_event *events, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        (void)emit_one(core, events[i]);
    return NQT_OK;
}

/* ---- other services ---------------------------------------------------------------------------
 */

static void keep(struct nqt_buf *buf)
{
    (void)buf;
}

/* Room in a few buffers that are used again and again. */
static int space_of_ours(struct iovec *iov, uint32_t *niov)
{
    reused_next = (reused_next + 1) % REUSED;
    iov[0] = (struct iovec){reused[reused_next].bytes, sizeof(reused[0].bytes)};
    *niov = 1;
    return NQT_OK;
}

static int give_ours(nqt_link *link, size_t n)
{
    static const struct nqt_buf_ops keeps = {.size = sizeof(keeps), .ref = keep, .unref = keep};
    struct nqt_buf *buf = &reused[reused_next].buf;

    if (!n)
        return NQT_OK;
    reused[reused_next].seg = (struct iovec){reused[reused_next].bytes, n};
    *buf = (struct nqt_buf){
        .size = sizeof(*buf), .nseg = 1, .len = n, .seg = &reused[reused_next].seg, .ops = &keeps};
    return real->rx_give(link, buf);
}

static int twisted_rx_space(nqt_link *link, size_t want, struct iovec *iov, uint32_t *niov)
{
    int rc = is("reuses") ? space_of_ours(iov, niov) : real->rx_space(link, want, iov, niov);

    for (uint32_t i = 0; !rc && i < *niov; i++)
        space[i] = iov[i];
    return rc;
}

static int twisted_rx_commit(nqt_link *link, size_t n)
{
    uint64_t before = received;

    if (is("reuses"))
        return give_ours(link, n);
    received += n;
    if (is("flip") && before < 5000 && received >= 5000 && space[0].iov_len)
        *(char *)space[0].iov_base ^= 1;
    return !n && is("no-commit") ? NQT_OK : real->rx_commit(link, n);
}

static int twisted_fd_add(nqt_serial *serial, int fd, uint32_t events,
                          void (*fn)(void *arg, uint32_t events), void *arg, nqt_watch **out)
{
    int rc = real->fd_add(serial, fd, events, fn, arg, out);

    if (!rc || !is("careless-watch"))
        return rc;
    *out = NULL;
    return NQT_OK;
}

/* ---- slots -------------------------------------------------------------------------------- */

static int wrong_mod_open(const struct nqt_host *host, nqt_core *core, struct nqtp_mod **out,
                          struct nqt_error *err)
{
    if (host->size > sizeof(twisted) && is("exact"))
        return unix_fail(err, NQT_E_UNSUPPORTED, 0, "wrong", "", "the host is too new");
    home = pthread_self();
    real = host;
    memcpy(&twisted, host, host->size < sizeof(twisted) ? host->size : sizeof(twisted));
    twisted.emit = twisted_emit;
    twisted.rx_space = twisted_rx_space;
    twisted.rx_commit = twisted_rx_commit;
    twisted.fd_add = twisted_fd_add;
    return unix_mod_open(&twisted, core, out, err);
}

static void wrong_mod_close(struct nqtp_mod *mod)
{
    if (timer)
        real->timer_del(timer);
    timer = NULL;
    unix_mod_close(mod);
}

/* The options that are there for their faults. */
static void read_options(const struct nqtp_mod *mod, nqt_cfg *cfg)
{
    const char *text = "";
    int64_t depth = 0;
    uint32_t tags = 0;

    (void)real->cfg_int(cfg, "depth", &depth);
    while (!real->cfg_list(cfg, "tags", tags, &text))
        tags++;
    if ((depth == DEPTH && is("deep")) || (tags > TAGS && is("short-list")))
        raise(SIGSEGV);
    if (!real->cfg_str(cfg, "password", &text) && is("tells"))
        real->log(mod->core, NQT_LOG_INFO, text);
}

static int wrong_ep_open(struct nqtp_mod *mod, nqt_ep *cookie, nqt_serial *serial, nqt_cfg *cfg,
                         int listening, struct nqtp_ep **out, struct nqt_error *err)
{
    const char *path = "";
    int64_t speed;
    void (*next)(void); /* behind what the host has */
    int rc;

    accepted = listening ? 0 : accepted;
    if (is("serial") && !timer)
        (void)real->timer_add(serial, nothing, NULL, &timer);
    if (is("newline"))
        real->log(mod->core, NQT_LOG_INFO, "one\ntwo");
    if (is("asks"))
        (void)real->cfg_int(cfg, "speed", &speed);
    if (is("steals") && listening && !real->cfg_str(cfg, "path", &path))
        (void)unlink(path);
    read_options(mod, cfg);
    memcpy(&next, (const char *)real + sizeof(*real), sizeof(next));
    if (is("presumes") && real->abi_minor <= NQT_ABI_MINOR)
        next();
    if (is("idler") && !idles)
        idles = !pthread_create(&idler, NULL, idle, NULL);
    if (!listening && endpoints >= ENDPOINTS && is("eight"))
        return unix_fail(err, NQT_E_NOMEM, 0, "wrong", "", "no place");
    rc = unix_ep_open(mod, cookie, serial, cfg, listening, out, err);
    if (rc)
        return rc;
    endpoints += !listening;
    last_ep = cookie;
    last_serial = serial;
    return 0;
}

static void wrong_ep_close(struct nqtp_ep *ep)
{
    endpoints -= ep->fd < 0 && !ep->closed;
    unix_ep_close(ep);
}

static int wrong_connect(struct nqtp_ep *ep, nqt_link *cookie, nqt_serial *serial,
                         struct nqtp_link **out, struct nqt_error *err)
{
    int fd = ep->fd, rc;
    void *mem;

    while (is("hang"))
        pause();
    if (is("leak-memory") || is("careless-memory")) {
        mem = real->mem(ep->mod->core, NULL, 100);
        memset(mem, 0, 100);
        if (is("careless-memory"))
            (void)real->mem(ep->mod->core, mem, 0);
    }
    if (is("listener"))
        ep->fd = -1;
    rc = unix_connect(ep, cookie, serial, out, err);
    ep->fd = fd;
    if (rc && is("large-error"))
        err->text[sizeof(err->text) - 1] = '\0';
    if (is("leak-malloc"))
        leaked = malloc(100);
    if (!rc && (*out)->stream.fd >= 0 && is("leak-descriptor"))
        (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!rc && (*out)->stream.fd >= 0 && is("inherited"))
        (void)fcntl((*out)->stream.fd, F_SETFD, 0);
    return rc;
}

static int wrong_send(struct nqtp_link *link, struct nqt_buf *const *bufs, uint32_t n,
                      uint32_t flags, uint32_t *taken)
{
    struct nqt_buf *first = n && is("scribbles") ? bufs[0] : NULL;
    struct iovec seg = n && bufs[0]->nseg ? bufs[0]->seg[0] : (struct iovec){NULL, 0};
    int rc;

    if (is("homesick") && !pthread_equal(home, pthread_self()))
        raise(SIGSEGV);
    if (n && is("leak-buffer"))
        bufs[0]->ops->ref(bufs[0]);
    if (first)
        first->ops->ref(first);
    rc = unix_send(link, bufs, n, flags, taken);
    if (*taken && !link->stream.rest && seg.iov_len && seg.iov_len <= 4096 &&
        (first || is("late-write")))
        *(uint8_t *)seg.iov_base ^= 1; /* when it has gone out */
    if (first)
        first->ops->unref(first);
    return rc;
}

static void wrong_close(struct nqtp_link *link)
{
    if (link->stream.fd >= 0 && link->stream.watch && is("closed-watched"))
        close(link->stream.fd);
    unix_close(link);
}

static int wrong_info(struct nqtp_link *link, struct nqt_info *out)
{
    int rc = unix_info(link, out);

    if (is("nameless") && out->size >= sizeof(*out))
        out->peer = "";
    if (link->state == UNIX_DOWN && is("crash"))
        raise(SIGSEGV);
    return rc;
}

static __attribute__((constructor)) void make(void)
{
    ops = unix_ops;
    ops.mod_open = wrong_mod_open;
    ops.mod_close = wrong_mod_close;
    ops.ep_open = wrong_ep_open;
    ops.ep_close = wrong_ep_close;
    ops.connect = wrong_connect;
    ops.send = wrong_send;
    ops.close = wrong_close;
    ops.info = wrong_info;
    options[0] = unix_options[0];
    options[1] = (struct nqt_opt){.name = "depth", .type = NQT_OPT_INT, .max = DEPTH, .help = "-"};
    options[1].def = is("misfit") ? "9" : "4";
    options[2] = (struct nqt_opt){.name = "tags", .type = NQT_OPT_LIST, .help = "-"};
    options[3] = (struct nqt_opt){
        .name = "password", .type = NQT_OPT_STR, .flags = NQT_OPT_SECRET, .help = "-"};
    if (is("helpless"))
        options[0].help = NULL;
    wrong_LTX_nqt1_module = good_module;
    wrong_LTX_nqt1_module.ops = &ops;
    wrong_LTX_nqt1_module.opt = options;
    wrong_LTX_nqt1_module.nopt = sizeof(options) / sizeof(options[0]);
    wrong_LTX_nqt1_module.name = is("name") ? "right" : "wrong";
    if (is("minor"))
        wrong_LTX_nqt1_module.needs_minor = 999;
    if (is("claims"))
        wrong_LTX_nqt1_module.caps |= NQT_CAP_RX_HOLD;
}
