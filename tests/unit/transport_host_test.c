/* core/transport_host.c and core/transport_resolve.c: what modules call: reading, posts, timers,
 * the resolver. */
#include "core/pool.h"
#include "core/transport_inside.h"
#include "tests/support/suite.h"
#include "tests/support/transport_rig.h"
#include <check.h>
#include <netinet/in.h>
#include <netqueue/log.h>
#include <string.h>

static struct nqtest_transport *const t = &nqtest_transport;

/* ---- reading ---- */

START_TEST(bytes_are_read_into_the_owners_room)
{
    ck_assert_int_eq(nqtest_fake_read(t->plink, "hello", 5), NQT_OK);
    t->on_link.piece = 40;
    ck_assert_int_eq(nqtest_fake_read(t->plink, " world", 6), NQT_OK);
    ck_assert_mem_eq(t->on_link.bytes, "hello world", 11);
    ck_assert_uint_eq(t->on_link.commits, 2);
}
END_TEST

START_TEST(the_owner_may_close_while_it_is_given_bytes)
{
    t->on_link.close_inside = true;
    t->on_link.err = _i ? NQ_ERR_PROTO : NQ_OK;
    ck_assert_int_eq(nqtest_fake_read(t->plink, "hello", 5), NQT_E_CLOSED);
    ck_assert_uint_eq(t->plink->closes, 1);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.closed, 1);
}
END_TEST

START_TEST(no_room_is_told)
{
    t->on_link.space_err = _i ? NQ_ERR_NOMEM : NQ_ERR_CLOSED;
    ck_assert_int_eq(nqtest_fake_read(t->plink, "x", 1), _i ? NQT_E_NOMEM : NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.commits, 0);
}
END_TEST

static struct iovec given[8];
static uint32_t ngiven;
static int rc;

static int ask(size_t want)
{
    ngiven = 8;
    nqtest_transport_enter();
    rc = nqtest_fake.host->rx_space(t->plink->cookie, want, given, &ngiven);
    nqtest_transport_leave();
    return rc;
}

static int fill(size_t len)
{
    nqtest_transport_enter();
    rc = nqtest_fake.host->rx_commit(t->plink->cookie, len);
    nqtest_transport_leave();
    return rc;
}

START_TEST(no_more_room_is_given_than_is_wanted)
{
    static const size_t wants[] = {0, 1, 39, 40, 41, 80, 99, 100, 1000};
    size_t want = wants[_i], sum = 0;

    t->on_link.piece = 40;
    ck_assert_int_eq(ask(want), NQT_OK);
    for (uint32_t i = 0; i < ngiven; i++) {
        ck_assert_uint_gt(given[i].iov_len, 0);
        sum += given[i].iov_len;
    }
    ck_assert_uint_eq(sum, want ? NQI_MIN(want, 100) : 100);
    ck_assert_int_eq(fill(sum), NQT_OK);
}
END_TEST

START_TEST(unused_room_is_given_back)
{
    ck_assert_int_eq(ask(0), NQT_OK);
    ck_assert_int_eq(fill(0), NQT_OK);
    ck_assert_uint_eq(t->on_link.commits, 1);
    ck_assert_uint_eq(t->on_link.nbytes, 0);
}
END_TEST

START_TEST(room_is_given_back_after_the_close)
{
    ck_assert_int_eq(ask(0), NQT_OK);
    nqtest_fake.keep_open = true;
    nqtest_transport_close();
    nqtest_fake.keep_open = false;
    ck_assert_int_eq(fill(5), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.nbytes, 0);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
}
END_TEST

/* ---- by reference ---- */

static unsigned given_unrefs;

static void given_ref(struct nqt_buf *buf)
{
    (void)buf;
}

static void given_unref(struct nqt_buf *buf)
{
    (void)buf;
    given_unrefs++;
}

static int give(const char *text)
{
    static const struct nqt_buf_ops ops = {
        .size = sizeof(ops), .ref = given_ref, .unref = given_unref};
    static struct iovec seg;
    static struct nqt_buf buf;

    given_unrefs = 0;
    seg = (struct iovec){(void *)(uintptr_t)text, strlen(text)};
    buf = (struct nqt_buf){
        .size = sizeof(buf), .nseg = 1, .len = seg.iov_len, .seg = &seg, .ops = &ops};
    nqtest_transport_enter();
    rc = nqtest_fake.host->rx_give(t->plink->cookie, &buf);
    nqtest_transport_leave();
    ck_assert_uint_eq(given_unrefs, 1);
    return rc;
}

