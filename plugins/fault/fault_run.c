/* What is done when no frame of the inner transport is on the stack: a plan that struck, a way that
 * lives again, messages for the core.
 *
 * fault_run() looks at everything there may be to do, whoever called it; doing it twice is
 * harmless, so nobody has to say why it is called. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault.h"
#include <stdio.h>
#include <string.h>

#define RUN_TURN_BYTES ((size_t)1 << 20) /* handed up in one turn; others want theirs */

/* ---- what may move now ------------------------------------------------------------------ */

static bool way_open(const struct nqtp_link *link, const struct fault_way *way)
{
    if (way->dead || link->due)
        return false;
    return !link->ep->opts.rate || fault_now(link) >= way->next_ns;
}

bool fault_tx_open(const struct nqtp_link *link)
{
    return way_open(link, &link->tx);
}

uint64_t fault_rx_limit(struct nqtp_link *link)
{
    const struct fault_opts *opts = &link->ep->opts;
    uint64_t left = fault_plan_left(link, false), limit = UINT64_MAX;

    if (!link->ep->active)
        return UINT64_MAX;
    if (!left)
        fault_plan_strike(link);
    if (!way_open(link, &link->rx))
        return 0;
    if (opts->rate)
        limit = opts->rate / FAULT_SLICES + 1;
    if (opts->short_read && opts->short_read < limit)
        limit = opts->short_read;
    if (opts->short_read)
        limit = 1 + fault_below(&link->rx.rng, limit);
    return left < limit ? left : limit;
}

void fault_pace(struct nqtp_link *link, struct fault_way *way, uint64_t n)
{
    uint64_t rate = link->ep->opts.rate;
    int64_t now;

    if (!rate || !n)
        return;
    now = fault_now(link);
    if (way->next_ns < now)
        way->next_ns = now;
    way->next_ns += (int64_t)((double)n * 1e9 / (double)rate);
}

/* One bit of one byte. */
void fault_corrupt(struct nqtp_link *link, uint64_t n)
{
    uint64_t at;

    if (!fault_hit(&link->rx.rng, link->ep->opts.corrupt))
        return;
    at = fault_below(&link->rx.rng, n);
    for (uint32_t i = 0; i < link->ngiven; i++) {
        if (at < link->given[i].iov_len) {
            ((uint8_t *)link->given[i].iov_base)[at] ^=
                (uint8_t)(1u << fault_below(&link->rx.rng, 8));
            nqt_log(link->ep->mod->host, link->ep->mod->core, NQT_LOG_DEBUG,
                    "link %llu: a bit is flipped", (unsigned long long)link->number);
            return;
        }
        at -= link->given[i].iov_len;
    }
}

static void arm_first(int64_t *at, int64_t other)
{
    if (*at < 0 || other < *at)
        *at = other;
}

void fault_arm(struct nqtp_link *link)
{
    const struct fault_opts *opts = &link->ep->opts;
    int64_t at = -1;

    if (!link->timer || link->hurry)
        return;
    if (fault_open(link)) {
        if (link->tx.dead || link->rx.dead)
            arm_first(&at, link->dead_until);
        if (opts->rate && link->rx_refused && !link->rx.dead)
            arm_first(&at, link->rx.next_ns);
        if (opts->rate && link->tx_owed && !link->tx_full && !link->tx.dead)
            arm_first(&at, link->tx.next_ns);
        if (link->queue.late)
            arm_first(&at, link->queue.late_ns);
    }
    link->ep->mod->host->timer_set(link->timer, at);
}

/* ---- the end of a plan ------------------------------------------------------------------ */

/* The inner transport sends what it took, then ends; what it receives meanwhile is nobody's. */
static void run_sink(struct nqtp_link *link)
{
    const struct nqt_ops *ops = link->ep->ops;

    link->sinking = true;
    if (!FAULT_CAN(ops, shutdown) || ops->shutdown(link->inner) < 0) {
        link->sinking = false;
        return;
    }
    if (FAULT_CAN(ops, rx_hold))
        (void)ops->rx_hold(link->inner, 0);
    if (FAULT_CAN(ops, rx_arm)) /* the core looks no more */
        (void)ops->rx_arm(link->inner, 1);
}

