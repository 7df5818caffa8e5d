/* Hosts and endpoints, and the events that the plugin emits.  An event is copied at once and
 * handled when no slot is running, as the header promises. */
#include "tools/conform/host_in.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- events --------------------------------------------------------------------------- */

struct nqtest_serial *nqtest_serial_new(struct nqtest_host *host)
{
    struct nqtest_serial *serial = malloc(sizeof(*serial));

    serial->host = host;
    return serial;
}

void nqtest_enter(struct nqtest_host *host, const char *what)
{
    NQTEST_MUST(NONE, pthread_equal(host->thread, pthread_self()), "a host is another thread's");
    host->depth++;
    *nqtest_running = what;
}

/* An emit() inside a slot is handled when the slot has returned. */
void nqtest_leave(struct nqtest_host *host)
{
    if (--host->depth > 0)
        return;
    *nqtest_running = NULL;
    nqtest_handle_all(host);
}

static void ep_accept(struct nqtest_ep *ep, struct nqtp_link *plugin)
{
    NQTEST_COMPARE(NONE, ep->nwaiting, <, 64);
    ep->waiting[ep->nwaiting++] = plugin;
    if (ep->accept == NQTEST_ATTACH)
        nqtest_attach(ep);
    else if (ep->accept == NQTEST_REFUSE)
        nqtest_refuse(ep);
}

static void ep_handle(struct nqtest_ep *ep, const struct nqtest_queued *queued)
{
    NQTEST_MUST(CLOSED, !ep->closed, "an event of an endpoint after EP_CLOSED");
    switch (queued->event.kind) {
    case NQT_EV_EP_UP:
        ep->ups++;
        snprintf(ep->name, sizeof(ep->name), "%s", queued->peer);
        break;
    case NQT_EV_EP_DOWN:
        NQTEST_COMPARE(ERROR, queued->err.code, <, 0);
        NQTEST_MUST(ERROR, *queued->err.text, "EP_DOWN without a text");
        ep->downs++;
        ep->err = queued->err;
        break;
    case NQT_EV_EP_CLOSED:
        NQTEST_MUST(CLOSED, !ep->plugin, "EP_CLOSED without ep_close()");
        ep->closed++;
        for (const struct nqtest_link *link = ep->host->links; link; link = link->next)
            NQTEST_MUST(EPLAST, link->ep != ep || link->closed, "EP_CLOSED before LINK_CLOSED");
        break;
    case NQT_EV_ACCEPT:
        NQTEST_MUST(EVENT, queued->event.plink, "ACCEPT without a plink");
        NQTEST_MUST(EVENT, *queued->peer, "ACCEPT without a name");
        ep_accept(ep, queued->event.plink);
        break;
    default:
        nqtest_broken(NQTEST_RULE_EVENT, __FILE__, __LINE__, "unknown event %u",
                      queued->event.kind);
    }
}

static void link_messages(struct nqtest_link *link, const struct nqtest_queued *queued)
{
    NQTEST_MUST(EVENT, link->host->module->caps & NQT_CAP_MESSAGE,
                "RX without the capability MESSAGE");
    for (uint32_t i = 0; i < queued->event.nbuf; i++) {
        struct nqt_buf *buf = queued->bufs[i];

        for (uint32_t s = 0; s < buf->nseg && !link->close_called; s++)
            nqtest_receive(link, buf->seg[s].iov_base, buf->seg[s].iov_len);
        link->messages++;
        link->last_len = buf->len;
        if (link->keep && link->nkept < sizeof(link->kept) / sizeof(link->kept[0]))
            link->kept[link->nkept++] = buf;
        else
            buf->ops->unref(buf);
        if (link->close_inside && !link->close_called)
            nqtest_close(link);
    }
}

