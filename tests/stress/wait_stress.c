/* Threads hand numbered items to each other through strands, posts, a descriptor and room waits.
 *
 *     wait_stress [COUNT [SEED]]     COUNT items in all, 1000000 without; 100000000 in the long run
 *
 * Each producer keeps its items on one strand and takes turns between three ways into the common
 * queue.  Whoever takes an item from the queue checks, under its lock, that it is the next of its
 * producer and way: one that is lost, doubled or out of order ends the program.  So does standing
 * still for HANG_S seconds, and the state words are shown.  A producer has CREDIT items on their
 * way and waits in the room for more, so waiting threads are producers and consumers; some waits
 * have short time-outs.  User callbacks come in between.  TAP. */
#include "core/wait.h"
#include "core/wait_room.h"
#include <netqueue/future.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { PRODUCERS = 3, CONSUMERS = 3, STRANDS = 2, CREDIT = 64, HANG_S = 60 };
enum way { WAY_STRAND, WAY_POST, WAY_FD, WAYS };

struct item {
    struct nqi_node node; /* in the queue, or among the bell's */
    struct nqi_work work;
    struct producer *from;
    enum way way;
    uint64_t number;
};

/* A descriptor that brings items to its strand. */
struct bell {
    int fd;
    struct nqi_watch *watch;
    pthread_mutex_t lock;
    struct nqi_fifo items;
};

struct lane {
    struct nqi_serial serial;
    struct bell bell;
};

struct producer {
    pthread_t thread;
    struct lane *lane;
    uint32_t seed;
    uint64_t count;
    struct item items[CREDIT];
    /* under queue_lock */
    uint64_t sent[WAYS], taken[WAYS];
    struct nqi_fifo free;
};

struct consumer {
    pthread_t thread;
    uint32_t seed;
    uint64_t got, late;
};

static struct nqi_loop *loop;
static struct nqi_room *room;
static struct lane lanes[STRANDS];
static struct producer producers[PRODUCERS];
static struct consumer consumers[CONSUMERS];

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nqi_fifo queue; /* under queue_lock */
static uint64_t left;         /* under queue_lock: items that nobody has taken yet */
static _Atomic uint64_t progress, calls_made, calls_run;

_Noreturn static void fail(const char *what, uint64_t want, uint64_t is)
{
    fprintf(stderr, "wait_stress: %s: %llu, not %llu\n", what, (unsigned long long)is,
            (unsigned long long)want);
    abort();
}

