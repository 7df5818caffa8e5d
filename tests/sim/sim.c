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
 *     alive     once faults stop, all sessions are up again and empty in bounded time */
#include "core/base.h"
#include "core/pool.h"
#include "tests/sim/simnet.h"
#include <dlfcn.h>
#include <netqueue/msg.h>
#include <netqueue/queue.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

#define MAX_CLIENTS 3
#define MAX_NODES (MAX_CLIENTS + 1)
#define STEPS 300
#define MS NQI_NS_PER_MS
#define S NQI_NS_PER_S

struct letter {
    uint32_t from, to, life, to_life; /* life of the receiver when it was put */
    uint64_t number;
    uint32_t size, arrived;
    nq_future *future; /* NULL = not asked for, or the sender died */
    bool asked, cancelled;
    nq_outcome outcome; /* PENDING = not settled (the sender died) */
};

struct node {
    nq_queue *queue;
    char name[16];
    nq_uuid id;
    uint32_t life;
    uint64_t number;              /* of the last letter of this life */
    uint64_t seen[MAX_NODES][64]; /* by sender and life: the last number that arrived here */
    bool asleep;                  /* not polled: stopped, or busy */
};

static struct {
    uint64_t seed, random, hash;
    int64_t now;
    bool verbose, quiet_net;
    unsigned nnodes, step, steps, depth;
    struct node node[MAX_NODES];
    struct letter *letters;
    size_t nletters, cap;
    char options[512];
    uint64_t credit, messages; /* of the options */
    bool keeps;                /* sessions outlive their links */
    bool consumed; /* acknowledged when get() returned it: delivered is true whoever dies */
    unsigned resumed, downs, gone, ups, crashes, delivered, unknown;
} sim;

static const struct nqsim_net *net;

/* ---- luck, time and trouble ------------------------------------------------------------- */

static uint64_t draw(uint64_t n)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return n ? (sim.random >> 11) % n : 0;
}

static bool chance(unsigned of_1000)
{
    return draw(1000) < of_1000;
}

static void note(uint64_t what)
{
    sim.hash = (sim.hash ^ what) * UINT64_C(0x100000001b3);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
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

__attribute__((format(printf, 1, 2), noreturn)) static void broken(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "seed %llu, step %u: ", (unsigned long long)sim.seed, sim.step);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n%s\n", sim.options);
    exit(3);
}

/* The linker leads the library's calls here. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when,
                           struct itimerspec *old);
int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = sim.now / S;
    ts->tv_nsec = sim.now % S;
    return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    uint8_t *at = buf;

    (void)flags;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)draw(256);
    return (ssize_t)len;
}

static void poll_all(void);
static bool get_one(unsigned to);

/* A queue that sleeps: meanwhile the others go on. */
static int sleep_in(void)
{
    if (!sim.depth) {
        sim.depth++;
        poll_all();
        for (unsigned i = 0; i < sim.nnodes; i++)
            get_one(i);
        sim.depth--;
    }
    sim.now += 1 * MS;
    return 0;
}

/* No descriptor of a queue has anything to say: the network is memory, and timers look at the
 * clock. */
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    (void)fd;
    (void)events;
    (void)max;
    return timeout ? sleep_in() : 0;
}

int __wrap_epoll_pwait2(int fd, struct epoll_event *events, int max, const struct timespec *timeout,
                        const sigset_t *mask)
{
    (void)fd;
    (void)events;
    (void)max;
    (void)timeout;
    (void)mask;
    return sleep_in();
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
    (void)fd;
    (void)flags;
    (void)when;
    (void)old;
    return 0;
}

/* ---- nodes ------------------------------------------------------------------------------ */

static void node_open(unsigned i)
{
    struct node *node = &sim.node[i];
    char json[1024], id[NQ_UUID_TEXT];
    nq_err err;

    snprintf(json, sizeof(json),
             "{\"purpose\": \"%s\", \"id\": \"%s\", \"transports\": [{\"transport\": \"simnet\", "
             "\"node\": \"%s\"}], \"progress\": {\"mode\": \"manual\", \"spin\": \"off\"}, %s}",
             i ? "client" : "server", nq_uuid_format(&node->id, id), node->name, sim.options);
    err = nq_open_json(json, strlen(json), &node->queue);
    if (err)
        broken("%s does not open: %s\n%s", node->name, nq_error(), json);
    node->life++;
    node->number = 0;
    node->asleep = false;
    say("%s opens, life %u", node->name, node->life);
}