START_TEST(bytes_in_memory_go_up_by_reference)
{
    ck_assert_int_eq(give("hello"), NQT_OK);
    ck_assert_int_eq(nqtest_fake_read(t->plink, " world", 6), NQT_OK);
    ck_assert_mem_eq(t->on_link.bytes, "hello world", 11);
    ck_assert_uint_eq(t->on_link.gives, 1);
}
END_TEST

START_TEST(the_owner_may_close_while_it_is_given_a_reference)
{
    t->on_link.close_inside = true;
    t->on_link.err = _i ? NQ_ERR_PROTO : NQ_OK;
    ck_assert_int_eq(give("hello"), NQT_E_CLOSED);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.closed, 1);
}
END_TEST

START_TEST(a_reference_after_the_close_goes_nowhere)
{
    nqtest_fake.keep_open = true;
    nqtest_transport_close();
    nqtest_fake.keep_open = false;
    ck_assert_int_eq(give("hello"), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.gives, 0);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
}
END_TEST

/* ---- few of them ---- */

static int bring(const char *text)
{
    nqtest_transport_enter();
    rc = nqtest_fake.host->rx_bytes(t->plink->cookie, text, strlen(text));
    nqtest_transport_leave();
    return rc;
}

START_TEST(a_few_bytes_go_up_where_they_lie)
{
    ck_assert_int_eq(bring("hello"), NQT_OK);
    ck_assert_int_eq(nqtest_fake_read(t->plink, " world", 6), NQT_OK);
    ck_assert_mem_eq(t->on_link.bytes, "hello world", 11);
}
END_TEST

START_TEST(the_owner_may_close_while_a_few_bytes_come)
{
    t->on_link.close_inside = true;
    t->on_link.err = _i ? NQ_ERR_PROTO : NQ_OK;
    ck_assert_int_eq(bring("hello"), NQT_E_CLOSED);
    nqtest_transport_turn();
    ck_assert_uint_eq(t->on_link.closed, 1);
}
END_TEST

START_TEST(a_few_bytes_after_the_close_go_nowhere)
{
    nqtest_fake.keep_open = true;
    nqtest_transport_close();
    nqtest_fake.keep_open = false;
    ck_assert_int_eq(bring("hello"), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.nbytes, 0);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
}
END_TEST

/* ---- breaches ---- */

START_TEST(a_few_bytes_before_the_room_is_filled_are_a_breach)
{
    ck_assert_int_eq(ask(0), NQT_OK);
    ck_assert_int_eq(bring("hello"), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.nbytes, 0);
    nqtest_transport_check_breach();
}
END_TEST

START_TEST(a_reference_before_the_room_is_filled_is_a_breach)
{
    ck_assert_int_eq(ask(0), NQT_OK);
    ck_assert_int_eq(give("hello"), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.gives, 0);
    nqtest_transport_check_breach();
}
END_TEST

START_TEST(more_filled_than_given_is_a_breach)
{
    ck_assert_int_eq(ask(_i ? 10 : 0), NQT_OK);
    ck_assert_int_eq(fill(_i ? 11 : 101), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.nbytes, 0);
    nqtest_transport_check_breach();
}
END_TEST

START_TEST(filling_without_room_is_a_breach)
{
    ck_assert_int_eq(fill((size_t)_i), NQT_E_CLOSED);
    nqtest_transport_check_breach();
}
END_TEST

START_TEST(asking_twice_is_a_breach)
{
    ck_assert_int_eq(ask(0), NQT_OK);
    ck_assert_int_eq(ask(0), NQT_E_CLOSED);
    ck_assert_uint_eq(t->on_link.spaces, 1);
    nqtest_transport_check_breach();
}
END_TEST

/* ---- services ---- */

static unsigned posted;

static void on_post(void *arg)
{
    ck_assert(nqtest_fake.host->in_serial(arg));
    posted++;
}

