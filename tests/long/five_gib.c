/* One message of more than 5 GiB, in one piece of memory, arrives whole.
 *
 * Every length on its way must have 64 bits: the chunk, the iovecs (one write takes at
 * most 2 GiB), the records, the reassembly.  The payload costs no memory here: it is
 * 4 MiB blocks that map one 16 MiB file of noise at changing offsets, each behind a page
 * of its own.  So the content depends on the position, and the receiver, which has the
 * same mapping, compares byte by byte, chunk by chunk. */
#include "tests/long/long.h"
#include <netqueue/netqueue.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define FIVE_SIZE (5 * NQTEST_GIB + 12345)
#define FIVE_PAGE 4096
#define FIVE_NOISE (16 * NQTEST_MIB)
#define FIVE_BLOCK (4 * NQTEST_MIB)
#define FIVE_BLOCKS ((FIVE_SIZE + FIVE_BLOCK - 1) / FIVE_BLOCK)
#define FIVE_TIMEOUT_S 600
#define FIVE_TAIL "after the large one"

/* ---- the payload ------------------------------------------------------------------- */

static uint64_t five_noise(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* A file in memory of `len` bytes, word i being noise of `seed` + i. */
static int five_file(const char *name, size_t len, uint64_t seed)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    uint64_t *words;

    if (fd < 0 || ftruncate(fd, (off_t)len) != 0)
        nqtest_bail("memory", NULL);
    words = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (words == MAP_FAILED)
        nqtest_bail("memory", NULL);
    for (size_t i = 0; i < len / sizeof(*words); i++)
        words[i] = five_noise(seed + i);
    munmap(words, len);
    return fd;
}

