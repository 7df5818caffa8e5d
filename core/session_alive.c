/* Signs of life: who asks for them, and when.
 *
 *     heard --silence--> PING --keep-alive time--> PING --keep-alive time--> the link is lost
 *
 * Whatever proves to be the peer's is a sign of life.  It is noted and touches no timer: that fires
 * when the link would have been silent for long enough, sees when something was heard last, and is
 * set again for the rest.  Only the answer to a PING moves it.
 *
 * A PING costs a wake-up and a send on both sides, so there are as few as can be:
 *
 *   - Both sides hear of each other at nearly the same time.  Were they patient for the same time,
 *     their PINGs would cross, and each be answered.  So a server asks a little sooner, which is a
 *     sign of life for the client as well: a client asks only if its server does not, because it
 *     is an older one or has a longer keep-alive time.
 *   - A server has many sessions.  It asks at full grains of the clock, which are the same for all
 *     of them: one wake-up serves all that are due within a grain.
 *
 * What holds, unless this side itself was late: a link with a keep-alive time T is asked after a
 * silence of T, by a server between T - 3 and T - 2 grains; each PING has all of T for its answer;
 * and a link is given up after a silence of 3 T at the most and never before 2 T and 61 grains. */
#include "core/session_inside.h"

#include "core/err.h"

#define ALIVE_PINGS 2   /* unanswered ones, so that silence ends the link after 3 keepalives */
#define ALIVE_GRAINS 64 /* of a keep-alive time */
#define ALIVE_SOONER 2  /* grains that a server is less patient than its client */

/* When the silence since the last sign of life is long enough. */
static int64_t alive_due(const struct nqi_session *session)
{
    int64_t due = session->last_rx + session->conf->keepalive_ns;
    int64_t grain = session->conf->keepalive_ns / ALIVE_GRAINS;

    if (!session->serves || !grain)
        return due;
    due -= ALIVE_SOONER * grain;
    return due - due % grain;
}

void nqi_session_note(struct nqi_session *session, int64_t now)
{
    session->last_rx = now;
    if (!session->pings && session->ping_at != NQI_NEVER)
        return;
    session->pings = 0;
    if (session->conf->keepalive_ns)
        session->ping_at = alive_due(session);
}

/* Each PING has the whole time for its answer, however late we are: a process that was stopped for
 * a minute does not lose its links. */
nq_err nqi_session_tick_alive(struct nqi_session *session, int64_t now)
{
    int64_t due = alive_due(session);

    if (now < due) { /* something came meanwhile: the timer moves lazily */
        session->ping_at = due;
        return NQ_OK;
    }
    if (session->pings >= ALIVE_PINGS)
        return nqi_fail(NQ_ERR_LINK, "no sign of life for %lld ms",
                        (long long)((now - session->last_rx) / NQI_NS_PER_MS));
    session->pings++;
    session->ping_due = true;
    session->ping_at = now + session->conf->keepalive_ns;
    return NQ_OK;
}