static uint32_t random_next(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- the queue --------------------------------------------------------------------------------
 */

static void item_arrive(struct item *item)
{
    pthread_mutex_lock(&queue_lock);
    nqi_fifo_push(&queue, &item->node);
    pthread_mutex_unlock(&queue_lock);
}

static void item_run(struct nqi_work *work)
{
    item_arrive(NQI_CONTAINER(work, struct item, work));
}

static void item_post(void *arg)
{
    item_arrive(arg);
}

static void bell_on_fd(void *arg, uint32_t events)
{
    struct bell *bell = arg;
    struct nqi_node *node;
    uint64_t count;

    (void)events;
    if (read(bell->fd, &count, sizeof(count)) != sizeof(count))
        return;
    pthread_mutex_lock(&bell->lock);
    while ((node = nqi_fifo_pop(&bell->items)))
        item_arrive(NQI_CONTAINER(node, struct item, node));
    pthread_mutex_unlock(&bell->lock);
}

/* A consumer's condition: takes the first item, or sees the end. */
static bool consumer_ready(void *arg)
{
    struct consumer *consumer = arg;
    struct nqi_node *node;
    bool ready;

    pthread_mutex_lock(&queue_lock);
    node = nqi_fifo_pop(&queue);
    if (node) {
        struct item *item = NQI_CONTAINER(node, struct item, node);
        struct producer *from = item->from;

        if (item->number != from->taken[item->way])
            fail("an item is out of order", from->taken[item->way], item->number);
        from->taken[item->way]++;
        nqi_fifo_push(&from->free, &item->node);
        consumer->got++;
        left--;
    }
    ready = node || !left;
    pthread_mutex_unlock(&queue_lock);
    return ready;
}

/* A producer's condition: takes a free item. */
struct credit {
    struct producer *producer;
    struct item *item;
};

static bool credit_ready(void *arg)
{
    struct credit *credit = arg;
    struct nqi_node *node;

    pthread_mutex_lock(&queue_lock);
    node = nqi_fifo_pop(&credit->producer->free);
    pthread_mutex_unlock(&queue_lock);
    if (node)
        credit->item = NQI_CONTAINER(node, struct item, node);
    return node;
}

/* ---- threads ------------------------------------------------------------------------------------
 */

static void call_run(struct nqi_callback *callback)
{
    static atomic_int inside;

    if (atomic_fetch_add(&inside, 1))
        fail("callbacks at a time", 1, 2);
    atomic_fetch_add(&calls_run, 1);
    atomic_fetch_sub(&inside, 1);
    free(callback);
}

static void call_make(void)
{
    struct nqi_callback *callback = calloc(1, sizeof(*callback));

    callback->run = call_run;
    atomic_fetch_add(&calls_made, 1);
    nqi_room_defer(room, callback);
}

static void bell_send(struct bell *bell, struct item *item)
{
    uint64_t one = 1;

    pthread_mutex_lock(&bell->lock);
    nqi_fifo_push(&bell->items, &item->node);
    pthread_mutex_unlock(&bell->lock);
    if (write(bell->fd, &one, sizeof(one)) != sizeof(one))
        fail("bytes written", sizeof(one), 0);
}

static void item_send(struct item *item)
{
    struct lane *lane = item->from->lane;

    switch (item->way) {
    case WAY_STRAND:
        item->work.run = item_run;
        nqi_strand_run(lane->serial.strand, &item->work);
        nqi_room_notify(room);
        break;
    case WAY_POST:
        if (nqi_post(&lane->serial, item_post, item))
            fail("posts refused", 0, 1);
        break;
    default:
        bell_send(&lane->bell, item);
    }
}

static void *producer_main(void *arg)
{
    struct producer *producer = arg;

    for (uint64_t i = 0; i < producer->count; i++) {
        struct credit credit = {.producer = producer};

        if (nqi_room_wait(room, credit_ready, &credit, NQ_FOREVER))
            fail("waits without end that end", 0, 1);
        credit.item->from = producer;
        credit.item->way = random_next(&producer->seed) % WAYS;
        credit.item->number = producer->sent[credit.item->way]++;
        item_send(credit.item);
        if (random_next(&producer->seed) % 1024 == 0)
            call_make();
    }
    return NULL;
}

static void *consumer_main(void *arg)
{
    struct consumer *consumer = arg;
    bool more = true;

    while (more) {
        int64_t timeout_ns = NQ_FOREVER;

        if (random_next(&consumer->seed) % 4 == 0)
            timeout_ns = random_next(&consumer->seed) % 20000;
        if (nqi_room_wait(room, consumer_ready, consumer, timeout_ns))
            consumer->late++;
        /* What was given back is credit, and the last item the end. */
        nqi_room_notify(room);
        atomic_fetch_add_explicit(&progress, 1, memory_order_relaxed);
        pthread_mutex_lock(&queue_lock);
        more = left;
        pthread_mutex_unlock(&queue_lock);
    }
    return NULL;
}

/* Only what a signal handler may: a hang is shown and ended. */
static void on_alarm(int sig)
{
    static uint64_t last;
    uint64_t now = atomic_load(&progress);
    char text[160];
    int n;

    (void)sig;
    if (now != last) {
        last = now;
        alarm(HANG_S);
        return;
    }
    n = snprintf(text, sizeof(text), "wait_stress: stands still: token %u keeper %u waiters %u\n",
                 atomic_load(&room->token), atomic_load(&room->keeper),
                 atomic_load(&room->nwaiters));
    (void)!write(STDERR_FILENO, text, (size_t)n);
    abort();
}

/* ---- one run
 * -------------------------------------------------------------------------------------- */

static void need(nq_err err)
{
    if (!err)
        return;
    fprintf(stderr, "wait_stress: %s\n", nq_error());
    exit(EXIT_FAILURE);
}

static void lane_open(struct lane *lane)
{
    lane->serial = (struct nqi_serial){.strand = nqi_strand_new(), .loop = loop};
    lane->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&lane->bell.lock, NULL);
    nqi_fifo_init(&lane->bell.items);
    nqi_strand_enter_new(lane->serial.strand);
    need(nqi_fd_add(&lane->serial, lane->bell.fd, POLLIN, bell_on_fd, &lane->bell,
                    &lane->bell.watch));
    nqi_strand_leave(lane->serial.strand);
}

/* All threads have ended, but the library's, which is inside for moments only. */
static void lane_close(struct lane *lane)
{
    while (!nqi_strand_try(lane->serial.strand))
        nqi_relax();
    nqi_watch_del(lane->bell.watch);
    nqi_strand_leave(lane->serial.strand);
    nqi_strand_unref(lane->serial.strand);
    pthread_mutex_destroy(&lane->bell.lock);
    close(lane->bell.fd);
}

struct job {
    const char *name;
    enum nqi_room_mode mode;
    int64_t spin_ns;
    unsigned credit; /* items of a producer on their way; 1..CREDIT */
    unsigned share;  /* of all items, in 64ths */
};

