/* The program behind scripts/demo: four client processes put their files to a server process,
 * which stores them and then sends each client its own files back.
 *
 * A user of the library like any other.  The processes share one page of counters, from which the
 * first process draws its bars; everything else travels as messages.  A file is a message with its
 * name in the metadata; one without a name says how many files there were.
 *
 *     in/1..4 --put--> server: out/server/1..4 --put--> out/client/1..4
 *
 * Whoever calls compares the folders.  What is printed at the end: files, bytes and messages (both
 * ways), seconds. */
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/progress.h"
#include "tools/say.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEMO_CLIENTS 4
#define DEMO_PATH 4096
#define DEMO_DRAW_MS 100
#define DEMO_STUCK_NS (60 * NQI_NS_PER_S) /* no byte for so long: something hangs */
#define DEMO_CLOSE_NS (30 * NQI_NS_PER_S)

/* What came in on one way: written by the process that receives, read by the one that draws. */
struct demo_lane {
    _Atomic uint64_t bytes, files;
};

/* Shared by all processes; the totals are fixed before they start. */
struct demo_board {
    struct demo_lane up[DEMO_CLIENTS], down[DEMO_CLIENTS];
    uint64_t bytes[DEMO_CLIENTS], files[DEMO_CLIENTS];
};

struct demo {
    const char *transport, *options, *in, *out;
    struct demo_board *board;
    pid_t pids[DEMO_CLIENTS + 1]; /* the server is the last; 0 = ended */
};

static bool demo_path(char out[DEMO_PATH], const char *base, const char *name, int client)
{
    return snprintf(out, DEMO_PATH, "%s%s/%d", base, name, client + 1) < DEMO_PATH;
}

/* ---- one end of the queue --------------------------------------------------------------- */

/* Clients are 1 to 4, so that the server knows a sender by its last byte. */
static bool demo_open(const struct demo *demo, bool server, int id, nq_queue **ret)
{
    char text[2048];
    int len = snprintf(text, sizeof(text),
                       "{\"purpose\": \"%s\", \"id\": \"00000000-0000-4000-8000-00000000000%d\","
                       " \"transports\": [{\"transport\": \"%s\"%s%s}],"
                       " \"queue\": {\"bytes\": \"64MiB\", \"policy\": \"block\"}}",
                       server ? "server" : "client", id, demo->transport,
                       *demo->options ? ", " : "", demo->options);
    nq_err err;

    if (len < 0 || (size_t)len >= sizeof(text)) {
        nqi_say("the options are too long");
        return false;
    }
    err = nq_open_json(text, (size_t)len, ret);
    if (err != NQ_OK)
        nqi_say_error(err);
    return err == NQ_OK;
}

static bool demo_put(nq_queue *queue, nq_msg *msg, const nq_uuid *peer)
{
    nq_err err = nq_put(queue, msg, peer, peer ? 1 : 0, NULL);

    if (err == NQ_OK)
        return true;
    nqi_say_error(err);
    nq_msg_free(msg);
    return false;
}

static bool demo_put_file(nq_queue *queue, const struct nqi_input *file, const nq_uuid *peer)
{
    nq_msg *msg = NULL;
    int err = nqi_files_read(file->path, &msg);

    if (err == 0 && nq_msg_set_meta(msg, "name", file->name, strlen(file->name)) != NQ_OK)
        err = -ENOMEM;
    if (err == 0)
        return demo_put(queue, msg, peer);
    nqi_say_errno(file->path, -err);
    nq_msg_free(msg);
    return false;
}

/* The message after the last file. */
static bool demo_put_count(nq_queue *queue, uint64_t files, const nq_uuid *peer)
{
    nq_msg *msg = NULL;

    if (nq_msg_new("", 0, &msg) != NQ_OK) {
        nqi_say_error(NQ_ERR_NOMEM);
        return false;
    }
    nq_msg_set_correlation(msg, files);
    return demo_put(queue, msg, peer);
}

