/* One end of the chaos test: puts numbered messages, and writes down what becomes of them and what
 * arrives.  tests/long/chaos.py starts it, cuts its links, stops and kills it.
 *
 *     chaos_end -c CONFIG -l LOG -m ME -i LIFE [-b BYTES | -q] -p UUID...
 *
 * Every -p names an end, in order of their numbers; 0 is the server.  The server puts to each
 * client that is there, a client to the server: messages of a mixture of sizes, or a single one of
 * BYTES, or (-q) none.  A line "stop" on the standard input ends the putting; when all outcomes are
 * there the program answers "settled".  The end of the input closes the queue and ends the program.
 *
 * The correlation id of a message is all that its content depends on: sender, its life, receiver
 * and number.  The content is a piece of one table of noise that is mapped again and again, of a
 * length that no power of two divides, so a megabyte that is missing or doubled shows, and a
 * message of 1 GiB costs its sender no memory.
 *
 * The log has one line for each thing that happened, in one write, so it is whole up to the last
 * line when the program is killed:
 *
 *     L life                                it begins
 *     P to number size tracked              about to put; tracked: an outcome will follow
 *     R to number                           the put was refused: nobody is there
 *     O to number outcome reason            the future settled
 *     A from life number good               a get returned this one; good: every byte was right
 *     E event peer reason text              an event
 *     C delivered not-delivered unknown     the queue was closed
 *
 * A put is written before it is made; an arrival after the get that returned it and before the
 * next get.  chaos_audit.py says what follows from that. */
#include "tests/long/long.h"
#include <fcntl.h>
#include <netqueue/netqueue.h>
#include <pthread.h>
#include <sys/mman.h>

#define END_PEERS 64
#define END_PAGE 4096
#define END_TABLE (INT64_C(1025) * END_PAGE) /* bytes of noise */
#define END_SMALL 300
#define END_MEDIUM (200 * 1000)
#define END_LARGE (5 * NQTEST_MIB)
#define END_UNTRACKED 16 /* every so many puts, nobody asks for the outcome */
#define END_CLOSE_S 30

struct end {
    const char *config, *log;
    unsigned me, life, count; /* count: of peers */
    uint64_t bytes;           /* of the only message; 0 = the mixture */
    bool quiet;
    nq_uuid peers[END_PEERS];
    nq_queue *queue;
    const unsigned char *noise;
    int fd; /* of the log */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned pending;        /* futures */
    unsigned ups[END_PEERS]; /* sessions that began */
    bool stop;
};

struct end_put { /* to be written down when its future settles */
    struct end *end;
    unsigned to;
    uint32_t number;
};

static struct end end = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* ---- the log ----------------------------------------------------------------------------- */

static _Noreturn void end_die(const char *what, nq_err err)
{
    fprintf(stderr, "chaos_end %u: %s: %s\n", end.me, what,
            err < 0 ? nq_error() : nq_strerror(err));
    _exit(1);
}

__attribute__((format(printf, 1, 2))) static void end_log(const char *fmt, ...)
{
    char line[512];
    va_list args;
    int len;

    va_start(args, fmt);
    len = vsnprintf(line, sizeof(line) - 1, fmt, args);
    va_end(args);
    if (len > (int)sizeof(line) - 2)
        len = (int)sizeof(line) - 2;
    line[len++] = '\n';
    if (write(end.fd, line, (size_t)len) != len)
        end_die("log", NQ_ERR_SYS);
}

/* ---- messages ------------------------------------------------------------------------------ */

