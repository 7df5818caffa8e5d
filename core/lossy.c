/* Everything that comes in ends in lossy_run(): what can leave leaves, and the clock is set. */
#include "core/lossy.h"

#include "core/err.h"
#include "core/pool.h"
#include <stdlib.h>

struct nqi_lossy {
    struct nqi_arq arq;
    nqt_link *tlink;
    struct nqi_watch *clock; /* NULL after nqi_lossy_part() */
    const struct nqi_lossy_events *events;
    void *arg;
    bool blocked;  /* the transport takes nothing now */
    bool full;     /* whoever sends waits for `writable` */
    bool draining; /* and `drained` was not called */
};

static void lossy_push(struct nqi_lossy *lossy)
{
    while (!lossy->blocked) {
        int64_t now = nqi_now();
        struct nqt_buf *buf = nqi_arq_pull(&lossy->arq, now);
        uint32_t taken = 0;

        if (!buf)
            return;
        /* After a failure the transport reports the link down; until then it is as good as full. */
        lossy->blocked = nqi_tlink_send(lossy->tlink, &buf, 1, &taken) || !taken;
        if (taken)
            nqi_arq_taken(&lossy->arq, now);
    }
}

static void lossy_run(struct nqi_lossy *lossy)
{
    if (!lossy->clock)
        return;
    lossy_push(lossy);
    nqi_timer_set(lossy->clock, nqi_arq_deadline(&lossy->arq));
    if (lossy->full && nqi_arq_has_room(&lossy->arq)) {
        lossy->full = false;
        lossy->events->writable(lossy->arg);
    }
    if (lossy->draining && nqi_arq_flushed(&lossy->arq)) {
        lossy->draining = false;
        lossy->events->drained(lossy->arg);
    }
}

static void lossy_on_clock(void *arg)
{
    struct nqi_lossy *lossy = arg;

    nqi_arq_tick(&lossy->arq, nqi_now());
    lossy_run(lossy);
}

nq_err nqi_lossy_new(nqt_link *tlink, const struct nqi_lossy_events *events, void *arg,
                     struct nqi_lossy **ret)
{
    struct nqi_lossy *lossy = nqi_pool_alloc(sizeof(*lossy));
    nq_err err;

    if (!lossy)
        return nqi_fail(NQ_ERR_NOMEM, "no memory for a link");
    *lossy = (struct nqi_lossy){.tlink = tlink, .events = events, .arg = arg};
    err = nqi_arq_init(&lossy->arq, nqi_tlink_max_message(tlink));
    if (!err)
        err = nqi_timer_add(nqi_tlink_serial(tlink), lossy_on_clock, lossy, &lossy->clock);
    if (err) {
        nqi_pool_free(lossy, sizeof(*lossy));
        return err;
    }
    *ret = lossy;
    return NQ_OK;
}

void nqi_lossy_free(struct nqi_lossy *lossy)
{
    if (!lossy)
        return;
    nqi_watch_del(lossy->clock);
    nqi_arq_fini(&lossy->arq);
    nqi_pool_free(lossy, sizeof(*lossy));
}

void nqi_lossy_trust(struct nqi_lossy *lossy)
{
    nqi_arq_widen(&lossy->arq);
}

void nqi_lossy_send(struct nqi_lossy *lossy, struct nqt_buf *const *bufs, uint32_t n,
                    uint32_t *taken)
{
    *taken = nqi_arq_send(&lossy->arq, bufs, n);
    for (uint32_t i = *taken; i < n; i++)
        bufs[i]->ops->unref(bufs[i]);
    lossy_run(lossy);
    lossy->full |= *taken < n;
}

nq_err nqi_lossy_message(struct nqi_lossy *lossy, struct nqt_buf *buf)
{
    nq_err err = nqi_arq_receive(&lossy->arq, buf, nqi_now(), lossy->events->receive, lossy->arg);

    if (!err)
        lossy_run(lossy);
    return err;
}

void nqi_lossy_writable(struct nqi_lossy *lossy)
{
    lossy->blocked = false;
    lossy_run(lossy);
}

void nqi_lossy_drain(struct nqi_lossy *lossy)
{
    lossy->draining = true;
    lossy_run(lossy);
}

void nqi_lossy_part(struct nqi_lossy *lossy)
{
    if (lossy->arq.answer_at != NQI_NEVER)
        lossy->arq.answer = true;
    lossy_push(lossy);
    nqi_watch_del(NQI_STEAL(lossy->clock));
}
