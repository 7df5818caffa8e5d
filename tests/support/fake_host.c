/* See fake_host.h.  The plugin's cookies are our own structs, cast; what it emits is copied at
 * once and handled when no slot is running, as the header promises. */
#include "tests/support/fake_host.h"
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct nqtest_serial {
    struct nqtest_host *host;
};

struct nqtest_watch {
    struct nqtest_watch *next;
    struct nqtest_host *host;
    bool deleted;
    int fd; /* -1: a timer */
    uint32_t events;
    void (*on_fd)(void *arg, uint32_t events);
    void (*on_timer)(void *arg);
    void *arg;
    int64_t at; /* < 0: stopped */
};

struct nqtest_call {
    struct nqtest_call *next;
    void (*fn)(void *arg);
    nqt_resolved_fn resolved;
    void *arg;
    char name[256];
    bool passive;
    uint16_t port;
};

struct nqtest_queued {
    struct nqtest_queued *next;
    struct nqt_event event;
    struct nqt_error err;
    char peer[128];
    struct nqt_buf **bufs;
};

struct host_cfg {
    struct nqtest_host *host;
    const struct nqtest_opt *opts;
};

_Atomic long nqtest_bufs;
static _Thread_local struct nqtest_host *hosts;

static struct nqtest_host *host_of(nqt_core *core)
{
    struct nqtest_host *host = (struct nqtest_host *)core;

    ck_assert_msg(!host->gone, "the plugin called the host after mod_close()");
    return host;
}

static void host_in_serial(const struct nqtest_host *host)
{
    ck_assert_msg(!host->gone, "the plugin called the host after mod_close()");
    ck_assert_msg(pthread_equal(host->thread, pthread_self()) && host->depth,
                  "a call that must be made in the serial was made outside");
}

/* True: this is the one that has to fail. */
static bool host_fails(_Atomic long *countdown)
{
    return atomic_load(countdown) > 0 && atomic_fetch_sub(countdown, 1) == 1;
}

/* ---- services that any thread may call ---------------------------------------------- */

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    struct nqtest_host *host = host_of(core);
    size_t len;

    ck_assert_uint_le(level, NQT_LOG_DEBUG);
    ck_assert_ptr_null(strchr(text, '\n'));
    pthread_mutex_lock(&host->mtx);
    len = strlen(host->log);
    snprintf(host->log + len, sizeof(host->log) - len, "%s\n", text);
    pthread_mutex_unlock(&host->mtx);
}

static void *host_mem(nqt_core *core, void *old, size_t len)
{
    struct nqtest_host *host = host_of(core);
    void *mem;

    if (!len) {
        atomic_fetch_sub(&host->blocks, old ? 1 : 0);
        free(old);
        return NULL;
    }
    if (host_fails(&host->fail_mem))
        return NULL;
    mem = realloc(old, len);
    ck_assert_ptr_nonnull(mem);
    if (!old) {
        memset(mem, 0xa5, len); /* memory is not zeroed */
        atomic_fetch_add(&host->blocks, 1);
    }
    return mem;
}

struct host_buf {
    struct nqt_buf buf;
    _Atomic unsigned refs;
    struct iovec *seg;
};

static void buf_ref(struct nqt_buf *buf)
{
    unsigned refs = atomic_fetch_add(&((struct host_buf *)buf)->refs, 1);

    ck_assert_msg(refs > 0, "a buffer that nobody owned was referenced");
}

static void buf_unref(struct nqt_buf *buf)
{
    struct host_buf *own = (struct host_buf *)buf;
    unsigned refs = atomic_fetch_sub(&own->refs, 1);

    ck_assert_msg(refs > 0, "a buffer was unreferenced too often");
    if (refs > 1)
        return;
    for (uint32_t i = 0; i < buf->nseg; i++)
        free(own->seg[i].iov_base);
    free(own->seg);
    free(own);
    atomic_fetch_sub(&nqtest_bufs, 1);
}

/* Each segment is a block of its own, so that reading beyond one is seen. */
static struct host_buf *buf_make(size_t len, uint32_t nseg)
{
    static const struct nqt_buf_ops ops = {.size = sizeof(ops), .ref = buf_ref, .unref = buf_unref};
    struct host_buf *own = calloc(1, sizeof(*own));
    size_t left = len;

    own->seg = calloc(nseg, sizeof(*own->seg));
    for (uint32_t i = 0; i < nseg; i++) {
        size_t share = left / (nseg - i);

        own->seg[i] = (struct iovec){malloc(share ? share : 1), share};
        left -= share;
    }
    own->buf = (struct nqt_buf){
        .size = sizeof(own->buf), .nseg = nseg, .len = len, .seg = own->seg, .ops = &ops};
    own->refs = 1;
    atomic_fetch_add(&nqtest_bufs, 1);
    return own;
}

