/* The host table: what plugins may call.  The resolver is in transport_resolve.c.
 *
 * emit() copies the event.  Inside the object's strand the copy is pushed to the strand, so that it
 * is handled after the slot returned; elsewhere it goes through the loop's inbox. */
#include "core/transport_inside.h"

#include "core/err.h"
#include "core/log.h"
#include "core/options.h"
#include "core/pool.h"
#include <stdlib.h>
#include <string.h>

/* ---- small services --------------------------------------------------------------------- */

/* What a transport says at this level strangers may cause without end. */
static bool host_may_say(nqt_core *core, uint32_t level)
{
    uint64_t left_out = 0;
    bool may;

    if (level != NQT_LOG_INFO || !nqi_log_on(NQ_LOG_INFO))
        return true;
    pthread_mutex_lock(&core->log_lock);
    may = nqi_ration_take(&core->said, NQI_TRANSPORT_SAID, nqi_now(), &left_out);
    pthread_mutex_unlock(&core->log_lock);
    if (left_out)
        nqi_log(NQ_LOG_INFO, "%s: %llu more lines were left out", core->module->name,
                (unsigned long long)left_out);
    return may;
}

static void host_log(nqt_core *core, uint32_t level, const char *text)
{
    if (!host_may_say(core, level))
        return;
    nqi_log(level > NQT_LOG_DEBUG ? NQ_LOG_DEBUG : (nq_log_level)level, "%s: %s",
            core->module->name, text);
}

static void *host_mem(nqt_core *core, void *old, size_t len)
{
    (void)core;
    if (len)
        return realloc(old, len);
    free(old);
    return NULL;
}

static int64_t host_now(nqt_core *core)
{
    (void)core;
    return nqi_now();
}

static int host_post(nqt_serial *serial, void (*fn)(void *), void *arg)
{
    return nqi_host_rc(nqi_post(nqi_host_serial(serial), fn, arg));
}

static int host_in_serial(nqt_serial *serial)
{
    return nqi_strand_inside(nqi_host_serial(serial)->strand);
}

static void host_count(nqt_core *core, uint32_t id, int64_t delta)
{
    if (id < NQI_LEN(core->counts))
        atomic_fetch_add_explicit(&core->counts[id], delta, memory_order_relaxed);
}

static const void *host_ext(nqt_core *core, const char *id)
{
    (void)core;
    (void)id; /* none is defined in this version */
    return NULL;
}

/* ---- buffers ---------------------------------------------------------------------------- */

struct host_buf {
    struct nqt_buf buf;
    struct iovec seg;
    _Atomic uint32_t refs;
    size_t size;
    _Alignas(64) uint8_t data[];
};

static void host_buf_ref(struct nqt_buf *buf)
{
    atomic_fetch_add_explicit(&NQI_CONTAINER(buf, struct host_buf, buf)->refs, 1,
                              memory_order_relaxed);
}

static void host_buf_unref(struct nqt_buf *buf)
{
    struct host_buf *own = NQI_CONTAINER(buf, struct host_buf, buf);

    if (atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) == 1)
        nqi_pool_free(own, own->size);
}

static const struct nqt_buf_ops host_buf_ops = {
    .size = sizeof(struct nqt_buf_ops), .ref = host_buf_ref, .unref = host_buf_unref};

static struct nqt_buf *host_buf_new(nqt_core *core, size_t len)
{
    struct host_buf *own = nqi_pool_alloc(sizeof(*own) + len);

    (void)core;
    if (!own)
        return NULL;
    memset(own, 0, sizeof(*own));
    atomic_init(&own->refs, 1);
    own->size = sizeof(*own) + len;
    own->seg = (struct iovec){.iov_base = own->data, .iov_len = len};
    own->buf = (struct nqt_buf){
        .size = sizeof(own->buf), .nseg = 1, .len = len, .seg = &own->seg, .ops = &host_buf_ops};
    return &own->buf;
}

/* ---- events ----------------------------------------------------------------------------- */

static void event_run(const struct nqt_event *event)
{
    if (event->link)
        nqi_tlink_on_event(event->link, event);
    else
        nqi_ep_on_event(event->ep, event);
}

/* The last event may free the core, and its spares with it. */
static void event_run_spare(struct nqi_transport_event *node)
{
    struct nqi_spare_event *spare = NQI_CONTAINER(node, struct nqi_spare_event, event);
    struct nqt_event event = node->event;
    struct nqt_error err = node->err;
    char name[NQI_EVENT_NAME];

    memcpy(name, node->name, sizeof(name));
    event.err = &err;
    event.peer_name = event.peer_name ? name : NULL;
    atomic_flag_clear(&spare->taken);
    event_run(&event);
}

static void host_event_run(void *arg)
{
    struct nqi_transport_event *node = arg;

    if (!node->size) {
        event_run_spare(node);
        return;
    }
    event_run(&node->event);
    nqi_pool_free(node, node->size);
}

