/* The puts of `netqueue put` that are in flight, and what became of them.
 *
 * A window: the oldest is waited for when it is full, which is enough because each peer
 * acknowledges in order. */
#include "tools/json.h"
#include "tools/put.h"
#include "tools/say.h"
#include "tools/signals.h"
#include <stdlib.h>
#include <string.h>

#define PUT_LOOK_NS (20 * NQI_NS_PER_MS) /* how often progress is looked for */

/* ---- when to stop ------------------------------------------------------------------------- */

static void put_show(struct nqi_put *put, const struct nq_stats *stats)
{
    uint64_t copies = put->npeers > 1 ? put->npeers : 1;

    nqi_progress_show(&put->progress, stats->bytes_out, put->inputs.bytes * copies,
                      stats->messages_out);
}

/* The last bad news; where there are none, whom a server waits for. */
static const char *put_why(const struct nqi_put *put)
{
    size_t peers = 1;

    if (!put->news.text[0] && nq_peers(put->queue, NULL, 0, &peers) == NQ_OK && !peers)
        return "no client has connected";
    return put->news.text;
}

/* At once: what becomes of the messages for this reason is said behind it. */
static void put_say_timed_out(struct nqi_put *put)
{
    const char *why;

    nqi_news_read(&put->news, put->queue, 0);
    nqi_progress_wipe();
    why = put_why(put);
    nqi_say("time-out: nothing moved for %.3g s%s%s", (double)put->timeout_ns / 1e9,
            *why ? "; " : "", why);
}

bool nqi_put_stopped(struct nqi_put *put)
{
    struct nq_stats stats;
    int64_t now = nqi_now_ns();
    uint64_t mark;

    if (nqi_interrupted() || put->timed_out || put->broken)
        return true;
    if (now - put->looked_ns < PUT_LOOK_NS)
        return false;
    put->looked_ns = now;
    if (nq_stats(put->queue, &stats) != NQ_OK)
        return false;
    if (put->messages) /* until then a note says what is waited for */
        put_show(put, &stats);
    mark = stats.bytes_out + stats.messages_out + stats.delivered + stats.not_delivered +
           stats.unknown + stats.connects;
    if (mark != put->moved_mark) {
        put->moved_mark = mark;
        put->moved_ns = now;
    }
    put->timed_out = put->timeout_ns >= 0 && now - put->moved_ns > put->timeout_ns;
    if (put->timed_out)
        put_say_timed_out(put);
    return put->timed_out;
}

int64_t nqi_put_slice(const struct nqi_put *put)
{
    int64_t left = put->moved_ns + put->timeout_ns - nqi_now_ns() + NQI_NS_PER_MS;

    if (put->timeout_ns < 0 || left > NQI_SLICE_NS)
        return NQI_SLICE_NS;
    return left > 0 ? left : 0;
}

/* ---- what became of it -------------------------------------------------------------------- */

static void put_failure(struct nqi_put *put, const struct nqi_put_part *part, const nq_uuid *peer,
                        const char *outcome, const char *reason)
{
    char line[32] = "", to[NQ_UUID_TEXT + 4] = "", id[NQ_UUID_TEXT];
    const char *name = part->name ? part->name : "standard input";

    put->failed++;
    if (put->failures_out) {
        fprintf(put->failures_out, "%s{\"name\": ", put->failed > 1 ? ", " : "");
        nqi_json_text(put->failures_out, part->name);
        if (part->line)
            fprintf(put->failures_out, ", \"line\": %llu", (unsigned long long)part->line);
        fprintf(put->failures_out, ", \"peer\": ");
        nqi_json_text(put->failures_out, peer ? nq_uuid_format(peer, id) : NULL);
        fprintf(put->failures_out, ", \"outcome\": ");
        nqi_json_text(put->failures_out, outcome);
        fprintf(put->failures_out, ", \"reason\": ");
        nqi_json_text(put->failures_out, reason);
        putc('}', put->failures_out);
    }
    if (put->failed > NQI_PUT_SAID)
        return;
    if (part->line)
        snprintf(line, sizeof(line), " line %llu", (unsigned long long)part->line);
    if (peer)
        snprintf(to, sizeof(to), " to %s", nq_uuid_format(peer, id));
    nqi_say("%s%s%s: %s%s%s", name, line, to, outcome, *reason ? ": " : "", reason);
}