static struct nqt_buf *host_buf_new(nqt_core *core, size_t len)
{
    return host_fails(&host_of(core)->fail_mem) ? NULL : &buf_make(len, 1)->buf;
}

static int64_t host_now(nqt_core *core)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + host_of(core)->shift;
}

static void host_wake(struct nqtest_host *host)
{
    ck_assert(write(host->wake[1], "", 1) == 1 || errno == EAGAIN);
}

static int host_post(nqt_serial *serial, void (*fn)(void *), void *arg)
{
    struct nqtest_host *host = host_of((nqt_core *)((struct nqtest_serial *)serial)->host);
    struct nqtest_call *call;

    if (host_fails(&host->fail_other))
        return NQT_E_NOMEM;
    call = calloc(1, sizeof(*call));
    call->fn = fn;
    call->arg = arg;
    pthread_mutex_lock(&host->mtx);
    *host->posts_tail = call;
    host->posts_tail = &call->next;
    host_wake(host);
    pthread_mutex_unlock(&host->mtx);
    return NQT_OK;
}

static int host_is_in_serial(nqt_serial *serial)
{
    const struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;

    return pthread_equal(host->thread, pthread_self()) && host->depth;
}

static int host_emit(nqt_core *core, const struct nqt_event *events, uint32_t n)
{
    struct nqtest_host *host = host_of(core);

    for (uint32_t i = 0; i < n; i++) {
        const struct nqt_event *event = &events[i];
        struct nqtest_queued *queued = calloc(1, sizeof(*queued));

        ck_assert_uint_eq(event->size, sizeof(*event));
        ck_assert_ptr_nonnull(event->ep);
        if (event->link && ((struct nqtest_link *)event->link)->close_called)
            ck_assert_msg(event->kind == NQT_EV_LINK_CLOSED, "event %u after close()", event->kind);
        queued->event = *event;
        if (event->err)
            queued->err = *event->err;
        if (event->peer_name)
            snprintf(queued->peer, sizeof(queued->peer), "%s", event->peer_name);
        if (event->nbuf) {
            queued->bufs = calloc(event->nbuf, sizeof(*queued->bufs));
            memcpy(queued->bufs, event->buf, event->nbuf * sizeof(*queued->bufs));
        }
        pthread_mutex_lock(&host->mtx);
        *host->events_tail = queued;
        host->events_tail = &queued->next;
        host_wake(host);
        pthread_mutex_unlock(&host->mtx);
    }
    return NQT_OK;
}

static void host_count(nqt_core *core, uint32_t id, int64_t delta)
{
    struct nqtest_host *host = host_of(core);

    if (id == NQT_COUNT_SEND_CALLS)
        atomic_fetch_add(&host->send_calls, delta);
    else if (id == NQT_COUNT_RECV_CALLS)
        atomic_fetch_add(&host->recv_calls, delta);
}

static const void *host_ext(nqt_core *core, const char *id)
{
    (void)host_of(core);
    (void)id;
    return NULL;
}

/* ---- options ------------------------------------------------------------------------ */

static const char *cfg_text(nqt_cfg *cfg, const char *name, uint32_t *type)
{
    const struct host_cfg *own = (const struct host_cfg *)cfg;
    const struct nqt_module *module = own->host->module;
    const char *text = NULL;
    bool known = false;

    for (uint32_t i = 0; i < module->nopt; i++) {
        if (strcmp(module->opt[i].name, name) != 0)
            continue;
        known = true;
        text = module->opt[i].def;
        *type = module->opt[i].type;
    }
    ck_assert_msg(known, "the plugin asked for %s, which its table does not have", name);
    for (const struct nqtest_opt *opt = own->opts; opt && opt->name; opt++)
        if (strcmp(opt->name, name) == 0)
            text = opt->value;
    return text;
}

static int host_cfg_int(nqt_cfg *cfg, const char *name, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t factor;
    } units[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"ns", 1},
                 {"us", 1000},     {"ms", 1000000},  {"s", 1000000000}};
    uint32_t type = 0;
    const char *text = cfg_text(cfg, name, &type);
    char *unit;

    if (!text)
        return NQT_E_CONFIG;
    ck_assert(type == NQT_OPT_BOOL || type == NQT_OPT_INT || type == NQT_OPT_SIZE ||
              type == NQT_OPT_DURATION);
    if (type == NQT_OPT_BOOL) {
        *out = strcmp(text, "true") == 0;
        return NQT_OK;
    }
    *out = strtoll(text, &unit, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(unit, units[i].unit) == 0)
            *out *= units[i].factor;
    return NQT_OK;
}

static int host_cfg_str(nqt_cfg *cfg, const char *name, const char **out)
{
    uint32_t type = 0;
    const char *text = cfg_text(cfg, name, &type);

    if (!text)
        return NQT_E_CONFIG;
    ck_assert(type == NQT_OPT_STR || type == NQT_OPT_ENUM || type == NQT_OPT_PATH);
    *out = text;
    return NQT_OK;
}