static void node_poll(unsigned i)
{
    struct node *node = &sim.node[i];
    struct nq_event event;

    if (!node->queue || node->asleep)
        return;
    if (nq_poll(node->queue) < 0)
        broken("poll: %s", nq_error());
    while (nq_event_get(node->queue, 0, &event) == NQ_OK) {
        sim.ups += event.kind == NQ_EVENT_PEER_UP;
        sim.resumed += event.kind == NQ_EVENT_PEER_RESUMED;
        sim.downs += event.kind == NQ_EVENT_PEER_DOWN;
        sim.gone += event.kind == NQ_EVENT_PEER_GONE;
        note((uint64_t)event.kind << 8 | (uint64_t)event.reason);
        say("%s: %s (%s) %s", node->name, nq_event_text(event.kind), nq_reason_text(event.reason),
            event.text);
        if (event.reason == NQ_REASON_PROTOCOL) /* nothing was corrupted */
            broken("%s: %s: %s", node->name, nq_event_text(event.kind), event.text);
    }
}

static void poll_all(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++)
        node_poll(i);
}

/* ---- letters ---------------------------------------------------------------------------- */

struct label {
    uint32_t index, size;
    uint64_t check;
};

static uint64_t label_check(const struct label *label)
{
    return (label->index * UINT64_C(0x9e3779b97f4a7c15)) ^
           (label->size * UINT64_C(0xd1342543de82ef95));
}

static uint32_t draw_size(void)
{
    switch (draw(12)) {
    case 0:
        return (uint32_t)draw(20000);
    case 1:
        return (uint32_t)draw(3000);
    case 2:
        return chance(100) ? (uint32_t)draw(400000) : 2048;
    default:
        return (uint32_t)draw(100);
    }
}

static nq_msg *letter_write(const struct letter *letter, uint32_t index)
{
    struct label label = {.index = index, .size = letter->size};
    uint8_t *at;
    void *data;
    nq_msg *msg;

    if (nq_msg_alloc(sizeof(label) + letter->size, &data, &msg))
        return NULL;
    label.check = label_check(&label);
    memcpy(data, &label, sizeof(label));
    at = (uint8_t *)data + sizeof(label);
    for (uint32_t i = 0; i < letter->size; i++)
        at[i] = (uint8_t)(index + i * 7);
    return msg;
}

static struct letter *letter_new(void)
{
    if (sim.nletters == sim.cap) {
        sim.cap = sim.cap ? sim.cap * 2 : 256;
        sim.letters = realloc(sim.letters, sim.cap * sizeof(*sim.letters));
        if (!sim.letters)
            abort();
    }
    memset(&sim.letters[sim.nletters], 0, sizeof(*sim.letters));
    return &sim.letters[sim.nletters];
}

static void put_letter(unsigned from, unsigned to, bool asked)
{
    struct node *node = &sim.node[from];
    struct letter *letter;
    nq_msg *msg;
    nq_err err;

    letter = letter_new();
    *letter = (struct letter){.from = from,
                              .to = to,
                              .life = node->life,
                              .to_life = sim.node[to].life,
                              .number = ++node->number,
                              .size = draw_size(),
                              .asked = asked};
    msg = letter_write(letter, (uint32_t)sim.nletters);
    if (!msg)
        return;
    if (chance(30))
        nq_msg_set_ttl(msg, (int64_t)draw(3000) * MS);
    err = nq_put(node->queue, msg, from ? NULL : &sim.node[to].id, from ? 0 : 1,
                 letter->asked ? &letter->future : NULL);
    note((uint64_t)err);
    if (err) {
        nq_msg_free(msg);
        return; /* full, no peer, no memory: nothing was put */
    }
    say("%s -> %s: letter %zu, %u bytes", node->name, sim.node[to].name, sim.nletters,
        letter->size);
    sim.nletters++;
}

static void do_put(void)
{
    unsigned from = (unsigned)draw(sim.nnodes);

    if (sim.node[from].queue)
        put_letter(from, from ? 0 : 1 + (unsigned)draw(sim.nnodes - 1), chance(500));
}

