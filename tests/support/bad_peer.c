/* Connections that no netqueue makes, for tests/system/faults_test.sh.
 *
 *     bad_peer [-n COUNT] [-l BYTES] PORT KIND...
 *
 * Makes COUNT connections to 127.0.0.1, one after the other, of the KINDs in turn, and waits each
 * time until the server ends it; ends with 1 when a server does not, or does not answer a good
 * greeting.  BYTES is the length that a message announces (kinds "long" and "hold").
 *
 * The bytes are written down here from docs/protocol.md and not taken from the library, which is
 * what is tested. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define BAD_PATIENCE_MS 60000
#define BAD_HEAD 8
#define BAD_HELLO (BAD_HEAD + 256)
#define BAD_AUTH (BAD_HEAD + 128)
#define BAD_RECORD (1 << 20) /* body of the record that is cut */

enum { HELLO = 0, CHALLENGE = 1, AUTH = 2, WELCOME = 3, DATA = 5, ACK = 6, PING = 7 };
enum { BEGIN = 1, END = 2, ACKNOW = 4, BIG = 8 };

static uint64_t bad_length = UINT64_C(1) << 40;

static void bad_die(const char *kind, const char *what)
{
    fprintf(stderr, "bad_peer: %s: %s (%s)\n", kind, what, strerror(errno));
    exit(1);
}

/* ---- bytes ------------------------------------------------------------------------------ */

static void bad_number(uint8_t *at, uint64_t number, size_t bytes)
{
    while (bytes) {
        at[--bytes] = (uint8_t)number;
        number >>= 8;
    }
}

static size_t bad_head(uint8_t *at, uint8_t type, uint8_t flags, uint32_t length)
{
    memset(at, 0, BAD_HEAD);
    at[0] = type;
    at[1] = flags;
    bad_number(at + 4, length, 4);
    return BAD_HEAD;
}

/* A good one, under a random name. */
static void bad_hello(uint8_t at[BAD_HELLO])
{
    uint8_t *body = at + bad_head(at, HELLO, 0, BAD_HELLO - BAD_HEAD);

    memset(body, 0, BAD_HELLO - BAD_HEAD);
    memcpy(body, "\xffnq1", 4);
    bad_number(body + 4, 1, 2);
    bad_number(body + 6, 1, 2);
    if (getrandom(body + 16, 32, 0) != 32) /* id, incarnation */
        bad_die("hello", "no random bytes");
    bad_number(body + 64, 1 << 20, 8); /* greatest message; no session, no keep-alive, no expiry */
}

/* OPEN: there is no key yet, so nobody can hold the proof against it. */
static void bad_auth(uint8_t at[BAD_AUTH])
{
    uint8_t *body = at + bad_head(at, AUTH, 0, BAD_AUTH - BAD_HEAD);

    at[3] = 1;
    memset(body, 0, BAD_AUTH - BAD_HEAD);
    bad_number(body, 1, 8);
    bad_number(body + 16, 1000, 8);
    bad_number(body + 24, 1 << 20, 8);
}

/* ---- the socket ------------------------------------------------------------------------- */

static int bad_connect(uint16_t port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)))
        bad_die("connect", "failed");
    return fd;
}

