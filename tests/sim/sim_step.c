/* One step of a run: what befalls the nodes and the network. */
#include "tests/sim/sim.h"

#include "core/pool.h"

static void do_crash(void)
{
    unsigned i = (unsigned)sim_draw(sim.nnodes);
    struct node *node = &sim.node[i];

    if (!node->queue)
        return;
    sim_say("%s dies", node->name);
    sim.crashes++;
    sim_net->crash(node->name);
    /* The oracle looks at what was true before: freeing settles as the end of a queue does. */
    sim_look_at_futures();
    nq_free(node->queue);
    node->queue = NULL;
    sim_forget_futures(i);
    if (i &&
        sim_chance(500)) /* another one in its place; the id is taken until the session expires */
        node->id.bytes[15]++;
    sim_node_open(i);
}

/* The queue's own end, under whatever weather, often with much to send; another one follows. */
static void do_close(void)
{
    unsigned i = (unsigned)sim_draw(sim.nnodes);
    struct node *node = &sim.node[i];
    int64_t before = sim.now, limit = (int64_t)sim_draw(sim_chance(500) ? 4000 : 60000) * MS;
    unsigned puts = (unsigned)sim_draw(sim_chance(300) ? 50 : 5);

    sim_say("%s closes within %.3f s", node->name, (double)limit / 1e9);
    node->asleep = false;
    for (unsigned k = 0; k < puts; k++)
        sim_put_letter(i, i ? 0 : 1 + (unsigned)sim_draw(sim.nnodes - 1), true);
    if (nq_close(node->queue, limit, NULL) < 0)
        sim_broken("close: %s", nq_error());
    if (sim.now - before > limit + 2 * S)
        sim_broken("%s took %.3f s to close", node->name, (double)(sim.now - before) / 1e9);
    while (sim_get_one(i))
        continue;
    sim_look_at_futures();
    for (size_t n = 0; n < sim.nletters; n++)
        if (sim.letters[n].from == i && sim.letters[n].future)
            sim_broken("letter %zu outlived its closed queue", n);
    nq_free(node->queue);
    node->queue = NULL;
    if (i)
        node->id.bytes[15]++;
    sim_node_open(i);
}

static void do_disconnect(void)
{
    unsigned i = (unsigned)sim_draw(sim.nnodes),
             other = i ? 0 : 1 + (unsigned)sim_draw(sim.nnodes - 1);
    nq_err err = nq_disconnect(sim.node[i].queue, &sim.node[other].id);

    sim_note((uint64_t)err);
    sim_say("%s disconnects %s: %d", sim.node[i].name, sim.node[other].name, (int)err);
}

static void do_time(void)
{
    int64_t ns = (int64_t)sim_draw(20 * (uint64_t)MS);

    if (sim_chance(20))
        ns = (int64_t)sim_draw(20 * (uint64_t)S);
    else if (sim_chance(3))
        ns = (int64_t)sim_draw(500 * (uint64_t)S);
    sim.now += ns;
}

/* A client that the server is in touch with: the id of nobody is free for whoever comes first. */
static bool find_victim(nq_uuid *ret)
{
    struct nq_peer_info peers[64];
    size_t n, first;

    if (nq_peers(sim.node[0].queue, peers, NQI_LEN(peers), &n) || !n || n > NQI_LEN(peers))
        return false;
    first = sim_draw(n);
    *ret = peers[first].id;
    return peers[first].up;
}

/* The server answers him before anything else happens. */
static void do_intrude(void)
{
    enum nqsim_intrusion what = (enum nqsim_intrusion)sim_draw(NQSIM_INTRUSIONS);
    unsigned attempts;
    nq_uuid victim = {{0}};

    for (unsigned k = 0; k < 4; k++) /* whoever is about to go has gone */
        sim_node_poll(0);
    if (!find_victim(&victim) && what == NQSIM_INTRUDE_OPEN)
        what = NQSIM_INTRUDE_REPLAY;
    sim_say("a stranger does %d", (int)what);
    if (!sim_net->intrude(what, victim.bytes))
        return;
    for (unsigned k = 0; k < 4; k++)
        sim_node_poll(0);
    if (what == NQSIM_INTRUDE_OPEN) /* before the id may become free */
        sim_net->withdraw();
    if (sim_net->intruders(&attempts))
        sim_broken("a stranger has a session");
}