static void arrive(unsigned to, nq_msg *msg)
{
    const uint8_t *data;
    const void *at;
    size_t len;
    struct node *node = &sim.node[to];
    struct letter *letter;
    struct label label;

    if (nq_msg_data(msg, &at, &len))
        broken("%s: %s", node->name, nq_error());
    data = at;
    if (len < sizeof(label))
        broken("%s: a message of %zu bytes", node->name, len);
    memcpy(&label, data, sizeof(label));
    if (label.check != label_check(&label) || label.index >= sim.nletters ||
        len != sizeof(label) + label.size)
        broken("%s: a message that nobody put", node->name);
    letter = &sim.letters[label.index];
    for (uint32_t i = 0; i < label.size; i++)
        if (data[sizeof(label) + i] != (uint8_t)(label.index + i * 7))
            broken("letter %u is torn at byte %u", label.index, i);
    if (letter->to != to)
        broken("letter %u came to %s", label.index, node->name);
    if (++letter->arrived > 1)
        broken("letter %u came twice", label.index);
    if (node->seen[letter->from][letter->life % 64] >= letter->number)
        broken("letter %u came after a later one", label.index);
    node->seen[letter->from][letter->life % 64] = letter->number;
    note(label.index);
    say("%s has letter %u", node->name, label.index);
    nq_msg_free(msg);
}

static bool get_one(unsigned to)
{
    struct node *node = &sim.node[to];
    nq_msg *msg;
    nq_err err;

    if (!node->queue || node->asleep)
        return false;
    err = nq_get(node->queue, NULL, 0, 0, &msg);
    if (err < 0)
        broken("get: %s", nq_error());
    if (err)
        return false;
    arrive(to, msg);
    return true;
}

/* ---- outcomes --------------------------------------------------------------------------- */

static void letter_settle(struct letter *letter)
{
    nq_reason reason;

    letter->outcome = nq_future_outcome(letter->future, &reason);
    nq_future_free(letter->future);
    letter->future = NULL;
    note((uint64_t)letter->outcome << 16 | (uint64_t)reason);
    sim.delivered += letter->outcome == NQ_DELIVERED;
    sim.unknown += letter->outcome == NQ_UNKNOWN;
    if (letter->outcome == NQ_PENDING)
        broken("letter %zu settled as pending", (size_t)(letter - sim.letters));
    if (letter->arrived && letter->outcome != NQ_DELIVERED && letter->outcome != NQ_UNKNOWN)
        broken("letter %zu arrived, and is said to be: %s (%s)", (size_t)(letter - sim.letters),
               nq_outcome_text(letter->outcome), nq_reason_text(reason));
    say("letter %zu: %s (%s)", (size_t)(letter - sim.letters), nq_outcome_text(letter->outcome),
        nq_reason_text(reason));
}

static void look_at_futures(void)
{
    for (size_t i = 0; i < sim.nletters; i++)
        if (sim.letters[i].future && nq_future_poll(sim.letters[i].future) == NQ_OK)
            letter_settle(&sim.letters[i]);
}

static void do_cancel(void)
{
    struct letter *letter = sim.nletters ? &sim.letters[draw(sim.nletters)] : NULL;
    nq_err err;

    if (!letter || !letter->future)
        return;
    err = nq_future_cancel(letter->future);
    letter->cancelled = err == NQ_OK;
    note((uint64_t)err);
    say("cancel letter %zu: %d", (size_t)(letter - sim.letters), (int)err);
}

/* What a dead queue leaves behind. */
static void forget_futures(unsigned from)
{
    for (size_t i = 0; i < sim.nletters; i++) {
        struct letter *letter = &sim.letters[i];

        if (letter->from != from || !letter->future)
            continue;
        if (nq_future_poll(letter->future) == NQ_OK)
            letter_settle(letter);
        nq_future_free(letter->future);
        letter->future = NULL;
    }
}

/* ---- steps ------------------------------------------------------------------------------ */

static void do_crash(void)
{
    unsigned i = (unsigned)draw(sim.nnodes);
    struct node *node = &sim.node[i];

    if (!node->queue)
        return;
    say("%s dies", node->name);
    sim.crashes++;
    net->crash(node->name);
    /* The oracle looks at what was true before: freeing settles as the end of a queue does. */
    look_at_futures();
    nq_free(node->queue);
    node->queue = NULL;
    forget_futures(i);
    if (i && chance(500)) /* another one in its place; the id is taken until the session expires */
        node->id.bytes[15]++;
    node_open(i);
}

/* The queue's own end, under whatever weather; another one follows. */
static void do_close(void)
{
    unsigned i = (unsigned)draw(sim.nnodes);
    struct node *node = &sim.node[i];
    int64_t before = sim.now, limit = (int64_t)draw(4000) * MS;

    say("%s closes within %.3f s", node->name, (double)limit / 1e9);
    node->asleep = false;
    if (nq_close(node->queue, limit, NULL) < 0)
        broken("close: %s", nq_error());
    if (sim.now - before > limit + 2 * S)
        broken("%s took %.3f s to close", node->name, (double)(sim.now - before) / 1e9);
    while (get_one(i))
        continue;
    look_at_futures();
    for (size_t n = 0; n < sim.nletters; n++)
        if (sim.letters[n].from == i && sim.letters[n].future)
            broken("letter %zu outlived its closed queue", n);
    nq_free(node->queue);
    node->queue = NULL;
    if (i)
        node->id.bytes[15]++;
    node_open(i);
}

