/* The transports differ in their place only: a name of the process, a port of this process, a
 * socket in a folder of its own, a name on the broker that each test starts. */
#include "tests/support/queue.h"
#include "tests/support/broker.h"
#include "tests/support/certs.h"
#include "tests/support/port.h"
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 2048

static char place[768];
static unsigned place_count;

/* ---- opening ---- */

nq_err nqtest_try_open(nq_queue **ret, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ck_assert(len > 0 && (size_t)len < sizeof(text));
    for (char *at = text; *at; at++)
        if (*at == '\'')
            *at = '"';
    return nq_open_json(text, (size_t)len, ret);
}

nq_queue *nqtest_open(const char *format, ...)
{
    char text[TEXT_MAX];
    nq_queue *queue = NULL;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ck_assert_msg(nqtest_try_open(&queue, "%s", text) == NQ_OK, "%s\n%s", text, nq_error());
    return queue;
}

static char folder[] = "/tmp/nqtest-XXXXXX";
static pid_t folder_owner;

/* Servers remove their sockets. */
static void queue_remove_folder(void)
{
    if (getpid() == folder_owner)
        (void)rmdir(folder);
}

/* A folder of this process, for sockets; it goes with the process. */
static const char *queue_folder(void)
{
    if (folder_owner == getpid())
        return folder;
    memcpy(folder + sizeof(folder) - sizeof("XXXXXX"), "XXXXXX", sizeof("XXXXXX"));
    ck_assert_ptr_nonnull(mkdtemp(folder));
    folder_owner = getpid();
    atexit(queue_remove_folder);
    return folder;
}

/* Is there a plugin of that name where the tests look for plugins? */
static bool queue_has_plugin(const char *name)
{
    const char *at = getenv("NETQUEUE_PLUGIN_PATH");
    char path[1024];

    while (at && *at) {
        size_t len = strcspn(at, ":");

        snprintf(path, sizeof(path), "%.*s/%s.so", (int)len, at, name);
        if (access(path, R_OK) == 0)
            return true;
        at += len + (at[len] == ':');
    }
    return false;
}

static struct {
    const char *name[6];
    int count;
    int tls; /* which of them is tcp with TLS */
} transports = {.name = {[NQTEST_LOOP] = "loop", [NQTEST_TCP] = "tcp"}};

int nqtest_transports(void)
{
    if (transports.count)
        return transports.count;
    transports.count = NQTEST_TCP + 1;
    if (queue_has_plugin("shm"))
        transports.name[transports.count++] = "shm";
    if (queue_has_plugin("grpc"))
        transports.name[transports.count++] = "grpc";
    if (queue_has_plugin("mqtt") && nqtest_broker_installed())
        transports.name[transports.count++] = "mqtt";
    else if (queue_has_plugin("mqtt"))
        puts("# mosquitto is not installed: nothing runs over mqtt");
    nqtest_certs_make();
    transports.tls = transports.count;
    transports.name[transports.count++] = "tcp";
    return transports.count;
}

const char *nqtest_transport_name(int transport)
{
    ck_assert_int_lt(transport, nqtest_transports());
    return transports.name[transport];
}

int nqtest_transport_of(const char *name)
{
    for (int i = 0; i < nqtest_transports(); i++)
        if (strcmp(transports.name[i], name) == 0)
            return i;
    return -1;
}

/* Both sides have the same certificate, and want to see the other's. */
static const char *queue_tls(void)
{
    static char text[512];

    snprintf(text, sizeof(text), ", 'tls': {'ca': '%s', 'cert': '%s', 'key': '%s'}",
             nqtest_certs[NQTEST_CA_PEM], nqtest_certs[NQTEST_SERVER_PEM],
             nqtest_certs[NQTEST_SERVER_KEY]);
    return text;
}

void nqtest_choose_place(int transport)
{
    if (transport == NQTEST_OUTSIDE)
        snprintf(place, sizeof(place), "'transport': 'unixsock', 'path': '%s/place-%u'",
                 queue_folder(), ++place_count);
    else if (transport == NQTEST_LOOP)
        snprintf(place, sizeof(place), "'transport': 'loop', 'name': 'place-%u'", ++place_count);
    else if (transport == nqtest_transport_of("shm"))
        snprintf(place, sizeof(place), "'transport': 'shm', 'path': '%s/place-%u'", queue_folder(),
                 ++place_count);
    else if (transport == nqtest_transport_of("mqtt"))
        snprintf(place, sizeof(place), "'transport': 'mqtt', 'port': %u, 'server': 'place-%u'",
                 nqtest_broker(""), ++place_count);
    else
        snprintf(place, sizeof(place), "'transport': '%s', 'host': '127.0.0.1', 'port': %u%s",
                 nqtest_transport_name(transport), nqtest_free_port(),
                 transport == transports.tls ? queue_tls() : "");
}

