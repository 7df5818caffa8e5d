/* plugins/shm: memory that was lent is given up, after a burst and when it is kept too long; and
 * what a reader may keep. */
#include "tests/plugins/shm_rig.h"
#include <string.h>
#include <unistd.h>

#define LEN(array) (sizeof(array) / sizeof((array)[0]))
#define MIB (1u << 20)
#define RINGS 4u /* maps of a link of which both ends are here */

/* One segment, which is left to who keeps it when the next loan finds no room. */
static const struct nqtest_opt one_segment[] = {
    {"path", nqtest_shm_path}, {"pool", "2MiB"}, {"reclaim", "1ms"}, {NULL, NULL}};
static const struct nqtest_opt two_segments[] = {
    {"path", nqtest_shm_path}, {"pool", "4MiB"}, {"reclaim", "1ms"}, {NULL, NULL}};
static const struct nqtest_opt two_patient[] = {
    {"path", nqtest_shm_path}, {"pool", "4MiB"}, {"reclaim", "10s"}, {NULL, NULL}};
static const struct nqtest_opt copies[] = {
    {"path", nqtest_shm_path}, {"keep", "1MiB"}, {NULL, NULL}};

/* `len` bytes of the stream, from where the link's sending stands. */
static void send_buf(struct nqtest_link *link, struct nqt_buf *buf)
{
    uint8_t *at = buf->seg[0].iov_base;
    uint32_t taken;

    for (size_t i = 0; i < buf->len; i++)
        at[i] = nqtest_pattern(link->tx.done + i);
    link->tx.done = link->tx.end = link->tx.done + buf->len;
    ck_assert_int_eq(nqtest_send(link, &buf, 1, &taken), NQT_OK);
    ck_assert_uint_eq(taken, 1);
}

static void send_loan(struct nqtest_rig *rig, size_t len)
{
    struct nqt_buf *buf = NULL;

    ck_assert_int_eq(nqtest_loan(rig->c, len, &buf), NQT_OK);
    send_buf(rig->c, buf);
    nqtest_until_received(rig->s, rig->c->tx.end);
}

/* It still has what was sent from there on. */
static void check_view(const struct nqt_buf *view, uint64_t from)
{
    const uint8_t *bytes = view->seg[0].iov_base;
    size_t wrong = 0;

    for (size_t i = 0; i < view->len; i++)
        wrong += bytes[i] != nqtest_pattern(from + i);
    ck_assert_uint_eq(wrong, 0);
}

static void drop_views(struct nqtest_link *link)
{
    while (link->nkept) {
        struct nqt_buf *buf = link->kept[--link->nkept];

        buf->ops->unref(buf);
    }
}

/* The first sweep sees what was used, the second one does not. */
static void check_shrinks(struct nqtest_rig *rig)
{
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_gt(nqtest_shm_maps(), RINGS + 2);
        nqtest_advance(rig->client_host, INT64_C(1000000000));
        nqtest_settle(4);
    }
    ck_assert_uint_eq(nqtest_shm_maps(), RINGS + 2);
}

/* ---- after a burst --------------------------------------------------------------------------- */

/* However long the burst takes, no sweep comes before check_shrinks() lets time pass. */
static struct nqtest_rig rig_without_time(void)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    nqtest_hold_time(rig.client_host);
    return rig;
}

/* _i: how often; the second time its segments come in slots that had others. */
START_TEST(memory_shrinks_after_a_burst)
{
    struct nqtest_rig rig = rig_without_time();

    for (int burst = 0; burst <= _i; burst++) {
        rig.s->keep = true;
        for (unsigned i = 0; i < 12; i++)
            send_loan(&rig, MIB);
        ck_assert_uint_eq(nqtest_shm_maps(), RINGS + 2 * 3); /* of 2, 4 and 8 MiB */
        drop_views(rig.s);
        check_shrinks(&rig);
    }
    ck_assert_uint_eq(rig.s->views, 12 * ((unsigned)_i + 1));
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(what_somebody_looks_at_does_not_shrink)
{
    struct nqtest_rig rig = rig_without_time();
    struct nqt_buf *last;

    rig.s->keep = true;
    for (unsigned i = 0; i < 12; i++)
        send_loan(&rig, MIB);
    last = rig.s->kept[--rig.s->nkept]; /* in the third */
    drop_views(rig.s);
    check_shrinks(&rig);
    check_view(last, 11 * (uint64_t)MIB);
    last->ops->unref(last);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_link_may_end_while_memory_is_about_to_shrink)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, nqtest_shm_usual);

    for (unsigned i = 0; i < 3; i++)
        send_loan(&rig, 3 * MIB);
    nqtest_close(_i ? rig.s : rig.c);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* ---- what is kept ---------------------------------------------------------------------------- */

