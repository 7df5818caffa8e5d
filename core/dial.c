/* Pauses: none between the transports of the list; after the last a random part (full jitter, so
 * that a thousand clients do not return in step) of a span that doubles from 100 ms to 30 s.  An
 * endpoint that rests (nqi_ep_rests_until()) is passed over; while all do, the pause ends with the
 * first of these rests and a random part of up to half of it.
 *
 *     the link                       next is              its pause
 *     did not come up                the next transport   after the last one
 *     lasted DIAL_STEADY             the first one        none
 *     ended sooner, messages passed  the next, in turns   none
 *     ended sooner, nothing passed   the next transport   after the last one
 *
 * So who stays on a later transport stays until that is lost, one that breaks again and again is
 * passed over, and two sides that do not get on do not connect as fast as they can. */
#include "core/dial.h"

#include "core/log.h"
#include "core/random.h"

#define DIAL_FIRST (100 * NQI_NS_PER_MS)
#define DIAL_MOST (30 * NQI_NS_PER_S)
#define DIAL_STEADY NQI_NS_PER_S /* a link that lasts so long worked */
#define DIAL_ALONE (5 * NQI_NS_PER_S)

static uint64_t dial_random(struct nqi_dialer *dialer)
{
    uint64_t x = dialer->random; /* xorshift64: jitter needs no secret */

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    dialer->random = x;
    return x;
}

void nqi_dialer_init(struct nqi_dialer *dialer, nqt_ep *const *eps, size_t count,
                     struct nqi_serial *serial, const struct nqi_link_events *events, void *arg)
{
    *dialer = (struct nqi_dialer){.eps = eps,
                                  .count = count,
                                  .serial = serial,
                                  .events = events,
                                  .arg = arg,
                                  .delay = DIAL_FIRST,
                                  .alone = nqi_now()};
    if (nqi_random(&dialer->random, sizeof(dialer->random)) || !dialer->random)
        dialer->random = (uint64_t)nqi_now() | 1;
}

void nqi_dialer_on_time(struct nqi_dialer *dialer, void (*retry)(void *arg), void *arg)
{
    if (nqi_timer_add(dialer->serial, retry, arg, &dialer->timer))
        dialer->timer = NULL;
}

void nqi_dialer_fini(struct nqi_dialer *dialer)
{
    dialer->stopped = true;
    nqi_watch_del(dialer->timer);
    dialer->timer = NULL;
}

void nqi_dialer_stop(struct nqi_dialer *dialer)
{
    dialer->stopped = true;
    if (dialer->timer)
        nqi_timer_set(dialer->timer, NQI_NEVER);
}

void nqi_dialer_worked(struct nqi_dialer *dialer, bool useful)
{
    int64_t now = nqi_now();
    bool steady = now - dialer->tried >= DIAL_STEADY;

    dialer->alone = now;
    dialer->said = false;
    if (!steady && !useful)
        return;
    dialer->at = steady ? 0 : dialer->at % dialer->count;
    dialer->delay = DIAL_FIRST;
}

/* Choose the first one, from `at` on, that need not rest at `when`.  False: there is none. */
static bool dial_choose(struct nqi_dialer *dialer, size_t at, int64_t when)
{
    while (at < dialer->count && nqi_ep_rests_until(dialer->eps[at]) > when)
        at++;
    dialer->at = at;
    return at < dialer->count;
}

/* All rest: choose who is the first to have rested.  @return when that is */
static int64_t dial_choose_soonest(struct nqi_dialer *dialer)
{
    int64_t soonest = NQI_NEVER;

    for (size_t i = 0; i < dialer->count; i++) {
        int64_t until = nqi_ep_rests_until(dialer->eps[i]);

        if (until >= soonest)
            continue;
        soonest = until;
        dialer->at = i;
    }
    return soonest;
}

static int64_t dial_pause(struct nqi_dialer *dialer)
{
    int64_t pause = (int64_t)(dial_random(dialer) % (uint64_t)dialer->delay);

    dialer->delay = NQI_MIN(dialer->delay * 2, DIAL_MOST);
    return pause;
}

/* Each attempt is logged as an event is; that all of them fail must be seen without asking. */
static void dial_say(struct nqi_dialer *dialer, int64_t now, const char *why)
{
    if (dialer->said || now - dialer->alone < DIAL_ALONE)
        return;
    dialer->said = true;
    nqi_log(NQ_LOG_WARN, "not connected for %lld s, still trying: %s",
            (long long)((now - dialer->alone) / NQI_NS_PER_S), why);
}

void nqi_dialer_failed(struct nqi_dialer *dialer, const char *why)
{
    int64_t now = nqi_now(), due = now;

    if (dialer->stopped || !dialer->timer)
        return;
    dial_say(dialer, now, why);
    if (!dial_choose(dialer, dialer->at, due)) {
        due += dial_pause(dialer);
        if (!dial_choose(dialer, 0, due)) {
            due = dial_choose_soonest(dialer);
            due += (int64_t)(dial_random(dialer) % (uint64_t)((due - now) / 2 + 1));
        }
    }
    nqi_timer_set(dialer->timer, due);
}

nq_err nqi_dialer_try(struct nqi_dialer *dialer, struct nqi_link **ret)
{
    nqt_ep *ep = dialer->eps[dialer->at++];
    nq_err err;

    dialer->tried = nqi_now();
    err = nqi_link_connect(ep, dialer->serial->strand, dialer->serial->loop, dialer->events,
                           dialer->arg, ret);

    if (!err)
        return NQ_OK;
    nqi_dialer_failed(dialer, nq_error());
    return NQ_AGAIN;
}