static int host_cfg_list(nqt_cfg *cfg, const char *name, uint32_t i, const char **out)
{
    (void)cfg;
    (void)name;
    (void)i;
    (void)out;
    return NQT_E_CONFIG;
}

/* ---- watches and timers --------------------------------------------------------------- */

static int watch_add(nqt_serial *serial, struct nqtest_watch init, nqt_watch **out)
{
    struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;
    struct nqtest_watch *watch;

    host_in_serial(host);
    if (host_fails(&host->fail_other))
        return NQT_E_NOMEM;
    watch = malloc(sizeof(*watch));
    *watch = init;
    watch->host = host;
    watch->next = host->watches;
    host->watches = watch;
    *out = (nqt_watch *)watch;
    return NQT_OK;
}

static int host_fd_add(nqt_serial *serial, int fd, uint32_t events,
                       void (*fn)(void *arg, uint32_t events), void *arg, nqt_watch **out)
{
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    return watch_add(
        serial,
        (struct nqtest_watch){.fd = fd, .events = events, .on_fd = fn, .arg = arg, .at = -1}, out);
}

static struct nqtest_watch *watch_of(nqt_watch *opaque)
{
    struct nqtest_watch *watch = (struct nqtest_watch *)opaque;

    host_in_serial(watch->host);
    ck_assert_msg(!watch->deleted, "a watch was used after it was deleted");
    return watch;
}

static int host_fd_mod(nqt_watch *opaque, uint32_t events)
{
    struct nqtest_watch *watch = watch_of(opaque);

    ck_assert_int_ge(watch->fd, 0);
    watch->events = events;
    return NQT_OK;
}

static void host_watch_del(nqt_watch *opaque)
{
    struct nqtest_watch *watch = watch_of(opaque);

    if (watch->fd >= 0)
        ck_assert_msg(fcntl(watch->fd, F_GETFD) >= 0, "a descriptor was closed before its watch");
    watch->deleted = true;
}

static int host_timer_add(nqt_serial *serial, void (*fn)(void *), void *arg, nqt_watch **out)
{
    return watch_add(serial, (struct nqtest_watch){.fd = -1, .on_timer = fn, .arg = arg, .at = -1},
                     out);
}

static void host_timer_set(nqt_watch *opaque, int64_t at_ns)
{
    struct nqtest_watch *watch = watch_of(opaque);

    ck_assert_int_lt(watch->fd, 0);
    watch->at = at_ns;
}

/* ---- names ---------------------------------------------------------------------------- */

static int host_resolve(nqt_serial *serial, const char *name, uint16_t port, uint32_t flags,
                        nqt_resolved_fn fn, void *arg)
{
    struct nqtest_host *host = ((struct nqtest_serial *)serial)->host;
    struct nqtest_call *call;

    host_in_serial(host);
    if (host_fails(&host->fail_other))
        return NQT_E_NOMEM;
    call = calloc(1, sizeof(*call));
    snprintf(call->name, sizeof(call->name), "%s", name ? name : "");
    call->passive = flags & NQT_RESOLVE_PASSIVE;
    call->resolved = fn;
    call->arg = arg;
    call->port = port;
    call->next = host->questions;
    host->questions = call;
    return NQT_OK;
}

static const char *host_lookup(const struct nqtest_host *host, const struct nqtest_call *call)
{
    if (!*call->name)
        return call->passive ? "0.0.0.0" : "127.0.0.1";
    for (size_t i = 0; i < 8 && host->names[i].name; i++)
        if (strcmp(host->names[i].name, call->name) == 0)
            return host->names[i].value;
    return "";
}

static void host_answer(const struct nqtest_host *host, const struct nqtest_call *call)
{
    struct nqt_error err = {.size = sizeof(err), .code = NQT_E_UNREACHABLE};
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } sa[8];
    struct nqt_addr addrs[8];
    char list[256], *save = NULL;
    uint32_t n = 0;

    memset(sa, 0, sizeof(sa));
    snprintf(list, sizeof(list), "%s", host_lookup(host, call));
    for (char *one = strtok_r(list, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
        bool v4 = inet_pton(AF_INET, one, &sa[n].in.sin_addr) == 1;

        sa[n].in.sin_port = htons(call->port);
        sa[n].in.sin_family = AF_INET;
        if (!v4) {
            memset(&sa[n], 0, sizeof(sa[n]));
            sa[n].in6.sin6_family = AF_INET6;
            sa[n].in6.sin6_port = htons(call->port);
            ck_assert_int_eq(inet_pton(AF_INET6, one, &sa[n].in6.sin6_addr), 1);
        }
        addrs[n] = (struct nqt_addr){.size = sizeof(addrs[0]),
                                     .len = v4 ? sizeof(sa[n].in) : sizeof(sa[n].in6),
                                     .addr = &sa[n]};
        n++;
    }
    snprintf(err.text, sizeof(err.text), "resolve %.100s: no such name", call->name);
    call->resolved(call->arg, n ? addrs : NULL, n, n ? NULL : &err);
}

