/* A client whose list is shm, then tcp: which it takes and what it says of that, and what becomes
 * of a session whose shm link dies.
 *
 * Both queues are in this process, so a test finds their sockets among its own descriptors and ends
 * a link as the kernel does when a process dies: the socket hangs up. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LARGE (1u << 20) /* worth a block of a segment */

static char shm_place[256], tcp_place[256], path[128];
static nq_queue *server, *client;

/* ---- where ------------------------------------------------------------------------------- */

static void setup(void)
{
    int shm = nqtest_transport_of("shm");

    ck_assert_int_ge(shm, 0);
    nqtest_choose_place(NQTEST_TCP);
    snprintf(tcp_place, sizeof(tcp_place), "%s", nqtest_place());
    nqtest_choose_place(shm);
    snprintf(shm_place, sizeof(shm_place), "%s", nqtest_place());
    ck_assert_int_eq(sscanf(strstr(shm_place, "'path': '"), "'path': '%127[^']", path), 1);
    server = client = NULL;
}

static void open_server(const char *list)
{
    server = nqtest_open("{'purpose': 'server', 'id': '%s', 'transports': [%s],"
                         " 'queue': {'policy': 'block'}}",
                         NQTEST_SERVER, list);
}

static void open_client(const char *first)
{
    client = nqtest_open("{'purpose': 'client', 'transports': [{%s}, {%s}],"
                         " 'queue': {'policy': 'block'}}",
                         first, tcp_place);
}

static void open_tcp_server(void)
{
    char list[300];

    snprintf(list, sizeof(list), "{%s}", tcp_place);
    open_server(list);
}

/* Both listen and name both; the client is there, over shm. */
static void open_both(void)
{
    char list[600];

    snprintf(list, sizeof(list), "{%s}, {%s}", shm_place, tcp_place);
    open_server(list);
    open_client(shm_place);
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_PEER_UP).transport, "shm");
    nqtest_event(server, NQ_EVENT_PEER_UP);
}

static void close_both(void)
{
    nqtest_end(client);
    nqtest_end(server);
}

/* ---- harm -------------------------------------------------------------------------------- */

/* A socket that is connected, of type `type`; 0 = of any. */
static bool is_link(int fd, int type)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr), size = sizeof(int);
    int has, listens = 1;

    if (getpeername(fd, (struct sockaddr *)&addr, &len) ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &has, &size) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size))
        return false;
    return !listens && (!type || has == type);
}

static int find_link(int type)
{
    int fd = 3;

    while (fd < 1024 && !is_link(fd, type))
        fd++;
    ck_assert_int_lt(fd, 1024);
    return fd;
}

/* One end of it: the other one sees that, too, and by then the next link may be there. */
static void hang_up(void)
{
    ck_assert_int_eq(shutdown(find_link(0), SHUT_RDWR), 0);
}

/* One side says what no peer may say. */
static void talk_nonsense(void)
{
    const uint8_t nonsense = 77;

    ck_assert_int_eq(send(find_link(SOCK_SEQPACKET), &nonsense, 1, MSG_NOSIGNAL), 1);
}

/* ---- what is taken ----------------------------------------------------------------------- */

static struct nq_event up(void)
{
    return nqtest_event(client, NQ_EVENT_PEER_UP);
}

static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in \"%s\"", part, text);
}

/* The client went over tcp, and says why not over shm. */
static void expect_tcp_since(const char *why)
{
    struct nq_health_info health[2];
    struct nq_event event = up();
    size_t n;

    ck_assert_str_eq(event.transport, "tcp");
    expect(event.text, "; not over shm: ");
    expect(event.text, why);
    ck_assert_int_eq(nq_health(client, health, 2, &n), NQ_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(health[0].transport, "shm");
    expect(health[0].text, why);
    ck_assert_int_eq(health[1].state, NQ_HEALTH_READY);
    nqtest_put(client, nqtest_msg("hello"));
    nqtest_get_text(server, "hello");
    close_both();
}

START_TEST(shm_is_taken_where_it_works)
{
    open_both();
    nqtest_put(client, nqtest_msg("hello"));
    nqtest_get_text(server, "hello");
    close_both();
}
END_TEST

START_TEST(without_a_socket_it_is_tcp)
{
    open_tcp_server();
    open_client(shm_place);
    expect_tcp_since("is the server running");
}
END_TEST

START_TEST(without_a_folder_it_is_tcp)
{
    open_tcp_server();
    open_client("'transport': 'shm', 'path': '/nonexistent-folder/socket'");
    expect_tcp_since("connect to /nonexistent-folder/socket: ");
}
END_TEST

START_TEST(without_a_plugin_it_is_tcp)
{
    struct nq_health_info health;
    struct nq_event event;
    size_t n;

    open_tcp_server();
    open_client("'transport': 'no-such', 'path': 'q'");
    event = nqtest_event(client, NQ_EVENT_REFUSED);
    ck_assert_str_eq(event.transport, "no-such");
    expect(event.text, "install the package netqueue-transport-no-such");
    event = up();
    ck_assert_str_eq(event.transport, "tcp");
    expect(event.text, "; not over no-such: ");
    ck_assert_int_eq(nq_health(client, &health, 1, &n), NQ_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(health.state, NQ_HEALTH_CLOSED);
    expect(health.text, "is not installed");
    close_both();
}
END_TEST

/* Somebody else listens there, takes the client's memory, and gives none. */
START_TEST(where_the_greeting_is_refused_it_is_tcp)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), link;

    memcpy(addr.sun_path, path, strlen(path));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    open_tcp_server();
    open_client(shm_place);
    link = accept(fd, NULL, NULL);
    ck_assert_int_ge(link, 0);
    close(link);
    expect_tcp_since("the server ended the greeting");
    close(fd);
    unlink(path);
}
END_TEST