START_TEST(posts_run_in_the_serial_also_after_the_close)
{
    posted = 0;
    ck_assert_int_eq(nqtest_fake.host->post(t->plink->serial, on_post, t->plink->serial), NQT_OK);
    ck_assert_uint_eq(posted, 0);
    nqtest_transport_turn();
    ck_assert_uint_eq(posted, 1);
    ck_assert(!nqtest_fake.host->in_serial(t->plink->serial));
    nqtest_fake.keep_open = true;
    nqtest_transport_close();
    nqtest_fake.keep_open = false;
    ck_assert_int_eq(nqtest_fake.host->post(t->plink->serial, on_post, t->plink->serial), NQT_OK);
    nqtest_fake_emit_inside(t->plink, NQT_EV_LINK_CLOSED, 0, NULL);
    nqtest_transport_turn();
    ck_assert_uint_eq(posted, 2);
}
END_TEST

static void on_time(void *arg)
{
    ++*(unsigned *)arg;
}

START_TEST(timers_fire_in_the_serial)
{
    const struct nqt_host *host = nqtest_fake.host;
    unsigned fired = 0, stopped = 0;
    nqt_watch *timer, *other;

    nqtest_transport_enter();
    ck_assert_int_eq(host->timer_add(t->plink->serial, on_time, &fired, &timer), NQT_OK);
    ck_assert_int_eq(host->timer_add(t->plink->serial, on_time, &stopped, &other), NQT_OK);
    host->timer_set(timer, host->now_ns(t->core));
    host->timer_set(other, host->now_ns(t->core));
    host->timer_set(other, -1);
    nqtest_transport_leave();
    nqtest_transport_turn();
    ck_assert_uint_eq(fired, 1);
    ck_assert_uint_eq(stopped, 0);
    nqtest_transport_enter();
    host->timer_del(timer);
    host->timer_del(other);
    nqtest_transport_leave();
}
END_TEST

START_TEST(counts_logs_memory)
{
    const struct nqt_host *host = nqtest_fake.host;
    char *text = host->mem(t->core, NULL, 10);

    ck_assert_uint_eq(host->size, sizeof(*host));
    host->count(t->core, NQT_COUNT_SEND_CALLS, 3);
    host->count(t->core, NQT_COUNT_SEND_CALLS, -1);
    host->count(t->core, 4, 1);
    host->count(t->core, UINT32_MAX, 1);
    ck_assert_uint_eq(nqi_transport_count(t->core, NQT_COUNT_SEND_CALLS), 2);
    ck_assert_uint_eq(nqi_transport_count(t->core, NQT_COUNT_RECV_CALLS), 0);
    ck_assert_uint_eq(nqi_transport_count(t->core, UINT32_MAX), 0);
    strcpy(text, "ten bytes");
    text = host->mem(t->core, text, 20);
    ck_assert_str_eq(text, "ten bytes");
    ck_assert_ptr_null(host->mem(t->core, text, 0));
    ck_assert_ptr_null(host->ext(t->core, "nothing"));
    host->log(t->core, NQT_LOG_ERROR, "wet feet");
    ck_assert_ptr_nonnull(strstr(t->complaint, "fake: wet feet"));
    host->log(t->core, 77, "of a level that is none");
    ck_assert_uint_eq(t->complaints, 1);
}
END_TEST

static unsigned lines;

static void count_line(void *arg, nq_log_level level, const char *line)
{
    (void)arg;
    (void)level;
    (void)line;
    lines++;
}

/* A transport may say at `info` what strangers cause, as often as it likes. */
START_TEST(a_transport_does_not_flood_the_log)
{
    const struct nqt_host *host = nqtest_fake.host;
    int64_t before = nqi_now();
    unsigned info;

    lines = 0;
    nq_log_set(count_line, NULL, NQ_LOG_INFO);
    for (unsigned i = 0; i < 1000; i++)
        host->log(t->core, NQT_LOG_INFO, "somebody was refused");
    info = lines;
    if (nqi_now() - before < NQI_NS_PER_S)
        ck_assert_uint_eq(info, NQI_TRANSPORT_SAID);
    for (unsigned i = 0; i < 20; i++)
        host->log(t->core, NQT_LOG_ERROR, "wet feet");
    ck_assert_uint_eq(lines, info + 20);
    nq_log_set(NULL, NULL, NQ_LOG_INFO);
}
END_TEST

