/* plugins/shm: memory that is filled in place and read where it lies. */
#include "tests/plugins/shm_rig.h"
#include <pthread.h>
#include <sched.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define MIB (1u << 20)

static const struct nqtest_opt small[] = {
    {"path", nqtest_shm_path}, {"pool", "2MiB"}, {"leases", "8"}, {NULL, NULL}};
static const struct nqtest_opt none[] = {{"path", nqtest_shm_path}, {"pool", "0"}, {NULL, NULL}};

/* `len` bytes of the stream, from where the link's sending stands, in a loan; sent. */
static void send_loan(struct nqtest_link *link, size_t len)
{
    struct nqt_buf *buf = NULL;
    uint32_t taken;
    uint8_t *at;

    ck_assert_int_eq(nqtest_loan(link, len, &buf), NQT_OK);
    ck_assert_uint_eq(buf->len, len);
    at = buf->seg[0].iov_base;
    for (size_t i = 0; i < len; i++)
        at[i] = nqtest_pattern(link->tx.done + i);
    ck_assert_int_eq(nqtest_send(link, &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
    link->tx.done = link->tx.end = link->tx.done + len;
}

static void drop_views(struct nqtest_link *link)
{
    while (link->nkept) {
        struct nqt_buf *buf = link->kept[--link->nkept];

        buf->ops->unref(buf);
    }
}

START_TEST(a_loan_arrives_where_it_was_filled)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    rig.s->keep = true;
    send_loan(rig.c, MIB);
    nqtest_until_received(rig.s, MIB);
    ck_assert_uint_eq(rig.s->views, 1);
    ck_assert_uint_eq(rig.s->kept[0]->len, MIB);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_block_is_used_again_once_its_view_was_given_back)
{
    struct nqtest_rig rig = nqtest_rig_up(small, small);

    for (uint64_t i = 1; i <= 50; i++) {
        send_loan(rig.c, MIB + 100);
        nqtest_until_received(rig.s, i * (MIB + 100));
    }
    ck_assert_uint_eq(rig.s->views, 50);
    ck_assert_uint_eq(nqtest_shm_maps(), 4 + 2);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_block_that_somebody_looks_at_is_not_used_again)
{
    struct nqtest_rig rig = nqtest_rig_up(small, small);
    struct nqt_buf *buf;
    const uint8_t *bytes;

    rig.s->keep = true;
    for (unsigned i = 1; i <= 2; i++) {
        send_loan(rig.c, MIB);
        nqtest_until_received(rig.s, i * (uint64_t)MIB);
    }
    ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), NQT_E_NOMEM);
    bytes = rig.s->kept[0]->seg[0].iov_base;
    for (unsigned i = 0; i < MIB; i++)
        ck_assert_uint_eq(bytes[i], nqtest_pattern(i));
    /* Whoever keeps views costs nobody the link: what cannot be lent is copied. */
    nqtest_push(rig.c, 3 * MIB, 100000, 1, 4);
    nqtest_until_received(rig.s, rig.c->tx.end);
    drop_views(rig.s);
    ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), NQT_OK);
    buf->ops->unref(buf);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_loan_between_other_bytes_keeps_its_place)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    struct nqt_buf *lent, *buf;
    struct iovec seg[5];
    uint8_t bytes[3][5000];
    uint64_t at = 0;
    uint32_t taken;

    ck_assert_int_eq(nqtest_loan(rig.c, 100000, &lent), NQT_OK);
    seg[0] = (struct iovec){bytes[0], 8};
    seg[1] = (struct iovec){(uint8_t *)lent->seg[0].iov_base + 10, 50000}; /* parts will do */
    seg[2] = (struct iovec){bytes[1], 5000};
    seg[3] = (struct iovec){bytes[2], 0};
    seg[4] = (struct iovec){(uint8_t *)lent->seg[0].iov_base + 60000, 40000};
    for (unsigned i = 0; i < LEN(seg); i++)
        for (size_t k = 0; k < seg[i].iov_len; k++)
            ((uint8_t *)seg[i].iov_base)[k] = nqtest_pattern(at++);
    buf = nqtest_buf(0, at, LEN(seg));
    buf->seg = seg;
    ck_assert_int_eq(nqtest_send(rig.c, &buf, 1, &taken), NQT_OK);
    nqtest_until_received(rig.s, at);
    ck_assert_uint_eq(rig.s->views, 2);
    lent->ops->unref(lent);
    nqtest_rig_free(&rig);
}
END_TEST

