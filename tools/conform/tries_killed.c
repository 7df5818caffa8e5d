/* A peer process that is killed in the midst.  See try.h.
 *
 * The peer is forked before anything of the transport runs: not every library bears being used on
 * both sides of a fork. */
#include "tools/conform/try.h"
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MUCH (UINT64_C(1) << 40) /* never gets through */
#define SOME (100 << 10)

/* ---- words between two processes ------------------------------------------------------------- */

struct wire {
    int fd; /* of a pair of sockets, which does not block */
    char word[256];
    size_t n;
    bool over;
};

static void say(const struct wire *wire, const char *word)
{
    ssize_t len = (ssize_t)strlen(word) + 1;

    NQTEST_MUST(NONE, send(wire->fd, word, (size_t)len, MSG_NOSIGNAL) == len, "the peer has ended");
}

/* The next word has come, or none comes any more. */
static bool has_word(const void *arg)
{
    struct wire *wire = (struct wire *)(uintptr_t)arg;
    ssize_t got = 1;

    while (got > 0 && (!wire->n || wire->word[wire->n - 1]) && wire->n < sizeof(wire->word)) {
        got = recv(wire->fd, wire->word + wire->n, 1, 0);
        wire->n += got > 0;
    }
    wire->over = got == 0;
    return wire->over || (wire->n && !wire->word[wire->n - 1]);
}

static bool hear(struct wire *wire)
{
    wire->n = 0;
    while (!has_word(wire))
        nqtest_turn(5);
    return !wire->over;
}

/* ---- the peer ------------------------------------------------------------------------------- */

static _Noreturn void send_for_ever(struct nqtest_link *link)
{
    nqtest_push(link, MUCH, 10000, 1, 8);
    for (;;)
        nqtest_turn(100);
}

static _Noreturn void be_client(struct wire *wire)
{
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    struct nqtest_ep server = {.host = host}, *ep = NULL;
    struct nqtest_link *link;

    if (!hear(wire))
        _exit(0);
    memcpy(server.name, wire->word, sizeof(server.name) - 1);
    if (nqtest_ep_open(host, false, nqtest_with_port(nqtest_tested->client, &server), &ep, NULL))
        _exit(0);
    link = nqtest_connect(ep, NULL);
    while (link && !link->ups && !link->downs)
        nqtest_turn(5);
    if (!link || !link->ups)
        _exit(0);
    say(wire, "up");
    if (hear(wire))
        send_for_ever(link);
    _exit(0);
}

static _Noreturn void be_server(struct wire *wire)
{
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    struct nqtest_ep *ep = NULL;

    if (nqtest_ep_open(host, true, nqtest_tested->server, &ep, NULL))
        _exit(0);
    while (!ep->ups)
        nqtest_turn(5);
    say(wire, ep->name);
    while (!nqtest_has_accepted(ep))
        nqtest_turn(5);
    send_for_ever(ep->accepted[0]);
}

static pid_t start_peer(void (*be)(struct wire *wire), struct wire *ret)
{
    int ends[2];
    pid_t pid;

    NQTEST_COMPARE(NONE, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                   ==, 0);
    pid = fork();
    NQTEST_COMPARE(NONE, pid, >=, 0);
    *ret = (struct wire){.fd = ends[pid == 0]};
    close(ends[pid != 0]);
    if (pid)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    be(ret);
    _exit(0);
}

/* ---- this side --------------------------------------------------------------------------------
 */

static bool has_received_some(const void *link)
{
    return ((const struct nqtest_link *)link)->received >= SOME;
}

/* What came is a prefix, which is looked at as it comes. */
static void kill_in_the_midst(pid_t peer, struct nqtest_link *link)
{
    nqtest_until_or(NQTEST_RULE_BYTES, has_received_some, link, "what another process sends");
    NQTEST_COMPARE(NONE, kill(peer, SIGKILL), ==, 0);
    NQTEST_COMPARE(NONE, waitpid(peer, NULL, 0), ==, peer);
    nqtest_until_or(NQTEST_RULE_NONE, nqtest_is_down, link, "LINK_DOWN");
}

static bool has_two(const void *ep)
{
    const struct nqtest_ep *own = ep;

    return own->naccepted >= 2 && own->accepted[1]->ups;
}

/* A client of this process. */
static struct nqtest_link *connect_here(const struct nqtest_ep *server)
{
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    struct nqtest_ep *ep = NULL;
    struct nqtest_link *link;

    NQTEST_MUST(NONE, host, "mod_open() failed");
    NQTEST_COMPARE(
        NONE,
        nqtest_ep_open(host, false, nqtest_with_port(nqtest_tested->client, server), &ep, NULL), ==,
        0);
    link = nqtest_connect(ep, NULL);
    NQTEST_MUST(NONE, link, "connect() failed");
    return link;
}

static void a_client_is_killed(void)
{
    struct wire wire;
    pid_t peer = start_peer(be_client, &wire);
    struct nqtest_host *host = nqtest_host_new(nqtest_tested->module, 0);
    struct nqtest_ep *server = NULL;
    struct nqtest_link *other;

    NQTEST_COMPARE(NONE, nqtest_ep_open(host, true, nqtest_tested->server, &server, NULL), ==, 0);
    NQTEST_UNTIL(nqtest_is_ep_up, server);
    say(&wire, server->name);
    nqtest_until_or(NQTEST_RULE_UP, has_word, &wire, "a client in another process");
    if (wire.over)
        nqtest_leave_out("no other process can connect to it");
    NQTEST_UNTIL(nqtest_has_accepted, server);
    say(&wire, "send");
    other = connect_here(server);
    nqtest_until_or(NQTEST_RULE_UP, has_two, server, "another client");
    kill_in_the_midst(peer, server->accepted[0]);
    nqtest_push(other, 1000, 100, 1, 10);
    nqtest_until_received(server->accepted[1], 1000);
    nqtest_host_close(other->host);
    nqtest_host_close(host);
    nqtest_host_free(other->host);
    nqtest_host_free(host);
}

static bool is_up_or_down(const void *link)
{
    return nqtest_is_up(link) || nqtest_is_down(link);
}

static void a_server_is_killed(void)
{
    struct wire wire;
    pid_t peer = start_peer(be_server, &wire);
    struct nqtest_ep server = {.host = NULL};
    struct nqtest_link *link;

    nqtest_until_or(NQTEST_RULE_OPEN, has_word, &wire, "a server in another process");
    memcpy(server.name, wire.word, sizeof(server.name) - 1);
    link = connect_here(&server);
    nqtest_until_or(NQTEST_RULE_NONE, is_up_or_down, link, "LINK_UP");
    if (!link->ups)
        nqtest_leave_out("it does not connect to another process");
    kill_in_the_midst(peer, link);
    nqtest_host_close(link->host);
    nqtest_host_free(link->host);
}

const struct nqtest_try nqtest_tries_killed[] = {
    {NQTEST_RULE_KILLED, .run = a_client_is_killed, .caps = NQT_CAP_PEER_PRESENCE},
    {NQTEST_RULE_KILLED, .run = a_server_is_killed, .caps = NQT_CAP_PEER_PRESENCE},
    {.rule = NQTEST_RULE_NONE},
};
