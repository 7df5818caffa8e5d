/* What the host cannot give: memory, posts, timers, watches, addresses.  See try.h. */
#include "tools/conform/try.h"

/* Each of the first so many fails once. */
#define MOST 24

/* A whole life in which one allocation (or post, timer, watch) fails.  It may end anywhere, but in
 * good order. */
static bool life_with_failure(bool server, bool other, long nth)
{
    int fds = nqtest_fds();
    bool failed;
    struct nqtest_host *hosts[2];
    struct nqtest_host *failing;
    struct nqtest_ep *eps[2] = {NULL, NULL};
    struct nqtest_link *link = NULL;

    for (int i = 0; i < 2; i++) {
        hosts[i] = nqtest_host_new(nqtest_tested->module, !other && server == !i ? nth : 0);
        if (!hosts[i])
            hosts[i] = nqtest_host_new(nqtest_tested->module, 0);
    }
    failing = hosts[server ? 0 : 1];
    if (other)
        failing->fail_other = nth;
    if (!nqtest_ep_open(hosts[0], true, nqtest_tested->server, &eps[0], NULL) && eps[0]->ups &&
        !nqtest_ep_open(hosts[1], false, nqtest_with_port(nqtest_tested->client, eps[0]), &eps[1],
                        NULL))
        link = nqtest_connect(eps[1], NULL);
    nqtest_settle(2);
    if (link && link->ups && !link->downs)
        nqtest_push(link, 100000, 10000, 3, 4);
    nqtest_settle(2);
    if (nqtest_can(NQT_CAP_DRAIN) && link && link->ups && !link->downs)
        (void)nqtest_shutdown(link);
    nqtest_settle(2);
    failed = (other ? failing->fail_other : failing->fail_mem) <= 0;
    nqtest_host_close(hosts[1]);
    nqtest_host_close(hosts[0]);
    nqtest_host_free(hosts[1]);
    nqtest_host_free(hosts[0]);
    NQTEST_MUST(BUFFERS, !nqtest_bufs, "%ld buffers are still referenced", nqtest_bufs);
    nqtest_until_fds(fds);
    return failed;
}

/* One life for each that may fail. */
static void fail_each(bool server, bool other)
{
    long nth = 1;

    while (nth <= MOST && life_with_failure(server, other, nth))
        nth++;
}

/* @param round  1: on the server */
static void the_nth_allocation_fails(int round)
{
    fail_each(round, false);
}

static void the_nth_post_timer_or_watch_fails(int round)
{
    fail_each(round, true);
}

const struct nqtest_try nqtest_tries_failure[] = {
    {NQTEST_RULE_NOMEM, .each = the_nth_allocation_fails, .rounds = 2},
    {NQTEST_RULE_NOHELP, .each = the_nth_post_timer_or_watch_fails, .rounds = 2},
    {.rule = NQTEST_RULE_NONE},
};