static void do_disconnect(void)
{
    unsigned i = (unsigned)draw(sim.nnodes), other = i ? 0 : 1 + (unsigned)draw(sim.nnodes - 1);
    nq_err err = nq_disconnect(sim.node[i].queue, &sim.node[other].id);

    note((uint64_t)err);
    say("%s disconnects %s: %d", sim.node[i].name, sim.node[other].name, (int)err);
}

static void do_time(void)
{
    int64_t ns = (int64_t)draw(20 * (uint64_t)MS);

    if (chance(20))
        ns = (int64_t)draw(20 * (uint64_t)S);
    else if (chance(3))
        ns = (int64_t)draw(500 * (uint64_t)S);
    sim.now += ns;
}

static void do_weather(void)
{
    struct nqsim_weather weather = {
        .delay_max_us = (uint32_t)draw(chance(200) ? 700000 : 3000),
        .window = 1 + (uint32_t)draw(200000),
        .pieces = chance(500),
        .cut_every = chance(600) ? (uint32_t)(1 + draw(chance(300) ? 600 : 60000)) : 0,
        .refuse_1000 = (uint32_t)draw(300),
        .silent_1000 = (uint32_t)draw(300),
    };

    net->set_weather(&weather);
}

static void check_bounds(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++) {
        struct nq_stats stats;

        if (!sim.node[i].queue || nq_stats(sim.node[i].queue, &stats))
            continue;
        if (stats.unread_bytes > (sim.credit + 500000) * (sim.nnodes + sim.crashes + 1))
            broken("%s holds %llu bytes", sim.node[i].name, (unsigned long long)stats.unread_bytes);
        if (i && stats.queued > sim.messages)
            broken("%s has queued %llu messages", sim.node[i].name,
                   (unsigned long long)stats.queued);
    }
}

static void one_step(void)
{
    unsigned kind = (unsigned)draw(100);

    if (kind < 35)
        do_put();
    else if (kind < 60)
        get_one((unsigned)draw(sim.nnodes));
    else if (kind < 62)
        do_cancel();
    else if (kind < 65)
        net->cut((unsigned)draw(8), chance(250));
    else if (kind < 66)
        do_weather();
    else if (kind < 67 && chance(200))
        do_crash();
    else if (kind < 67 && chance(100))
        do_close();
    else if (kind < 67 && chance(400))
        do_disconnect();
    else if (kind < 68 && !chance(500))
        sim.node[draw(sim.nnodes)].asleep = true;
    else if (kind < 70)
        sim.node[draw(sim.nnodes)].asleep = false;
    else
        do_time();
    if (chance(20))
        nqi_pool_fail_after(1 + (unsigned)draw(40));
    node_poll((unsigned)draw(sim.nnodes));
    if (chance(500))
        poll_all();
    nqi_pool_fail_after(0);
    look_at_futures();
    check_bounds();
}

/* ---- the end: fair weather -------------------------------------------------------------- */

static bool all_quiet(void)
{
    for (unsigned i = 0; i < sim.nnodes; i++) {
        struct nq_stats stats;

        if (nq_stats(sim.node[i].queue, &stats))
            broken("stats: %s", nq_error());
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
            broken("%s is not up again", sim.node[i].name);
    }
}

/* Everything must come to an end within: silence noticed, back-off, expiry of sessions that nobody
 * resumes. */
static void heal(void)
{
    const struct nqsim_weather fair = {.delay_max_us = 200, .window = 1 << 20};
    int64_t until = sim.now + 600 * S, up = sim.now + 200 * S, least = sim.now + 70 * S;
    bool checked = false;

    net->set_weather(&fair);
    for (unsigned i = 0; i < sim.nnodes; i++)
        sim.node[i].asleep = false;
    do {
        bool moved = false;

        poll_all();
        for (unsigned i = 0; i < sim.nnodes; i++)
            while (get_one(i))
                moved = true;
        look_at_futures();
        sim.now += moved ? 1 * MS : 50 * MS;
        if (!checked && sim.now >= up) {
            check_up();
            checked = true;
        }
    } while ((sim.now < least || !all_quiet()) && sim.now < until); /* silence is noticed, too */
    if (!all_quiet())
        broken("not all is settled 600 s after the faults stopped: %s", what_is_left());
}