const char *nqtest_place(void)
{
    return place;
}

int nqtest_knock_from(uint32_t source)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                       from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port;

    ck_assert_int_eq(sscanf(strstr(place, "'port': "), "'port': %u", &port), 1);
    addr.sin_port = htons((uint16_t)port);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

int nqtest_knock(void)
{
    return nqtest_knock_from(INADDR_LOOPBACK);
}

nq_queue *nqtest_server_again(const char *more)
{
    return nqtest_open("{'purpose': 'server', 'id': '%s', %s%s}", NQTEST_SERVER, place, more);
}

nq_queue *nqtest_server(int transport, const char *more)
{
    nqtest_choose_place(transport);
    return nqtest_server_again(more);
}

nq_queue *nqtest_client(const char *more)
{
    return nqtest_open("{'purpose': 'client', %s%s}", place, more);
}

nq_queue *nqtest_join(nq_queue *server, const char *more)
{
    nq_queue *client = nqtest_client(more);

    nqtest_event(client, NQ_EVENT_PEER_UP);
    nqtest_event(server, NQ_EVENT_PEER_UP);
    return client;
}

nq_uuid nqtest_id(unsigned n)
{
    char text[NQ_UUID_TEXT];
    nq_uuid id;

    snprintf(text, sizeof(text), NQTEST_ID, n);
    ck_assert_int_eq(nq_uuid_parse(text, &id), NQ_OK);
    return id;
}

/* ---- messages ---- */

nq_msg *nqtest_msg(const char *text)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_new(text, strlen(text), &msg), NQ_OK);
    return msg;
}

static void queue_fill_noise(unsigned char *data, size_t size, uint64_t seed)
{
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;

    for (size_t i = 0; i < size; i++) {
        if (i % 8 == 0) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        data[i] = (unsigned char)(x >> i % 8 * 8);
    }
}

nq_msg *nqtest_noise(size_t size, uint64_t seed)
{
    nq_msg *msg = NULL;
    void *data;

    ck_assert_int_eq(nq_msg_alloc(size, &data, &msg), NQ_OK);
    queue_fill_noise(data, size, seed);
    return msg;
}

void nqtest_check_noise(nq_msg *msg, size_t size, uint64_t seed)
{
    unsigned char *want = malloc(size + 1);
    const void *data;
    size_t len;

    ck_assert_ptr_nonnull(want);
    queue_fill_noise(want, size, seed);
    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, size);
    ck_assert_int_eq(size ? memcmp(data, want, size) : 0, 0);
    free(want);
}

nq_msg *nqtest_number(uint64_t number)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_new(&number, sizeof(number), &msg), NQ_OK);
    return msg;
}

uint64_t nqtest_number_of(nq_msg *msg)
{
    const void *data;
    uint64_t number;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_uint_eq(len, sizeof(number));
    memcpy(&number, data, sizeof(number));
    return number;
}

void nqtest_put(nq_queue *queue, nq_msg *msg)
{
    ck_assert_int_eq(nq_put(queue, msg, NULL, 0, NULL), NQ_OK);
}

nq_future *nqtest_put_future(nq_queue *queue, nq_msg *msg)
{
    nq_future *future = NULL;

    ck_assert_int_eq(nq_put(queue, msg, NULL, 0, &future), NQ_OK);
    ck_assert_ptr_nonnull(future);
    return future;
}

nq_msg *nqtest_get(nq_queue *queue)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_get(queue, NULL, 0, NQTEST_WAIT, &msg), NQ_OK);
    ck_assert_ptr_nonnull(msg);
    return msg;
}

void nqtest_get_text(nq_queue *queue, const char *text)
{
    nq_msg *msg = nqtest_get(queue);
    const void *data;
    size_t len;

    ck_assert_int_eq(nq_msg_data(msg, &data, &len), NQ_OK);
    ck_assert_msg(len == strlen(text) && memcmp(data, text, len) == 0, "got \"%.*s\", not \"%s\"",
                  (int)len, (const char *)data, text);
    nq_msg_free(msg);
}