/* ---- receiving ------------------------------------------------------------------------ */

uint8_t nqtest_pattern(uint64_t at)
{
    return (uint8_t)(at ^ at >> 7 ^ at >> 15 ^ at >> 23);
}

static void link_receive(struct nqtest_link *link, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (link->received + i < sizeof(link->head))
            link->head[link->received + i] = (char)bytes[i];
        if (!link->raw && bytes[i] != nqtest_pattern(link->received + i))
            ck_abort_msg("wrong byte at %llu", (unsigned long long)(link->received + i));
    }
    link->received += len;
}

static int host_rx_space(nqt_link *opaque, size_t want, struct iovec *iov, uint32_t *niov)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;
    size_t left = want && want < link->space ? want : link->space;

    host_in_serial(link->host);
    ck_assert_msg(!link->in_rx, "rx_space() without rx_commit()");
    ck_assert_msg(link->ups && !link->downs && !link->close_called, "rx_space() of a dead link");
    if (link->space_refusal)
        return link->space_refusal;
    link->in_rx = true;
    link->ngiven = link->space_segs;
    for (uint32_t i = 0; i < link->ngiven; i++) {
        size_t share = left / (link->ngiven - i);

        link->given[i] = (struct iovec){malloc(share ? share : 1), share};
        iov[i] = link->given[i];
        left -= share;
    }
    *niov = link->ngiven;
    return NQT_OK;
}

static int host_rx_commit(nqt_link *opaque, size_t n)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    host_in_serial(link->host);
    ck_assert_msg(link->in_rx, "rx_commit() without rx_space()");
    link->in_rx = false;
    for (uint32_t i = 0; i < link->ngiven; i++) {
        size_t share = n < link->given[i].iov_len ? n : link->given[i].iov_len;

        link_receive(link, link->given[i].iov_base, share);
        n -= share;
        free(link->given[i].iov_base);
    }
    ck_assert_uint_eq(n, 0);
    if (link->close_inside && link->received) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

/* ---- events --------------------------------------------------------------------------- */

static struct nqtest_serial *serial_new(struct nqtest_host *host)
{
    struct nqtest_serial *serial = malloc(sizeof(*serial));

    serial->host = host;
    return serial;
}

static struct nqtest_link *link_new(struct nqtest_ep *ep)
{
    struct nqtest_link *link = calloc(1, sizeof(*link));

    link->host = ep->host;
    link->ep = ep;
    link->serial = serial_new(ep->host);
    link->space = 65536;
    link->space_segs = 2;
    link->next = ep->host->links;
    ep->host->links = link;
    return link;
}

static void host_handle_all(struct nqtest_host *host);

static void host_enter(struct nqtest_host *host)
{
    ck_assert(pthread_equal(host->thread, pthread_self()));
    host->depth++;
}

/* An emit() inside a slot is handled when the slot has returned. */
static void host_leave(struct nqtest_host *host)
{
    if (--host->depth == 0)
        host_handle_all(host);
}

static void ep_accept(struct nqtest_ep *ep, struct nqtp_link *plugin)
{
    ck_assert_uint_lt(ep->nwaiting, 64);
    ep->waiting[ep->nwaiting++] = plugin;
    if (ep->accept == NQTEST_ATTACH)
        nqtest_attach(ep);
    else if (ep->accept == NQTEST_REFUSE)
        nqtest_refuse(ep);
}

static void ep_handle(struct nqtest_ep *ep, const struct nqtest_queued *queued)
{
    ck_assert_msg(!ep->closed, "an event of an endpoint after EP_CLOSED");
    switch (queued->event.kind) {
    case NQT_EV_EP_UP:
        ep->ups++;
        snprintf(ep->name, sizeof(ep->name), "%s", queued->peer);
        break;
    case NQT_EV_EP_DOWN:
        ck_assert_int_lt(queued->err.code, 0);
        ck_assert_msg(*queued->err.text, "EP_DOWN without a text");
        ep->downs++;
        ep->err = queued->err;
        break;
    case NQT_EV_EP_CLOSED:
        ck_assert_msg(!ep->plugin, "EP_CLOSED without ep_close()");
        ep->closed++;
        for (const struct nqtest_link *link = ep->host->links; link; link = link->next)
            ck_assert_msg(link->ep != ep || link->closed, "EP_CLOSED before LINK_CLOSED");
        break;
    case NQT_EV_ACCEPT:
        ck_assert_ptr_nonnull(queued->event.plink);
        ck_assert_msg(*queued->peer, "ACCEPT without a name");
        ep_accept(ep, queued->event.plink);
        break;
    default:
        ck_abort_msg("unknown event %u", queued->event.kind);
    }
}