/* The outcomes of a settled future, peer by peer when there are several. */
static void put_account(struct nqi_put *put, const struct nqi_put_part *part)
{
    nq_reason reason = NQ_REASON_NONE;
    nq_outcome outcome = nq_future_outcome(part->future, &reason);
    size_t n = nq_future_peers(part->future, NULL, 0);
    nq_uuid *peers;

    if (outcome == NQ_DELIVERED || outcome == NQ_HANDED) {
        *(outcome == NQ_HANDED ? &put->handed : &put->delivered) += n ? n : 1;
        return;
    }
    peers = n > 0 ? calloc(n, sizeof(*peers)) : NULL;
    if (!peers) {
        put_failure(put, part, NULL, nq_outcome_text(outcome), nq_reason_text(reason));
        return;
    }
    n = nq_future_peers(part->future, peers, n);
    for (size_t i = 0; i < n; i++) {
        if (nq_future_peer_outcome(part->future, &peers[i], &outcome, &reason) != NQ_OK)
            continue;
        if (outcome == NQ_DELIVERED)
            put->delivered++;
        else if (outcome == NQ_HANDED)
            put->handed++;
        else
            put_failure(put, part, &peers[i], nq_outcome_text(outcome), nq_reason_text(reason));
    }
    free(peers);
}

/* Wait for the oldest put.  @return false when the command is to end */
static bool put_settle(struct nqi_put *put, int64_t wait_ns)
{
    struct nqi_put_part *part = &put->parts[put->head % NQI_PUT_WINDOW];

    while (nq_future_wait(part->future, wait_ns) != NQ_OK) {
        if (nqi_put_stopped(put))
            return false;
        wait_ns = nqi_put_slice(put);
    }
    put_account(put, part);
    nq_future_free(part->future);
    put->in_flight -= part->size;
    put->head++;
    return true;
}

/* Account for those at the head that are settled already. */
static void put_reap(struct nqi_put *put)
{
    while (put->head != put->tail &&
           nq_future_poll(put->parts[put->head % NQI_PUT_WINDOW].future) == NQ_OK)
        (void)put_settle(put, 0);
}

/* ---- sending ------------------------------------------------------------------------------ */

/* Wait until there is room for `size` bytes more; a larger message goes alone. */
static bool put_make_room(struct nqi_put *put, uint64_t size)
{
    put_reap(put);
    while (put->head != put->tail && (put->tail - put->head == NQI_PUT_WINDOW ||
                                      put->in_flight + size > NQI_PUT_WINDOW_BYTES))
        if (!put_settle(put, nqi_put_slice(put)))
            return false;
    return !nqi_put_stopped(put);
}

/* The queue is full: wait for the oldest put, or if it is full of others', a little. */
static bool put_wait_room(struct nqi_put *put)
{
    if (put->head != put->tail)
        return put_settle(put, nqi_put_slice(put));
    nqi_news_read(&put->news, put->queue, 10 * NQI_NS_PER_MS);
    return !nqi_put_stopped(put);
}

void nqi_put_message(struct nqi_put *put, nq_msg *msg, const nq_uuid *peer,
                     struct nqi_put_part part)
{
    nq_err err = NQ_AGAIN;

    part.size = nq_msg_size(msg);
    put->messages++;
    put->bytes += part.size;
    if (put_make_room(put, part.size)) {
        do
            err = nq_put(put->queue, msg, peer, peer ? 1 : 0, &part.future);
        while (err == NQ_AGAIN && put_wait_room(put));
    }
    if (err == NQ_OK) {
        put->in_flight += part.size;
        put->parts[put->tail++ % NQI_PUT_WINDOW] = part;
        return;
    }
    put_failure(put, &part, peer, nq_outcome_text(NQ_NOT_DELIVERED),
                err == NQ_AGAIN         ? nq_reason_text(NQ_REASON_LOCAL_CLOSE)
                : err == NQ_ERR_NO_PEER ? nq_reason_text(NQ_REASON_NO_PEER)
                                        : nq_error());
    nq_msg_free(msg);
}

/* ---- the end ----------------------------------------------------------------------------------
 */

void nqi_put_settle_all(struct nqi_put *put)
{
    while (put->head != put->tail && put_settle(put, nqi_put_slice(put)))
        continue;
}

void nqi_put_close(struct nqi_put *put)
{
    bool stopped = nqi_put_stopped(put);
    nq_err err;

    nqi_news_read(&put->news, put->queue, 0);
    err = nq_close(put->queue, NQI_FLUSH_NS, NULL);
    if (err < 0)
        put->code = nqi_say_error(err);
    nqi_progress_wipe();
    while (put->head != put->tail) {
        struct nqi_put_part *part = &put->parts[put->head++ % NQI_PUT_WINDOW];

        if (nq_future_wait(part->future, stopped ? 0 : NQI_FLUSH_NS) != NQ_OK)
            put_failure(put, part, NULL, nq_outcome_text(NQ_UNKNOWN),
                        nq_reason_text(NQ_REASON_LOCAL_CLOSE));
        else
            put_account(put, part);
        nq_future_free(part->future);
    }
}