static void host_event_work(struct nqi_work *work)
{
    host_event_run(NQI_CONTAINER(work, struct nqi_transport_event, work));
}

static struct nqi_transport_event *host_event_spare(nqt_core *core)
{
    for (unsigned i = 0; i < NQI_EVENT_SPARES; i++)
        if (!atomic_flag_test_and_set(&core->spares[i].taken)) {
            memset(&core->spares[i].event, 0, sizeof(core->spares[i].event));
            return &core->spares[i].event;
        }
    return NULL;
}

static struct nqi_transport_event *host_event_new(nqt_core *core, uint32_t nbuf)
{
    size_t size = sizeof(struct nqi_transport_event) + nbuf * sizeof(struct nqt_buf *);
    struct nqi_transport_event *node = nqi_pool_alloc(size);

    if (!node)
        return nbuf ? NULL : host_event_spare(core);
    memset(node, 0, sizeof(*node));
    node->size = size;
    return node;
}

static struct nqi_transport_event *host_event_copy(nqt_core *core, const struct nqt_event *event)
{
    struct nqi_transport_event *node = host_event_new(core, event->nbuf);
    struct nqt_buf **bufs;

    if (!node)
        return NULL;
    bufs = (struct nqt_buf **)(node + 1);
    node->work.run = host_event_work;
    memcpy(&node->event, event, NQI_MIN(sizeof(node->event), event->size));
    node->event.buf = bufs;
    if (event->nbuf)
        memcpy(bufs, event->buf, event->nbuf * sizeof(struct nqt_buf *));
    node->err.size = sizeof(node->err);
    if (event->err)
        memcpy(&node->err, event->err, NQI_MIN(sizeof(node->err), event->err->size));
    node->err.text[sizeof(node->err.text) - 1] = '\0';
    node->event.err = &node->err;
    if (event->peer_name) {
        strncpy(node->name, event->peer_name, NQI_EVENT_NAME - 1);
        node->event.peer_name = node->name;
    }
    return node;
}

static void host_event_free(struct nqi_transport_event *node)
{
    if (node->size)
        nqi_pool_free(node, node->size);
    else
        atomic_flag_clear(&NQI_CONTAINER(node, struct nqi_spare_event, event)->taken);
}

/* The smallest event that says what it is and of whom. */
#define HOST_EVENT_MIN (offsetof(struct nqt_event, link) + sizeof(nqt_link *))

/* Inside the serial the event is pushed to the strand: the slot goes on first.  The last event goes
 * through the loop in any case, behind what other threads emitted before. */
static int host_emit_one(nqt_core *core, const struct nqt_event *event)
{
    struct nqi_serial *serial = event->link ? &event->link->serial : &event->ep->serial;
    bool last = event->kind == NQT_EV_LINK_CLOSED || event->kind == NQT_EV_EP_CLOSED;
    bool inside = nqi_strand_inside(serial->strand);
    struct nqi_transport_event *node = host_event_copy(core, event);

    if (!node)
        return NQT_E_NOMEM;
    if ((last || !inside) && !nqi_post(serial, host_event_run, node))
        return NQT_OK;
    if (inside) {
        nqi_strand_run(serial->strand, &node->work);
        return NQT_OK;
    }
    host_event_free(node);
    return NQT_E_NOMEM;
}

static int host_emit(nqt_core *core, const struct nqt_event *events, uint32_t n)
{
    const char *at = (const char *)events;
    int rc;

    for (uint32_t i = 0; i < n; i++, at += events->size) {
        const struct nqt_event *event = (const struct nqt_event *)(const void *)at;

        if (events->size < HOST_EVENT_MIN || (!event->link && !event->ep)) {
            nqi_log(NQ_LOG_ERROR, "transport %s breaks the contract: an event of nobody",
                    core->module->name);
            return NQT_E_INVAL;
        }
        rc = host_emit_one(core, event);
        if (rc)
            return rc;
    }
    return NQT_OK;
}

/* ---- options ---------------------------------------------------------------------------- */

static int host_cfg_int(nqt_cfg *cfg, const char *name, int64_t *out)
{
    return nqi_options_int((const struct nqi_options *)cfg, name, out);
}

static int host_cfg_str(nqt_cfg *cfg, const char *name, const char **out)
{
    return nqi_options_str((const struct nqi_options *)cfg, name, out);
}

static int host_cfg_list(nqt_cfg *cfg, const char *name, uint32_t i, const char **out)
{
    return nqi_options_list((const struct nqi_options *)cfg, name, i, out);
}

