/* Whole queues of one process on virtual time, over a network that a seed rules.
 *
 *     seed -> options, weather, steps          queues in mode manual, one thread
 *     step -> put, get, poll, cancel, time, cut, crash, ...   -> the ledger is held against it
 *     then the weather clears: everything must settle, and be as it was said
 *
 * The clock is ours (clock_gettime), so are sleeps (epoll: the others go on and time passes) and
 * random numbers (getrandom): the same seed gives the same run, whose hash tells.
 *
 * Held after each step or at the end, by the names of docs/protocol.md:
 *     order     what arrives from one life of a sender arrives in the order of its puts, once
 *     outcomes  delivered: arrived once (unless the receiver died with it, and acknowledges what is
 *               queued); not delivered, dropped, expired, cancelled: never; unknown: at most once
 *     protocol  neither side ever finds the other in breach of it
 *     settled   each future settles exactly once
 *     bounds    what waits unread is within the credit
 *     alive     once faults stop, all sessions are up again and empty in bounded time
 *
 * Here: chance, what is said, and one seed.  The nodes are in sim_node.c, the ledger of letters in
 * sim_letter.c, steps in sim_step.c, the end in sim_end.c. */
#include "tests/sim/sim.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 300

struct sim sim;
const struct nqsim_net *sim_net;

uint64_t sim_draw(uint64_t n)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return n ? (sim.random >> 11) % n : 0;
}

bool sim_chance(unsigned of_1000)
{
    return sim_draw(1000) < of_1000;
}

void sim_note(uint64_t what)
{
    sim.hash = (sim.hash ^ what) * UINT64_C(0x100000001b3);
}

__attribute__((format(printf, 1, 2))) void sim_say(const char *format, ...)
{
    va_list args;

    if (!sim.verbose)
        return;
    printf("# %10.6f ", (double)(sim.now % (INT64_C(1000000) * S)) / 1e9);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

__attribute__((format(printf, 1, 2), noreturn)) void sim_broken(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "seed %llu, step %u: ", (unsigned long long)sim.seed, sim.step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n%s\n%u nodes, %s; %llu messages, of the server %llu\n", sim.options,
            sim.nnodes, sim.policy, (unsigned long long)sim.messages,
            (unsigned long long)sim.server_messages);
    exit(3);
}

/* ---- keys ------------------------------------------------------------------------------- */

static char key_file[64];

static void remove_keys(void)
{
    unlink(key_file);
}

/* All nodes have the same: their ids change. */
static void write_keys(void)
{
    static const char keys[] = "{\"key\": \"000102030405060708090a0b0c0d0e0f\"}\n";
    int fd;

    snprintf(key_file, sizeof(key_file), "/tmp/nqsim-keys-XXXXXX");
    fd = mkstemp(key_file);
    if (fd < 0 || write(fd, keys, sizeof(keys) - 1) != (ssize_t)sizeof(keys) - 1 || close(fd)) {
        perror("sim: a file of keys");
        exit(2);
    }
    atexit(remove_keys);
}

/* ---- one seed --------------------------------------------------------------------------- */

/* How many a queue has room for. */
static uint64_t draw_messages(void)
{
    return sim_chance(300) ? 1 + sim_draw(8) : 100 + sim_draw(1000);
}

static void choose_options(void)
{
    static const char *const policies[] = {"fail", "drop_oldest", "drop_newest"};
    uint64_t record = 12 + sim_draw(5);

    sim.keyed = sim_chance(400);
    sim.consumed = sim_chance(300);
    sim.keeps = !sim_chance(100);
    sim.resends = sim_chance(250);
    sim.large = sim_chance(200);
    sim.lazy = sim_chance(300);
    sim.messages = draw_messages();
    sim.server_messages = sim_chance(500) ? sim.messages : draw_messages();
    sim.policy = policies[sim_draw(NQI_LEN(policies))];
    sim.credit = sim_chance(300) ? 65536 + sim_draw(100000) : UINT64_C(4) << 20;
    snprintf(
        sim.options, sizeof(sim.options),
        "\"session\": {\"credit\": %llu, \"record\": %llu, \"coalesce\": %llu, "
        "\"keepalive\": \"%llums\", \"expiry\": \"%llums\", \"ack\": \"%s\", \"resend\": %s}"
        "%s%s%s",
        (unsigned long long)sim.credit, (unsigned long long)1 << record,
        (unsigned long long)(sim_chance(200) ? 0 : UINT64_C(1) << (12 + sim_draw(record - 11))),
        (unsigned long long)(1000 + sim_draw(15000)),
        (unsigned long long)(sim.keeps ? 10000 + sim_draw(300000) : 0),
        sim.consumed ? "consumed" : "queued", sim.resends ? "true" : "false",
        sim.keyed ? ", \"security\": {\"psk\": \"" : "", sim.keyed ? key_file : "",
        sim.keyed ? "\"}" : "");
}

