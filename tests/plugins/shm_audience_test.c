/* plugins/shm: what one client is sent is in no other one's memory.  Each client is a process that
 * looks through all memory of links that it has mapped. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 2u
#define LENT 100000u
#define COPIED 3000u
#define MARK 16u /* bytes; only what the server sends begins with it */

#define CLIENT "{'purpose': 'client', 'id': '" NQTEST_ID "', 'transport': 'shm', 'path': '%s'}"
#define SERVER "{'purpose': 'server', 'transport': 'shm', 'path': '%s'}"

struct client {
    pid_t pid;
    int go, told;
};

/* @return how often `mark` stands in memory of links, at places where a message may begin */
static unsigned count_marks(const uint8_t mark[MARK])
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    unsigned count = 0;
    char line[512];

    while (maps && fgets(line, sizeof(line), maps))
        if (strstr(line, "memfd:netqueue") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            for (const uint8_t *at = (const uint8_t *)from; at + MARK <= (const uint8_t *)to; at++)
                count += memcmp(at, mark, MARK) == 0;
    if (maps)
        fclose(maps);
    return count;
}

/* Take both messages, say so, and count the marks that it is asked for. */
static _Noreturn void client_run(unsigned number, int asked, int told)
{
    nq_queue *queue;
    uint8_t mark[MARK];
    nq_msg *msgs[2];

    if (read(asked, mark, 1) != 1)
        _exit(0);
    queue = nqtest_open(CLIENT, number + 1, nqtest_shm_path);
    for (unsigned i = 0; i < 2; i++)
        msgs[i] = nqtest_get(queue);
    (void)!write(told, "", 1);
    while (read(asked, mark, MARK) == (ssize_t)MARK) {
        unsigned count = count_marks(mark);

        (void)!write(told, &count, sizeof(count));
    }
    for (unsigned i = 0; i < 2; i++)
        nq_msg_free(msgs[i]);
    nq_free(queue);
    _exit(0);
}

static struct client client_new(unsigned number)
{
    struct client client;
    int go[2], told[2];

    ck_assert(!pipe(go) && !pipe(told));
    client = (struct client){.go = go[1], .told = told[0], .pid = fork()};
    ck_assert_int_ge(client.pid, 0);
    if (!client.pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(go[1]);
        client_run(number, go[0], told[1]);
    }
    close(go[0]);
    close(told[1]);
    return client;
}

static void put(nq_queue *server, const nq_uuid *id, nq_msg *msg, void *data, size_t len,
                const uint8_t mark[MARK])
{
    memset(data, 0, len);
    memcpy(data, mark, MARK);
    ck_assert_int_eq(nq_put(server, msg, id, 1, NULL), NQ_OK);
}

/* One message that is lent, and one that is copied through the ring. */
static void serve(nq_queue *server, unsigned number, const uint8_t mark[MARK])
{
    const nq_uuid id = nqtest_id(number + 1);
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_loan(server, &id, 1, LENT, &data, &msg), NQ_OK);
    put(server, &id, msg, data, LENT, mark);
    ck_assert_int_eq(nq_msg_alloc(COPIED, &data, &msg), NQ_OK);
    put(server, &id, msg, data, COPIED, mark);
}

static unsigned ask(const struct client *client, const uint8_t mark[MARK])
{
    unsigned count;

    ck_assert_int_eq(write(client->go, mark, MARK), (ssize_t)MARK);
    ck_assert_int_eq(read(client->told, &count, sizeof(count)), (ssize_t)sizeof(count));
    return count;
}

START_TEST(a_client_has_no_other_ones_messages_in_its_memory)
{
    static const uint8_t marks[CLIENTS][MARK] = {"first's messages", "second's message"};
    struct client clients[CLIENTS];
    nq_queue *server;
    char byte;

    for (unsigned i = 0; i < CLIENTS; i++)
        clients[i] = client_new(i);
    server = nqtest_open(SERVER, nqtest_shm_path);
    for (unsigned i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(write(clients[i].go, "", 1), 1);
        nqtest_event(server, NQ_EVENT_PEER_UP);
        serve(server, i, marks[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(read(clients[i].told, &byte, 1), 1);
    for (unsigned i = 0; i < CLIENTS; i++)
        for (unsigned k = 0; k < CLIENTS; k++)
            if (i == k)
                ck_assert_uint_ge(ask(&clients[i], marks[k]), 2); /* it does find what is there */
            else
                ck_assert_uint_eq(ask(&clients[i], marks[k]), 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        close(clients[i].go);
    for (unsigned i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(waitpid(clients[i].pid, NULL, 0), clients[i].pid);
        close(clients[i].told);
    }
    nq_free(server);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, audiences");
    TCase *tc = tcase_create("audiences");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_client_has_no_other_ones_messages_in_its_memory);
    suite_add_tcase(suite, tc);
    return suite;
}
