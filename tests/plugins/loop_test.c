/* plugins/loop: what is special of it, and queues on two threads. */
#include "tools/conform/rig.h"
#include <check.h>
#include <pthread.h>

extern const struct nqt_module loop_LTX_nqt1_module;

static const struct nqtest_opt usual[] = {{NULL, NULL}};
static const struct nqtest_opt few[] = {{"slots", "3"}, {NULL, NULL}};

static const struct nqtest_transport loop = {
    .module = &loop_LTX_nqt1_module,
    .server = usual,
    .client = usual,
    .tiny_server = few,
    .tiny_client = few,
};

START_TEST(the_same_buffer_arrives_without_a_copy)
{
    struct nqtest_rig rig = nqtest_rig_up(usual, usual);
    struct nqt_buf *buf = nqtest_buf(0, 1000, 3);
    uint32_t taken;

    buf->ops->ref(buf);
    ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
    nqtest_until_received(rig.s, 1000);
    ck_assert_uint_eq(rig.s->messages, 1);
    ck_assert_uint_eq(rig.s->last_len, 1000);
    ck_assert_int_eq(nqtest_bufs, 1); /* the receiver's reference is gone, ours is left */
    buf->ops->unref(buf);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_link_has_as_many_slots_as_its_receiver_says)
{
    struct nqtest_rig rig = nqtest_rig_up(few, usual);
    struct nqt_buf *bufs[10];
    uint32_t taken;

    for (uint64_t i = 0; i < 10; i++)
        bufs[i] = nqtest_buf(i, 1, 1);
    ck_assert_int_eq(nqtest_send(rig.c, bufs, 10, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 3);
    nqtest_settle(2);
    ck_assert_uint_eq(rig.c->writables, 1);
    nqtest_until_received(rig.s, 3);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(servers_of_different_names_live_beside_each_other)
{
    static const struct nqtest_opt a[] = {{"name", "a"}, {NULL, NULL}};
    static const struct nqtest_opt b[] = {{"name", "b"}, {NULL, NULL}};
    struct nqtest_rig rig_a = nqtest_rig_up(a, a), rig_b = nqtest_rig_up(b, b);

    nqtest_push(rig_a.c, 10, 10, 1, 1);
    nqtest_push(rig_b.c, 20, 10, 1, 1);
    nqtest_until_received(rig_a.s, 10);
    nqtest_until_received(rig_b.s, 20);
    nqtest_host_free(rig_b.client_host);
    nqtest_host_free(rig_b.server_host);
    nqtest_rig_free(&rig_a);
}
END_TEST

/* ---- two threads ---------------------------------------------------------------------------- */

struct side {
    unsigned seed;
    _Atomic bool *listening, *served;
};

static bool is_served(const void *arg)
{
    return atomic_load(*(_Atomic bool *const *)arg);
}

/* Serve until the client says that it has had enough. */
static void *serve(void *arg)
{
    struct side *side = arg;
    struct nqtest_host *host = nqtest_host_new(&loop_LTX_nqt1_module, 0);
    struct nqtest_ep *ep;

    ck_assert_int_eq(nqtest_ep_open(host, true, few, &ep, NULL), 0);
    atomic_store(side->listening, true);
    while (!atomic_load(side->served)) {
        nqtest_turn(1);
        /* End links from this side, too, at times that differ from round to round. */
        for (struct nqtest_link *link = host->links; link; link = link->next)
            if (link->ups && !link->close_called && (link->received / 100 + side->seed) % 7 == 3)
                nqtest_close(link);
    }
    nqtest_host_free(host);
    return NULL;
}

START_TEST(two_queues_on_two_threads_end_in_any_order)
{
    _Atomic bool listening = false, served = false;
    struct side side = {.seed = (unsigned)_i, .listening = &listening, .served = &served};
    struct nqtest_host *host;
    struct nqtest_ep *ep;
    pthread_t thread;

    pthread_create(&thread, NULL, serve, &side);
    nqtest_until(is_served, &side.listening, "the server");
    host = nqtest_host_new(&loop_LTX_nqt1_module, 0);
    ck_assert_int_eq(nqtest_ep_open(host, false, few, &ep, NULL), 0);
    for (int i = 0; i < 40; i++) {
        struct nqtest_link *link = nqtest_connect(ep, NULL);

        NQTEST_UNTIL(nqtest_is_up, link);
        nqtest_push(link, 100u * (unsigned)i, 50, 2, 4);
        for (int turn = 0; turn < (i + _i) % 5; turn++)
            nqtest_turn(0);
        if (i % 4 == 1)
            (void)nqtest_shutdown(link);
        if (i % 4 != 2)
            nqtest_close(link);
    }
    if (_i % 2) {
        atomic_store(&served, true); /* the server may end first */
        pthread_join(thread, NULL);
        nqtest_host_free(host);
    } else {
        nqtest_host_free(host);
        atomic_store(&served, true);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(nqtest_bufs, 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tc = tcase_create("loop"), *threads = tcase_create("threads");

    nqtest_tested = &loop;
    tcase_add_test(tc, the_same_buffer_arrives_without_a_copy);
    tcase_add_test(tc, a_link_has_as_many_slots_as_its_receiver_says);
    tcase_add_test(tc, servers_of_different_names_live_beside_each_other);
    suite_add_tcase(suite, tc);
    tcase_set_timeout(threads, 60);
    tcase_add_loop_test(threads, two_queues_on_two_threads_end_in_any_order, 0, 14);
    suite_add_tcase(suite, threads);
    return suite;
}
