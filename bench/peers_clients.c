/* The clients of the program peers: some processes, each with one thread and one epoll set for all
 * of its clients.  A queue is in the mode `manual`, so it has no thread of its own.
 *
 * A client sends back what it gets (spread), or only when all clients have got it (broadcast). */
#include "bench/peers.h"
#include "bench/report.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netqueue/netqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS_EVENTS 64
#define CLIENTS_AT_ONCE 8

struct client {
    nq_queue *queue; /* NULL = bare */
    int fd;          /* its socket */
    size_t have;     /* bytes of the message that is coming */
};

/* Is what came to be sent back? */
static bool client_answers(const struct peers *peers)
{
    if (peers->job == PEERS_SPREAD)
        return true;
    return (atomic_fetch_add(peers->heard, 1) + 1) % peers->peers == 0;
}

static void client_serve_queue(const struct peers *peers, nq_queue *queue)
{
    struct nq_event event;
    nq_msg *msg = NULL;
    nq_err err;

    /* It does what nq_poll() would, and what comes meanwhile need not be announced. */
    while ((err = nq_get(queue, NULL, 0, 0, &msg)) == NQ_OK) {
        if (!client_answers(peers))
            nq_msg_free(msg);
        else if (nq_put(queue, msg, NULL, 0, NULL) != NQ_OK)
            bench_die("client", nq_error());
    }
    /* An event that nobody takes keeps the descriptor readable. */
    while (err >= 0 && nq_event_get(queue, 0, &event) == NQ_OK)
        ;
    if (err < 0)
        bench_die("client", nq_error());
}

static void client_serve_socket(const struct peers *peers, struct client *client, char *buf)
{
    ssize_t n = recv(client->fd, buf, peers->size - client->have, MSG_DONTWAIT);

    if (n <= 0)
        return; /* the server goes first */
    client->have += (size_t)n;
    if (client->have < peers->size)
        return;
    client->have = 0;
    if (client_answers(peers) &&
        send(client->fd, buf, peers->size, MSG_NOSIGNAL) != (ssize_t)peers->size)
        bench_die("send", NULL);
}

static void client_watch(int set, int fd, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0)
        bench_die("epoll_ctl", NULL);
}

static void client_open_queue(const struct peers *peers, int set, struct client *client)
{
    char text[PEERS_CONFIG];

    peers_config(peers, "client", ", \"progress\": {\"mode\": \"manual\"}", text);
    if (nq_open_json(text, strlen(text), &client->queue) != NQ_OK || nq_fd(client->queue) < 0)
        bench_die("client", nq_error());
    client_watch(set, nq_fd(client->queue), client);
    client_serve_queue(peers, client->queue);
}

static void client_open_socket(const struct peers *peers, int set, struct client *client)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)peers->port)};
    int one = 1;

    client->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)) != 0)
        bench_die("connect", NULL);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    client_watch(set, client->fd, client);
}

/* A few at a time: who opens thousands in a row has none of them say hello meanwhile, and the
 * server sends strangers away that are silent. */
static int clients_open(const struct peers *peers, int set, int more)
{
    for (int i = 0; i < CLIENTS_AT_ONCE && more; i++, more--) {
        struct client *client = calloc(1, sizeof(*client)); /* until the process ends */

        if (!client)
            bench_die("memory", NULL);
        (peers->bare ? client_open_socket : client_open_queue)(peers, set, client);
    }
    return more;
}

/* @param orders  a pipe: how many clients to open next; at its end the kernel closes everything */
static _Noreturn void clients_run(const struct peers *peers, int orders)
{
    int set = epoll_create1(EPOLL_CLOEXEC);
    char *buf = bench_pages(peers->size);
    int more = 0;

    client_watch(set, orders, NULL);
    for (;;) {
        struct epoll_event events[CLIENTS_EVENTS];
        int n = epoll_wait(set, events, CLIENTS_EVENTS, more ? 0 : -1);

        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;

            if (!client && read(orders, &more, sizeof(more)) != (ssize_t)sizeof(more))
                _exit(0);
            else if (client && client->queue)
                client_serve_queue(peers, client->queue);
            else if (client)
                client_serve_socket(peers, client, buf);
        }
        more = clients_open(peers, set, more);
    }
}

void peers_fork(struct peers *peers)
{
    pid_t parent = getpid();

    fflush(stdout);
    for (int i = 0; i < PEERS_PROCESSES; i++) {
        int fds[2];

        if (pipe(fds) != 0 || (peers->processes[i] = fork()) < 0)
            bench_die("clients", NULL);
        if (peers->processes[i] == 0) {
            if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
                _exit(1);
            close(fds[1]);
            for (int k = 0; k < i; k++)
                close(peers->orders[k]);
            peers_pin(peers, 1);
            clients_run(peers, fds[0]);
        }
        close(fds[0]);
        peers->orders[i] = fds[1];
    }
}

void peers_order(const struct peers *peers, unsigned count)
{
    for (unsigned i = 0; i < PEERS_PROCESSES; i++) {
        int some = (int)(count / PEERS_PROCESSES + (i < count % PEERS_PROCESSES));

        if (some && write(peers->orders[i], &some, sizeof(some)) != (ssize_t)sizeof(some))
            bench_die("clients", NULL);
    }
}

void peers_end(struct peers *peers)
{
    for (int i = 0; i < PEERS_PROCESSES; i++)
        close(peers->orders[i]);
    for (int i = 0; i < PEERS_PROCESSES; i++)
        waitpid(peers->processes[i], NULL, 0);
}