static void close_all(void)
{
    for (unsigned n = 0; n < sim.nnodes; n++) {
        unsigned i = (unsigned)(n + sim.seed) % sim.nnodes;
        int64_t before = sim.now, limit = (int64_t)draw(30) * S;
        size_t first = sim.nletters;

        if (i && sim.node[0].queue && sim.messages > 5)
            for (unsigned k = 0; k < 5; k++)
                put_letter(i, 0, true);
        if (nq_close(sim.node[i].queue, limit, NULL) < 0)
            broken("close: %s", nq_error());
        if (sim.now - before > limit + 2 * S)
            broken("%s took %.3f s to close", sim.node[i].name, (double)(sim.now - before) / 1e9);
        look_at_futures();
        for (size_t k = first;
             k < sim.nletters && limit > 10 * S && sim.keeps && sim.node[i].life == 1; k++)
            if (sim.letters[k].outcome != NQ_DELIVERED && sim.letters[k].outcome != NQ_EXPIRED)
                broken("letter %zu was not delivered by a close that had time: %s", k,
                       nq_outcome_text(sim.letters[k].outcome));
        while (get_one(i))
            continue;
        look_at_futures();
        nq_free(sim.node[i].queue);
        sim.node[i].queue = NULL;
    }
}

static void check_letters(void)
{
    for (size_t i = 0; i < sim.nletters; i++) {
        const struct letter *letter = &sim.letters[i];
        bool died = sim.node[letter->to].life != letter->to_life;

        if (letter->outcome == NQ_DELIVERED && !letter->arrived && (!died || sim.consumed))
            broken("letter %zu is said to be delivered and never came", i);
        if (letter->asked && letter->outcome == NQ_PENDING &&
            sim.node[letter->from].life == letter->life)
            broken("letter %zu never settled", i);
    }
}

/* ---- one seed --------------------------------------------------------------------------- */

static void choose_options(void)
{
    static const char *const policies[] = {"fail", "drop_oldest", "drop_newest"};
    uint64_t record = 12 + draw(5);

    sim.consumed = chance(300);
    sim.keeps = !chance(100);
    sim.messages = chance(300) ? 1 + draw(8) : 100 + draw(1000);
    sim.credit = chance(300) ? 65536 + draw(100000) : UINT64_C(4) << 20;
    snprintf(sim.options, sizeof(sim.options),
             "\"queue\": {\"messages\": %llu, \"policy\": \"%s\"}, "
             "\"session\": {\"credit\": %llu, \"record\": %llu, \"coalesce\": %llu, "
             "\"keepalive\": \"%llums\", \"expiry\": \"%llums\", \"ack\": \"%s\"}",
             (unsigned long long)sim.messages, policies[draw(NQI_LEN(policies))],
             (unsigned long long)sim.credit, (unsigned long long)1 << record,
             (unsigned long long)(chance(200) ? 0 : UINT64_C(1) << (12 + draw(record - 11))),
             (unsigned long long)(1000 + draw(15000)),
             (unsigned long long)(sim.keeps ? 10000 + draw(300000) : 0),
             sim.consumed ? "consumed" : "queued");
}

static uint64_t run_seed(uint64_t seed)
{
    sim.seed = seed;
    sim.random = seed * UINT64_C(0xd1342543de82ef95) | 1;
    sim.hash = UINT64_C(0xcbf29ce484222325);
    sim.now = 1000 * S;
    sim.step = 0;
    sim.nletters = 0;
    memset(sim.node, 0, sizeof(sim.node));
    sim.crashes = 0;
    for (int i = 0; i < 10; i++)
        draw(2);
    net->begin(seed);
    choose_options();
    say("%s", sim.options);
    do_weather();
    sim.nnodes = 2 + (unsigned)draw(MAX_CLIENTS);
    for (unsigned i = 0; i < sim.nnodes; i++) {
        memset(sim.node[i].id.bytes, (int)(0x10 + i), sizeof(sim.node[i].id.bytes));
        snprintf(sim.node[i].name, sizeof(sim.node[i].name), i ? "client%u" : "server", i);
        node_open(i);
    }
    for (sim.step = 1; sim.step <= sim.steps; sim.step++)
        one_step();
    heal();
    close_all();
    check_letters();
    note((uint64_t)sim.now);
    return sim.hash;
}

static void find_net(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW);

    net = handle ? dlsym(handle, "nqsim_net") : NULL;
    if (!net) {
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
           "%u delivered, %u unknown\n",
           (unsigned long long)count, (unsigned long long)failed, sim.ups, sim.downs, sim.resumed,
           sim.gone, sim.delivered, sim.unknown);
    return failed ? 1 : 0;
}
