/* How an endpoint's medium is, for nq_health().
 *
 *     events of endpoint and links --> seen --+--> state, since, counts, text --> show
 *     the transport: host->health() -> told --+
 *
 *     from         to            counts
 *     any          CONNECTING    connects
 *     any          FAILING       failures
 *
 * A state that is said again has a new text only.  From the first word of the transport on, what
 * the core sees no longer counts: a link that a server refuses says nothing bad of the broker that
 * it came through. */
#include "core/transport_inside.h"

#include <stdio.h>

const char *nq_health_text(nq_health_state state)
{
    static const char *const texts[NQ_HEALTHS] = {
        [NQ_HEALTH_IDLE] = "idle",     [NQ_HEALTH_CONNECTING] = "connecting",
        [NQ_HEALTH_READY] = "ready",   [NQ_HEALTH_FAILING] = "failing",
        [NQ_HEALTH_CLOSED] = "closed",
    };

    return (unsigned)state < NQ_HEALTHS ? texts[state] : "unknown";
}

void nqi_ep_health_init(nqt_ep *ep)
{
    pthread_mutex_init(&ep->health.lock, NULL);
    ep->health.since = nqi_now();
}

void nqi_ep_health_fini(nqt_ep *ep)
{
    pthread_mutex_destroy(&ep->health.lock);
}

/* Under the lock. */
static void health_enter(struct nqi_ep_health *health, nq_health_state state, const char *text)
{
    snprintf(health->text, sizeof(health->text), "%s", text ? text : "");
    if (health->state == state)
        return;
    health->connects += state == NQ_HEALTH_CONNECTING;
    health->failures += state == NQ_HEALTH_FAILING;
    health->state = state;
    health->since = nqi_now();
}

void nqi_ep_health_seen(nqt_ep *ep, nq_health_state state, const char *text)
{
    struct nqi_ep_health *health = &ep->health;

    pthread_mutex_lock(&health->lock);
    if (!health->told)
        health_enter(health, state, text);
    pthread_mutex_unlock(&health->lock);
}

void nqi_ep_health_told(nqt_ep *ep, const struct nqt_health *told)
{
    static const nq_health_state states[] = {
        [NQT_HEALTH_IDLE] = NQ_HEALTH_IDLE,     [NQT_HEALTH_CONNECTING] = NQ_HEALTH_CONNECTING,
        [NQT_HEALTH_READY] = NQ_HEALTH_READY,   [NQT_HEALTH_FAILING] = NQ_HEALTH_FAILING,
        [NQT_HEALTH_CLOSED] = NQ_HEALTH_CLOSED,
    };
    struct nqi_ep_health *health = &ep->health;

    if (told->size < sizeof(*told) || told->state >= NQI_LEN(states))
        return; /* of a minor that is not known here */
    pthread_mutex_lock(&health->lock);
    health->told = true;
    health_enter(health, states[told->state], told->text);
    pthread_mutex_unlock(&health->lock);
}

void nqi_ep_show_health(nqt_ep *ep, struct nq_health_info *ret)
{
    struct nqi_ep_health *health = &ep->health;

    snprintf(ret->transport, sizeof(ret->transport), "%s", nqi_transport_name(ep->core));
    pthread_mutex_lock(&health->lock);
    ret->state = health->state;
    ret->since_ns = nqi_now() - health->since;
    ret->connects = health->connects;
    ret->failures = health->failures;
    snprintf(ret->text, sizeof(ret->text), "%s", health->text);
    pthread_mutex_unlock(&health->lock);
}