struct pressed {
    struct nqtest_link *link;
    struct nqt_buf *buf;
    int rc;
};

static bool pressed_is_over(const void *arg)
{
    struct pressed *pressed = (struct pressed *)(uintptr_t)arg;

    pressed->rc = nqtest_loan(pressed->link, MIB, &pressed->buf);
    return pressed->rc != NQT_E_NOMEM;
}

/* Lend until there is no room, and go on asking. */
static struct pressed press(struct nqtest_rig *rig)
{
    struct pressed pressed = {.link = rig->c};

    rig->s->keep = true;
    while (nqtest_loan(rig->c, MIB, &pressed.buf) == NQT_OK) {
        send_buf(rig->c, pressed.buf);
        nqtest_until_received(rig->s, rig->c->tx.end);
    }
    NQTEST_UNTIL(pressed_is_over, &pressed);
    return pressed;
}

START_TEST(what_is_kept_too_long_is_left_to_who_keeps_it)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, one_segment);
    struct pressed pressed = press(&rig);

    ck_assert_int_eq(pressed.rc, NQT_OK);
    ck_assert_uint_eq(rig.s->views, 2);
    send_buf(rig.c, pressed.buf);
    nqtest_until_received(rig.s, rig.c->tx.end);
    ck_assert_uint_eq(rig.s->views, 3);
    ck_assert_uint_eq(nqtest_shm_maps(), RINGS + 3); /* the first one is the reader's alone */
    for (unsigned v = 0; v < 3; v++)
        check_view(rig.s->kept[v], v * (uint64_t)MIB);
    drop_views(rig.s);
    ck_assert_uint_eq(nqtest_shm_maps(), RINGS + 2);
    send_loan(&rig, MIB); /* the late tokens harm nobody */
    drop_views(rig.s);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* Lend one more, which makes room once, and keep that as well. */
static void press_and_keep(struct nqtest_rig *rig)
{
    struct pressed pressed = press(rig);

    ck_assert_int_eq(pressed.rc, NQT_OK);
    send_buf(rig->c, pressed.buf);
    nqtest_until_received(rig->s, rig->c->tx.end);
}

/* The second time one of two may still be left to who keeps them, and that one is enough. */
START_TEST(no_more_is_left_to_who_keeps_it_than_makes_room)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, two_segments);

    for (unsigned i = 1; i <= 2; i++) {
        press_and_keep(&rig);
        ck_assert_uint_eq(rig.c->downs, 0);
        ck_assert_uint_eq(nqtest_shm_maps(), RINGS + i + 2 * 2); /* i are the reader's alone */
    }
    for (unsigned v = 0; v < rig.s->nkept; v++)
        check_view(rig.s->kept[v], v * (uint64_t)MIB);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* Two segments with two messages each, all kept, and a loan that finds no room. */
static struct nqtest_rig rig_without_room(void)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, two_patient);
    struct nqt_buf *buf;

    nqtest_hold_time(rig.client_host);
    rig.s->keep = true;
    for (unsigned i = 0; i < 4; i++)
        send_loan(&rig, MIB);
    ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), NQT_E_NOMEM);
    return rig;
}

/* The last `n` messages are given back, and memory of them is lent again. */
static void ease(struct nqtest_rig *rig, unsigned n, size_t len)
{
    for (unsigned i = 0; i < n; i++) {
        struct nqt_buf *buf = rig->s->kept[--rig->s->nkept];

        buf->ops->unref(buf);
    }
    send_loan(rig, len);
}