/* One message into the folder `dir`.  @return 1 = a file, 0 = all `lane` files are here, -1 */
static int demo_store(nq_msg *msg, int dir, struct demo_lane *lane)
{
    const void *name = NULL;
    size_t len = 0;
    int err;

    if (nq_msg_meta(msg, "name", &name, &len) != NQ_OK) {
        if (nq_msg_correlation(msg) == atomic_load(&lane->files))
            return 0;
        nqi_say("%" PRIu64 " files were sent, %" PRIu64 " came", nq_msg_correlation(msg),
                atomic_load(&lane->files));
        return -1;
    }
    if (nqi_files_name_fault(name, len)) {
        nqi_say("a file came with a name that is refused: %s", nqi_files_name_fault(name, len));
        return -1;
    }
    err = nqi_files_store(dir, name, len, msg, NQI_STORE_REPLACE);
    if (err) {
        nqi_say_errno("a file cannot be stored", -err);
        return -1;
    }
    atomic_fetch_add(&lane->bytes, nq_msg_size(msg));
    atomic_fetch_add(&lane->files, 1);
    return 1;
}

static bool demo_get(nq_queue *queue, nq_msg **ret)
{
    nq_err err = nq_get(queue, NULL, 0, NQ_FOREVER, ret);

    if (err == NQ_OK)
        return true;
    if (err == NQ_END)
        nqi_say("the queue was closed");
    else
        nqi_say_error(err);
    return false;
}

static bool demo_close(nq_queue *queue)
{
    struct nq_close_report report = {0};

    if (nq_close(queue, DEMO_CLOSE_NS, &report) == NQ_OK && !report.not_delivered &&
        !report.unknown)
        return true;
    nqi_say("%" PRIu64 " messages were not delivered, of %" PRIu64 " it is not known",
            report.not_delivered, report.unknown);
    return false;
}

static void demo_closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* ---- client ------------------------------------------------------------------------------ */

static bool demo_client_send(nq_queue *queue, char *folder)
{
    NQI_CLEANUP(nqi_inputs_fini) struct nqi_inputs files = {0};

    if (!nqi_inputs_list(&folder, 1, true, &files) || files.incomplete)
        return false;
    for (size_t i = 0; i < files.n; i++)
        if (!demo_put_file(queue, &files.items[i], NULL))
            return false;
    return demo_put_count(queue, files.n, NULL);
}

static bool demo_client(const struct demo *demo, int client)
{
    NQI_CLEANUP(nqi_queue_freep) nq_queue *queue = NULL;
    NQI_CLEANUP(demo_closep) int dir = -1;
    char in[DEMO_PATH], out[DEMO_PATH];
    int stored = 1;

    if (!demo_path(in, demo->in, "", client) || !demo_path(out, demo->out, "/client", client) ||
        nqi_files_open_dir(out, &dir) != 0)
        return false;
    if (!demo_open(demo, false, client + 1, &queue) || !demo_client_send(queue, in))
        return false;
    while (stored > 0) {
        NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;

        if (!demo_get(queue, &msg))
            return false;
        stored = demo_store(msg, dir, &demo->board->down[client]);
    }
    return stored == 0 && demo_close(queue);
}

/* ---- server ------------------------------------------------------------------------------ */

struct demo_back { /* what goes back to one client */
    struct nqi_inputs files;
    nq_uuid peer;
    int dir;
};

static void demo_backs_fini(struct demo_back (*backs)[DEMO_CLIENTS])
{
    for (int i = 0; i < DEMO_CLIENTS; i++) {
        nqi_inputs_fini(&(*backs)[i].files);
        demo_closep(&(*backs)[i].dir);
    }
}

/* Store what the clients send, until each has said that it was all. */
static bool demo_server_receive(const struct demo *demo, nq_queue *queue,
                                struct demo_back backs[DEMO_CLIENTS])
{
    for (int left = DEMO_CLIENTS; left > 0;) {
        NQI_CLEANUP(nqi_msg_freep) nq_msg *msg = NULL;
        int client, stored;

        if (!demo_get(queue, &msg))
            return false;
        client = nq_msg_sender(msg)->bytes[15] - 1;
        if (client < 0 || client >= DEMO_CLIENTS)
            return false;
        backs[client].peer = *nq_msg_sender(msg);
        stored = demo_store(msg, backs[client].dir, &demo->board->up[client]);
        if (stored < 0)
            return false;
        left -= stored == 0;
    }
    return true;
}