static void check_intruders(void)
{
    unsigned attempts;

    if (sim_net->intruders(&attempts))
        sim_broken("a stranger had a session");
    sim.intrusions += attempts;
    sim.tampered += sim_net->tampered();
}

static uint64_t run_seed(uint64_t seed)
{
    sim.seed = seed;
    sim.random = seed * UINT64_C(0xd1342543de82ef95) | 1;
    sim.hash = UINT64_C(0xcbf29ce484222325);
    sim.now = 1000 * S;
    sim.pace = 1 * MS;
    sim.bytes = 0;
    sim.step = 0;
    sim.nletters = 0;
    memset(sim.node, 0, sizeof(sim.node));
    sim.crashes = 0;
    for (int i = 0; i < 10; i++)
        sim_draw(2);
    sim_net->begin(seed, sim_chance(300) ? 200 + sim_draw(30000) : 0);
    choose_options();
    sim_say("%s", sim.options);
    sim_change_weather();
    sim.nnodes = 2 + (unsigned)sim_draw(MAX_CLIENTS);
    for (unsigned i = 0; i < sim.nnodes; i++) {
        memset(sim.node[i].id.bytes, (int)(0x10 + i), sizeof(sim.node[i].id.bytes));
        snprintf(sim.node[i].name, sizeof(sim.node[i].name), i ? "client%u" : "server", i);
        sim_node_open(i);
    }
    for (sim.step = 1; sim.step <= sim.steps; sim.step++)
        sim_one_step();
    sim_heal();
    sim_close_all();
    sim_check_letters();
    check_intruders();
    sim_note((uint64_t)sim.now);
    return sim.hash;
}

static void find_net(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW);

    sim_net = handle ? dlsym(handle, "nqsim_net") : NULL;
    if (!sim_net) {
        fprintf(stderr, "sim: %s\n", dlerror());
        exit(2);
    }
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = 100, failed = 0;
    bool twice = false;

    if (argc < 2) {
        fprintf(stderr, "usage: sim SIMNET.so [FIRST [COUNT [STEPS]]] [-v] [--twice]\n");
        return 2;
    }
    sim.steps = STEPS;
    find_net(argv[1]);
    write_keys();
    for (int i = 2, n = 0; i < argc; i++) {
        if (!strcmp(argv[i], "-v"))
            sim.verbose = true;
        else if (!strcmp(argv[i], "--twice"))
            twice = true;
        else if (n++ == 0)
            first = strtoull(argv[i], NULL, 10);
        else if (n == 2)
            count = strtoull(argv[i], NULL, 10);
        else
            sim.steps = (unsigned)strtoul(argv[i], NULL, 10);
    }
    for (uint64_t seed = first; seed < first + count; seed++) {
        uint64_t hash = run_seed(seed);

        if (twice && run_seed(seed) != hash) {
            printf("seed %llu does not repeat\n", (unsigned long long)seed);
            failed++;
        }
    }
    free(sim.letters);
    printf("%llu seeds, %llu failed: %u sessions, %u links lost, %u resumed, %u ended; "
           "%u delivered, %u unknown; %u intrusions, none succeeded; %u packets tampered with\n",
           (unsigned long long)count, (unsigned long long)failed, sim.ups, sim.downs, sim.resumed,
           sim.gone, sim.delivered, sim.unknown, sim.intrusions, sim.tampered);
    return failed ? 1 : 0;
}
