/* What the plugin may call, and the checks on the way. */
#include "tools/conform/host_in.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HOST_SLOWER = 20 }; /* nqtest_slow_time() */

static struct nqtest_host *host_of(nqt_core *core)
{
    struct nqtest_host *host = (struct nqtest_host *)core;

    NQTEST_MUST(GONE, !host->gone, "the plugin called the host after mod_close()");
    return host;
}

static void host_in_serial(const struct nqtest_host *host)
{
    NQTEST_MUST(GONE, !host->gone, "the plugin called the host after mod_close()");
    NQTEST_MUST(SERIAL, pthread_equal(host->thread, pthread_self()) && host->depth,
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

    NQTEST_COMPARE(LOG, level, <=, NQT_LOG_DEBUG);
    NQTEST_MUST(LOG, !strchr(text, '\n'), "a line for the log has a newline in it");
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
    NQTEST_MUST(NONE, mem, "no memory");
    if (!old) {
        memset(mem, 0xa5, len); /* memory is not zeroed */
        atomic_fetch_add(&host->blocks, 1);
    }
    return mem;
}

static struct nqt_buf *host_buf_new(nqt_core *core, size_t len)
{
    return host_fails(&host_of(core)->fail_mem) ? NULL : nqtest_buf_new(len, 1);
}

int64_t nqtest_now(const struct nqtest_host *host)
{
    struct timespec now;
    int64_t ns;

    if (host->held)
        return host->shift;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + host->shift;
    return host->slow ? host->slow + (ns - host->slow) / HOST_SLOWER : ns;
}

static int64_t host_now(nqt_core *core)
{
    return nqtest_now(host_of(core));
}

static void host_wake(struct nqtest_host *host)
{
    NQTEST_MUST(NONE, write(host->wake[1], "", 1) == 1 || errno == EAGAIN,
                "the loop cannot be woken");
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

        NQTEST_MUST(EVENT, event->size >= sizeof(*event), "an event of %u bytes", event->size);
        NQTEST_MUST(EVENT, event->ep, "event %u without its endpoint", event->kind);
        if (event->link && ((struct nqtest_link *)event->link)->close_called)
            NQTEST_MUST(CLOSED, event->kind == NQT_EV_LINK_CLOSED, "event %u after close()",
                        event->kind);
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
    const struct nqt_module *module = own->module;
    const char *text = NULL;
    bool known = true;

    if (strcmp(name, NQT_FACT_PROVEN) == 0)
        *type = NQT_OPT_BOOL;
    else if (strcmp(name, NQT_FACT_WIRE) == 0)
        *type = NQT_OPT_INT;
    else if (strcmp(name, NQT_FACT_ID) == 0)
        *type = NQT_OPT_STR;
    else
        known = false;
    for (uint32_t i = 0; i < module->nopt; i++) {
        if (strcmp(module->opt[i].name, name) != 0)
            continue;
        known = true;
        text = module->opt[i].def;
        *type = module->opt[i].type;
    }
    NQTEST_MUST(ASKED, known, "the plugin asked for %s, which its table does not have", name);
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
    NQTEST_MUST(ASKED,
                type == NQT_OPT_BOOL || type == NQT_OPT_INT || type == NQT_OPT_SIZE ||
                    type == NQT_OPT_DURATION,
                "cfg_int() asks for %s, which is no number", name);
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
    NQTEST_MUST(ASKED,
                type == NQT_OPT_STR || type == NQT_OPT_ENUM || type == NQT_OPT_PATH ||
                    type == NQT_OPT_TRANSPORT,
                "cfg_str() asks for %s, which is no text", name);
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

const struct nqt_module *nqtest_inner;

/* The same list of options, read by the other's table. */
static int host_cfg_inner(nqt_cfg *cfg, const char *name, const struct nqt_module **module,
                          nqt_cfg **out)
{
    static _Thread_local struct host_cfg inner;
    const struct host_cfg *own = (const struct host_cfg *)cfg;

    (void)name;
    if (!nqtest_inner)
        return NQT_E_CONFIG;
    inner = (struct host_cfg){own->host, own->opts, nqtest_inner};
    *module = nqtest_inner;
    *out = (nqt_cfg *)&inner;
    return NQT_OK;
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

static int edge_of(int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int set = epoll_create1(EPOLL_CLOEXEC);

    NQTEST_COMPARE(NONE, epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), ==, 0);
    return set;
}

static int host_fd_add(nqt_serial *serial, int fd, uint32_t events,
                       void (*fn)(void *arg, uint32_t events), void *arg, nqt_watch **out)
{
    int rc;

    NQTEST_COMPARE(WATCHES, fcntl(fd, F_GETFD), >=, 0);
    rc = watch_add(serial,
                   (struct nqtest_watch){
                       .fd = fd, .edge = -1, .events = events, .on_fd = fn, .arg = arg, .at = -1},
                   out);
    if (!rc && events & NQT_POLL_EDGE)
        ((struct nqtest_watch *)*out)->edge = edge_of(fd);
    return rc;
}

static struct nqtest_watch *watch_of(nqt_watch *opaque)
{
    struct nqtest_watch *watch = (struct nqtest_watch *)opaque;

    host_in_serial(watch->host);
    NQTEST_MUST(WATCHES, !watch->deleted, "a watch was used after it was deleted");
    return watch;
}

static int host_fd_mod(nqt_watch *opaque, uint32_t events)
{
    struct nqtest_watch *watch = watch_of(opaque);

    NQTEST_COMPARE(WATCHES, watch->fd, >=, 0);
    watch->events = events;
    return NQT_OK;
}

static void host_watch_del(nqt_watch *opaque)
{
    struct nqtest_watch *watch = watch_of(opaque);

    if (watch->fd >= 0)
        NQTEST_MUST(WATCHES, fcntl(watch->fd, F_GETFD) >= 0,
                    "a descriptor was closed before its watch");
    if (watch->fd >= 0 && watch->edge >= 0)
        close(watch->edge);
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

    NQTEST_COMPARE(WATCHES, watch->fd, <, 0);
    watch->at = at_ns;
}

void nqtest_sweep(struct nqtest_host *host)
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

void nqtest_answer(const struct nqtest_host *host, const struct nqtest_call *call)
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
            NQTEST_COMPARE(NONE, inet_pton(AF_INET6, one, &sa[n].in6.sin6_addr), ==, 1);
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

void nqtest_receive(struct nqtest_link *link, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (link->received + i < sizeof(link->head))
            link->head[link->received + i] = (char)bytes[i];
        if (!link->raw && bytes[i] != nqtest_pattern(link->received + i))
            nqtest_broken(NQTEST_RULE_BYTES, __FILE__, __LINE__, "wrong byte at %" PRIu64,
                          link->received + i);
    }
    link->received += len;
}

static int host_rx_space(nqt_link *opaque, size_t want, struct iovec *iov, uint32_t *niov)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;
    size_t left = want && want < link->space ? want : link->space;

    host_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_space() without rx_commit()");
    NQTEST_MUST(ONCE, link->ups && !link->downs && !link->close_called,
                "rx_space() of a dead link");
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

static void rx_refill(const struct nqtest_link *link, size_t n)
{
    static const char zeros[65536];

    if (n && link->received + n < link->refill)
        NQTEST_COMPARE(NONE, send(link->refill_fd, zeros, n, MSG_NOSIGNAL), ==, (ssize_t)n);
}

static int host_rx_commit(nqt_link *opaque, size_t n)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    host_in_serial(link->host);
    NQTEST_MUST(RXSPACE, link->in_rx, "rx_commit() without rx_space()");
    link->in_rx = false;
    rx_refill(link, n);
    for (uint32_t i = 0; i < link->ngiven; i++) {
        size_t share = n < link->given[i].iov_len ? n : link->given[i].iov_len;

        nqtest_receive(link, link->given[i].iov_base, share);
        n -= share;
        free(link->given[i].iov_base);
    }
    NQTEST_COMPARE(RXSPACE, n, ==, 0);
    if (link->close_inside && link->received) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

/* What is kept is unreferenced by the test. */
static int host_rx_give(nqt_link *opaque, struct nqt_buf *buf)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    host_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_give() without rx_commit()");
    for (uint32_t i = 0; i < buf->nseg; i++)
        nqtest_receive(link, buf->seg[i].iov_base, buf->seg[i].iov_len);
    link->views++;
    if (link->keep && link->nkept < sizeof(link->kept) / sizeof(link->kept[0]))
        link->kept[link->nkept++] = buf;
    else
        buf->ops->unref(buf);
    if (link->close_inside) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

static int host_rx_bytes(nqt_link *opaque, const void *data, size_t len)
{
    struct nqtest_link *link = (struct nqtest_link *)opaque;

    host_in_serial(link->host);
    NQTEST_MUST(RXSPACE, !link->in_rx, "rx_bytes() without rx_commit()");
    NQTEST_MUST(ONCE, link->ups && !link->downs && !link->close_called,
                "rx_bytes() of a dead link");
    nqtest_receive(link, data, len);
    if (link->hold_inside)
        NQTEST_COMPARE(NONE, link->host->module->ops->rx_hold(link->plugin, 1), ==, NQT_OK);
    if (link->close_inside) {
        link->close_called = true;
        link->host->module->ops->close(link->plugin);
    }
    return link->stop_at && link->received >= link->stop_at ? NQT_E_CLOSED : NQT_OK;
}

/* ---- the table ------------------------------------------------------------------------ */

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
    .rx_give = host_rx_give,
    .rx_bytes = host_rx_bytes,
    .cfg_inner = host_cfg_inner,
    .health = nqtest_host_health,
};

