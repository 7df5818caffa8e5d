/* core/future.c: each part settles once, the merged outcome is the worst, callbacks run once, and a
 * future may outlive its queue. */
#include "core/future.h"
#include "tests/support/queue.h"
#include <check.h>
#include <pthread.h>
#include <string.h>

/* ---- futures without a queue: a room in mode manual, and targets that count ---- */

static struct nqi_loop *loop;
static struct nqi_room *room;
static unsigned purged, unreferenced;

static void count_purge(void *target)
{
    (void)target;
    purged++;
}

static void count_unref(void *target)
{
    (void)target;
    unreferenced++;
}

static const struct nqi_part_target target_ops = {.purge = count_purge, .unref = count_unref};

static void setup(void)
{
    purged = unreferenced = 0;
    ck_assert_int_eq(nqi_loop_new(&loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(loop, NQI_ROOM_MANUAL, 0, &room), NQ_OK);
}

static void teardown(void)
{
    nqi_room_free(room);
    nqi_loop_free(loop);
}

/* `n` parts for peers 0 .. n-1. */
static nq_future *future_of(size_t n, struct nqi_part **parts)
{
    nq_future *future = NULL;

    ck_assert_int_eq(nqi_future_new(room, room, &target_ops, n, &future), NQ_OK);
    for (size_t i = 0; i < n; i++) {
        nq_uuid id = nqtest_id((unsigned)i);

        parts[i] = nqi_future_part(future, i, &id, &purged);
    }
    return future;
}

START_TEST(every_outcome_and_reason_has_a_text_of_its_own)
{
    for (int i = 0; i <= NQ_UNKNOWN; i++)
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(nq_outcome_text((nq_outcome)i), nq_outcome_text((nq_outcome)k));
    for (int i = 0; i < NQ_REASONS; i++)
        for (int k = 0; k < i; k++)
            ck_assert_str_ne(nq_reason_text((nq_reason)i), nq_reason_text((nq_reason)k));
}
END_TEST

START_TEST(numbers_that_are_no_outcome_or_reason_have_a_text_too)
{
    ck_assert_ptr_nonnull(nq_outcome_text((nq_outcome)99));
    ck_assert_ptr_nonnull(nq_outcome_text((nq_outcome)-1));
    ck_assert_ptr_nonnull(nq_reason_text(NQ_REASONS));
    ck_assert_ptr_nonnull(nq_reason_text((nq_reason)-1));
}
END_TEST

START_TEST(a_future_is_pending_until_all_parts_are_settled)
{
    struct nqi_part *parts[2];
    nq_future *future = future_of(2, parts);
    nq_reason reason = NQ_REASON_LIMIT;

    ck_assert(!nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE));
    ck_assert_int_eq(nq_future_poll(future), NQ_AGAIN);
    ck_assert_int_eq(nq_future_outcome(future, &reason), NQ_PENDING);
    ck_assert(nqi_part_settle(parts[1], NQ_DELIVERED, NQ_REASON_NONE));
    ck_assert_int_eq(nq_future_poll(future), NQ_OK);
    ck_assert_int_eq(nq_future_outcome(future, &reason), NQ_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_NONE);
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_DELIVERED);
    nq_future_free(future);
    ck_assert_uint_eq(unreferenced, 2);
}
END_TEST

static const nq_outcome merged[][3] = {
    {NQ_DELIVERED, NQ_DELIVERED, NQ_DELIVERED},       {NQ_DELIVERED, NQ_CANCELLED, NQ_CANCELLED},
    {NQ_EXPIRED, NQ_CANCELLED, NQ_EXPIRED},           {NQ_DROPPED, NQ_EXPIRED, NQ_DROPPED},
    {NQ_DROPPED, NQ_NOT_DELIVERED, NQ_NOT_DELIVERED}, {NQ_UNKNOWN, NQ_NOT_DELIVERED, NQ_UNKNOWN},
    {NQ_DELIVERED, NQ_UNKNOWN, NQ_UNKNOWN},
};

START_TEST(the_merged_outcome_is_the_worst_with_its_reason)
{
    struct nqi_part *parts[2];
    nq_future *future = future_of(2, parts);
    nq_reason reason, worst = merged[_i][0] == merged[_i][2] ? NQ_REASON_LIMIT : NQ_REASON_VERSION;

    nqi_part_settle(parts[0], merged[_i][0], NQ_REASON_LIMIT);
    nqi_part_settle(parts[1], merged[_i][1], NQ_REASON_VERSION);
    ck_assert_int_eq(nq_future_outcome(future, &reason), merged[_i][2]);
    if (merged[_i][2] != NQ_DELIVERED)
        ck_assert_int_eq(reason, worst);
    nq_future_free(future);
}
END_TEST