static void five_map(unsigned char *at, size_t len, int fd, int64_t offset)
{
    if (mmap(at, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
        nqtest_bail("mmap", NULL);
}

static unsigned char *five_payload(void)
{
    size_t body = FIVE_BLOCK - FIVE_PAGE;
    int noise = five_file("noise", FIVE_NOISE, 0);
    int stamps = five_file("stamps", FIVE_BLOCKS * FIVE_PAGE, UINT64_C(1) << 40);
    unsigned char *all = mmap(NULL, FIVE_BLOCKS * FIVE_BLOCK, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int64_t places = (int64_t)(FIVE_NOISE - (int64_t)body) / FIVE_PAGE;

    if (all == MAP_FAILED)
        nqtest_bail("mmap", NULL);
    for (int64_t k = 0; k < FIVE_BLOCKS; k++) {
        five_map(all + k * FIVE_BLOCK, FIVE_PAGE, stamps, k * FIVE_PAGE);
        five_map(all + k * FIVE_BLOCK + FIVE_PAGE, body, noise, k * 61 % places * FIVE_PAGE);
    }
    close(noise);
    close(stamps);
    return all;
}

/* ---- both sides ---------------------------------------------------------------------- */

static nq_queue *five_open(const char *purpose, unsigned port)
{
    nq_queue *queue = NULL;
    char json[512];
    int len = snprintf(json, sizeof(json),
                       "{\"purpose\": \"%s\", \"transport\": \"tcp\", \"host\": \"127.0.0.1\", "
                       "\"port\": %u, \"queue\": {\"policy\": \"block\"}, "
                       "\"limits\": {\"max_message\": \"6GiB\", \"memory\": \"8GiB\"}}",
                       purpose, port);

    if (nq_open_json(json, (size_t)len, &queue) != NQ_OK)
        nqtest_bail(purpose, nq_error());
    return queue;
}

static nq_future *five_put(nq_queue *queue, nq_msg *msg, const char *what)
{
    nq_future *future = NULL;
    nq_err err = nq_put(queue, msg, NULL, 0, &future);

    if (err != NQ_OK)
        nqtest_bail(what, err < 0 ? nq_error() : nq_strerror(err));
    return future;
}

/* Exit code 0 when both messages are acknowledged.  The second put waits until the first
 * message, which is larger than the whole queue, has left it. */
static int five_send(unsigned char *payload, unsigned port)
{
    nq_queue *queue = five_open("client", port);
    nq_future *future[2];
    nq_msg *large = NULL, *small = NULL;
    int bad = 0;

    if (nq_msg_wrap(payload, FIVE_SIZE, NULL, NULL, &large) != NQ_OK ||
        nq_msg_new(FIVE_TAIL, sizeof(FIVE_TAIL), &small) != NQ_OK)
        nqtest_bail("message", nq_error());
    future[0] = five_put(queue, large, "put of the large message");
    future[1] = five_put(queue, small, "put of the small message");
    for (int i = 0; i < 2; i++) {
        nq_reason reason = NQ_REASON_NONE;
        bool settled = nq_future_wait(future[i], FIVE_TIMEOUT_S * NQTEST_S) == NQ_OK;
        nq_outcome outcome = nq_future_outcome(future[i], &reason);

        if (!settled || outcome != NQ_DELIVERED) {
            nqtest_note("message %d: %s, %s", i, nq_outcome_text(outcome), nq_reason_text(reason));
            bad = 1;
        }
        nq_future_free(future[i]);
    }
    if (nq_close(queue, 30 * NQTEST_S, NULL) != NQ_OK)
        bad = 1;
    nq_free(queue);
    return bad;
}

/* Compare chunk by chunk, releasing each.  @return bytes that were right in a row */
static int64_t five_compare(nq_msg *msg, const unsigned char *payload)
{
    nq_stream *stream = nq_msg_stream(msg);
    int64_t at = 0;
    nq_view view;
    bool good = true;

    while (good && nq_stream_readchunk(stream, &view) == NQ_OK) {
        good =
            at + (int64_t)view.len <= FIVE_SIZE && memcmp(view.data, payload + at, view.len) == 0;
        if (good)
            at += (int64_t)view.len;
        nq_view_release(&view);
    }
    return at;
}

/* The large message, in FIVE_TIMEOUT_S and while the sender lives. */
static nq_msg *five_get(nq_queue *queue, pid_t child)
{
    nq_msg *msg = NULL;
    nq_err err = NQ_AGAIN;

    for (int i = 0; i < FIVE_TIMEOUT_S && err == NQ_AGAIN; i++) {
        err = nq_get(queue, NULL, 0, NQTEST_S, &msg);
        if (err == NQ_AGAIN && waitpid(child, NULL, WNOHANG) != 0)
            nqtest_bail("sender", "ended before its message arrived");
    }
    if (err != NQ_OK)
        nqtest_bail("get", err < 0 ? nq_error() : nq_strerror(err));
    return msg;
}

static void five_receive(struct nqtest_tap *tap, nq_queue *queue, const unsigned char *payload,
                         pid_t child)
{
    int64_t start = nqtest_now_ns(), at;
    nq_msg *msg = five_get(queue, child);
    double seconds = (double)(nqtest_now_ns() - start) / 1e9;
    nq_err err;

    nqtest_note("%.1f s, %.2f GB/s, %lld MiB of memory", seconds, (double)FIVE_SIZE / seconds / 1e9,
                (long long)nqtest_proc_value("/proc/self/status", "VmHWM:") / 1024);
    nqtest_ok(tap, nq_msg_size(msg) == FIVE_SIZE, "its size is right: %llu bytes",
              (unsigned long long)nq_msg_size(msg));
    at = five_compare(msg, payload);
    nqtest_ok(tap, at == FIVE_SIZE, "every byte is right: %lld of them", (long long)at);
    nq_msg_free(msg);

    msg = NULL;
    err = nq_get(queue, NULL, 0, 30 * NQTEST_S, &msg);
    nqtest_ok(tap, err == NQ_OK && nq_msg_size(msg) == sizeof(FIVE_TAIL),
              "the message behind it follows");
    nq_msg_free(msg);
}

/* Serve until the sender has ended; its acknowledgements need somebody to drive. */
static int five_wait(nq_queue *queue, pid_t child)
{
    int status = 0;
    nq_msg *msg = NULL;

    while (waitpid(child, &status, WNOHANG) == 0)
        if (nq_get(queue, NULL, 0, NQTEST_S / 10, &msg) == NQ_OK)
            nq_msg_free(msg);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void)
{
    struct nqtest_tap tap = {0};
    unsigned char *payload;
    unsigned port = nqtest_free_port();
    nq_queue *queue;
    pid_t parent = getpid(), child;

    if (nqtest_proc_value("/proc/meminfo", "MemAvailable:") < 6 * NQTEST_MIB) /* it is in KiB */
        nqtest_skip_all("less than 6 GiB of memory are available");
    payload = five_payload();
    child = fork();
    if (child < 0)
        nqtest_bail("fork", NULL);
    if (child == 0) {
        nqtest_die_with(parent);
        exit(five_send(payload, port));
    }
    queue = five_open("server", port);
    five_receive(&tap, queue, payload, child);
    nqtest_ok(&tap, five_wait(queue, child) == 0, "the sender is told that both were delivered");
    if (nq_close(queue, NQTEST_S, NULL) < 0)
        nqtest_bail("close", nq_error());
    nq_free(queue);
    return nqtest_done(&tap);
}