/* ---- tables of other cores ---------------------------------------------------------------- */

enum nqtest_table nqtest_table;

/* What a core of each minor knows. */
static const size_t table_sizes[] = {sizeof(struct nqt_host)};
#define MINORS (sizeof(table_sizes) / sizeof(table_sizes[0]))

static void not_there(void)
{
    nqtest_broken(NQTEST_RULE_OLDER, __FILE__, __LINE__,
                  "it calls what its host has not, whose table has a size");
}

static void not_known(void)
{
    nqtest_broken(NQTEST_RULE_NEWER, __FILE__, __LINE__, "it calls what it cannot know");
}

/* Fill [from, to) of the table, with which the host begins. */
static void lay_traps(struct nqtest_host *host, size_t from, size_t to, void (*trap)(void))
{
    for (size_t at = from; at < to; at += sizeof(trap))
        memcpy((char *)host + at, &trap, sizeof(trap));
}

void nqtest_make_table(struct nqtest_host *host)
{
    const size_t whole = sizeof(host->table) + sizeof(host->beyond);
    uint16_t minor = host->module->needs_minor;

    host->table = host_table;
    if (nqtest_table == NQTEST_TABLE_OLDEST) {
        host->table.size = (uint32_t)table_sizes[minor < MINORS ? minor : MINORS - 1];
        host->table.abi_minor = minor;
    }
    if (nqtest_table == NQTEST_TABLE_LONGER) {
        host->table.size = (uint32_t)whole;
        host->table.abi_minor = NQT_ABI_MINOR + 1;
        lay_traps(host, sizeof(host->table), whole, not_known);
    } else {
        lay_traps(host, host->table.size, whole, not_there);
    }
}
