/* How a process of `netqueue bench` waits: for its transport, for messages and for room; never
 * without a limit, never for a partner that has ended, and until Ctrl-C at the most. */
#include "tools/bench.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_LOOK_NS (10 * NQI_NS_PER_MS)
#define WAIT_PATIENCE_NS NQI_NS_PER_S /* for a transport that fails, before it is reported */

/* Has the other process ended?  It says itself why. */
static bool wait_partner_gone(const struct nqi_bench *bench)
{
    siginfo_t info = {0};

    if (!bench->server)
        return getppid() != bench->partner;
    return waitid(P_PID, (id_t)bench->partner, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid != 0;
}

int nqi_bench_idle(const struct nqi_bench *bench, int64_t since)
{
    if (nqi_interrupted())
        return NQI_EXIT_INTERRUPTED;
    if (nqi_now_ns() - since > bench->timeout_ns && bench->timeout_ns >= 0) {
        nqi_say("time-out: nothing came for %.3g s", (double)bench->timeout_ns / 1e9);
        return NQI_EXIT_LINK;
    }
    if (!wait_partner_gone(bench))
        return 0;
    nqi_say("the other process has ended");
    return NQI_EXIT_FAILED;
}

int nqi_bench_get(const struct nqi_bench *bench, nq_msg **msgs, size_t cap, size_t *n)
{
    nq_err err = nq_get_many(bench->queue, msgs, cap, NQI_SLICE_NS, n);
    int64_t since;

    if (err == NQ_OK)
        return 0;
    since = nqi_now_ns();
    while (err == NQ_AGAIN) {
        int code = nqi_bench_idle(bench, since);

        if (code)
            return code;
        err = nq_get_many(bench->queue, msgs, cap, NQI_SLICE_NS, n);
    }
    return err == NQ_OK ? 0 : nqi_say_error(err);
}

int nqi_bench_put(const struct nqi_bench *bench, nq_msg *msg)
{
    const nq_uuid *peer = bench->server ? &bench->peer : NULL;
    int64_t since = 0;
    nq_err err;
    int code = 0;

    while ((err = nq_put(bench->queue, msg, peer, peer ? 1 : 0, NULL)) == NQ_AGAIN && !code) {
        struct nq_event event;

        since = since ? since : nqi_now_ns();
        if (nq_event_get(bench->queue, NQI_BENCH_PAUSE_NS, &event) == NQ_AGAIN)
            code = nqi_bench_idle(bench, since);
    }
    if (err == NQ_OK)
        return 0;
    nq_msg_free(msg);
    return code ? code : nqi_say_error(err);
}

/* @return 0 = it is there; -1 = not yet; else the exit code */
static int wait_look(const struct nqi_bench *bench)
{
    struct nq_health_info info;
    size_t n;
    nq_err err = nq_health(bench->queue, &info, 1, &n);

    if (err)
        return nqi_say_error(err);
    if (!n || info.state == NQ_HEALTH_READY)
        return 0;
    if (info.state == NQ_HEALTH_FAILING && info.since_ns < WAIT_PATIENCE_NS)
        return -1;
    if (info.state != NQ_HEALTH_FAILING && info.state != NQ_HEALTH_CLOSED)
        return -1;
    nqi_say("%s: %s", info.transport, info.text);
    return NQI_EXIT_LINK;
}

int nqi_bench_listens(const struct nqi_bench *bench)
{
    int64_t since = nqi_now_ns();
    struct nq_event event;
    int code;

    while ((code = wait_look(bench)) < 0) {
        nq_err err = nq_event_get(bench->queue, WAIT_LOOK_NS, &event);

        if (err < 0)
            return nqi_say_error(err);
        code = nqi_bench_idle(bench, since);
        if (code)
            return code;
    }
    return code;
}