uint64_t nqtest_get_number(nq_queue *queue)
{
    nq_msg *msg = nqtest_get(queue);
    uint64_t number = nqtest_number_of(msg);

    nq_msg_free(msg);
    return number;
}

nq_outcome nqtest_outcome(nq_future *future, nq_reason *reason)
{
    nq_outcome outcome;

    ck_assert_int_eq(nq_future_wait(future, NQTEST_WAIT), NQ_OK);
    ck_assert_int_eq(nq_future_poll(future), NQ_OK);
    outcome = nq_future_outcome(future, reason);
    nq_future_free(future);
    return outcome;
}

/* ---- events and counters ---- */

struct nq_event nqtest_event(nq_queue *queue, nq_event_kind kind)
{
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    struct nq_event event = {0};

    do {
        int64_t left = until - nqtest_clock();

        ck_assert_msg(left > 0 && nq_event_get(queue, left, &event) == NQ_OK, "no event \"%s\"",
                      nq_event_text(kind));
    } while (event.kind != kind);
    return event;
}

unsigned nqtest_drain_events(nq_queue *queue, nq_event_kind kind)
{
    struct nq_event event;
    unsigned count = 0;

    while (nq_event_get(queue, 0, &event) == NQ_OK)
        count += event.kind == kind;
    return count;
}

struct nq_stats nqtest_stats(nq_queue *queue)
{
    struct nq_stats stats;

    ck_assert_int_eq(nq_stats(queue, &stats), NQ_OK);
    return stats;
}

void nqtest_drive_until(nq_queue *queue, uint64_t (*look)(nq_queue *queue), uint64_t value)
{
    static const nq_uuid nobody = {{0xff}};
    int64_t until = nqtest_clock() + NQTEST_WAIT;
    nq_msg *msg;

    while (look(queue) < value) {
        /* A message that cannot come: this drives the loop, one turn at least. */
        ck_assert_int_ge(nq_get(queue, &nobody, 1, NQTEST_MS, &msg), 0);
        ck_assert_msg(nqtest_clock() < until, "still %llu, not %llu",
                      (unsigned long long)look(queue), (unsigned long long)value);
    }
}

void nqtest_end(nq_queue *queue)
{
    ck_assert_int_eq(nq_close(queue, NQTEST_WAIT, NULL), NQ_OK);
    nq_free(queue);
}

void nqtest_part(nq_queue *server, nq_queue *client)
{
    (void)!nq_close(client, 0, NULL);
    while (nqtest_stats(server).links || nqtest_stats(client).links) {
        ck_assert_int_ge(nq_poll(server), 0);
        ck_assert_int_ge(nq_poll(client), 0);
    }
    nq_free(client);
}

/* ---- memory that tells when it is released ---- */

static void block_released(void *arg, void *data, size_t len)
{
    struct nqtest_block *block = arg;

    ck_assert_ptr_eq(data, block->data);
    ck_assert_uint_eq(len, block->size);
    block->released++;
}

void nqtest_block_init(struct nqtest_block *block, size_t size)
{
    block->data = malloc(size);
    block->size = size;
    block->released = 0;
    ck_assert_ptr_nonnull(block->data);
    queue_fill_noise(block->data, size, size);
}

nq_msg *nqtest_block_msg(struct nqtest_block *block)
{
    nq_msg *msg = NULL;

    ck_assert_int_eq(nq_msg_wrap(block->data, block->size, block_released, block, &msg), NQ_OK);
    return msg;
}

void nqtest_block_fini(struct nqtest_block *block)
{
    free(block->data);
}

/* ---- the process ---- */

void nqtest_end_thread(pthread_t thread)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    ck_assert_int_eq(pthread_timedjoin_np(thread, NULL, &until), 0);
}

static bool thread_is_asleep(pid_t thread)
{
    char path[64], state = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)thread);
    file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
    fclose(file);
    return state == 'S';
}

void nqtest_until_asleep(const _Atomic pid_t *thread)
{
    while (!*thread || !thread_is_asleep(*thread))
        sched_yield();
}

unsigned nqtest_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

int64_t nqtest_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void nqtest_until_descriptors(unsigned most)
{
    int64_t end = nqtest_clock() + NQTEST_WAIT;

    while (nqtest_descriptors() > most && nqtest_clock() < end)
        sched_yield();
    ck_assert_uint_le(nqtest_descriptors(), most);
}