static void link_messages(struct nqtest_link *link, const struct nqtest_queued *queued)
{
    ck_assert(link->host->module->caps & NQT_CAP_MESSAGE);
    for (uint32_t i = 0; i < queued->event.nbuf; i++) {
        struct nqt_buf *buf = queued->bufs[i];

        for (uint32_t s = 0; s < buf->nseg && !link->close_called; s++)
            link_receive(link, buf->seg[s].iov_base, buf->seg[s].iov_len);
        link->messages++;
        link->last_len = buf->len;
        buf->ops->unref(buf);
        if (link->close_inside && !link->close_called)
            nqtest_close(link);
    }
}

static void link_handle(struct nqtest_link *link, const struct nqtest_queued *queued)
{
    const struct nqt_event *event = &queued->event;

    ck_assert_msg(!link->closed, "event %u of a link after LINK_CLOSED", event->kind);
    /* What was emitted before close() may still be on its way. */
    switch (event->kind) {
    case NQT_EV_LINK_UP:
        ck_assert_msg(!link->ups && !link->downs, "LINK_UP twice or after LINK_DOWN");
        ck_assert_uint_ne(event->epoch, 0);
        link->ups++;
        link->epoch = event->epoch;
        snprintf(link->peer, sizeof(link->peer), "%s", queued->peer);
        break;
    case NQT_EV_WRITABLE:
        ck_assert(link->ups && !link->downs && event->epoch == link->epoch);
        ck_assert_msg(link->short_send, "WRITABLE that nobody waited for");
        link->short_send = false;
        link->writables++;
        nqtest_push(link, 0, 0, 0, 0);
        break;
    case NQT_EV_RX:
        ck_assert(link->ups && !link->downs && event->epoch == link->epoch);
        link_messages(link, queued);
        break;
    case NQT_EV_LINK_DOWN:
        ck_assert_msg(!link->downs, "LINK_DOWN twice");
        ck_assert_int_lt(queued->err.code, 0);
        ck_assert_msg(*queued->err.text, "LINK_DOWN without a text");
        link->downs++;
        link->err = queued->err;
        break;
    case NQT_EV_LINK_CLOSED:
        ck_assert_msg(link->close_called, "LINK_CLOSED without close()");
        link->closed++;
        link->plugin = NULL;
        break;
    default:
        ck_abort_msg("unknown event %u", event->kind);
    }
}

static struct nqtest_queued *host_next_event(struct nqtest_host *host)
{
    struct nqtest_queued *queued;

    pthread_mutex_lock(&host->mtx);
    queued = host->events;
    if (queued) {
        host->events = queued->next;
        if (!host->events)
            host->events_tail = &host->events;
    }
    pthread_mutex_unlock(&host->mtx);
    return queued;
}

static void host_handle_all(struct nqtest_host *host)
{
    struct nqtest_queued *queued;

    if (host->handling)
        return;
    host->handling = true;
    while ((queued = host_next_event(host))) {
        struct nqtest_link *link = (struct nqtest_link *)queued->event.link;

        /* A link that was refused before attach() has no cookie of ours. */
        if (link)
            link_handle(link, queued);
        else if (queued->event.kind != NQT_EV_LINK_CLOSED)
            ep_handle((struct nqtest_ep *)queued->event.ep, queued);
        free(queued->bufs);
        free(queued);
    }
    host->handling = false;
}

/* ---- the loop ------------------------------------------------------------------------- */

static unsigned host_run_posts(struct nqtest_host *host)
{
    struct nqtest_call *call, *next;
    unsigned n = 0;

    pthread_mutex_lock(&host->mtx);
    call = host->posts;
    host->posts = NULL;
    host->posts_tail = &host->posts;
    pthread_mutex_unlock(&host->mtx);
    for (; call; call = next, n++) {
        next = call->next;
        host_enter(host);
        call->fn(call->arg);
        host_leave(host);
        free(call);
    }
    return n;
}

static unsigned host_run_questions(struct nqtest_host *host)
{
    struct nqtest_call *call;
    unsigned n = 0;

    while (!host->resolve_held && (call = host->questions)) {
        host->questions = call->next;
        host_enter(host);
        host_answer(host, call);
        host_leave(host);
        free(call);
        n++;
    }
    return n;
}

static unsigned host_run_timers(struct nqtest_host *host)
{
    unsigned n = 0;

    for (struct nqtest_watch *watch = host->watches; watch; watch = watch->next) {
        if (watch->deleted || watch->fd >= 0 || watch->at < 0 ||
            watch->at > host_now((nqt_core *)host))
            continue;
        watch->at = -1;
        host_enter(host);
        watch->on_timer(watch->arg);
        host_leave(host);
        n++;
    }
    return n;
}