/* A loan of 50,000 bytes behind `head` other ones, those in two segments. */
static void send_behind(struct nqtest_rig *rig, size_t head)
{
    struct nqtp_link *sender = (struct nqtp_link *)rig->c->plugin;
    uint64_t at = rig->c->tx.done, before = sender->tx.sent;
    struct nqt_buf *lent, *buf;
    struct iovec seg[3];
    uint8_t bytes[100];
    uint32_t taken;

    ck_assert_int_eq(nqtest_loan(rig->c, 50000, &lent), NQT_OK);
    seg[0] = (struct iovec){bytes, head / 2};
    seg[1] = (struct iovec){bytes + 50, head - head / 2};
    seg[2] = lent->seg[0];
    for (unsigned i = 0; i < LEN(seg); i++)
        for (size_t k = 0; k < seg[i].iov_len; k++)
            ((uint8_t *)seg[i].iov_base)[k] = nqtest_pattern(at++);
    buf = nqtest_buf(0, head + 50000, LEN(seg));
    buf->seg = seg;
    ck_assert_int_eq(nqtest_send(rig->c, &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(sender->tx.sent - before, head <= SHM_BLOCK_HEAD ? 1 : 2);
    rig->c->tx.done = rig->c->tx.end = at;
    lent->ops->unref(lent);
}

static const size_t heads[] = {1, 2, 8, SHM_BLOCK_HEAD, SHM_BLOCK_HEAD + 1, 56};

START_TEST(a_few_bytes_before_a_loan_travel_in_its_cell)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    for (unsigned i = 1; i <= 20; i++) {
        send_behind(&rig, heads[_i]);
        nqtest_until_received(rig.s, rig.c->tx.done);
        ck_assert_uint_eq(rig.s->views, i);
    }
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(they_are_copied_where_the_core_takes_no_views_or_no_bytes)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    if (_i)
        rig.server_host->table.rx_give = NULL;
    else
        rig.server_host->table.rx_bytes = NULL;
    for (unsigned i = 0; i < 2 * LEN(heads); i++) {
        send_behind(&rig, heads[i % LEN(heads)]);
        nqtest_until_received(rig.s, rig.c->tx.done);
    }
    ck_assert_uint_eq(rig.s->views, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_core_that_wants_no_more_after_them_gets_the_view_later)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    rig.s->hold_inside = true;
    send_behind(&rig, 8);
    nqtest_until_received(rig.s, 8);
    nqtest_settle(2);
    ck_assert_uint_eq(rig.s->received, 8);
    rig.s->hold_inside = false;
    ck_assert_int_eq(nqtest_hold(rig.s, 0), NQT_OK);
    nqtest_until_received(rig.s, rig.c->tx.done);
    ck_assert_uint_eq(rig.s->views, 1);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_core_that_closes_after_them_gets_no_view)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    rig.s->close_inside = !_i;
    rig.s->stop_at = 8;
    send_behind(&rig, 8);
    nqtest_until_received(rig.s, 8);
    nqtest_settle(2);
    ck_assert_uint_eq(rig.s->received, 8);
    ck_assert_uint_eq(rig.s->views, 0);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(without_a_free_lease_the_bytes_are_copied)
{
    struct nqtest_rig rig = nqtest_rig_up(small, small);

    rig.s->keep = true;
    for (uint64_t i = 1; i <= 12; i++) {
        send_loan(rig.c, 5000);
        nqtest_until_received(rig.s, i * 5000);
    }
    ck_assert_uint_eq(rig.s->views, 8);
    drop_views(rig.s);
    send_loan(rig.c, 5000);
    nqtest_until_received(rig.s, 13 * 5000);
    ck_assert_uint_eq(rig.s->views, 9);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(where_the_core_takes_no_views_they_are_copied)
{
    struct nqtest_rig rig = nqtest_rig_up(small, small);

    rig.server_host->table.rx_give = NULL;
    for (uint64_t i = 1; i <= 20; i++) {
        send_loan(rig.c, 300000);
        nqtest_until_received(rig.s, i * 300000);
    }
    ck_assert_uint_eq(rig.s->views, 0);
    nqtest_rig_free(&rig);
}
END_TEST

static const struct {
    const struct nqtest_opt *opts;
    size_t len;
    int rc;
} refused[] = {
    {small, 0, NQT_E_UNSUPPORTED},     {small, SHM_LEND_MIN - 1, NQT_E_UNSUPPORTED},
    {small, 2 * MIB + 1, NQT_E_NOMEM}, {small, SIZE_MAX, NQT_E_NOMEM},
    {none, MIB, NQT_E_UNSUPPORTED},    {nqtest_shm_usual, SHM_SEGMENT_MAX + 1, NQT_E_NOMEM},
};

START_TEST(what_cannot_be_lent_is_refused)
{
    struct nqtest_rig rig = nqtest_rig_up(refused[_i].opts, refused[_i].opts);
    struct nqt_buf *buf;

    ck_assert_int_eq(nqtest_loan(rig.c, refused[_i].len, &buf), refused[_i].rc);
    nqtest_push(rig.c, 1000, 100, 1, 4);
    nqtest_until_received(rig.s, 1000);
    nqtest_close(rig.c);
    ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), NQT_E_CLOSED);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- what outlives its link ------------------------------------------------------------------ */

static void *unref_all(void *arg)
{
    drop_views(arg);
    return NULL;
}

/* _i: the sender, or the receiver closes first. */
START_TEST(views_stay_when_link_and_queue_are_gone)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_link kept = {.nkept = 0};
    const uint8_t *bytes;
    pthread_t thread;

    rig.s->keep = true;
    send_loan(rig.c, 100000);
    send_loan(rig.c, 100000);
    nqtest_until_received(rig.s, 200000);
    nqtest_close(_i ? rig.s : rig.c);
    nqtest_settle(2);
    kept.nkept = rig.s->nkept;
    memcpy(kept.kept, rig.s->kept, sizeof(kept.kept));
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 1);
    for (unsigned v = 0; v < 2; v++) {
        bytes = kept.kept[v]->seg[0].iov_base;
        for (unsigned i = 0; i < 100000; i++)
            ck_assert_uint_eq(bytes[i], nqtest_pattern(100000 * v + i));
    }
    pthread_create(&thread, NULL, unref_all, &kept);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(a_loan_stays_when_link_and_queue_are_gone)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);
    struct nqt_buf *buf;

    ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), NQT_OK);
    nqtest_rig_free(&rig);
    memset(buf->seg[0].iov_base, 1, MIB);
    ck_assert_uint_eq(nqtest_shm_maps(), 1);
    buf->ops->unref(buf);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* ---- two threads ----------------------------------------------------------------------------- */