START_TEST(a_part_settles_once)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);

    ck_assert(nqi_part_settle(parts[0], NQ_UNKNOWN, NQ_REASON_LINK_LOST));
    ck_assert(!nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE));
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_UNKNOWN);
    nq_future_free(future);
}
END_TEST

START_TEST(parts_tell_their_peer_and_outcome)
{
    struct nqi_part *parts[3];
    nq_future *future = future_of(3, parts);
    nq_uuid peers[3], one = nqtest_id(1), stranger = nqtest_id(7);
    nq_outcome outcome = NQ_UNKNOWN;
    nq_reason reason = NQ_REASON_LIMIT;

    ck_assert_uint_eq(nq_future_peers(future, NULL, 0), 3);
    memset(peers, 0xee, sizeof(peers));
    ck_assert_uint_eq(nq_future_peers(future, peers, 2), 3);
    ck_assert(nq_uuid_equal(&peers[1], &one));
    ck_assert_uint_eq(peers[2].bytes[0], 0xee);

    ck_assert_int_eq(nq_future_peer_outcome(future, &one, &outcome, &reason), NQ_OK);
    ck_assert_int_eq(outcome, NQ_PENDING);
    nqi_part_settle(parts[1], NQ_NOT_DELIVERED, NQ_REASON_PEER_CLOSED);
    ck_assert_int_eq(nq_future_peer_outcome(future, &one, &outcome, &reason), NQ_OK);
    ck_assert_int_eq(outcome, NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_PEER_CLOSED);
    ck_assert_int_eq(nq_future_peer_outcome(future, &one, &outcome, NULL), NQ_OK);

    outcome = NQ_PENDING;
    ck_assert_int_eq(nq_future_peer_outcome(future, &stranger, &outcome, NULL), NQ_ERR_NO_PEER);
    ck_assert_int_eq(outcome, NQ_PENDING);
    nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    nqi_part_settle(parts[2], NQ_DELIVERED, NQ_REASON_NONE);
    nq_future_free(future);
}
END_TEST

START_TEST(what_is_cancelled_cannot_begin)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);

    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    ck_assert(!nqi_part_begin(parts[0]));
    ck_assert(nqi_part_cancelled(parts[0]));
    ck_assert_uint_eq(purged, 1);
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_CANCELLED);
    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    ck_assert_uint_eq(purged, 1);
    nq_future_free(future);
    ck_assert_uint_eq(unreferenced, 0); /* the put still looks at its part */
    ck_assert(!nqi_part_settle(parts[0], NQ_CANCELLED, NQ_REASON_NONE));
    ck_assert_uint_eq(unreferenced, 1);
}
END_TEST

START_TEST(what_has_begun_cannot_be_cancelled)
{
    struct nqi_part *parts[2];
    nq_future *future = future_of(2, parts);

    ck_assert(nqi_part_begin(parts[0]));
    ck_assert(nqi_part_begin(parts[0]));
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN);
    ck_assert(nqi_part_cancelled(parts[1]));
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_PENDING);
    ck_assert(nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE));
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_CANCELLED);
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN);
    ck_assert(!nqi_part_settle(parts[1], NQ_CANCELLED, NQ_REASON_NONE));
    nq_future_free(future);
}
END_TEST

START_TEST(a_future_that_was_given_to_nobody_ends)
{
    struct nqi_part *parts[2];

    nqi_future_abandon(future_of(2, parts));
    nqi_future_abandon(NULL);
    nq_future_free(NULL);
    ck_assert_uint_eq(unreferenced, 2);
}
END_TEST

/* ---- callbacks ---- */

struct call {
    unsigned count;
    nq_future *future;
    bool free;
    nq_err waited, looked;
};

static void on_settled(void *arg, nq_future *future)
{
    struct call *call = arg;

    call->count++;
    call->future = future;
    ck_assert_int_eq(nq_future_poll(future), NQ_OK);
    if (call->free)
        nq_future_free(future);
}

