/* The end of a run: fair weather, in which everything must settle, and the closing of all. */
#include "tests/sim/sim.h"

#include <stdio.h>

static bool all_quiet(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++) {
        struct nq_stats stats;

        if (nq_stats(sim.node[i].queue, &stats))
            sim_broken("stats: %s", nq_error());
        if (stats.unread || stats.queued || stats.unacked)
            return false;
    }
    for (size_t i = 0; i < sim.nletters; i++)
        if (sim.letters[i].future)
            return false;
    return true;
}

static const char *what_is_left(void)
{
    static char text[200];
    struct nq_stats stats;

    for (unsigned i = 0; i < sim.nnodes; i++) {
        if (nq_stats(sim.node[i].queue, &stats) || !(stats.unread || stats.queued || stats.unacked))
            continue;
        snprintf(text, sizeof(text), "%s: %llu unread, %llu queued, %llu unacknowledged",
                 sim.node[i].name, (unsigned long long)stats.unread,
                 (unsigned long long)stats.queued, (unsigned long long)stats.unacked);
        return text;
    }
    return "a future";
}

/* A client that never died, of a server that may have. */
static void check_up(void)
{
    for (unsigned i = 1; i < sim.nnodes; i++) {
        struct nq_peer_info info;
        size_t n;

        if (sim.node[i].life > 1)
            continue; /* its id may be taken until its former session expires */
        if (nq_peers(sim.node[i].queue, &info, 1, &n) || n != 1 || !info.up)
            sim_broken("%s is not up again", sim.node[i].name);
    }
}

/* Everything must come to an end within: silence noticed, back-off, expiry of sessions that nobody
 * resumes. */
void sim_heal(void)
{
    const struct nqsim_weather fair = {.delay_max_us = 200, .window = 1 << 20};
    int64_t until = sim.now + 600 * S, up = sim.now + 200 * S, least = sim.now + 70 * S;
    bool checked = false;

    sim_net->set_weather(&fair);
    for (unsigned i = 0; i < sim.nnodes; i++)
        sim.node[i].asleep = false;
    do {
        bool moved = false;

        sim_poll_all();
        for (unsigned i = 0; i < sim.nnodes; i++)
            while (sim_get_one(i))
                moved = true;
        sim_look_at_futures();
        sim_let_time_pass(moved ? 1 * MS : 256 * MS);
        if (!checked && sim.now >= up) {
            check_up();
            checked = true;
        }
    } while ((sim.now < least || !all_quiet()) && sim.now < until); /* silence is noticed, too */
    if (!all_quiet())
        sim_broken("not all is settled 600 s after the faults stopped: %s", what_is_left());
}

/* What a close that has time must deliver. */
static void put_last(unsigned i, unsigned count)
{
    if ((i ? sim.messages : sim.server_messages) <= count)
        return; /* some would be refused, or drop others */
    for (unsigned k = 0; k < count; k++) {
        unsigned to = i ? 0 : 1 + (unsigned)sim_draw(sim.nnodes - 1);

        if (sim.node[to].queue && sim.node[to].life == 1)
            sim_put_letter(i, to, true);
    }
}

void sim_close_all(void)
{
    for (unsigned n = 0; n < sim.nnodes; n++) {
        unsigned i = (unsigned)(n + sim.seed) % sim.nnodes;
        int64_t before = sim.now, limit = (int64_t)sim_draw(30) * S;
        unsigned puts = sim_chance(300) ? 100 : 5; /* more than the credit, or not */
        size_t first = sim.nletters;

        put_last(i, puts);
        if (nq_close(sim.node[i].queue, limit, NULL) < 0)
            sim_broken("close: %s", nq_error());
        if (sim.now - before > limit + 2 * S)
            sim_broken("%s took %.3f s to close", sim.node[i].name,
                       (double)(sim.now - before) / 1e9);
        sim_look_at_futures();
        for (size_t k = first;
             k < sim.nletters && limit > 10 * S && sim.keeps && sim.node[i].life == 1; k++)
            if (sim.letters[k].outcome != NQ_DELIVERED && sim.letters[k].outcome != NQ_EXPIRED)
                sim_broken("letter %zu was not delivered by a close that had time: %s", k,
                           nq_outcome_text(sim.letters[k].outcome));
        while (sim_get_one(i))
            continue;
        sim_look_at_futures();
        nq_free(sim.node[i].queue);
        sim.node[i].queue = NULL;
    }
}
