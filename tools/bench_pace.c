/* The job `paced` of `netqueue bench`: each message leaves when a schedule says so, and its latency
 * counts from then.  A round trip after the other would be kind to who stands still: nothing is
 * sent meanwhile, so one slow answer stands for all that would have been slow. */
#include "tools/bench.h"
#include "tools/say.h"
#include <sched.h>
#include <string.h>
#include <time.h>

#define PACE_NAP_NS (NQI_NS_PER_MS / 10)  /* a wait that is longer begins asleep */
#define PACE_WAKE_NS (NQI_NS_PER_MS / 16) /* what waking takes, and is left of it */

static int64_t pace_due(const struct nqi_pace *pace, uint64_t number)
{
    return pace->start_ns + (int64_t)((double)number * 1e9 / (double)pace->rate);
}

/* The server cannot know when the client began: both have the same clock. */
static int pace_tell(const struct nqi_bench *bench)
{
    struct nqi_pace *pace = bench->pace;
    nq_msg *msg = NULL;

    pace->start_ns = nqi_now_ns();
    if (nq_msg_new(&pace->start_ns, sizeof(pace->start_ns), &msg) != NQ_OK)
        return nqi_say_error(NQ_ERR_NOMEM);
    return nqi_bench_put(bench, msg);
}

int nqi_pace_meet(const struct nqi_bench *bench)
{
    struct nqi_pace *pace = bench->pace;
    nq_msg *msg = NULL;
    size_t n;
    int code;

    if (!bench->server)
        return pace_tell(bench);
    code = nqi_bench_get(bench, &msg, 1, &n);
    if (code)
        return code;
    n = nq_stream_tobytes(nq_msg_stream(msg), &pace->start_ns, sizeof(pace->start_ns));
    nq_msg_free(msg);
    if (n == sizeof(pace->start_ns))
        return 0;
    nqi_say("the schedule did not arrive as it was sent");
    return NQI_EXIT_FAILED;
}

void nqi_pace_wait(const struct nqi_pace *pace, uint64_t number)
{
    int64_t due = pace_due(pace, number), now;

    while ((now = nqi_now_ns()) < due) {
        int64_t until = due - PACE_WAKE_NS;
        struct timespec ts = {.tv_sec = until / NQI_NS_PER_S, .tv_nsec = until % NQI_NS_PER_S};

        if (due - now > PACE_NAP_NS)
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
        else
            sched_yield();
    }
}

void nqi_pace_arrived(struct nqi_pace *pace, uint64_t number, size_t n)
{
    int64_t now = nqi_now_ns();

    for (size_t i = 0; i < n; i++, number++)
        if (number >= pace->warmup)
            nqi_samples_add(&pace->samples, now - pace_due(pace, number));
}