/* Faults come in company: several at once, with little between them. */
static void do_trouble(void)
{
    unsigned count = 3 + (unsigned)sim_draw(8);

    sim_say("trouble");
    for (unsigned k = 0; k < count; k++) {
        switch (sim_draw(8)) {
        case 0:
            sim_change_weather();
            break;
        case 1:
            do_disconnect();
            break;
        case 2:
            if (sim_chance(300))
                do_crash();
            break;
        case 3:
        case 4:
            sim_put();
            break;
        default:
            sim_net->cut((unsigned)sim_draw(8), sim_chance(100));
        }
        for (uint64_t polls = sim_draw(60); polls; polls--) {
            sim.now += (int64_t)sim_draw(10 * (uint64_t)MS);
            sim_poll_all();
        }
    }
}

void sim_change_weather(void)
{
    struct nqsim_weather weather = {
        .delay_max_us = (uint32_t)sim_draw(sim_chance(200) ? 700000 : 3000),
        .window = 1 + (uint32_t)sim_draw(sim_chance(300) ? 2000 : 200000),
        .pieces = sim_chance(500),
        .cut_every = sim_chance(600) ? (uint32_t)(1 + sim_draw(sim_chance(300) ? 600 : 60000)) : 0,
        .refuse_1000 = (uint32_t)sim_draw(300),
        .silent_1000 = (uint32_t)sim_draw(300),
        .lose_1000 = sim_chance(500) ? (uint32_t)sim_draw(300) : 0,
        .twice_1000 = (uint32_t)sim_draw(200),
        .late_1000 = (uint32_t)sim_draw(300),
        .late_us = (uint32_t)sim_draw(sim_chance(200) ? 900000 : 9000),
        .tamper_1000 =
            sim.keyed && sim_chance(700) ? (uint32_t)sim_draw(sim_chance(300) ? 400 : 60) : 0,
    };

    sim_net->set_weather(&weather);
}

static void check_bounds(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++) {
        struct nq_stats stats;

        if (!sim.node[i].queue || nq_stats(sim.node[i].queue, &stats))
            continue;
        if (stats.unread_bytes > (sim.credit + 500000) * (sim.nnodes + sim.crashes + 1))
            sim_broken("%s holds %llu bytes", sim.node[i].name,
                       (unsigned long long)stats.unread_bytes);
        if (i && stats.queued > sim.messages)
            sim_broken("%s has queued %llu messages", sim.node[i].name,
                       (unsigned long long)stats.queued);
    }
}

/* A server knows each of its peers once. */
static void check_peers(void)
{
    struct nq_peer_info peers[64];
    size_t n;

    if (nq_peers(sim.node[0].queue, peers, NQI_LEN(peers), &n))
        return; /* no memory, or too many */
    for (size_t i = 0; i < n && i < NQI_LEN(peers); i++)
        for (size_t k = 0; k < i; k++)
            if (nq_uuid_equal(&peers[i].id, &peers[k].id))
                sim_broken("two peers of the server have one id");
}

void sim_one_step(void)
{
    unsigned kind = (unsigned)sim_draw(100);

    if (kind < 35)
        sim_put();
    else if (kind < 60)
        sim_get_one((unsigned)sim_draw(sim.nnodes));
    else if (kind < 62)
        sim_cancel();
    else if (kind < 65)
        sim_net->cut((unsigned)sim_draw(8), sim_chance(250));
    else if (kind < 66)
        sim_change_weather();
    else if (kind < 67 && sim_chance(250))
        do_crash();
    else if (kind < 67 && sim_chance(300))
        do_close();
    else if (kind < 67 && sim_chance(600))
        do_disconnect();
    else if (kind < 67)
        do_trouble();
    else if (kind >= 98)
        do_intrude();
    else if (kind < 68 && !sim_chance(500))
        sim.node[sim_draw(sim.nnodes)].asleep = true;
    else if (kind < 70)
        sim.node[sim_draw(sim.nnodes)].asleep = false;
    else
        do_time();
    if (sim_chance(20))
        nqi_pool_fail_after(1 + (unsigned)sim_draw(40));
    sim_node_poll((unsigned)sim_draw(sim.nnodes));
    if (sim_chance(500))
        sim_poll_all();
    nqi_pool_fail_after(0);
    sim_look_at_futures();
    check_bounds();
    check_peers();
}