/* In turn, so that all clients receive at once. */
static bool demo_server_send(nq_queue *queue, struct demo_back backs[DEMO_CLIENTS])
{
    bool more = true;

    for (size_t file = 0; more; file++) {
        more = false;
        for (int i = 0; i < DEMO_CLIENTS; i++) {
            const struct demo_back *back = &backs[i];

            if (file < back->files.n &&
                !demo_put_file(queue, &back->files.items[file], &back->peer))
                return false;
            if (file == back->files.n && !demo_put_count(queue, file, &back->peer))
                return false;
            more |= file < back->files.n;
        }
    }
    return true;
}

static bool demo_server(const struct demo *demo)
{
    NQI_CLEANUP(demo_backs_fini) struct demo_back backs[DEMO_CLIENTS];
    NQI_CLEANUP(nqi_queue_freep) nq_queue *queue = NULL;
    char path[DEMO_PATH], *folder = path;

    memset(backs, 0, sizeof(backs));
    for (int i = 0; i < DEMO_CLIENTS; i++)
        backs[i].dir = -1;
    for (int i = 0; i < DEMO_CLIENTS; i++)
        if (!demo_path(path, demo->out, "/server", i) ||
            nqi_files_open_dir(path, &backs[i].dir) != 0)
            return false;
    if (!demo_open(demo, true, 0, &queue) || !demo_server_receive(demo, queue, backs))
        return false;
    for (int i = 0; i < DEMO_CLIENTS; i++)
        if (!demo_path(path, demo->out, "/server", i) ||
            !nqi_inputs_list(&folder, 1, true, &backs[i].files) || backs[i].files.incomplete)
            return false;
    return demo_server_send(queue, backs) && demo_close(queue);
}

/* ---- the first process: starts the others, draws, waits ------------------------------------ */

static uint64_t demo_sum(const struct demo_board *board)
{
    uint64_t sum = 0;

    for (int i = 0; i < DEMO_CLIENTS; i++)
        sum += atomic_load(&board->up[i].bytes) + atomic_load(&board->down[i].bytes);
    return sum;
}

static void demo_bar(const char *what, uint64_t done, uint64_t total)
{
    static const char cells[] = "##############################";
    double share = total ? (double)done / (double)total : 1;
    int full = (int)(share * 30);

    fprintf(stderr, "%s [%.*s%*s] %3.0f%%", what, full, cells, 30 - full, "", share * 100);
}

/* One line a client; `again` first goes back up over the lines drawn last. */
static void demo_draw(const struct demo_board *board, bool again)
{
    if (again)
        fprintf(stderr, "\033[%dA", DEMO_CLIENTS);
    for (int i = 0; i < DEMO_CLIENTS; i++) {
        fprintf(stderr, "\r   client %d", i + 1);
        demo_bar("  to the server", atomic_load(&board->up[i].bytes), board->bytes[i]);
        demo_bar("  and back", atomic_load(&board->down[i].bytes), board->bytes[i]);
        fputs("\033[K\n", stderr);
    }
    fflush(stderr);
}

static bool demo_start(struct demo *demo, int i)
{
    pid_t parent = getpid();
    bool ok;

    demo->pids[i] = fork();
    if (demo->pids[i] != 0)
        return demo->pids[i] > 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing is left behind when the first process dies */
    if (getppid() != parent)
        _exit(1);
    ok = i == DEMO_CLIENTS ? demo_server(demo) : demo_client(demo, i);
    if (!ok)
        nqi_say(i == DEMO_CLIENTS ? "the server failed" : "client %d failed", i + 1);
    exit(ok ? 0 : 1);
}

/* Collect what has ended.  @return processes that still run, -1 when one failed */
static int demo_reap(struct demo *demo)
{
    int running = 0;

    for (int i = 0; i <= DEMO_CLIENTS; i++) {
        int status = 0;

        if (demo->pids[i] > 0 && waitpid(demo->pids[i], &status, WNOHANG) == demo->pids[i]) {
            demo->pids[i] = 0;
            if (WIFSIGNALED(status))
                nqi_say("a process was ended by signal %d", WTERMSIG(status));
            if (status != 0)
                return -1;
        }
        running += demo->pids[i] > 0;
    }
    return running;
}