static void host_sweep(struct nqtest_host *host)
{
    for (struct nqtest_watch **at = &host->watches; *at;) {
        struct nqtest_watch *watch = *at;

        if (watch->deleted) {
            *at = watch->next;
            free(watch);
        } else {
            at = &watch->next;
        }
    }
}

#define HOST_POLL_MAX 512

unsigned nqtest_turn(int ms)
{
    struct pollfd pfd[HOST_POLL_MAX];
    struct nqtest_watch *watch_at[HOST_POLL_MAX];
    nfds_t n = 0;
    unsigned done = 0;

    for (struct nqtest_host *host = hosts; host; host = host->next) {
        host_sweep(host);
        watch_at[n] = NULL;
        pfd[n++] = (struct pollfd){.fd = host->wake[0], .events = POLLIN};
        if (host->questions && !host->resolve_held)
            ms = 0;
        for (struct nqtest_watch *watch = host->watches; watch; watch = watch->next) {
            if (watch->fd < 0 && watch->at >= 0 && ms > 1)
                ms = 1; /* timers are looked at, not waited for */
            if (watch->fd < 0)
                continue;
            ck_assert_uint_lt(n, HOST_POLL_MAX);
            watch_at[n] = watch;
            pfd[n++] = (struct pollfd){.fd = watch->fd, .events = (short)watch->events};
        }
    }
    if (poll(pfd, n, ms) < 0)
        ck_assert_int_eq(errno, EINTR);
    for (nfds_t i = 0; i < n; i++) {
        char drain[64];
        struct nqtest_watch *watch = watch_at[i];

        if (!pfd[i].revents)
            continue;
        if (!watch) {
            while (read(pfd[i].fd, drain, sizeof(drain)) > 0)
                continue;
            continue;
        }
        ck_assert_msg(!(pfd[i].revents & POLLNVAL), "a watched descriptor was closed");
        if (watch->deleted)
            continue;
        done++;
        host_enter(watch->host);
        watch->on_fd(watch->arg, (uint32_t)pfd[i].revents);
        host_leave(watch->host);
    }
    for (struct nqtest_host *host = hosts; host; host = host->next) {
        host_handle_all(host);
        done += host_run_questions(host) + host_run_timers(host) + host_run_posts(host);
    }
    return done;
}

static int64_t host_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void nqtest_until(bool (*cond)(const void *arg), const void *arg, const char *what)
{
    int64_t end = host_clock_ms() + 20000;

    while (!cond(arg)) {
        ck_assert_msg(host_clock_ms() < end, "in vain waited for %s", what);
        nqtest_turn(5);
    }
}

void nqtest_settle(int ms)
{
    int64_t end = host_clock_ms() + ms;

    while (host_clock_ms() < end)
        if (nqtest_turn(1))
            end = host_clock_ms() + ms;
}

void nqtest_advance(struct nqtest_host *host, int64_t ns)
{
    host->shift += ns;
}

/* ---- slots ---------------------------------------------------------------------------- */

static const struct nqt_host host_table = {
    .size = sizeof(struct nqt_host),
    .abi_major = NQT_ABI_MAJOR,
    .abi_minor = NQT_ABI_MINOR,
    .log = host_log,
    .mem = host_mem,
    .buf_new = host_buf_new,
    .now_ns = host_now,
    .post = host_post,
    .in_serial = host_is_in_serial,
    .emit = host_emit,
    .count = host_count,
    .ext = host_ext,
    .cfg_int = host_cfg_int,
    .cfg_str = host_cfg_str,
    .cfg_list = host_cfg_list,
    .fd_add = host_fd_add,
    .fd_mod = host_fd_mod,
    .fd_del = host_watch_del,
    .timer_add = host_timer_add,
    .timer_set = host_timer_set,
    .timer_del = host_watch_del,
    .resolve = host_resolve,
    .rx_space = host_rx_space,
    .rx_commit = host_rx_commit,
};

static void host_release(struct nqtest_host *host)
{
    for (struct nqtest_host **at = &hosts; *at; at = &(*at)->next)
        if (*at == host) {
            *at = host->next;
            break;
        }
    close(host->wake[0]);
    close(host->wake[1]);
    pthread_mutex_destroy(&host->mtx);
    free(host);
}

struct nqtest_host *nqtest_host_new(const struct nqt_module *module, long fail_mem)
{
    struct nqtest_host *host = calloc(1, sizeof(*host));
    struct nqt_error err = {.size = sizeof(err)};

