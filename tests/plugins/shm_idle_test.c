/* plugins/shm: links of which nothing is asked.  tests/long/idle_clients.c has a thousand, in
 * processes of their own. */
#include "tests/plugins/shm_rig.h"
#include "tests/support/queue.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINKS 50u
#define WATCHED (200 * NQTEST_MS)

#define COMMON                                                                   \
    "'transport': 'shm', 'path': '%s', 'cells': 8, 'ring': '1KiB', 'leases': 8," \
    "'session': {'keepalive': 'off'}"
#define CLIENT \
    "{'purpose': 'client', 'id': '" NQTEST_ID "', " COMMON ", 'progress': {'mode': 'manual'}}"
#define SERVER "{'purpose': 'server', " COMMON "}"

/* Bytes of all mapped memory of links. */
static size_t mapped(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    size_t sum = 0;
    char line[512];

    ck_assert_ptr_nonnull(maps);
    while (fgets(line, sizeof(line), maps))
        if (strstr(line, "memfd:netqueue") && sscanf(line, "%lx-%lx", &from, &to) == 2)
            sum += to - from;
    fclose(maps);
    return sum;
}

static uint64_t calls(const struct nq_stats *stats)
{
    return stats->send_calls + stats->recv_calls + stats->keeper_turns;
}

START_TEST(idle_links_do_nothing_and_cost_a_page_a_ring)
{
    nq_queue *server = nqtest_open(SERVER, nqtest_shm_path), *clients[LINKS];
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    struct nq_stats before, after;
    nq_msg *msg;

    for (unsigned i = 0; i < LINKS; i++) {
        clients[i] = nqtest_open(CLIENT, i + 1, nqtest_shm_path);
        nqtest_event(clients[i], NQ_EVENT_PEER_UP);
        nqtest_event(server, NQ_EVENT_PEER_UP);
    }
    /* Both ends of each are here, with their own ring and the other one's. */
    ck_assert_uint_eq(mapped(), 4 * LINKS * (size_t)sysconf(_SC_PAGESIZE));
    do { /* the last words of connecting may still be on their way */
        ck_assert_int_lt(nqtest_clock(), until);
        before = nqtest_stats(server);
        ck_assert_int_eq(nq_get(server, NULL, 0, WATCHED, &msg), NQ_AGAIN);
        after = nqtest_stats(server);
    } while (calls(&after) != calls(&before));
    ck_assert_uint_eq(after.peers, LINKS);
    for (unsigned i = 0; i < LINKS; i++)
        nq_free(clients[i]);
    nq_free(server);
    ck_assert_uint_eq(mapped(), 0);
}
END_TEST

Suite *nqtest_suite(void)
{
    Suite *suite = suite_create("shm, idle");
    TCase *tc = tcase_create("idle");

    nqtest_shm_folder();
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, idle_links_do_nothing_and_cost_a_page_a_ring);
    suite_add_tcase(suite, tc);
    return suite;
}
