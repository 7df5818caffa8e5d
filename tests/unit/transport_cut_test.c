/* core/transport_cut.c: what a link cannot take as it is arrives whole, in order and in pieces that
 * it can take, however often it is full meanwhile. */
#include "core/pool.h"
#include "core/txbuf.h"
#include "tests/support/transport_rig.h"
#include <check.h>
#include <string.h>

static struct nqtest_transport *const t = &nqtest_transport;

#define SEGMENTS 5
#define BUFFERS 4
#define ALL (BUFFERS * 15) /* bytes: each has 1 + 2 + 3 + 4 + 5 */

static char bytes[ALL];
static unsigned alive; /* buffers that somebody holds */

/* Fixed memory and a count of references: a buffer as programs make them. */
struct given {
    struct nqt_buf buf;
    struct iovec seg[SEGMENTS];
    unsigned refs;
};

static struct given given[BUFFERS];

static void given_ref(struct nqt_buf *buf)
{
    ((struct given *)buf)->refs++;
}

static void given_unref(struct nqt_buf *buf)
{
    ck_assert_uint_gt(((struct given *)buf)->refs, 0);
    if (!--((struct given *)buf)->refs)
        alive--;
}

static const struct nqt_buf_ops given_ops = {
    .size = sizeof(given_ops), .ref = given_ref, .unref = given_unref};

static struct nqt_buf *give(unsigned i)
{
    char *at = bytes + i * 15ul;

    given[i].refs = 1;
    given[i].buf = (struct nqt_buf){
        .size = sizeof(given[i].buf), .len = 15, .seg = given[i].seg, .ops = &given_ops};
    for (unsigned n = 0; n < SEGMENTS; n++) {
        given[i].seg[n] = (struct iovec){.iov_base = at, .iov_len = n + 1};
        at += n + 1;
    }
    given[i].buf.nseg = SEGMENTS;
    alive++;
    return &given[i].buf;
}

/* A link whose info() says this. */
static void open_link(uint64_t caps, uint32_t max_seg, uint64_t max_message)
{
    for (unsigned i = 0; i < ALL; i++)
        bytes[i] = (char)('0' + i);
    alive = 0;
    nqtest_transport_setup_endpoint();
    nqtest_fake.caps = caps;
    nqtest_fake.max_seg = max_seg;
    nqtest_fake.max_message = max_message;
    t->strand = nqi_strand_new();
    ck_assert_int_eq(nqtest_transport_connect(), NQ_OK);
    nqtest_transport_up();
}

static void close_link(void)
{
    nqtest_transport_teardown_link();
    ck_assert_uint_eq(alive, 0);
}

/* Send buffers from `first` on.  @return how many were taken */
static uint32_t send_from(unsigned first, nq_err want)
{
    struct nqt_buf *bufs[BUFFERS];
    uint32_t n = 0, taken = 99;

    for (unsigned i = first; i < BUFFERS; i++)
        bufs[n++] = give(i);
    nqtest_transport_enter();
    ck_assert_int_eq(nqi_tlink_send(t->tlink, bufs, n, &taken), want);
    nqtest_transport_leave();
    ck_assert_uint_le(taken, n);
    return taken;
}

static void writable(void)
{
    nqtest_fake_emit_inside(t->plink, NQT_EV_WRITABLE, 0, NULL);
}

static void check_all(void)
{
    ck_assert_uint_eq(t->plink->nsent, ALL);
    ck_assert_mem_eq(t->plink->sent, bytes, ALL);
    ck_assert_uint_eq(alive, 0);
}

static const struct {
    uint64_t caps;
    uint32_t max_seg;
    uint64_t max_message;
    unsigned sends; /* that this needs */
} links[] = {
    {NQT_CAP_GATHER, 0, 0, 1},
    {0, 0, 0, BUFFERS *SEGMENTS},
    {0, 1, 0, BUFFERS *SEGMENTS},
    {0, 100, 0, BUFFERS *SEGMENTS},
    {NQT_CAP_GATHER, 1, 0, BUFFERS *SEGMENTS},
    {NQT_CAP_GATHER, 2, 0, BUFFERS * 3},
    {NQT_CAP_GATHER, 5, 0, BUFFERS},
    {NQT_CAP_GATHER, 14, 0, 2},
    {NQT_CAP_GATHER, 20, 0, 1},
    {NQT_CAP_GATHER, 0, 1, ALL},
    {NQT_CAP_GATHER, 0, 4, BUFFERS * 4},
    {NQT_CAP_GATHER, 0, 15, 1},
    {NQT_CAP_GATHER, 2, 4, BUFFERS * 4},
    {0, 0, 4, BUFFERS * 6},
    {NQT_CAP_LOSSY, 0, 0, BUFFERS},
    {NQT_CAP_LOSSY | NQT_CAP_GATHER, 3, 0, BUFFERS},
    {NQT_CAP_LOSSY | NQT_CAP_GATHER, 3, 15, BUFFERS},
};

