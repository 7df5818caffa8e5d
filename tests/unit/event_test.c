/* core/event.c: events in order, a bounded number of them, or one callback. */
#include "core/event.h"
#include "tests/support/queue.h"
#include <check.h>
#include <inttypes.h>
#include <netqueue/log.h>
#include <stdio.h>
#include <string.h>

static struct nqi_loop *loop;
static struct nqi_room *room;
static struct nqi_events events;

static void setup(void)
{
    ck_assert_int_eq(nqi_loop_new(&loop), NQ_OK);
    ck_assert_int_eq(nqi_room_new(loop, NQI_ROOM_MANUAL, 0, &room), NQ_OK);
    nqi_events_init(&events, room);
}

static void teardown(void)
{
    nqi_events_fini(&events);
    nqi_room_free(room);
    nqi_loop_free(loop);
}

static void push(uint64_t count)
{
    struct nq_event event = {.kind = NQ_EVENT_DROPPED, .count = count};

    nqi_events_push(&events, &event);
}

START_TEST(every_kind_has_a_text_of_its_own)
{
    for (int i = NQ_EVENT_PEER_UP; i <= NQ_EVENT_LOW_MARK; i++)
        for (int k = NQ_EVENT_PEER_UP; k < i; k++)
            ck_assert_str_ne(nq_event_text((nq_event_kind)i), nq_event_text((nq_event_kind)k));
    ck_assert_ptr_nonnull(nq_event_text((nq_event_kind)0));
    ck_assert_ptr_nonnull(nq_event_text((nq_event_kind)99));
    ck_assert_ptr_nonnull(nq_event_text((nq_event_kind)-1));
}
END_TEST

START_TEST(events_come_in_order)
{
    struct nq_event event;

    ck_assert(!nqi_events_any(&events));
    ck_assert(!nqi_events_pop(&events, &event));
    for (unsigned i = 0; i < 10; i++)
        push(i);
    ck_assert(nqi_events_any(&events));
    for (unsigned i = 0; i < 10; i++) {
        ck_assert(nqi_events_pop(&events, &event));
        ck_assert_uint_eq(event.count, i);
    }
    ck_assert(!nqi_events_pop(&events, &event));
}
END_TEST

/* ---- the log ---- */

static struct {
    uint64_t lines, left_out;
} said;

static void hear(void *arg, nq_log_level level, const char *line)
{
    uint64_t more = 0;

    (void)arg;
    (void)level;
    if (sscanf(line, "refused: %" SCNu64 " more", &more) == 1)
        said.left_out += more;
    else
        said.lines++;
}

/* Each is in the log or counted there; and of those of one second there are few. */
START_TEST(a_flood_of_refusals_does_not_flood_the_log)
{
    const struct nq_event refused = {.kind = NQ_EVENT_REFUSED};
    int64_t before = nqtest_clock();
    uint64_t lines;

    nq_log_set(hear, NULL, NQ_LOG_INFO);
    for (unsigned i = 0; i < 5000; i++)
        nqi_events_push(&events, &refused);
    lines = said.lines;
    if (nqtest_clock() - before < INT64_C(1000000000))
        ck_assert_uint_eq(lines, NQI_EVENTS_SAID);
    push(1); /* of another kind: nothing is left out */
    ck_assert_uint_eq(said.lines, lines + 1);
    nqi_events_fini(&events);
    nq_log_set(NULL, NULL, NQ_LOG_INFO);
    ck_assert_uint_eq(lines + said.left_out, 5000);
    nqi_events_init(&events, room);
}
END_TEST

START_TEST(the_oldest_go_when_there_are_too_many)
{
    struct nq_event event;
    unsigned kept = 0;

    for (unsigned i = 0; i < NQI_EVENTS_MAX + 5; i++)
        push(i);
    ck_assert_uint_eq(nqi_events_lost(&events), 5);
    for (; nqi_events_pop(&events, &event); kept++)
        ck_assert_uint_eq(event.count, kept + 5);
    ck_assert_uint_eq(kept, NQI_EVENTS_MAX);
    push(1);
    ck_assert_uint_eq(nqi_events_lost(&events), 5);
}
END_TEST

struct heard {
    unsigned count;
    uint64_t last;
    unsigned stop_at; /* end the callback inside the n-th */
    unsigned push_at; /* push another inside the n-th */
};