START_TEST(a_callback_runs_once_and_on_a_thread_that_drives)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);
    struct call call = {0};

    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_OK);
    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_ERR_INVAL);
    nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    ck_assert_uint_eq(call.count, 0);
    nqi_room_poll(room);
    nqi_room_poll(room);
    ck_assert_uint_eq(call.count, 1);
    ck_assert_ptr_eq(call.future, future);
    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_ERR_INVAL);
    nq_future_free(future);
}
END_TEST

START_TEST(a_callback_for_a_settled_future_runs_at_once)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);
    struct call call = {0};

    nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_OK);
    ck_assert_uint_eq(call.count, 1);
    nqi_room_poll(room);
    ck_assert_uint_eq(call.count, 1);
    nq_future_free(future);
}
END_TEST

/* _i: was it settled before? */
START_TEST(a_callback_may_free_its_future)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);
    struct call call = {.free = true};

    if (_i)
        nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_OK);
    if (!_i)
        nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    nqi_room_poll(room);
    ck_assert_uint_eq(call.count, 1);
    ck_assert_uint_eq(unreferenced, 1);
}
END_TEST

/* _i: freed before or after it settled, but before the callback ran. */
START_TEST(the_callback_of_a_freed_future_does_not_run)
{
    struct nqi_part *parts[1];
    nq_future *future = future_of(1, parts);
    struct call call = {0};

    ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_OK);
    if (_i)
        nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    nq_future_free(future);
    if (!_i)
        nqi_part_settle(parts[0], NQ_DELIVERED, NQ_REASON_NONE);
    nqi_room_poll(room);
    ck_assert_uint_eq(call.count, 0);
    ck_assert_uint_eq(unreferenced, 1);
}
END_TEST

struct two_futures {
    nq_future *other;
    nq_err waited, looked;
    bool done;
};

static void on_settled_wait(void *arg, nq_future *future)
{
    struct two_futures *two = arg;

    two->waited = nq_future_wait(two->other, NQTEST_WAIT);
    two->looked = nq_future_wait(two->other, 0);
    two->done = true;
    nq_future_free(future);
}

START_TEST(a_callback_must_not_wait_but_may_look)
{
    struct nqi_part *part[1], *other[1];
    nq_future *future = future_of(1, part);
    struct two_futures two = {.other = future_of(1, other)};

    ck_assert_int_eq(nq_future_then(future, on_settled_wait, &two), NQ_OK);
    nqi_part_settle(part[0], NQ_DELIVERED, NQ_REASON_NONE);
    nqi_room_poll(room);
    ck_assert(two.done);
    ck_assert_int_eq(two.waited, NQ_ERR_DEADLOCK);
    ck_assert_int_eq(two.looked, NQ_AGAIN);
    nqi_part_settle(other[0], NQ_DELIVERED, NQ_REASON_NONE);
    nq_future_free(two.other);
}
END_TEST

/* ---- races ---- */

#define RACE_ROUNDS 2000

struct race {
    pthread_barrier_t barrier;
    nq_future *future;
    struct nqi_part *part;
    _Atomic unsigned begun, settled;
};

static void *race_begin(void *arg)
{
    struct race *race = arg;

    for (int i = 0; i < RACE_ROUNDS; i++) {
        pthread_barrier_wait(&race->barrier);
        if (nqi_part_begin(race->part)) {
            race->begun++;
            race->settled += nqi_part_settle(race->part, NQ_DELIVERED, NQ_REASON_NONE);
        } else { /* the put lets go */
            race->settled += nqi_part_settle(race->part, NQ_CANCELLED, NQ_REASON_NONE);
        }
        pthread_barrier_wait(&race->barrier);
    }
    return NULL;
}

static void *race_settle(void *arg)
{
    struct race *race = arg;

    for (int i = 0; i < RACE_ROUNDS; i++) {
        pthread_barrier_wait(&race->barrier);
        nqi_part_settle(race->part, NQ_DELIVERED, NQ_REASON_NONE);
        nqi_room_poll(room);
        pthread_barrier_wait(&race->barrier);
    }
    return NULL;
}