START_TEST(what_a_link_cannot_take_goes_in_pieces)
{
    open_link(links[_i].caps, links[_i].max_seg, links[_i].max_message);
    ck_assert_uint_eq(send_from(0, NQ_OK), BUFFERS);
    check_all();
    ck_assert_uint_eq(nqtest_fake.sends, links[_i].sends);
    close_link();
}
END_TEST

/* Every second send() takes nothing. */
START_TEST(what_waits_goes_first_when_there_is_room)
{
    uint32_t taken = 0;

    open_link(links[_i].caps, links[_i].max_seg, links[_i].max_message);
    while (taken < BUFFERS) {
        nqtest_fake.take = 0;
        taken += send_from(taken, NQ_OK);
        taken += send_from(taken, NQ_OK); /* too early: nothing overtakes */
        nqtest_fake.take = t->plink->nsent % 2 ? 1 : UINT32_MAX;
        writable();
        taken += send_from(taken, NQ_OK);
    }
    nqtest_fake.take = UINT32_MAX;
    writable();
    check_all();
    close_link();
}
END_TEST

START_TEST(the_owner_hears_of_room_when_nothing_waits)
{
    open_link(0, 0, 0);
    nqtest_fake.take = 0;
    ck_assert_uint_eq(send_from(0, NQ_OK), 1);
    writable();
    ck_assert_uint_eq(t->on_link.writables, 0);
    nqtest_fake.take = UINT32_MAX;
    writable();
    ck_assert_uint_eq(t->on_link.writables, 1);
    ck_assert_uint_eq(t->plink->nsent, 15);
    close_link();
}
END_TEST

START_TEST(few_bytes_do_not_overtake)
{
    bool sent;

    open_link(0, 0, 0);
    nqtest_fake.take = 0;
    nqtest_fake.bytes_rc = 1;
    send_from(0, NQ_OK);
    nqtest_transport_enter();
    sent = nqi_tlink_copies(t->tlink) || nqi_tlink_send_bytes(t->tlink, "late", 4);
    nqtest_transport_leave();
    ck_assert(!sent);
    close_link();
}
END_TEST

static bool shut_down(void)
{
    bool shut;

    nqtest_transport_enter();
    shut = nqi_tlink_shutdown(t->tlink);
    nqtest_transport_leave();
    return shut;
}

START_TEST(what_waits_is_sent_before_the_end)
{
    open_link(0, 0, 0);
    nqtest_fake.take = 0;
    ck_assert_uint_eq(send_from(BUFFERS - 1, NQ_OK), 1);
    ck_assert(shut_down());
    writable();
    ck_assert_uint_eq(t->plink->shutdowns, 0);
    nqtest_fake.take = UINT32_MAX;
    writable();
    ck_assert_uint_eq(t->plink->nsent, 15);
    ck_assert_uint_eq(t->plink->shutdowns, 1);
    writable();
    ck_assert_uint_eq(t->plink->shutdowns, 1);
    close_link();
}
END_TEST

/* The link fails, or is closed, while a buffer is in pieces: its memory comes back. */
START_TEST(nothing_is_kept_of_a_link_that_ends)
{
    open_link(0, 0, 0);
    nqtest_fake.take = 0;
    send_from(0, NQ_OK);
    ck_assert_uint_eq(alive, 1);
    if (_i)
        nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_DOWN, NQT_E_LOST, "gone");
    close_link();
}
END_TEST

START_TEST(a_failure_in_the_midst_is_the_end_of_the_link)
{
    open_link(0, 0, 0);
    nqtest_fake.send_rc = NQT_E_LOST;
    nqtest_fake.take = 0;
    ck_assert_uint_eq(send_from(0, NQ_ERR_LINK), 1);
    close_link();
}
END_TEST

START_TEST(without_memory_for_a_piece_the_link_goes_down)
{
    open_link(_i ? NQT_CAP_LOSSY : 0, 0, 0);
    nqi_pool_fail_after(1);
    ck_assert_uint_eq(send_from(0, NQ_ERR_LINK), 1);
    nqi_pool_fail_after(0);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.downs, 1);
    ck_assert_int_eq(t->on_link.code, NQT_E_NOMEM);
    close_link();
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_cut");
    TCase *tc = tcase_create("pieces");

    tcase_add_loop_test(tc, what_a_link_cannot_take_goes_in_pieces, 0, NQI_LEN(links));
    tcase_add_loop_test(tc, what_waits_goes_first_when_there_is_room, 0, NQI_LEN(links));
    tcase_add_test(tc, the_owner_hears_of_room_when_nothing_waits);
    tcase_add_test(tc, few_bytes_do_not_overtake);
    tcase_add_test(tc, what_waits_is_sent_before_the_end);
    tcase_add_loop_test(tc, nothing_is_kept_of_a_link_that_ends, 0, 2);
    tcase_add_test(tc, a_failure_in_the_midst_is_the_end_of_the_link);
    tcase_add_loop_test(tc, without_memory_for_a_piece_the_link_goes_down, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