static uint64_t end_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The table, again and again, for `size` bytes from any page of it on. */
static const unsigned char *end_noise(int64_t size)
{
    int fd = memfd_create("noise", MFD_CLOEXEC);
    int64_t tables = size / END_TABLE + 2;
    uint64_t *words = NULL;
    unsigned char *all;

    if (fd < 0 || ftruncate(fd, END_TABLE) != 0)
        nqtest_bail("memory", NULL);
    words = mmap(NULL, END_TABLE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    all = mmap(NULL, (size_t)(tables * END_TABLE), PROT_NONE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (words == MAP_FAILED || all == MAP_FAILED)
        nqtest_bail("memory", NULL);
    for (uint64_t i = 0; i < END_TABLE / sizeof(*words); i++)
        words[i] = end_mix(i);
    munmap(words, END_TABLE);
    for (int64_t i = 0; i < tables; i++)
        if (mmap(all + i * END_TABLE, END_TABLE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED)
            nqtest_bail("mmap", NULL);
    close(fd);
    return all;
}

static uint64_t end_name(unsigned from, unsigned life, unsigned to, uint32_t number)
{
    return (uint64_t)life << 48 | (uint64_t)from << 40 | (uint64_t)to << 32 | number;
}

static size_t end_size(uint64_t name)
{
    uint64_t kind = end_mix(name) % 100, size = end_mix(~name);

    if (end.bytes)
        return end.bytes;
    if (kind == 0)
        return END_LARGE;
    return kind < 4 ? 0 : kind < 40 ? size % (END_SMALL + 1) : size % (END_MEDIUM + 1);
}

static const unsigned char *end_content(uint64_t name)
{
    return end.noise + end_mix(name + 1) % (END_TABLE / END_PAGE) * END_PAGE;
}

/* Written where the transport has it.  @return false: nobody is there */
static bool end_loan(unsigned to, const void *data, size_t size, nq_msg **ret)
{
    void *at;
    nq_err err = nq_loan(end.queue, end.me ? NULL : &end.peers[to], end.me ? 0 : 1, size, &at, ret);

    if (err && err != NQ_ERR_NO_PEER)
        end_die("loan", err);
    if (!err)
        memcpy(at, data, size);
    return !err;
}

/* A third is copied, another one lent, the rest is sent out of the table. */
static nq_msg *end_msg(unsigned to, uint64_t name, size_t size)
{
    nq_msg *msg = NULL;
    void *data = (void *)(uintptr_t)end_content(name);
    unsigned kind = end.bytes ? 0 : (unsigned)(name % 3);
    nq_err err = NQ_OK;

    if (kind == 0)
        err = nq_msg_wrap(data, size, NULL, NULL, &msg);
    else if (kind == 1 || !end_loan(to, data, size, &msg))
        err = nq_msg_new(data, size, &msg);
    if (err)
        end_die("message", err);
    nq_msg_set_correlation(msg, name);
    return msg;
}

static bool end_is_right(nq_msg *msg, uint64_t name)
{
    unsigned from = name >> 40 & 0xff;
    const unsigned char *right = end_content(name);
    size_t size = end_size(name);
    nq_view view;
    bool good = from < end.count && (name >> 32 & 0xff) == end.me && nq_msg_size(msg) == size &&
                nq_uuid_equal(nq_msg_sender(msg), &end.peers[from]);

    while (good && nq_stream_readchunk(nq_msg_stream(msg), &view) == NQ_OK) {
        good = memcmp(view.data, right, view.len) == 0;
        right += view.len;
        nq_view_release(&view);
    }
    return good;
}

/* ---- putting --------------------------------------------------------------------------------- */

static void end_settled(void *arg, nq_future *future)
{
    struct end_put *put = arg;
    nq_reason reason;
    nq_outcome outcome = nq_future_outcome(future, &reason);

    end_log("O %u %u %d %s", put->to, put->number, (int)outcome, nq_reason_text(reason));
    nq_future_free(future);
    free(put);
    pthread_mutex_lock(&end.lock);
    end.pending--;
    pthread_cond_broadcast(&end.changed);
    pthread_mutex_unlock(&end.lock);
}

static void end_track(nq_future *future, unsigned to, uint32_t number)
{
    struct end_put *put = malloc(sizeof(*put));
    nq_err err;

    if (!put)
        end_die("memory", NQ_ERR_NOMEM);
    *put = (struct end_put){&end, to, number};
    pthread_mutex_lock(&end.lock);
    end.pending++;
    pthread_mutex_unlock(&end.lock);
    err = nq_future_then(future, end_settled, put);
    if (err)
        end_die("future", err);
}

static bool end_is_tracked(uint32_t number)
{
    return number % END_UNTRACKED != 0;
}

/* @return false: nobody is there */
static bool end_put(unsigned to, uint32_t number)
{
    uint64_t name = end_name(end.me, end.life, to, number);
    bool tracked = end_is_tracked(number);
    nq_future *future = NULL;
    nq_msg *msg = end_msg(to, name, end_size(name));
    nq_err err;

    end_log("P %u %u %zu %d", to, number, end_size(name), tracked);
    err = nq_put(end.queue, msg, end.me ? NULL : &end.peers[to], end.me ? 0 : 1,
                 tracked ? &future : NULL);
    if (err == NQ_ERR_NO_PEER) {
        end_log("R %u %u", to, number);
        nq_msg_free(msg);
        return false;
    }
    if (err)
        end_die("put", err);
    if (tracked)
        end_track(future, to, number);
    return true;
}

/* Wait until a session with `to` began after the first `seen`.  @return how many did by now */
static unsigned end_await(unsigned to, unsigned seen)
{
    unsigned ups;

    pthread_mutex_lock(&end.lock);
    while (!end.stop && end.ups[to] == seen && end.me == 0)
        pthread_cond_wait(&end.changed, &end.lock);
    ups = end.ups[to];
    pthread_mutex_unlock(&end.lock);
    return ups;
}

static bool end_is_stopped(void)
{
    bool stop;

    pthread_mutex_lock(&end.lock);
    stop = end.stop;
    pthread_mutex_unlock(&end.lock);
    return stop;
}

/* The last one of `count` is a tracked one, if any: its outcome says that those before it arrived.
 * Else the other end may be told to close, and not get any more, while one is on its way of which
 * nobody waits to hear. */
static bool end_is_done(uint32_t count)
{
    if (end.bytes)
        return count == 1;
    return end_is_stopped() && (count == 0 || end_is_tracked(count));
}

static void *end_put_all(void *arg)
{
    unsigned to = (unsigned)(uintptr_t)arg, seen = end_await(to, 0);

    for (uint32_t count = 0; !end_is_done(count);) {
        if (!end_put(to, ++count))
            seen = end_await(to, seen);
    }
    return NULL;
}

/* ---- getting, events ------------------------------------------------------------------------- */

static void *end_get_all(void *arg)
{
    nq_msg *msg = NULL;
    nq_err err;

    (void)arg;
    while ((err = nq_get(end.queue, NULL, 0, NQ_FOREVER, &msg)) == NQ_OK) {
        uint64_t name = nq_msg_correlation(msg);

        end_log("A %u %u %u %d", (unsigned)(name >> 40 & 0xff), (unsigned)(name >> 48),
                (unsigned)(uint32_t)name, end_is_right(msg, name));
        nq_msg_free(msg);
    }
    if (err != NQ_END)
        end_die("get", err);
    return NULL;
}

static void end_note_up(const nq_uuid *peer)
{
    pthread_mutex_lock(&end.lock);
    for (unsigned i = 0; i < end.count; i++)
        if (nq_uuid_equal(peer, &end.peers[i]))
            end.ups[i]++;
    pthread_cond_broadcast(&end.changed);
    pthread_mutex_unlock(&end.lock);
}

static void *end_events(void *arg)
{
    struct nq_event event;
    char peer[NQ_UUID_TEXT];

    (void)arg;
    while (nq_event_get(end.queue, NQ_FOREVER, &event) == NQ_OK) {
        end_log("E %d %s %d %s", (int)event.kind, nq_uuid_format(&event.peer, peer),
                (int)event.reason, event.text);
        if (event.kind == NQ_EVENT_PEER_UP)
            end_note_up(&event.peer);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void end_options(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "c:l:m:i:b:p:q")) >= 0)
        switch (option) {
        case 'c':
            end.config = optarg;
            break;
        case 'l':
            end.log = optarg;
            break;
        case 'm':
            end.me = (unsigned)atoi(optarg);
            break;
        case 'i':
            end.life = (unsigned)atoi(optarg);
            break;
        case 'b':
            end.bytes = strtoull(optarg, NULL, 10);
            break;
        case 'q':
            end.quiet = true;
            break;
        case 'p':
            if (end.count < END_PEERS && nq_uuid_parse(optarg, &end.peers[end.count++]) == NQ_OK)
                break;
            /* fallthrough */
        default:
            exit(2);
        }
    if (!end.config || !end.log || end.me >= end.count)
        exit(2);
}

static pthread_t end_thread(void *(*run)(void *arg), unsigned arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, run, (void *)(uintptr_t)arg) != 0)
        end_die("thread", NQ_ERR_SYS);
    return thread;
}