/* For the sanitizers: the callback frees it while then() has not returned. */
START_TEST(a_callback_on_another_thread_may_free_its_future_at_once)
{
    struct race race = {0};
    struct call call = {.free = true};
    pthread_t thread;

    pthread_barrier_init(&race.barrier, NULL, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, race_settle, &race), 0);
    for (int i = 0; i < RACE_ROUNDS; i++) {
        nq_future *future = future_of(1, &race.part);

        pthread_barrier_wait(&race.barrier);
        ck_assert_int_eq(nq_future_then(future, on_settled, &call), NQ_OK);
        pthread_barrier_wait(&race.barrier);
        nqi_room_poll(room); /* a callback that came behind the other thread's look */
        ck_assert_uint_eq(call.count, (unsigned)i + 1);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(unreferenced, RACE_ROUNDS);
    pthread_barrier_destroy(&race.barrier);
}
END_TEST

START_TEST(cancel_and_begin_decide_who_was_first)
{
    struct race race = {0};
    unsigned cancelled = 0;
    pthread_t thread;

    pthread_barrier_init(&race.barrier, NULL, 2);
    race.future = future_of(1, &race.part);
    ck_assert_int_eq(pthread_create(&thread, NULL, race_begin, &race), 0);
    for (int i = 0; i < RACE_ROUNDS; i++) {
        pthread_barrier_wait(&race.barrier);
        cancelled += nq_future_cancel(race.future) == NQ_OK;
        pthread_barrier_wait(&race.barrier);
        ck_assert_uint_eq(race.begun + cancelled, (unsigned)i + 1);
        ck_assert_int_eq(nq_future_poll(race.future), NQ_OK);
        nq_future_free(race.future);
        if (i + 1 < RACE_ROUNDS)
            race.future = future_of(1, &race.part);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(race.settled, race.begun);
    ck_assert_uint_eq(unreferenced, RACE_ROUNDS);
    pthread_barrier_destroy(&race.barrier);
}
END_TEST

/* ---- with queues ---- */

START_TEST(a_put_that_arrives_is_delivered)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_uuid id, want = *nq_id(server);
    nq_reason reason;
    nq_future *future = nqtest_put_future(client, nqtest_msg("a"));

    ck_assert_uint_eq(nq_future_peers(future, &id, 1), 1);
    ck_assert(nq_uuid_equal(&id, &want));
    ck_assert_int_eq(nqtest_outcome(future, &reason), NQ_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_NONE);
    nqtest_get_text(server, "a");
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

START_TEST(a_wait_ends_with_its_time_out)
{
    nq_queue *client;
    nq_future *future;
    int64_t start;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    future = nqtest_put_future(client, nqtest_msg("a"));
    ck_assert_int_eq(nq_future_wait(future, 0), NQ_AGAIN);
    start = nqtest_clock();
    ck_assert_int_eq(nq_future_wait(future, 20 * NQTEST_MS), NQ_AGAIN);
    ck_assert_int_ge(nqtest_clock() - start, 20 * NQTEST_MS);
    ck_assert_int_eq(nq_future_outcome(future, NULL), NQ_PENDING);
    nq_future_free(future);
    nq_free(client);
}
END_TEST

/* The outcome is certain at once; the message leaves the queue when its peer's strand comes to it.
 */
static uint64_t look_cancelled(nq_queue *queue)
{
    return nqtest_stats(queue).cancelled;
}

START_TEST(a_put_that_is_cancelled_in_time_is_not_delivered)
{
    nq_queue *client, *server;
    struct nqtest_block block;
    nq_future *future;

    nqtest_block_init(&block, 4096);
    nqtest_choose_place(_i);
    client = nqtest_client("");
    future = nqtest_put_future(client, nqtest_block_msg(&block));
    nqtest_put(client, nqtest_msg("b"));
    ck_assert_int_eq(nq_future_cancel(future), NQ_OK);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_CANCELLED);
    nqtest_drive_until(client, look_cancelled, 1);
    ck_assert_uint_eq(block.released, 1);
    ck_assert_uint_eq(nqtest_stats(client).queued, 1);

    server = nqtest_server_again("");
    nqtest_get_text(server, "b");
    nqtest_end(client);
    ck_assert_uint_eq(nqtest_stats(server).messages_in, 1);
    nqtest_end(server);
    nqtest_block_fini(&block);
}
END_TEST