    host->table = host_table;
    host->module = module;
    host->thread = pthread_self();
    host->fail_mem = fail_mem;
    host->posts_tail = &host->posts;
    host->events_tail = &host->events;
    pthread_mutex_init(&host->mtx, NULL);
    ck_assert_int_eq(pipe2(host->wake, O_CLOEXEC | O_NONBLOCK), 0);
    host->next = hosts;
    hosts = host;
    if (!module->ops->mod_open(&host->table, (nqt_core *)host, &host->mod, &err))
        return host;
    ck_assert_int_lt(err.code, 0);
    ck_assert_int_eq(host->blocks, 0);
    host_release(host);
    return NULL;
}

static bool host_is_quiet(const void *arg)
{
    const struct nqtest_host *host = arg;

    for (const struct nqtest_ep *ep = host->eps; ep; ep = ep->next)
        if (!ep->closed)
            return false;
    return true;
}

void nqtest_host_free(struct nqtest_host *host)
{
    struct nqtest_link *link;
    struct nqtest_ep *ep;

    /* An ACCEPT may come until its endpoint is closed. */
    for (ep = host->eps; ep; ep = ep->next)
        ep->accept = NQTEST_REFUSE;
    for (link = host->links; link; link = link->next)
        if (!link->closed)
            nqtest_close(link);
    for (ep = host->eps; ep; ep = ep->next) {
        while (ep->nwaiting)
            nqtest_refuse(ep);
        nqtest_ep_close(ep);
    }
    host->resolve_held = false;
    nqtest_until(host_is_quiet, host, "EP_CLOSED");
    host->module->ops->mod_close(host->mod);
    host->gone = true;
    ck_assert_int_eq(host->blocks, 0);
    ck_assert_ptr_null(host->posts);
    ck_assert_ptr_null(host->events);
    ck_assert_ptr_null(host->questions);
    host_sweep(host);
    ck_assert_msg(!host->watches, "a watch stays behind");
    while ((link = host->links)) {
        host->links = link->next;
        ck_assert_msg(link->closed == 1 && !link->in_rx, "a link was not closed");
        free(link->serial);
        free(link);
    }
    while ((ep = host->eps)) {
        host->eps = ep->next;
        free(ep->serial);
        free(ep);
    }
    host_release(host);
}

int nqtest_ep_open(struct nqtest_host *host, bool listen, const struct nqtest_opt *opts,
                   struct nqtest_ep **ret, struct nqt_error *err)
{
    struct host_cfg cfg = {host, opts};
    struct nqtest_ep *ep = calloc(1, sizeof(*ep));
    struct nqt_error own = {.size = sizeof(own)};
    int rc;

    ep->host = host;
    ep->serial = serial_new(host);
    host_enter(host);
    rc = host->module->ops->ep_open(host->mod, (nqt_ep *)ep, (nqt_serial *)ep->serial,
                                    (nqt_cfg *)&cfg, listen, &ep->plugin, &own);
    if (!rc) {
        ck_assert_ptr_nonnull(ep->plugin);
        ep->next = host->eps;
        host->eps = ep;
        *ret = ep;
        host_leave(host);
        return 0;
    }
    host->depth--; /* a failed ep_open emits nothing */
    ck_assert_ptr_null(host->events);
    ck_assert_int_lt(rc, 0);
    ck_assert_int_eq(own.code, rc);
    ck_assert_msg(*own.text, "an error without a text");
    if (err)
        *err = own;
    free(ep->serial);
    free(ep);
    return rc;
}

void nqtest_ep_close(struct nqtest_ep *ep)
{
    struct nqtp_ep *plugin = ep->plugin;

    if (!plugin)
        return;
    ep->plugin = NULL;
    host_enter(ep->host);
    ep->host->module->ops->ep_close(plugin);
    host_leave(ep->host);
}

struct nqtest_link *nqtest_connect(struct nqtest_ep *ep, struct nqt_error *err)
{
    struct nqtest_host *host = ep->host;
    struct nqtest_link *link = link_new(ep);
    struct nqt_error own = {.size = sizeof(own)};
    int rc;

    host_enter(host);
    rc = host->module->ops->connect(ep->plugin, (nqt_link *)link, (nqt_serial *)link->serial,
                                    &link->plugin, &own);
    if (rc) {
        ck_assert_int_lt(rc, 0);
        ck_assert_msg(*own.text, "an error without a text");
        if (err)
            *err = own;
        host->links = link->next;
    }
    host_leave(host);
    if (!rc)
        return link;
    free(link->serial);
    free(link);
    return NULL;
}

static struct nqtp_link *ep_take_waiting(struct nqtest_ep *ep)
{
    struct nqtp_link *plugin = ep->waiting[0];

    ck_assert_uint_gt(ep->nwaiting, 0);
    memmove(ep->waiting, ep->waiting + 1, --ep->nwaiting * sizeof(ep->waiting[0]));
    return plugin;
}

struct nqtest_link *nqtest_attach(struct nqtest_ep *ep)
{
    struct nqtest_link *link = link_new(ep);