static void on_event(void *arg, const struct nq_event *event)
{
    struct heard *heard = arg;

    heard->count++;
    ck_assert_uint_eq(event->count, heard->last + 1);
    heard->last = event->count;
    if (heard->count == heard->push_at)
        push(heard->last + 1);
    if (heard->count == heard->stop_at)
        nqi_events_callback(&events, NULL, NULL);
}

START_TEST(a_callback_gets_what_is_there_and_what_comes)
{
    struct heard heard = {.push_at = 3};

    push(1);
    push(2);
    nqi_events_callback(&events, on_event, &heard);
    ck_assert_uint_eq(heard.count, 0);
    nqi_room_poll(room);
    ck_assert_uint_eq(heard.count, 2);
    push(3);
    for (int i = 0; i < 3; i++)
        nqi_room_poll(room);
    ck_assert_uint_eq(heard.count, 4);
    ck_assert(!nqi_events_any(&events));
}
END_TEST

static void on_event_push(void *arg, const struct nq_event *event)
{
    unsigned *count = arg;

    (*count)++;
    push(event->count + 1);
}

START_TEST(events_that_come_faster_than_they_are_taken_keep_nobody)
{
    unsigned count = 0;

    push(1);
    nqi_events_callback(&events, on_event_push, &count);
    for (unsigned i = 1; i <= 3; i++) {
        nqi_room_poll(room);
        ck_assert_uint_ge(count, i);
        ck_assert_uint_le(count, 1000);
    }
    nqi_events_callback(&events, NULL, NULL);
}
END_TEST

START_TEST(a_callback_that_ends_itself_gets_no_more)
{
    struct heard heard = {.stop_at = 2};
    struct nq_event event;

    for (unsigned i = 1; i <= 3; i++)
        push(i);
    nqi_events_callback(&events, on_event, &heard);
    nqi_room_poll(room);
    nqi_room_poll(room);
    ck_assert_uint_eq(heard.count, 2);
    ck_assert(nqi_events_pop(&events, &event));
    ck_assert_uint_eq(event.count, 3);
}
END_TEST

START_TEST(a_callback_that_was_ended_before_it_ran_gets_nothing)
{
    struct heard heard = {0};

    push(1);
    nqi_events_callback(&events, on_event, &heard);
    nqi_events_callback(&events, NULL, NULL);
    nqi_room_poll(room);
    ck_assert_uint_eq(heard.count, 0);
    ck_assert(nqi_events_any(&events));
}
END_TEST

/* ---- with queues ---- */

START_TEST(a_session_begins_and_ends_with_events)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_client("");
    const char *transport = nqtest_transport_name(_i);
    struct nq_event event = nqtest_event(client, NQ_EVENT_PEER_UP);

    ck_assert(nq_uuid_equal(&event.peer, nq_id(server)));
    ck_assert_str_eq(event.transport, transport);
    ck_assert_int_eq(event.reason, NQ_REASON_NONE);
    event = nqtest_event(server, NQ_EVENT_PEER_UP);
    ck_assert(nq_uuid_equal(&event.peer, nq_id(client)));
    ck_assert_str_eq(event.transport, transport);
    ck_assert_str_ne(event.text, "");

    ck_assert_int_eq(nq_close(client, NQTEST_WAIT, NULL), NQ_OK);
    event = nqtest_event(client, NQ_EVENT_PEER_GONE);
    ck_assert_int_eq(event.reason, NQ_REASON_LOCAL_CLOSE);
    ck_assert(nq_uuid_equal(&event.peer, nq_id(server)));
    event = nqtest_event(server, NQ_EVENT_PEER_GONE);
    ck_assert_int_eq(event.reason, NQ_REASON_PEER_CLOSED);
    ck_assert(nq_uuid_equal(&event.peer, nq_id(client)));
    nq_free(client);
    nqtest_end(server);
}
END_TEST

START_TEST(waiting_for_an_event_ends_with_its_time_out)
{
    nq_queue *server = nqtest_server(_i, "");
    struct nq_event event = {.count = 77};
    int64_t start = nqtest_clock();

    ck_assert_int_eq(nq_event_get(server, 0, &event), NQ_AGAIN);
    ck_assert_int_eq(nq_event_get(server, 20 * NQTEST_MS, &event), NQ_AGAIN);
    ck_assert_int_ge(nqtest_clock() - start, 20 * NQTEST_MS);
    ck_assert_uint_eq(event.count, 77);
    nqtest_end(server);
}
END_TEST