static int host_cfg_inner(nqt_cfg *cfg, const char *name, const struct nqt_module **module,
                          nqt_cfg **out)
{
    const struct nqi_options *options = (const struct nqi_options *)cfg;
    struct nqi_options *inner = nqi_options_inner(options);
    size_t i = nqi_options_find(nqi_options_module(options), name);

    if (!inner || i == NQI_OPTIONS_NONE || i != nqi_options_find_inner(nqi_options_module(options)))
        return NQT_E_CONFIG;
    *module = nqi_options_module(inner);
    *out = (nqt_cfg *)inner;
    return NQT_OK;
}

/* ---- watches ---------------------------------------------------------------------------- */

static int host_fd_add(nqt_serial *serial, int fd, uint32_t events, void (*fn)(void *, uint32_t),
                       void *arg, nqt_watch **out)
{
    return nqi_host_rc(
        nqi_fd_add(nqi_host_serial(serial), fd, events, fn, arg, (struct nqi_watch **)out));
}

static int host_fd_mod(nqt_watch *watch, uint32_t events)
{
    return nqi_host_rc(nqi_fd_mod((struct nqi_watch *)watch, events));
}

static void host_watch_del(nqt_watch *watch)
{
    nqi_watch_del((struct nqi_watch *)watch);
}

static int host_timer_add(nqt_serial *serial, void (*fn)(void *), void *arg, nqt_watch **out)
{
    return nqi_host_rc(nqi_timer_add(nqi_host_serial(serial), fn, arg, (struct nqi_watch **)out));
}

static void host_timer_set(nqt_watch *watch, int64_t at_ns)
{
    nqi_timer_set((struct nqi_watch *)watch, at_ns < 0 ? NQI_NEVER : at_ns);
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Cut the segments down to `want` bytes; 0 = all.  @return how many bytes are left */
static size_t host_cut(struct iovec *iov, uint32_t *niov, size_t want)
{
    size_t room = 0;
    uint32_t n = 0;

    while (n < *niov && (!want || room < want)) {
        if (want)
            iov[n].iov_len = NQI_MIN(iov[n].iov_len, want - room);
        room += iov[n++].iov_len;
    }
    *niov = n;
    return room;
}

static int host_rx_space(nqt_link *link, size_t want, struct iovec *iov, uint32_t *niov)
{
    nq_err err;

    if (link->reading) {
        nqi_tlink_breach(link, "rx_space() twice without rx_commit()");
        return NQT_E_CLOSED;
    }
    if (!link->up)
        return NQT_E_CLOSED;
    err = link->events->space(link->arg, iov, niov);
    /* Without memory the link goes down; a link that is closing is only not read any more. */
    if (err)
        return err == NQ_ERR_NOMEM ? NQT_E_NOMEM : NQT_E_CLOSED;
    link->room = host_cut(iov, niov, want);
    link->reading = true;
    return NQT_OK;
}

static int host_rx_commit(nqt_link *link, size_t n)
{
    if (!link->reading || n > link->room) {
        nqi_tlink_breach(link, "rx_commit() of more than rx_space() gave");
        return NQT_E_CLOSED;
    }
    link->reading = false;
    if (!link->up)
        n = 0; /* the room goes back unused */
    if (link->events->commit(link->arg, n))
        return NQT_E_CLOSED;
    if (n)
        nqi_tlink_touch(link);
    return link->up ? NQT_OK : NQT_E_CLOSED;
}

static int host_rx_give(nqt_link *link, struct nqt_buf *buf)
{
    nq_err err = NQ_ERR_CLOSED;

    if (link->reading)
        nqi_tlink_breach(link, "rx_give() between rx_space() and rx_commit()");
    else if (link->up)
        err = link->events->give(link->arg, buf);
    buf->ops->unref(buf);
    if (err)
        return NQT_E_CLOSED;
    nqi_tlink_touch(link);
    return link->up ? NQT_OK : NQT_E_CLOSED;
}

static int host_rx_bytes(nqt_link *link, const void *data, size_t len)
{
    nq_err err = NQ_ERR_CLOSED;

    if (link->reading)
        nqi_tlink_breach(link, "rx_bytes() between rx_space() and rx_commit()");
    else if (link->up)
        err = link->events->receive(link->arg, data, len);
    if (err)
        return NQT_E_CLOSED;
    nqi_tlink_touch(link);
    return link->up ? NQT_OK : NQT_E_CLOSED;
}

const struct nqt_host nqi_transport_host = {
    .size = sizeof(struct nqt_host),
    .abi_major = NQT_ABI_MAJOR,
    .abi_minor = NQT_ABI_MINOR,
    .log = host_log,
    .mem = host_mem,
    .buf_new = host_buf_new,
    .now_ns = host_now,
    .post = host_post,
    .in_serial = host_in_serial,
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
    .resolve = nqi_host_resolve,
    .rx_space = host_rx_space,
    .rx_commit = host_rx_commit,
    .cfg_inner = host_cfg_inner,
    .health = nqi_ep_health_told,
    .rx_give = host_rx_give,
    .rx_bytes = host_rx_bytes,
};