/* The server may end the connection before it has read all. */
static void bad_send(int fd, const uint8_t *data, size_t len)
{
    while (len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* @return bytes read; 0 when the server has ended the connection, however it did */
static size_t bad_read(int fd, const char *kind, uint8_t *into, size_t len)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    ssize_t n;

    if (poll(&ready, 1, BAD_PATIENCE_MS) != 1)
        bad_die(kind, "the server says and does nothing");
    n = read(fd, into, len);
    if (n < 0 && errno != ECONNRESET)
        bad_die(kind, "read");
    return n > 0 ? (size_t)n : 0;
}

static void bad_read_all(int fd, const char *kind, uint8_t *into, size_t len)
{
    while (len) {
        size_t n = bad_read(fd, kind, into, len);

        if (!n)
            bad_die(kind, "the server ended the connection too early");
        into += n;
        len -= n;
    }
}

/* Read records until one of `type` came. */
static void bad_await(int fd, const char *kind, uint8_t type)
{
    uint8_t record[BAD_HELLO];
    uint32_t length;

    do {
        bad_read_all(fd, kind, record, BAD_HEAD);
        length = (uint32_t)record[6] << 8 | record[7];
        if (length > BAD_HELLO - BAD_HEAD)
            bad_die(kind, "the server sent a record that is too long");
        bad_read_all(fd, kind, record + BAD_HEAD, length);
    } while (record[0] != type);
    if (type == CHALLENGE && memcmp(record + BAD_HEAD, "\xffnq1", 4))
        bad_die(kind, "the server did not answer a good greeting");
}

/* To whoever runs this: it has come so far. */
static void bad_say(const char *what)
{
    puts(what);
    fflush(stdout);
}

/* ---- what goes wrong: functions that return leave the end to the server ------------------ */

static void bad_random(int fd)
{
    uint8_t noise[256];

    if (getrandom(noise, sizeof(noise), 0) != sizeof(noise))
        bad_die("random", "no random bytes");
    noise[0] |= 0x80; /* never a hello by chance */
    bad_send(fd, noise, sizeof(noise));
}

static void bad_truncated(int fd)
{
    uint8_t hello[BAD_HELLO];

    bad_hello(hello);
    bad_send(fd, hello, BAD_HELLO / 2);
    shutdown(fd, SHUT_WR);
}

static void bad_unfinished(int fd)
{
    uint8_t hello[BAD_HELLO];

    bad_hello(hello);
    bad_send(fd, hello, BAD_HELLO - 1);
    bad_say("unfinished");
}

static void bad_greet(int fd, const char *kind)
{
    uint8_t hello[BAD_HELLO], auth[BAD_AUTH];

    bad_hello(hello);
    bad_send(fd, hello, sizeof(hello));
    bad_await(fd, kind, CHALLENGE);
    bad_auth(auth);
    bad_send(fd, auth, sizeof(auth));
    bad_await(fd, kind, WELCOME);
}

static void bad_flags(int fd)
{
    uint8_t head[BAD_HEAD];

    bad_greet(fd, "flags");
    bad_send(fd, head, bad_head(head, DATA, 0x40 | BEGIN | END, 0));
}

static void bad_body(int fd)
{
    uint8_t head[BAD_HEAD];

    bad_greet(fd, "body");
    bad_send(fd, head, bad_head(head, PING, 0, 7));
}

static void bad_unknown(int fd)
{
    uint8_t head[BAD_HEAD];

    bad_greet(fd, "unknown");
    bad_send(fd, head, bad_head(head, 200, 0, 0));
}

/* The first byte of a message of `bad_length` bytes. */
static void bad_begin(int fd)
{
    uint8_t record[BAD_HEAD + 8 + 1] = {0};

    bad_head(record, DATA, BEGIN | BIG | ACKNOW, 1);
    bad_number(record + BAD_HEAD, bad_length, 8);
    bad_send(fd, record, sizeof(record));
}

static void bad_long(int fd)
{
    bad_greet(fd, "long");
    bad_begin(fd);
}

static void bad_cut(int fd)
{
    static uint8_t record[BAD_HEAD + BAD_RECORD];

    bad_greet(fd, "cut");
    bad_head(record, DATA, BEGIN | END, BAD_RECORD);
    bad_send(fd, record, sizeof(record) / 2);
    shutdown(fd, SHUT_WR);
}

/* Begins a message and says no more, until somebody ends this process. */
static void bad_hold(int fd)
{
    bad_greet(fd, "hold");
    bad_begin(fd);
    bad_await(fd, "hold", ACK);
    bad_say("hold");
    while (pause())
        continue;
}

static const struct {
    const char *name;
    void (*run)(int fd);
} bad_kinds[] = {
    {"random", bad_random},
    {"truncated", bad_truncated},
    {"unfinished", bad_unfinished},
    {"flags", bad_flags},
    {"body", bad_body},
    {"unknown", bad_unknown},
    {"long", bad_long},
    {"cut", bad_cut},
    {"hold", bad_hold},
};

static void bad_run(uint16_t port, const char *kind)
{
    for (size_t i = 0; i < sizeof(bad_kinds) / sizeof(bad_kinds[0]); i++) {
        uint8_t rest[256];
        int fd;

        if (strcmp(bad_kinds[i].name, kind) != 0)
            continue;
        fd = bad_connect(port);
        bad_kinds[i].run(fd);
        while (bad_read(fd, kind, rest, sizeof(rest)))
            continue;
        close(fd);
        return;
    }
    bad_die(kind, "no such kind");
}

int main(int argc, char **argv)
{
    unsigned long count = 1;
    int option;

    while ((option = getopt(argc, argv, "n:l:")) != -1) {
        if (option == 'n')
            count = strtoul(optarg, NULL, 10);
        else if (option == 'l')
            bad_length = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    if (argc - optind < 2)
        return 2;
    for (unsigned long i = 0; i < count; i++)
        bad_run((uint16_t)strtoul(argv[optind], NULL, 10),
                argv[optind + 1 + (int)(i % (unsigned long)(argc - optind - 1))]);
    return 0;
}