/* ---- what becomes of a session ------------------------------------------------------------ */

/* Until the session goes on, over `transport`. */
static void expect_resumed(const char *transport)
{
    struct nq_event event = nqtest_event(client, NQ_EVENT_PEER_RESUMED);

    ck_assert_str_eq(event.transport, transport);
    nqtest_event(server, NQ_EVENT_PEER_RESUMED);
}

START_TEST(a_session_whose_listener_is_gone_goes_on_over_tcp)
{
    struct nq_event event;

    open_both();
    ck_assert_int_eq(unlink(path), 0);
    hang_up();
    ck_assert_str_eq(nqtest_event(client, NQ_EVENT_PEER_DOWN).transport, "shm");
    event = nqtest_event(client, NQ_EVENT_PEER_RESUMED);
    ck_assert_str_eq(event.transport, "tcp");
    expect(event.text, "; not over shm: ");
    nqtest_put(client, nqtest_msg("hello"));
    nqtest_get_text(server, "hello");
    close_both();
}
END_TEST

START_TEST(nonsense_ends_a_link_and_no_session)
{
    struct nq_event event;

    open_both();
    ck_assert_int_eq(unlink(path), 0);
    nqtest_put(client, nqtest_number(1));
    nqtest_put(server, nqtest_number(2));
    talk_nonsense();
    event = nqtest_event(client, NQ_EVENT_PEER_DOWN);
    ck_assert_int_eq(event.reason, NQ_REASON_LINK_LOST);
    expect_resumed("tcp");
    ck_assert_uint_eq(nqtest_get_number(server), 1);
    ck_assert_uint_eq(nqtest_get_number(client), 2);
    close_both();
}
END_TEST

/* The one peer that a queue has: what goes to several is not lent. */
static const nq_uuid *other(const nq_queue *queue)
{
    return nq_id(queue == client ? server : client);
}

static void put_loan(nq_queue *queue, nq_msg *msg, const void *from, void *to)
{
    memcpy(to, from, LARGE);
    ck_assert_int_eq(nq_put(queue, msg, other(queue), 1, NULL), NQ_OK);
}

static nq_msg *loan(nq_queue *queue, void **data)
{
    nq_msg *msg = NULL;

    do { /* while a thread of the queue is inside of the link it is common memory */
        nq_msg_free(msg);
        ck_assert_int_eq(nq_loan(queue, other(queue), 1, LARGE, data, &msg), NQ_OK);
    } while (!nqtest_shm_holds(*data, LARGE));
    return msg;
}

static void check_same(nq_msg *msg, const void *want)
{
    const void *data;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, LARGE);
    ck_assert_int_eq(memcmp(data, want, LARGE), 0);
}

START_TEST(loans_and_views_outlive_the_link_that_they_came_from)
{
    nq_msg *noise = nqtest_noise(LARGE, 7), *view, *mine, *late;
    const void *want, *seen;
    void *sent, *data;
    size_t len;

    ck_assert_int_eq(nq_msg_data(noise, &want, &len), NQ_OK);
    open_both();
    mine = loan(server, &sent);
    put_loan(server, mine, want, sent);
    view = nqtest_get(client);
    ck_assert_int_eq(nq_msg_data(view, &seen, &len), NQ_OK);
    ck_assert(nqtest_shm_holds(seen, len));
    late = loan(client, &data); /* filled now, put when the link is another one */
    memset(data, 1, LARGE);
    ck_assert_int_eq(unlink(path), 0);
    hang_up();
    expect_resumed("tcp");

    check_same(view, want);
    put_loan(client, late, want, data);
    late = nqtest_get(server);
    check_same(late, want);
    nq_msg_free(late);
    ck_assert_int_eq(nq_loan(client, NULL, 0, LARGE, &data, &late), NQ_OK);
    ck_assert(!nqtest_shm_holds(data, LARGE)); /* tcp lends nothing */
    put_loan(client, late, want, data);
    late = nqtest_get(server);
    check_same(late, want);
    nq_msg_free(late);
    close_both();
    check_same(view, want);
    nq_msg_free(view);
    nq_msg_free(noise);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
}
END_TEST

/* ---- under load --------------------------------------------------------------------------- */

#define MESSAGES 600u /* each way */
#define CUTS 5u