START_TEST(each_shortage_is_waited_for)
{
    struct nqtest_rig rig = rig_without_room();
    struct nqt_buf *buf;

    ease(&rig, 1, MIB);
    for (unsigned i = 0; i < 2; i++) {
        nqtest_advance(rig.client_host, INT64_C(3600000000000));
        ck_assert_int_eq(nqtest_loan(rig.c, MIB, &buf), i ? NQT_OK : NQT_E_NOMEM);
    }
    buf->ops->unref(buf);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(a_smaller_loan_does_not_end_a_shortage)
{
    struct nqtest_rig rig = rig_without_room();
    struct nqt_buf *buf;

    ease(&rig, 2, MIB / 4);
    nqtest_advance(rig.client_host, INT64_C(10000000000));
    ck_assert_int_eq(nqtest_loan(rig.c, 2 * MIB, &buf), NQT_OK);
    buf->ops->unref(buf);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

START_TEST(who_keeps_more_than_the_pool_again_loses_the_link)
{
    struct nqtest_rig rig = nqtest_rig_up(nqtest_shm_usual, one_segment);
    struct pressed pressed = press(&rig);

    ck_assert_int_eq(pressed.rc, NQT_OK);
    pressed.buf->ops->unref(pressed.buf);
    ck_assert_int_eq(press(&rig).rc, NQT_E_LOST);
    NQTEST_UNTIL(nqtest_is_down, rig.c);
    ck_assert_int_eq(rig.c->err.code, NQT_E_LOST);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

START_TEST(who_keeps_much_is_given_copies)
{
    struct nqtest_rig rig = nqtest_rig_up(copies, nqtest_shm_usual);

    rig.s->keep = true;
    for (unsigned i = 0; i < 4; i++)
        send_loan(&rig, MIB);
    ck_assert_uint_eq(rig.s->views, 1);
    drop_views(rig.s);
    send_loan(&rig, MIB);
    ck_assert_uint_eq(rig.s->views, 2);
    drop_views(rig.s);
    nqtest_rig_free(&rig);
}
END_TEST

/* ---- a peer that gives up what it should not ------------------------------------------------- */

struct step {
    enum { SEGMENT, RETIRE, BLOCK, END } what;
    uint32_t number;
};

static const struct step wrong[][6] = {
    {{RETIRE, 0}, {END, 0}},                              /* never passed */
    {{SEGMENT, 0}, {RETIRE, 1}, {END, 0}},                /* another one */
    {{SEGMENT, 0}, {RETIRE, 0}, {RETIRE, 0}, {END, 0}},   /* twice */
    {{SEGMENT, 0}, {RETIRE, 0}, {BLOCK, 0}, {END, 0}},    /* used later */
    {{SEGMENT, 0}, {BLOCK, 0}, {SEGMENT, 0}, {END, 0}},   /* twice */
    {{SEGMENT, 0}, {RETIRE, 0}, {SEGMENT, 0}, {END, 0}},  /* again */
    {{SEGMENT, 0}, {BLOCK, 0}, {SEGMENT, 16}, {END, 0}},  /* too soon */
    {{SEGMENT, 0}, {RETIRE, 0}, {SEGMENT, 32}, {END, 0}}, /* one is left out */
    {{SEGMENT, 16}, {END, 0}},                            /* not the first */
    {{SEGMENT, 0}, {RETIRE, 16}, {END, 0}},               /* not there yet */
};

static void do_step(struct nqtest_shm_peer *peer, const struct step *step, uint64_t *position)
{
    const struct shm_block block = {.segment = step->number, .len = step->what == BLOCK};
    struct shm_words words = {.kind = step->what == BLOCK ? SHM_BLOCK : SHM_RETIRE};
    struct shm_memory memory;
    int memfd;

    if (step->what == SEGMENT) {
        ck_assert_int_eq(shm_memory_make(8192, &memory, &memfd), 0);
        ck_assert_int_eq(shm_socket_say_segment(peer->fd, step->number, memory.len, memfd), 0);
        close(memfd);
        shm_memory_free(&memory);
    } else {
        memcpy(words.body, &block, sizeof(block));
        nqtest_shm_commit(peer, (*position)++, &words);
    }
}

/* And have the other side see it. */
static void take_step(struct nqtest_shm_peer *peer, const struct step *step, uint64_t *position)
{
    do_step(peer, step, position);
    nqtest_settle(2);
}

START_TEST(a_peer_that_gives_up_wrongly_loses_the_link)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_shm_peer peer;
    uint64_t position = 0;

    nqtest_shm_join(&peer, rig.server);
    rig.server->accepted[0]->raw = true;
    for (const struct step *step = wrong[_i]; step->what != END; step++) {
        ck_assert_uint_eq(rig.server->accepted[0]->downs, 0);
        take_step(&peer, step, &position);
    }
    NQTEST_UNTIL(nqtest_is_down, rig.server->accepted[0]);
    ck_assert_int_eq(rig.server->accepted[0]->err.code, NQT_E_PROTOCOL);
    nqtest_shm_leave(&peer);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* Each is given up while a view of it is kept. */
START_TEST(a_peer_cannot_have_more_mapped_than_is_agreed)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_shm_peer peer;
    struct nqtest_link *link;
    uint64_t position = 0;

    nqtest_shm_join(&peer, rig.server);
    link = rig.server->accepted[0];
    link->raw = link->keep = true;
    for (uint32_t i = 0; i <= SHM_MAPS_MAX; i++) {
        ck_assert_uint_eq(link->downs, 0);
        take_step(&peer, &(struct step){SEGMENT, i << SHM_SLOT_BITS}, &position);
        take_step(&peer, &(struct step){BLOCK, i << SHM_SLOT_BITS}, &position);
        take_step(&peer, &(struct step){RETIRE, i << SHM_SLOT_BITS}, &position);
    }
    NQTEST_UNTIL(nqtest_is_down, link);
    ck_assert_int_eq(link->err.code, NQT_E_PROTOCOL);
    ck_assert_uint_eq(link->nkept, SHM_MAPS_MAX);
    drop_views(link);
    nqtest_shm_leave(&peer);
    nqtest_rig_free(&rig);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* To map and unmap takes its time, and there may be others in the loop. */
START_TEST(of_segments_that_come_and_go_there_is_one_in_a_look)
{
    struct nqtest_rig rig = nqtest_rig_endpoints(nqtest_shm_usual, nqtest_shm_usual);
    struct nqtest_shm_peer peer;
    struct nqtest_link *link;
    uint64_t position = 0;

    nqtest_shm_join(&peer, rig.server);
    link = rig.server->accepted[0];
    ck_assert_int_eq(nqtest_rx_arm(link, 0), 0);
    for (uint32_t i = 0; i < 3; i++) {
        do_step(&peer, &(struct step){SEGMENT, i << SHM_SLOT_BITS}, &position);
        do_step(&peer, &(struct step){RETIRE, i << SHM_SLOT_BITS}, &position);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(nqtest_rx_poll(link), 1);
    ck_assert_int_eq(nqtest_rx_poll(link), 0);
    ck_assert_uint_eq(link->downs, 0);
    nqtest_shm_leave(&peer);
    nqtest_rig_free(&rig);
}
END_TEST

Suite *nqtest_suite(void)
{
    static const struct nqtest_transport shm = {
        .module = &shm_LTX_nqt1_module, .server = nqtest_shm_usual, .client = nqtest_shm_usual};
    Suite *suite = suite_create("shm, memory that is given up");
    TCase *tc = tcase_create("retire");

    nqtest_shm_folder();
    nqtest_tested = &shm;
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, memory_shrinks_after_a_burst, 0, 2);
    tcase_add_test(tc, what_somebody_looks_at_does_not_shrink);
    tcase_add_loop_test(tc, a_link_may_end_while_memory_is_about_to_shrink, 0, 2);
    tcase_add_test(tc, what_is_kept_too_long_is_left_to_who_keeps_it);
    tcase_add_test(tc, no_more_is_left_to_who_keeps_it_than_makes_room);
    tcase_add_test(tc, each_shortage_is_waited_for);
    tcase_add_test(tc, a_smaller_loan_does_not_end_a_shortage);
    tcase_add_test(tc, who_keeps_more_than_the_pool_again_loses_the_link);
    tcase_add_test(tc, who_keeps_much_is_given_copies);
    tcase_add_loop_test(tc, a_peer_that_gives_up_wrongly_loses_the_link, 0, LEN(wrong));
    tcase_add_test(tc, a_peer_cannot_have_more_mapped_than_is_agreed);
    tcase_add_test(tc, of_segments_that_come_and_go_there_is_one_in_a_look);
    suite_add_tcase(suite, tc);
    return suite;
}