START_TEST(after_the_close_come_the_events_that_are_left_and_then_the_end)
{
    nq_queue *server = nqtest_server(_i, ""), *client = nqtest_join(server, "");
    struct nq_event event;

    ck_assert_int_eq(nq_close(server, NQTEST_WAIT, NULL), NQ_OK);
    ck_assert_int_eq(nq_event_get(server, NQ_FOREVER, &event), NQ_OK);
    ck_assert_int_eq(event.kind, NQ_EVENT_PEER_GONE);
    ck_assert_int_eq(nq_event_get(server, NQ_FOREVER, &event), NQ_END);
    ck_assert_int_eq(nq_event_get(server, 0, &event), NQ_END);
    nq_free(server);
    nq_free(client);
}
END_TEST

struct deadlock {
    nq_queue *queue;
    _Atomic unsigned count;
    nq_err waited, looked, got, polled, closed;
};

static void on_event_wait(void *arg, const struct nq_event *event)
{
    struct deadlock *deadlock = arg;
    struct nq_event another;
    nq_msg *msg;

    if (event->kind != NQ_EVENT_PEER_UP)
        return;
    deadlock->waited = nq_event_get(deadlock->queue, NQ_FOREVER, &another);
    deadlock->looked = nq_event_get(deadlock->queue, 0, &another);
    deadlock->got = nq_get(deadlock->queue, NULL, 0, NQTEST_WAIT, &msg);
    deadlock->polled = nq_poll(deadlock->queue);
    deadlock->count++;
}

static uint64_t connects(nq_queue *queue)
{
    return nqtest_stats(queue).connects;
}

START_TEST(an_event_callback_may_look_but_not_wait)
{
    nq_queue *server = nqtest_server(_i, ""), *client;
    struct deadlock deadlock = {.queue = server};

    nq_event_callback(server, on_event_wait, &deadlock);
    client = nqtest_client("");
    nqtest_drive_until(server, connects, 1);
    while (!deadlock.count)
        nqtest_drive_until(server, connects, 1);
    ck_assert_int_eq(deadlock.waited, NQ_ERR_DEADLOCK);
    ck_assert_int_eq(deadlock.looked, NQ_AGAIN);
    ck_assert_int_eq(deadlock.got, NQ_ERR_DEADLOCK);
    ck_assert_int_eq(deadlock.polled, NQ_ERR_DEADLOCK);
    nqtest_end(client);
    nqtest_end(server);
}
END_TEST

static void on_event_count(void *arg, const struct nq_event *event)
{
    _Atomic unsigned *count = arg;

    *count += event->kind == NQ_EVENT_PEER_UP;
}

/* The keeper runs it when nobody drives; afterwards events are kept again. */
START_TEST(events_are_kept_again_after_the_callback_ended)
{
    nq_queue *server = nqtest_server(_i, ""), *first, *second;
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    _Atomic unsigned count = 0;

    nq_event_callback(server, on_event_count, (void *)&count);
    first = nqtest_client("");
    while (!count)
        ck_assert_int_lt(nqtest_clock(), until);
    nq_event_callback(server, NULL, NULL);
    second = nqtest_client("");
    nqtest_event(server, NQ_EVENT_PEER_UP);
    ck_assert_uint_eq(count, 1);
    nqtest_end(first);
    nqtest_end(second);
    nqtest_end(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("event");
    TCase *tc = tcase_create("event"), *queues = tcase_create("queues");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_kind_has_a_text_of_its_own);
    tcase_add_test(tc, events_come_in_order);
    tcase_add_test(tc, the_oldest_go_when_there_are_too_many);
    tcase_add_test(tc, a_flood_of_refusals_does_not_flood_the_log);
    tcase_add_test(tc, a_callback_gets_what_is_there_and_what_comes);
    tcase_add_test(tc, events_that_come_faster_than_they_are_taken_keep_nobody);
    tcase_add_test(tc, a_callback_that_ends_itself_gets_no_more);
    tcase_add_test(tc, a_callback_that_was_ended_before_it_ran_gets_nothing);
    suite_add_tcase(suite, tc);

    tcase_set_timeout(queues, 30);
    nqtest_each(queues, a_session_begins_and_ends_with_events);
    nqtest_each(queues, waiting_for_an_event_ends_with_its_time_out);
    nqtest_each(queues, after_the_close_come_the_events_that_are_left_and_then_the_end);
    nqtest_each(queues, an_event_callback_may_look_but_not_wait);
    nqtest_each(queues, events_are_kept_again_after_the_callback_ended);
    suite_add_tcase(suite, queues);
    return suite;
}