START_TEST(a_put_that_arrived_cannot_be_cancelled)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_future *future = nqtest_put_future(client, nqtest_msg("a"));

    nqtest_get_text(server, "a");
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_DELIVERED);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* Some have gone, some wait: each is one or the other, and what is cancelled never arrives. */
START_TEST(cancelled_puts_never_arrive)
{
    enum { COUNT = 200 };
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_future *futures[COUNT];
    bool cancelled[COUNT], arrived[COUNT] = {false};
    nq_msg *msg;

    for (unsigned i = 0; i < COUNT; i++) {
        msg = nqtest_noise(100000, i);
        nq_msg_set_correlation(msg, i + 1);
        futures[i] = nqtest_put_future(client, msg);
    }
    for (unsigned i = 0; i < COUNT; i++)
        cancelled[i] = nq_future_cancel(futures[i]) == NQ_OK;
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_int_eq(nqtest_outcome(futures[i], NULL),
                         cancelled[i] ? NQ_CANCELLED : NQ_DELIVERED);
    nqtest_end(client);
    while (nq_get(server, NULL, 0, 0, &msg) == NQ_OK) {
        unsigned i = (unsigned)nq_msg_correlation(msg) - 1;

        nqtest_check_noise(msg, 100000, i);
        ck_assert(!arrived[i]);
        arrived[i] = true;
        nq_msg_free(msg);
    }
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_int_eq(arrived[i], !cancelled[i]);
    nqtest_end(server);
}
END_TEST

START_TEST(a_put_whose_time_to_live_ends_is_expired)
{
    nq_queue *client, *server;
    struct nqtest_block block;
    nq_future *future;
    nq_msg *msg;

    nqtest_block_init(&block, 100);
    nqtest_choose_place(_i);
    client = nqtest_client("");
    msg = nqtest_block_msg(&block);
    nq_msg_set_ttl(msg, 20 * NQTEST_MS);
    future = nqtest_put_future(client, msg);
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_EXPIRED);
    ck_assert_uint_eq(block.released, 1);
    ck_assert_uint_eq(nqtest_stats(client).expired, 1);
    nqtest_put(client, nqtest_msg("later"));
    server = nqtest_server_again("");
    nqtest_get_text(server, "later");
    nqtest_end(client);
    nqtest_end(server);
    nqtest_block_fini(&block);
}
END_TEST

START_TEST(a_put_within_its_time_to_live_arrives)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_msg *msg = nqtest_msg("a");
    nq_future *future;

    nq_msg_set_ttl(msg, INT64_MAX);
    future = nqtest_put_future(client, msg);
    nqtest_get_text(server, "a");
    ck_assert_int_eq(nqtest_outcome(future, NULL), NQ_DELIVERED);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

/* The message comes back to the caller, who takes the time to live off. */
START_TEST(a_put_that_failed_leaves_no_time_to_live_behind)
{
    nq_queue *client;
    nq_uuid stranger = nqtest_id(9);
    nq_future *future;
    nq_msg *msg = nqtest_msg("a");

    nqtest_choose_place(_i);
    client = nqtest_client("");
    nq_msg_set_ttl(msg, 1);
    ck_assert_int_eq(nq_put(client, msg, &stranger, 1, NULL), NQ_ERR_NO_PEER);
    nq_msg_set_ttl(msg, 0);
    future = nqtest_put_future(client, msg);
    ck_assert_int_eq(nq_future_wait(future, 20 * NQTEST_MS), NQ_AGAIN);
    nq_future_free(future);
    nq_free(client);
}
END_TEST

START_TEST(a_put_that_was_sent_and_never_acknowledged_is_unknown)
{
    nq_queue *server = nqtest_server(_i, ", 'session': {'ack': 'consumed'}");
    nq_queue *client = nqtest_join(server, "");
    nq_future *small = nqtest_put_future(client, nqtest_msg("a"));
    nq_future *large = nqtest_put_future(client, nqtest_noise(100000, 1));
    nq_reason reason;

    nqtest_put(client, nqtest_msg("c"));
    while (nqtest_stats(server).messages_in < 3)
        ck_assert_int_eq(nq_future_wait(small, NQTEST_MS), NQ_AGAIN);
    nq_free(server);
    ck_assert_int_eq(nqtest_outcome(small, &reason), NQ_UNKNOWN);
    ck_assert_int_eq(reason, NQ_REASON_PEER_CLOSED);
    ck_assert_int_eq(nqtest_outcome(large, NULL), NQ_UNKNOWN);
    ck_assert_uint_eq(nqtest_stats(client).unknown, 3);
    nq_free(client);
}
END_TEST