static void demo_kill(struct demo *demo)
{
    for (int i = 0; i <= DEMO_CLIENTS; i++)
        if (demo->pids[i] > 0) {
            kill(demo->pids[i], SIGKILL);
            waitpid(demo->pids[i], NULL, 0);
        }
}

/* Until all have ended; draws on a terminal.  SIGCHLD ends the pause early. */
static bool demo_wait(struct demo *demo)
{
    bool bars = isatty(STDERR_FILENO);
    int64_t moved_ns = nqi_now_ns();
    uint64_t sum = 0;
    int running;

    if (bars)
        demo_draw(demo->board, false);
    while ((running = demo_reap(demo)) > 0) {
        uint64_t now = demo_sum(demo->board);

        if (now != sum)
            moved_ns = nqi_now_ns();
        sum = now;
        if (nqi_now_ns() - moved_ns > DEMO_STUCK_NS) {
            nqi_say("nothing has moved for a minute");
            return false;
        }
        (void)poll(NULL, 0, DEMO_DRAW_MS);
        if (bars)
            demo_draw(demo->board, true);
    }
    return running == 0;
}

/* The pause must end when a process does, so that it is not counted as time of transfer. */
static void demo_nothing(int signal)
{
    (void)signal;
}

static bool demo_run(struct demo *demo, double *seconds)
{
    struct sigaction action = {.sa_handler = demo_nothing};
    int64_t began_ns = nqi_now_ns();
    bool ok = true;

    sigaction(SIGCHLD, &action, NULL);
    for (int i = DEMO_CLIENTS; ok && i >= 0; i--)
        ok = demo_start(demo, i);
    ok = ok && demo_wait(demo);
    *seconds = (double)(nqi_now_ns() - began_ns) / 1e9;
    demo_kill(demo);
    return ok;
}

/* Count what there is to do, and make the folders that the processes open. */
static bool demo_prepare(struct demo *demo)
{
    static const char *const folders[] = {"", "/server", "/client"};
    char path[DEMO_PATH], *folder = path;

    demo->board =
        mmap(NULL, sizeof(*demo->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (demo->board == MAP_FAILED)
        return false;
    for (size_t i = 0; i < NQI_LEN(folders); i++)
        if (snprintf(path, sizeof(path), "%s%s", demo->out, folders[i]) >= DEMO_PATH ||
            (mkdir(path, 0777) != 0 && errno != EEXIST)) {
            nqi_say_errno(path, errno);
            return false;
        }
    for (int i = 0; i < DEMO_CLIENTS; i++) {
        NQI_CLEANUP(nqi_inputs_fini) struct nqi_inputs files = {0};

        if (!demo_path(path, demo->in, "", i) || !nqi_inputs_list(&folder, 1, true, &files))
            return false;
        if (files.incomplete || files.n == 0) {
            nqi_say("%s: no files, or not all of them can be read", path);
            return false;
        }
        demo->board->bytes[i] = files.bytes;
        demo->board->files[i] = files.n;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct demo demo = {0};
    uint64_t files = 0;
    double seconds = 0;

    if (argc != 5) {
        fputs("usage: demo TRANSPORT OPTIONS IN OUT\n"
              "OPTIONS are members of the transport's JSON object; IN has the folders 1 to 4,\n"
              "OUT must not exist.  scripts/demo calls this.\n",
              stderr);
        return NQI_EXIT_USAGE;
    }
    demo.transport = argv[1];
    demo.options = argv[2];
    demo.in = argv[3];
    demo.out = argv[4];
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ); /* lines of several processes stay whole */
    nqi_say_command("demo");
    if (!demo_prepare(&demo) || !demo_run(&demo, &seconds))
        return NQI_EXIT_FAILED;
    for (int i = 0; i < DEMO_CLIENTS; i++)
        files += demo.board->files[i];
    printf("%" PRIu64 " %" PRIu64 " %" PRIu64 " %.3f\n", files, demo_sum(demo.board), 2 * files,
           seconds);
    return NQI_EXIT_OK;
}