struct way {
    nq_queue *from, *to;
    uint64_t seed;
    sem_t *step; /* posted each time that one more part of the messages is there */
    pthread_t sender, receiver;
};

static size_t load_size(unsigned i)
{
    return i % 3 ? 8 + i * 37 % 3000 : 65536 + i % 7 * 100000;
}

static void *load_send(void *arg)
{
    struct way *way = arg;

    for (unsigned i = 0; i < MESSAGES; i++) {
        size_t size = load_size(i), len;
        nq_msg *msg = nqtest_noise(size, way->seed + i), *lent;
        const void *from;
        void *to;

        if (i % 2) {
            ck_assert_int_eq(nq_loan(way->from, other(way->from), 1, size, &to, &lent), NQ_OK);
            ck_assert_int_eq(nq_msg_data(msg, &from, &len), NQ_OK);
            memcpy(to, from, len);
            nq_msg_free(msg);
            msg = lent;
        }
        ck_assert_int_eq(nq_put(way->from, msg, other(way->from), 1, NULL), NQ_OK);
    }
    return NULL;
}

static void *load_receive(void *arg)
{
    struct way *way = arg;
    nq_msg *kept[3] = {NULL}; /* views that are out when a link dies */

    for (unsigned i = 0; i < MESSAGES; i++) {
        nq_msg *msg = nqtest_get(way->to);

        nqtest_check_noise(msg, load_size(i), way->seed + i); /* the next, once, and whole */
        if (kept[i % 3]) {
            nqtest_check_noise(kept[i % 3], load_size(i - 3), way->seed + i - 3);
            nq_msg_free(kept[i % 3]);
        }
        kept[i % 3] = msg;
        if (i % (MESSAGES / (CUTS + 1)) == 0 && i)
            sem_post(way->step);
    }
    for (unsigned i = 0; i < 3; i++)
        nq_msg_free(kept[i]);
    return NULL;
}

static void load_start(struct way *way)
{
    ck_assert_int_eq(pthread_create(&way->sender, NULL, load_send, way), 0);
    ck_assert_int_eq(pthread_create(&way->receiver, NULL, load_receive, way), 0);
}

static void load_join(struct way *way)
{
    pthread_join(way->sender, NULL);
    pthread_join(way->receiver, NULL);
}

/* All of it was there before: each put settled as delivered. */
static void load_end(struct way *way)
{
    struct nq_close_report report;

    ck_assert_int_eq(nq_close(way->from, NQTEST_WAIT, &report), NQ_OK);
    ck_assert_uint_eq(report.delivered, MESSAGES);
    ck_assert_uint_eq(report.not_delivered + report.unknown, 0);
    ck_assert_uint_eq(report.unread, 0);
}

static bool is_over(const char *transport)
{
    struct nq_peer_info peer;
    size_t n;

    ck_assert_int_eq(nq_peers(client, &peer, 1, &n), NQ_OK);
    return strcmp(peer.transport, transport) == 0;
}

/* 0: after the first cut nobody listens for shm; 1: both may be taken again. */
START_TEST(links_that_die_under_load_lose_nothing_and_double_nothing)
{
    struct way ways[2];
    sem_t step;

    ck_assert_int_eq(sem_init(&step, 0, 0), 0);
    open_both();
    ways[0] = (struct way){.from = client, .to = server, .seed = 1, .step = &step};
    ways[1] = (struct way){.from = server, .to = client, .seed = 100000, .step = &step};
    if (!_i)
        ck_assert_int_eq(unlink(path), 0);
    load_start(&ways[0]);
    load_start(&ways[1]);
    for (unsigned i = 0; i < CUTS; i++) {
        ck_assert_int_eq(sem_wait(&step), 0);
        ck_assert(i || is_over("shm"));
        hang_up();
        nqtest_event(client, NQ_EVENT_PEER_RESUMED);
        ck_assert(_i || is_over("tcp"));
    }
    load_join(&ways[0]);
    load_join(&ways[1]);
    load_end(&ways[0]);
    load_end(&ways[1]);
    nq_free(client);
    nq_free(server);
    ck_assert_uint_eq(nqtest_shm_maps(), 0);
    sem_destroy(&step);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, then tcp");
    TCase *tc = tcase_create("queues");

    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, shm_is_taken_where_it_works);
    tcase_add_test(tc, without_a_socket_it_is_tcp);
    tcase_add_test(tc, without_a_folder_it_is_tcp);
    tcase_add_test(tc, without_a_plugin_it_is_tcp);
    tcase_add_test(tc, where_the_greeting_is_refused_it_is_tcp);
    tcase_add_test(tc, a_session_whose_listener_is_gone_goes_on_over_tcp);
    tcase_add_test(tc, nonsense_ends_a_link_and_no_session);
    tcase_add_test(tc, loans_and_views_outlive_the_link_that_they_came_from);
    tcase_add_loop_test(tc, links_that_die_under_load_lose_nothing_and_double_nothing, 0, 2);
    suite_add_tcase(suite, tc);
    return suite;
}