START_TEST(what_a_close_leaves_is_not_delivered_and_futures_outlive_the_queue)
{
    nq_queue *client;
    nq_future *future;
    nq_reason reason;

    nqtest_choose_place(_i);
    client = nqtest_client("");
    future = nqtest_put_future(client, nqtest_msg("a"));
    nq_free(client);
    ck_assert_int_eq(nq_future_poll(future), NQ_OK);
    ck_assert_int_eq(nq_future_wait(future, NQ_FOREVER), NQ_OK);
    ck_assert_int_eq(nq_future_cancel(future), NQ_AGAIN);
    ck_assert_int_eq(nqtest_outcome(future, &reason), NQ_NOT_DELIVERED);
    ck_assert_int_eq(reason, NQ_REASON_LOCAL_CLOSE);
}
END_TEST

/* 300: more than one look at the callbacks runs. */
START_TEST(callbacks_of_futures_that_a_free_settles_run)
{
    nq_queue *client;
    struct call call = {.free = true};

    nqtest_choose_place(_i);
    client = nqtest_client("");
    for (int i = 0; i < 300; i++)
        ck_assert_int_eq(
            nq_future_then(nqtest_put_future(client, nqtest_msg("a")), on_settled, &call), NQ_OK);
    nq_free(client);
    ck_assert_uint_eq(call.count, 300);
}
END_TEST

static void on_settled_flag(void *arg, nq_future *future)
{
    *(_Atomic bool *)arg = true;
    nq_future_free(future);
}

/* Nobody drives: the library's thread does. */
START_TEST(a_callback_needs_no_driving_caller)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    nq_future *future = nqtest_put_future(client, nqtest_msg("a"));
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    _Atomic bool called = false;

    ck_assert_int_eq(nq_future_then(future, on_settled_flag, (void *)&called), NQ_OK);
    while (!called)
        ck_assert_int_lt(nqtest_clock(), until);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("future");
    TCase *tc = tcase_create("future"), *queues = tcase_create("queues");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_outcome_and_reason_has_a_text_of_its_own);
    tcase_add_test(tc, numbers_that_are_no_outcome_or_reason_have_a_text_too);
    tcase_add_test(tc, a_future_is_pending_until_all_parts_are_settled);
    tcase_add_loop_test(tc, the_merged_outcome_is_the_worst_with_its_reason, 0, NQI_LEN(merged));
    tcase_add_test(tc, a_part_settles_once);
    tcase_add_test(tc, parts_tell_their_peer_and_outcome);
    tcase_add_test(tc, what_is_cancelled_cannot_begin);
    tcase_add_test(tc, what_has_begun_cannot_be_cancelled);
    tcase_add_test(tc, a_future_that_was_given_to_nobody_ends);
    tcase_add_test(tc, a_callback_runs_once_and_on_a_thread_that_drives);
    tcase_add_test(tc, a_callback_for_a_settled_future_runs_at_once);
    tcase_add_loop_test(tc, a_callback_may_free_its_future, 0, 2);
    tcase_add_loop_test(tc, the_callback_of_a_freed_future_does_not_run, 0, 2);
    tcase_add_test(tc, a_callback_must_not_wait_but_may_look);
    tcase_add_test(tc, a_callback_on_another_thread_may_free_its_future_at_once);
    tcase_add_test(tc, cancel_and_begin_decide_who_was_first);
    suite_add_tcase(suite, tc);

    tcase_set_timeout(queues, 30);
    nqtest_each(queues, a_put_that_arrives_is_delivered);
    nqtest_each(queues, a_wait_ends_with_its_time_out);
    nqtest_each(queues, a_put_that_is_cancelled_in_time_is_not_delivered);
    nqtest_each(queues, a_put_that_arrived_cannot_be_cancelled);
    nqtest_each(queues, cancelled_puts_never_arrive);
    nqtest_each(queues, a_put_whose_time_to_live_ends_is_expired);
    nqtest_each(queues, a_put_within_its_time_to_live_arrives);
    nqtest_each(queues, a_put_that_failed_leaves_no_time_to_live_behind);
    nqtest_each(queues, a_put_that_was_sent_and_never_acknowledged_is_unknown);
    nqtest_each(queues, what_a_close_leaves_is_not_delivered_and_futures_outlive_the_queue);
    nqtest_each(queues, callbacks_of_futures_that_a_free_settles_run);
    nqtest_each(queues, a_callback_needs_no_driving_caller);
    suite_add_tcase(suite, queues);
    return suite;
}