/* No more puts, and every outcome is there. */
static void end_stop(const pthread_t *putters, unsigned count)
{
    pthread_mutex_lock(&end.lock);
    end.stop = true;
    pthread_cond_broadcast(&end.changed);
    pthread_mutex_unlock(&end.lock);
    for (unsigned i = 0; i < count; i++)
        pthread_join(putters[i], NULL);
    pthread_mutex_lock(&end.lock);
    while (end.pending)
        pthread_cond_wait(&end.changed, &end.lock);
    pthread_mutex_unlock(&end.lock);
    puts("settled");
    fflush(stdout);
}

static int end_close(void)
{
    struct nq_close_report report = {0};
    nq_err err = nq_close(end.queue, END_CLOSE_S * NQTEST_S, &report);

    if (err < 0)
        end_die("close", err);
    end_log("C %llu %llu %llu", (unsigned long long)report.delivered,
            (unsigned long long)report.not_delivered, (unsigned long long)report.unknown);
    return err == NQ_OK ? 0 : 3;
}

int main(int argc, char **argv)
{
    pthread_t putters[END_PEERS], getter, events;
    unsigned count = 0;
    char line[16];
    nq_err err;
    int code;

    nqtest_die_with(getppid());
    end_options(argc, argv);
    end.fd = open(end.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (end.fd < 0)
        end_die("log", NQ_ERR_SYS);
    end_log("L %u", end.life);
    end.noise = end_noise(end.bytes > END_LARGE ? (int64_t)end.bytes : END_LARGE);
    err = nq_open(end.config, &end.queue);
    if (err)
        end_die("open", err);
    puts("open");
    fflush(stdout);
    getter = end_thread(end_get_all, 0);
    events = end_thread(end_events, 0);
    for (unsigned i = end.me ? 0 : 1; i < (end.me ? 1 : end.count) && !end.quiet; i++)
        putters[count++] = end_thread(end_put_all, i);
    if (fgets(line, sizeof(line), stdin)) {
        end_stop(putters, count);
        while (fgets(line, sizeof(line), stdin))
            ;
    }
    code = end_close();
    pthread_join(getter, NULL);
    pthread_join(events, NULL);
    nq_free(end.queue);
    return code;
}