    link->plugin = ep_take_waiting(ep);
    ep->accepted[ep->naccepted++ % 64] = link;
    host_enter(ep->host);
    ck_assert_int_eq(
        ep->host->module->ops->attach(link->plugin, (nqt_link *)link, (nqt_serial *)link->serial),
        NQT_OK);
    host_leave(ep->host);
    return link;
}

void nqtest_refuse(struct nqtest_ep *ep)
{
    struct nqtp_link *plugin = ep_take_waiting(ep);

    host_enter(ep->host);
    ep->host->module->ops->close(plugin);
    host_leave(ep->host);
}

void nqtest_close(struct nqtest_link *link)
{
    if (link->closed)
        return;
    link->close_called = true;
    host_enter(link->host);
    link->host->module->ops->close(link->plugin);
    ck_assert_msg(!link->closed, "LINK_CLOSED was handled inside close()");
    host_leave(link->host);
}

int nqtest_hold(struct nqtest_link *link, int hold)
{
    int rc;

    host_enter(link->host);
    rc = link->host->module->ops->rx_hold(link->plugin, hold);
    host_leave(link->host);
    return rc;
}

int nqtest_shutdown(struct nqtest_link *link)
{
    int rc;

    host_enter(link->host);
    rc = link->host->module->ops->shutdown(link->plugin);
    host_leave(link->host);
    return rc;
}

int nqtest_rx_poll(struct nqtest_link *link)
{
    int rc;

    host_enter(link->host);
    rc = link->host->module->ops->rx_poll(link->plugin);
    host_leave(link->host);
    return rc;
}

struct nqt_buf *nqtest_buf(uint64_t at, size_t len, uint32_t nseg)
{
    struct host_buf *own = buf_make(len, nseg);

    for (uint32_t s = 0; s < nseg; s++)
        for (size_t i = 0; i < own->seg[s].iov_len; i++)
            ((uint8_t *)own->seg[s].iov_base)[i] = nqtest_pattern(at++);
    return &own->buf;
}

int nqtest_send(struct nqtest_link *link, struct nqt_buf **bufs, uint32_t n, uint32_t *taken)
{
    int rc;

    host_enter(link->host);
    link->sends++;
    *taken = UINT32_MAX;
    rc = link->host->module->ops->send(link->plugin, bufs, n, 0, taken);
    ck_assert_uint_le(*taken, n);
    if (rc)
        ck_assert_uint_eq(*taken, 0);
    else if (*taken < n)
        link->short_send = true;
    for (uint32_t i = *taken; i < n; i++)
        bufs[i]->ops->unref(bufs[i]);
    host_leave(link->host);
    return rc;
}

void nqtest_push(struct nqtest_link *link, uint64_t len, size_t buf_len, uint32_t nseg,
                 uint32_t batch)
{
    struct nqtest_tx *tx = &link->tx;
    struct nqt_buf *bufs[64];

    if (buf_len)
        *tx = (struct nqtest_tx){tx->done, tx->done + len, buf_len, nseg, batch};
    while (tx->done < tx->end && !link->downs && !link->close_called && !link->short_send) {
        uint64_t at = tx->done, lens[64];
        uint32_t n = 0, taken;

        for (; n < tx->batch && at < tx->end; at += lens[n++]) {
            lens[n] = tx->end - at < tx->buf_len ? tx->end - at : tx->buf_len;
            bufs[n] = nqtest_buf(at, (size_t)lens[n], tx->nseg);
        }
        if (nqtest_send(link, bufs, n, &taken))
            return;
        for (uint32_t i = 0; i < taken; i++)
            tx->done += lens[i];
    }
}

/* ---- conditions ----------------------------------------------------------------------- */

bool nqtest_is_up(const void *link)
{
    return ((const struct nqtest_link *)link)->ups;
}

bool nqtest_is_down(const void *link)
{
    return ((const struct nqtest_link *)link)->downs;
}

bool nqtest_is_closed(const void *link)
{
    return ((const struct nqtest_link *)link)->closed;
}

bool nqtest_is_ep_up(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->ups;
}

bool nqtest_is_ep_down(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->downs;
}

bool nqtest_has_accepted(const void *ep)
{
    const struct nqtest_ep *own = ep;

    return own->naccepted && own->accepted[0]->ups;
}

bool nqtest_has_waiting(const void *ep)
{
    return ((const struct nqtest_ep *)ep)->nwaiting;
}

int nqtest_fds(void)
{
    static bool known[4096], again;
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    int n = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        n++;
        if (!again && fd < 4096)
            known[fd] = true;
        else
            ck_assert_msg(known[fd] || (fcntl(fd, F_GETFD) & FD_CLOEXEC),
                          "descriptor %d is not close-on-exec", fd);
    }
    closedir(dir);
    again = true;
    return n;
}