static void start(const struct job *job, uint64_t count, uint32_t seed)
{
    left = count;
    nqi_fifo_init(&queue);
    for (size_t i = 0; i < PRODUCERS; i++) {
        struct producer *producer = &producers[i];

        memset(producer, 0, sizeof(*producer));
        producer->lane = &lanes[i % STRANDS];
        producer->seed = seed + (uint32_t)i;
        producer->count = count / PRODUCERS + (i < count % PRODUCERS);
        nqi_fifo_init(&producer->free);
        for (size_t n = 0; n < job->credit; n++)
            nqi_fifo_push(&producer->free, &producer->items[n].node);
    }
    for (size_t i = 0; i < CONSUMERS; i++) {
        consumers[i] = (struct consumer){.seed = seed + 100 + (uint32_t)i};
        if (pthread_create(&consumers[i].thread, NULL, consumer_main, &consumers[i]))
            fail("threads that start", 1, 0);
    }
    for (size_t i = 0; i < PRODUCERS; i++)
        if (pthread_create(&producers[i].thread, NULL, producer_main, &producers[i]))
            fail("threads that start", 1, 0);
}

static bool calls_done(void *arg)
{
    (void)arg;
    return atomic_load(&calls_run) == atomic_load(&calls_made);
}

static void finish(uint64_t count, uint64_t *late)
{
    uint64_t got = 0;

    for (size_t i = 0; i < PRODUCERS; i++)
        pthread_join(producers[i].thread, NULL);
    for (size_t i = 0; i < CONSUMERS; i++) {
        pthread_join(consumers[i].thread, NULL);
        got += consumers[i].got;
        *late += consumers[i].late;
    }
    if (got != count)
        fail("items that arrived", count, got);
    for (size_t i = 0; i < PRODUCERS; i++)
        for (size_t way = 0; way < WAYS; way++)
            if (producers[i].taken[way] != producers[i].sent[way])
                fail("items of one way", producers[i].sent[way], producers[i].taken[way]);
    /* Whoever ran the last one tells nobody: look now and then. */
    while (nqi_room_wait(room, calls_done, NULL, NQI_NS_PER_MS))
        ;
}

static void run(unsigned number, const struct job *job, uint64_t count, uint32_t seed)
{
    struct nqi_room_counts counts;
    uint64_t late = 0;

    need(nqi_loop_new(&loop));
    need(nqi_room_new(loop, job->mode, job->spin_ns, &room));
    for (size_t i = 0; i < STRANDS; i++)
        lane_open(&lanes[i]);
    start(job, count, seed);
    finish(count, &late);
    nqi_room_count(room, &counts);
    for (size_t i = 0; i < STRANDS; i++)
        lane_close(&lanes[i]);
    nqi_room_free(room);
    nqi_loop_free(loop);
    printf("ok %u - %s, %u at a time: %llu items\n", number, job->name, job->credit,
           (unsigned long long)count);
    printf("# turns %llu sleeps %llu kicks %llu keeper %llu time-outs %llu callbacks %llu\n",
           (unsigned long long)counts.turns, (unsigned long long)counts.sleeps,
           (unsigned long long)counts.kicks, (unsigned long long)counts.keeper_turns,
           (unsigned long long)late, (unsigned long long)atomic_load(&calls_run));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    /* With much credit items travel in crowds; with little, nearly each one wakes somebody. */
    static const struct job jobs[] = {
        {"auto, sleeping", NQI_ROOM_AUTO, 0, CREDIT, 16},
        {"auto, sleeping", NQI_ROOM_AUTO, 0, 2, 3},
        {"auto, spinning", NQI_ROOM_AUTO, NQI_SPIN_AUTO, 2, 3},
        {"auto, spinning long", NQI_ROOM_AUTO, NQI_NS_PER_MS, CREDIT, 3},
        {"thread", NQI_ROOM_THREAD, 0, CREDIT, 16},
        {"thread", NQI_ROOM_THREAD, 0, 2, 3},
        {"manual, sleeping", NQI_ROOM_MANUAL, 0, CREDIT, 16},
        {"manual, sleeping", NQI_ROOM_MANUAL, 0, 2, 2},
        {"manual, spinning", NQI_ROOM_MANUAL, NQI_SPIN_AUTO, 2, 2},
    };
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1;
    uint64_t done = 0;

    printf("1..%zu\n", NQI_LEN(jobs));
    signal(SIGALRM, on_alarm);
    alarm(HANG_S);
    for (unsigned i = 0; i < NQI_LEN(jobs); i++) {
        bool last = i + 1 == NQI_LEN(jobs);
        uint64_t part = last ? count - done : count * jobs[i].share / 64;

        run(i + 1, &jobs[i], part, seed + i * 1000);
        done += part;
    }
    return EXIT_SUCCESS;
}