/* Not even when there is no memory for a while: as many as there are spares, again and again. */
START_TEST(no_event_is_lost_for_want_of_memory)
{
    struct nqt_event event = {.size = sizeof(event), .kind = NQT_EV_WRITABLE, .ep = t->ep};

    event.link = t->tlink;
    for (unsigned round = 0; round < 3; round++) {
        nqtest_transport_enter();
        for (unsigned i = 0; i < 8; i++) {
            nqi_pool_fail_after(1);
            ck_assert_int_eq(nqtest_fake.host->emit(t->core, &event, 1), NQT_OK);
        }
        nqi_pool_fail_after(1);
        ck_assert_int_eq(nqtest_fake.host->emit(t->core, &event, 1), NQT_E_NOMEM);
        nqi_pool_fail_after(0);
        nqtest_transport_leave();
        ck_assert_uint_eq(t->on_link.writables, 8 * (round + 1));
    }
}
END_TEST

START_TEST(an_error_text_without_end_is_cut)
{
    struct nqt_error err = {.size = sizeof(err), .code = NQT_E_LOST};
    struct nqt_event event = {.size = sizeof(event),
                              .kind = NQT_EV_LINK_DOWN,
                              .ep = t->ep,
                              .link = t->plink->cookie,
                              .err = &err};

    memset(err.text, 'x', sizeof(err.text));
    ck_assert_int_eq(nqtest_fake.host->emit(t->core, &event, 1), NQT_OK);
    nqtest_transport_turn();
    ck_assert_uint_eq(strlen(t->on_link.text), sizeof(err.text) - 1);
}
END_TEST

/* ---- the resolver ---- */

struct question {
    unsigned answers;
    uint32_t n;
    int code;
    uint16_t port;
};

static void on_resolved(void *arg, const struct nqt_addr *addrs, uint32_t n,
                        const struct nqt_error *err)
{
    struct question *question = arg;

    ck_assert(!nqtest_fake.in_slot);
    question->answers++;
    question->n = n;
    question->code = err ? err->code : 0;
    if (n)
        question->port = ntohs(((const struct sockaddr_in *)addrs[0].addr)->sin_port);
}

static void resolve(struct question *question, const char *host)
{
    nqtest_transport_enter();
    ck_assert_int_eq(
        nqtest_fake.host->resolve(t->plink->serial, host, 4711, 0, on_resolved, question), NQT_OK);
    ck_assert_uint_eq(question->answers, 0);
    nqtest_transport_leave();
}

START_TEST(addresses_are_found_later)
{
    struct question question = {0};

    resolve(&question, "127.0.0.1");
    ck_assert_uint_eq(question.answers, 0);
    nqtest_transport_turn();
    ck_assert_uint_eq(question.answers, 1);
    ck_assert_uint_eq(question.n, 1);
    ck_assert_uint_eq(question.port, 4711);
}
END_TEST

START_TEST(open_questions_are_answered_when_the_link_closes)
{
    struct question questions[3] = {0};

    for (unsigned i = 0; i < 3; i++)
        resolve(&questions[i], "127.0.0.1");
    nqtest_transport_enter();
    nqi_tlink_close(t->tlink);
    nqtest_transport_leave();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(questions[i].answers, 1);
        ck_assert_int_eq(questions[i].code, NQT_E_CLOSED);
    }
    nqtest_transport_turn();
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(questions[i].answers, 1);
}
END_TEST

START_TEST(one_answer_of_several_leaves_the_others)
{
    static struct question questions[3]; /* the last answer comes with the end of the link */

    for (unsigned i = 0; i < 3; i++) {
        resolve(&questions[i], "127.0.0.1");
        if (i == 1)
            nqtest_transport_turn();
    }
    ck_assert_uint_eq(questions[0].answers + questions[1].answers, 2);
    ck_assert_uint_eq(questions[2].answers, 0);
}
END_TEST