static void link_handle(struct nqtest_link *link, const struct nqtest_queued *queued)
{
    const struct nqt_event *event = &queued->event;

    NQTEST_MUST(CLOSED, !link->closed, "event %u of a link after LINK_CLOSED", event->kind);
    /* What was emitted before close() may still be on its way. */
    switch (event->kind) {
    case NQT_EV_LINK_UP:
        NQTEST_MUST(ONCE, !link->ups && !link->downs, "LINK_UP twice or after LINK_DOWN");
        NQTEST_MUST(EVENT, event->epoch, "LINK_UP without an epoch");
        link->ups++;
        link->epoch = event->epoch;
        snprintf(link->peer, sizeof(link->peer), "%s", queued->peer);
        break;
    case NQT_EV_WRITABLE:
        NQTEST_MUST(ONCE, link->ups && !link->downs && event->epoch == link->epoch,
                    "event %u outside of the epoch", event->kind);
        NQTEST_MUST(TAKEN, link->short_send, "WRITABLE that nobody waited for");
        link->short_send = false;
        link->writables++;
        nqtest_push(link, 0, 0, 0, 0);
        break;
    case NQT_EV_RX:
        NQTEST_MUST(ONCE, link->ups && !link->downs && event->epoch == link->epoch,
                    "event %u outside of the epoch", event->kind);
        link_messages(link, queued);
        break;
    case NQT_EV_LINK_DOWN:
        NQTEST_MUST(ONCE, !link->downs, "LINK_DOWN twice");
        NQTEST_COMPARE(ERROR, queued->err.code, <, 0);
        NQTEST_MUST(ERROR, *queued->err.text, "LINK_DOWN without a text");
        link->downs++;
        link->err = queued->err;
        break;
    case NQT_EV_LINK_CLOSED:
        NQTEST_MUST(CLOSED, link->close_called, "LINK_CLOSED without close()");
        link->closed++;
        link->plugin = NULL;
        break;
    default:
        nqtest_broken(NQTEST_RULE_EVENT, __FILE__, __LINE__, "unknown event %u", event->kind);
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

void nqtest_handle_all(struct nqtest_host *host)
{
    struct nqtest_queued *queued;

    if (host->handling)
        return;
    host->handling = true;
    while ((queued = host_next_event(host))) {
        struct nqtest_link *link = (struct nqtest_link *)queued->event.link;

        /* A link that was never attached has no cookie and ends silently. */
        if (link)
            link_handle(link, queued);
        else
            ep_handle((struct nqtest_ep *)queued->event.ep, queued);
        free(queued->bufs);
        free(queued);
    }
    host->handling = false;
}

/* ---- slots ---------------------------------------------------------------------------- */

static void host_release(struct nqtest_host *host)
{
    for (struct nqtest_host **at = &nqtest_hosts; *at; at = &(*at)->next)
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

    host->module = module;
    nqtest_make_table(host);
    host->thread = pthread_self();
    host->fail_mem = fail_mem;
    host->posts_tail = &host->posts;
    host->events_tail = &host->events;
    pthread_mutex_init(&host->mtx, NULL);
    NQTEST_COMPARE(NONE, pipe2(host->wake, O_CLOEXEC | O_NONBLOCK), ==, 0);
    host->next = nqtest_hosts;
    nqtest_hosts = host;
    *nqtest_running = "mod_open()";
    if (!module->ops->mod_open(&host->table, (nqt_core *)host, &host->mod, &err))
        return host;
    NQTEST_COMPARE(ERROR, err.code, <, 0);
    NQTEST_MUST(ERROR, !host->blocks, "mod_open() failed and left memory behind");
    host_release(host);
    return NULL;
}

static bool host_is_unlinked(const void *arg)
{
    const struct nqtest_host *host = arg;

    for (const struct nqtest_link *link = host->links; link; link = link->next)
        if (!link->closed)
            return false;
    return true;
}

static bool host_is_quiet(const void *arg)
{
    const struct nqtest_host *host = arg;

    for (const struct nqtest_ep *ep = host->eps; ep; ep = ep->next)
        if (!ep->closed)
            return false;
    return true;
}

void nqtest_host_close(struct nqtest_host *host)
{
    struct nqtest_link *link;
    struct nqtest_ep *ep;

    if (host->closing)
        return;
    host->closing = true;
    (void)nqtest_fds(); /* while they are open: are they close-on-exec? */
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
}

void nqtest_host_free(struct nqtest_host *host)
{
    struct nqtest_link *link;
    struct nqtest_ep *ep;

    nqtest_host_close(host);
    nqtest_until_or(NQTEST_RULE_CLOSED, host_is_unlinked, host, "LINK_CLOSED");
    nqtest_until_or(NQTEST_RULE_OPEN, host_is_quiet, host, "EP_CLOSED");
    *nqtest_running = "mod_close()";
    host->module->ops->mod_close(host->mod);
    *nqtest_running = NULL;
    host->gone = true;
    NQTEST_MUST(MEMORY, !host->blocks, "%ld blocks of mem() are left after mod_close()",
                host->blocks);
    NQTEST_MUST(GONE, !host->posts, "a post is left when mod_close() returns");
    NQTEST_MUST(CLOSED, !host->events, "an event follows EP_CLOSED");
    NQTEST_MUST(GONE, !host->questions, "a resolve() is left when mod_close() returns");
    nqtest_sweep(host);
    NQTEST_MUST(WATCHES, !host->watches, "a watch stays behind");
    while ((link = host->links)) {
        host->links = link->next;
        NQTEST_MUST(CLOSED, link->closed == 1, "a link was not closed");
        NQTEST_MUST(RXSPACE, !link->in_rx, "an rx_space() was never committed");
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

/* What every failure has. */
static void must_be_told(int rc, const struct nqt_error *err)
{
    NQTEST_COMPARE(ERROR, rc, <, 0);
    NQTEST_COMPARE(ERROR, err->code, ==, rc);
    NQTEST_MUST(ERROR, *err->text, "an error without a text");
    nqtest_look_for_secret(err->text, "an error");
}

int nqtest_check(struct nqtest_host *host, const struct nqtest_opt *opts, struct nqt_error *err)
{
    struct host_text *texts = NULL;
    struct host_cfg cfg = {opts, host->module, &texts};
    struct nqt_error own = {.size = sizeof(own)};
    int rc;

    if (!NQT_HAS(struct nqt_ops, host->module->ops, check))
        return NQT_OK;
    *nqtest_running = "check()";
    rc = host->module->ops->check(&host->table, (nqt_core *)host, (nqt_cfg *)&cfg, &own);
    *nqtest_running = NULL;
    nqtest_cfg_fini(&cfg);
    if (rc)
        must_be_told(rc, &own);
    if (rc && err)
        *err = own;
    return rc;
}

int nqtest_ep_open(struct nqtest_host *host, bool listen, const struct nqtest_opt *opts,
                   struct nqtest_ep **ret, struct nqt_error *err)
{
    struct host_text *texts = NULL;
    struct host_cfg cfg = {opts, host->module, &texts};
    struct nqtest_ep *ep = calloc(1, sizeof(*ep));
    struct nqt_error own = {.size = sizeof(own)};
    int rc;

    ep->host = host;
    ep->serial = nqtest_serial_new(host);
    nqtest_enter(host, "ep_open()");
    rc = host->module->ops->ep_open(host->mod, (nqt_ep *)ep, (nqt_serial *)ep->serial,
                                    (nqt_cfg *)&cfg, listen, &ep->plugin, &own);
    nqtest_cfg_fini(&cfg);
    if (!rc) {
        NQTEST_MUST(ERROR, ep->plugin, "ep_open() answers 0 and no endpoint");
        ep->next = host->eps;
        host->eps = ep;
        *ret = ep;
        nqtest_leave(host);
        return 0;
    }
    host->depth--; /* a failed ep_open emits nothing */
    NQTEST_MUST(ERROR, !host->events, "an ep_open() that failed has emitted an event");
    must_be_told(rc, &own);
    if (err)
        *err = own;
    free(ep->serial);
    free(ep);
    return rc;
}

void nqtest_open_is_refused(const struct nqt_module *module, bool listen,
                            const struct nqtest_opt *opts, int code, const char *part)
{
    struct nqtest_host *host = nqtest_host_new(module, 0);
    struct nqt_error err = {.size = sizeof(err)};
    struct nqtest_ep *ep;

    NQTEST_COMPARE(NONE, nqtest_ep_open(host, listen, opts, &ep, &err), ==, code);
    NQTEST_MUST(NONE, !part || strstr(err.text, part), "%s", err.text);
    nqtest_host_free(host);
}

void nqtest_ep_close(struct nqtest_ep *ep)
{
    struct nqtp_ep *plugin = ep->plugin;

    if (!plugin)
        return;
    ep->plugin = NULL;
    nqtest_enter(ep->host, "ep_close()");
    ep->host->module->ops->ep_close(plugin);
    nqtest_leave(ep->host);
}

/* ---- health ----------------------------------------------------------------------------- */

void nqtest_host_health(nqt_ep *cookie, const struct nqt_health *health)
{
    struct nqtest_ep *ep = (struct nqtest_ep *)cookie;

    NQTEST_COMPARE(EVENT, health->size, ==, sizeof(*health));
    NQTEST_COMPARE(EVENT, health->state, <=, NQT_HEALTH_CLOSED);
    NQTEST_MUST(GONE, !ep->host->gone, "health() after mod_close()");
    nqtest_look_for_secret(health->text, "a text of health()");
    pthread_mutex_lock(&ep->host->mtx);
    NQTEST_MUST(CLOSED, !ep->closed, "health() after EP_CLOSED");
    ep->health = health->state;
    snprintf(ep->health_text, sizeof(ep->health_text), "%s", health->text ? health->text : "");
    pthread_mutex_unlock(&ep->host->mtx);
}

bool nqtest_health_is(const struct nqtest_ep *ep, uint32_t state, const char *part)
{
    struct nqtest_host *host = ep->host;
    bool is;

    pthread_mutex_lock(&host->mtx);
    is = ep->health == state && (!part || strstr(ep->health_text, part));
    pthread_mutex_unlock(&host->mtx);
    return is;
}