static void run_cut(struct nqtp_link *link)
{
    struct nqt_info info = {.size = sizeof(info)};
    struct nqt_error err = {.size = sizeof(err)};
    const struct fault_way *way = link->plan.send ? &link->tx : &link->rx;

    (void)fault_info(link, &info); /* while there is an inner link to ask */
    nqt_fail(&err, NQT_E_LOST, "%s: fault: link %llu is %s after %llu bytes %s", link->peer,
             (unsigned long long)link->number, fault_kind_name(link->plan.kind),
             (unsigned long long)way->bytes, link->plan.send ? "sent" : "received");
    link->due = link->end_due = false;
    link->state = FAULT_DOWN;
    fault_queue_free(link);
    if (link->plan.kind == FAULT_TRUNCATE && !link->inner_down)
        run_sink(link);
    if (!link->sinking)
        fault_inner_close(link);
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

/* The time of a dead way is over. */
static void run_revive(struct nqtp_link *link)
{
    if (link->plan.kind == FAULT_HALF_OPEN) {
        link->due = true;
        return;
    }
    link->tx.dead = link->rx.dead = false;
    link->plan.kind = FAULT_NONE;
}

/* ---- messages for the core -------------------------------------------------------------- */

/* Fill the core's space from the queue. */
static size_t run_fill(struct nqtp_link *link)
{
    size_t done = 0, n;

    for (uint32_t i = 0; i < link->ngiven; i++) {
        n = fault_queue_take(&link->queue, link->given[i].iov_base, link->given[i].iov_len);
        done += n;
        if (n < link->given[i].iov_len)
            break;
    }
    return done;
}

static void run_down(struct nqtp_link *link, int code, const char *text)
{
    struct nqt_error err = {.size = sizeof(err)};

    nqt_fail(&err, code, "%s", text);
    link->state = FAULT_DOWN;
    fault_queue_free(link);
    (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &err);
}

/* One read of the core's.  False: nothing more now. */
static bool run_read(struct nqtp_link *link, size_t *total)
{
    const struct nqt_host *host = link->ep->mod->host;
    uint64_t limit = fault_rx_limit(link);
    size_t n;
    int rc;

    if (!limit) {
        link->rx_refused = true;
        return false;
    }
    link->ngiven = 8;
    rc = host->rx_space(link->cookie, limit < SIZE_MAX ? (size_t)limit : 0, link->given,
                        &link->ngiven);
    if (rc == NQT_E_NOMEM) {
        run_down(link, rc, "no memory to hand up what came");
        return false;
    }
    if (rc) {
        link->rx_blocked = true;
        return false;
    }
    n = run_fill(link);
    if (n)
        fault_corrupt(link, n);
    *total += n;
    if (host->rx_commit(link->cookie, n) < 0) {
        link->rx_blocked = true; /* the core is about to close */
        return false;
    }
    return fault_open(link) && !fault_plan_count(link, false, n);
}

/* One message as it is.  False: nothing more now. */
static bool run_message(struct nqtp_link *link, size_t *total)
{
    struct nqt_buf *buf;
    size_t len;

    if (!fault_rx_limit(link)) {
        link->rx_refused = true;
        return false;
    }
    buf = fault_queue_pop(&link->queue);
    len = (size_t)buf->len;
    *total += len;
    fault_link_emit_message(link, buf);
    return fault_open(link) && !fault_plan_count(link, false, len);
}

/* Hand the queue up. */
static void run_pump(struct nqtp_link *link)
{
    size_t total = 0;

    while (fault_open(link) && link->queue.count && !link->held && !link->rx_blocked) {
        if (total >= RUN_TURN_BYTES && fault_kick(link))
            return;
        if (link->ep->lossy ? !run_message(link, &total) : !run_read(link, &total))
            break;
    }
    if (link->end_due && fault_open(link) && !link->queue.count && !link->due) {
        link->end_due = false;
        link->state = FAULT_DOWN;
        (void)NQT_EMIT_LINK(link, NQT_EV_LINK_DOWN, .err = &link->end);
    }
}

/* ---- all of it -------------------------------------------------------------------------- */

/* Reading and sending may go on: say so to who waits. */
static void run_resume(struct nqtp_link *link)
{
    const struct nqt_ops *ops = link->ep->ops;

    if (link->rx_refused && !link->held && way_open(link, &link->rx)) {
        link->rx_refused = false;
        if (!link->ep->message && !link->inner_down && FAULT_CAN(ops, rx_hold))
            (void)ops->rx_hold(link->inner, 0);
    }
    if (link->state == FAULT_UP && link->tx_owed && !link->tx_full && fault_tx_open(link)) {
        link->tx_owed = false;
        (void)NQT_EMIT_LINK(link, NQT_EV_WRITABLE);
    }
}

static void run_open(struct nqtp_link *link)
{
    int64_t now = link->timer ? fault_now(link) : 0;

    if ((link->tx.dead || link->rx.dead) && now >= link->dead_until)
        run_revive(link);
    if (link->queue.late && now >= link->queue.late_ns)
        fault_queue_late(link);
    if (!link->due)
        run_pump(link);
    if (fault_open(link) && !link->due)
        run_resume(link);
    if (fault_open(link) && link->due)
        run_cut(link);
}

/* The two callers differ: a post is used up, a timer may come beside one. */
static void run_link(struct nqtp_link *link)
{
    fault_enter(link);
    link->hurry = false;
    if (fault_open(link))
        run_open(link);
    if (link->inner_down && !fault_open(link) && link->sinking)
        fault_inner_close(link);
    fault_arm(link);
    fault_leave(link); /* may free the link */
}

void fault_run(void *arg)
{
    struct nqtp_link *link = arg;

    link->posted = false;
    run_link(link);
}

void fault_tick(void *arg)
{
    run_link(arg);
}