struct heap {
    pthread_mutex_t lock;
    struct nqt_buf *buf[64]; /* under lock */
    unsigned n;
    bool over;
};

static void *release_views(void *arg)
{
    struct heap *heap = arg;

    for (bool over = false; !over;) {
        struct nqt_buf *buf = NULL;

        pthread_mutex_lock(&heap->lock);
        if (heap->n)
            buf = heap->buf[--heap->n];
        over = heap->over && !buf;
        pthread_mutex_unlock(&heap->lock);
        if (buf)
            buf->ops->unref(buf);
        else
            sched_yield();
    }
    return NULL;
}

START_TEST(views_are_given_back_on_another_thread)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, small);
    struct heap heap = {.lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    struct nqt_buf *buf;

    rig.s->keep = true;
    pthread_create(&thread, NULL, release_views, &heap);
    for (unsigned i = 0; i < 500; i++) {
        /* Until the other thread has given enough back. */
        while (nqtest_loan(rig.c, 300000, &buf))
            sched_yield();
        buf->ops->unref(buf);
        send_loan(rig.c, 300000);
        nqtest_until_received(rig.s, rig.c->tx.done);
        pthread_mutex_lock(&heap.lock);
        for (; rig.s->nkept; heap.n++)
            heap.buf[heap.n] = rig.s->kept[--rig.s->nkept];
        pthread_mutex_unlock(&heap.lock);
    }
    pthread_mutex_lock(&heap.lock);
    heap.over = true;
    pthread_mutex_unlock(&heap.lock);
    pthread_join(thread, NULL);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    static const struct nqtest_transport shm = {
        .module = &shm_LTX_nqt1_module, .server = nqtest_shm_usual, .client = nqtest_shm_usual};
    Suite *suite = suite_create("shm, loans");
    TCase *tc = tcase_create("loans");

    nqtest_shm_folder();
    nqtest_tested = &shm;
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, a_loan_arrives_where_it_was_filled);
    tcase_add_test(tc, a_block_is_used_again_once_its_view_was_given_back);
    tcase_add_test(tc, a_block_that_somebody_looks_at_is_not_used_again);
    tcase_add_test(tc, a_loan_between_other_bytes_keeps_its_place);
    tcase_add_loop_test(tc, a_few_bytes_before_a_loan_travel_in_its_cell, 0, LEN(heads));
    tcase_add_loop_test(tc, they_are_copied_where_the_core_takes_no_views_or_no_bytes, 0, 2);
    tcase_add_test(tc, a_core_that_wants_no_more_after_them_gets_the_view_later);
    tcase_add_loop_test(tc, a_core_that_closes_after_them_gets_no_view, 0, 2);
    tcase_add_test(tc, without_a_free_lease_the_bytes_are_copied);
    tcase_add_test(tc, where_the_core_takes_no_views_they_are_copied);
    tcase_add_loop_test(tc, what_cannot_be_lent_is_refused, 0, LEN(refused));
    tcase_add_loop_test(tc, views_stay_when_link_and_queue_are_gone, 0, 2);
    tcase_add_test(tc, a_loan_stays_when_link_and_queue_are_gone);
    tcase_add_test(tc, views_are_given_back_on_another_thread);
    suite_add_tcase(suite, tc);
    return suite;
}