static nq_err adopt(struct nqtp_link *from)
{
    nq_err err;

    nqtest_transport_enter();
    err = nqi_tlink_accept(t->ep, from, t->strand, t->loop, &nqtest_transport_events, &t->on_link,
                           &t->tlink);
    nqtest_transport_leave();
    return err;
}

static void ask_in_slot(void *arg)
{
    nqtest_fake.inside = NULL;
    t->plink = &nqtest_fake.links[nqtest_fake.nlinks - 1];
    ck_assert_int_eq(
        nqtest_fake.host->resolve(t->plink->serial, "127.0.0.1", 1, 0, on_resolved, arg), NQT_OK);
}

START_TEST(questions_of_a_failed_slot_are_answered)
{
    struct question question = {0};

    t->strand = nqi_strand_new();
    nqtest_fake.inside = ask_in_slot;
    nqtest_fake.inside_arg = &question;
    if (_i) {
        struct nqtp_link *link = nqtest_fake_accept("peer:1");

        nqtest_fake.attach_rc = NQT_E_LOST;
        ck_assert_int_eq(adopt(link), NQ_ERR_LINK);
    } else {
        nqtest_fake.connect_rc = NQT_E_LOST;
        ck_assert_int_eq(nqtest_transport_connect(), NQ_ERR_LINK);
    }
    ck_assert_uint_eq(question.answers, 1);
    nqtest_transport_turn();
    ck_assert_uint_eq(question.answers, 1);
    nqi_strand_unref(t->strand);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("transport_host");
    TCase *endpoints = nqtest_case(suite, "endpoints", nqtest_transport_setup_endpoint,
                                   nqtest_transport_teardown_endpoint);
    TCase *links =
        nqtest_case(suite, "links", nqtest_transport_setup_link, nqtest_transport_teardown_link);
    TCase *breaches =
        nqtest_case(suite, "breaches", nqtest_transport_setup_link, nqtest_transport_teardown_link);
    TCase *services =
        nqtest_case(suite, "services", nqtest_transport_setup_link, nqtest_transport_teardown_link);

    tcase_add_loop_test(endpoints, questions_of_a_failed_slot_are_answered, 0, 2);
    tcase_add_test(links, bytes_are_read_into_the_owners_room);
    tcase_add_loop_test(links, the_owner_may_close_while_it_is_given_bytes, 0, 2);
    tcase_add_loop_test(links, no_room_is_told, 0, 2);
    tcase_add_loop_test(links, no_more_room_is_given_than_is_wanted, 0, 9);
    tcase_add_test(links, unused_room_is_given_back);
    tcase_add_test(links, room_is_given_back_after_the_close);
    tcase_add_test(links, bytes_in_memory_go_up_by_reference);
    tcase_add_loop_test(links, the_owner_may_close_while_it_is_given_a_reference, 0, 2);
    tcase_add_test(links, a_reference_after_the_close_goes_nowhere);
    tcase_add_test(links, a_few_bytes_go_up_where_they_lie);
    tcase_add_loop_test(links, the_owner_may_close_while_a_few_bytes_come, 0, 2);
    tcase_add_test(links, a_few_bytes_after_the_close_go_nowhere);
    tcase_add_test(breaches, a_few_bytes_before_the_room_is_filled_are_a_breach);
    tcase_add_test(breaches, a_reference_before_the_room_is_filled_is_a_breach);
    tcase_add_loop_test(breaches, more_filled_than_given_is_a_breach, 0, 2);
    tcase_add_loop_test(breaches, filling_without_room_is_a_breach, 0, 2);
    tcase_add_test(breaches, asking_twice_is_a_breach);
    tcase_add_test(services, posts_run_in_the_serial_also_after_the_close);
    tcase_add_test(services, timers_fire_in_the_serial);
    tcase_add_test(services, counts_logs_memory);
    tcase_add_test(services, a_transport_does_not_flood_the_log);
    tcase_add_test(services, an_error_text_without_end_is_cut);
    tcase_add_test(services, no_event_is_lost_for_want_of_memory);
    tcase_add_test(services, addresses_are_found_later);
    tcase_add_test(services, open_questions_are_answered_when_the_link_closes);
    tcase_add_test(services, one_answer_of_several_leaves_the_others);
    return suite;
}
