/* Options: the table, their check, and what they do to a socket.
 *
 * A congestion control that paces its packets (bbr) halves the speed of large messages on
 * loopback, where there is nothing to pace for.  The kernel keeps pacing on once a connection was
 * set up with such a control, so another one has to be chosen before: by the listener for its
 * accepted sockets, and by the connecting side before connect(). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TCP_CC_FILE "/proc/sys/net/ipv4/tcp_available_congestion_control"

static const char *const opts_families[] = {"auto", "ipv4", "ipv6", NULL};

const struct nqt_opt tcp_opt_table[TCP_OPTIONS] = {
    {.name = "host",
     .def = "127.0.0.1",
     .type = NQT_OPT_STR,
     .help = "Name or address of the server; a server listens on all addresses of it, "
             "on every address of the machine with \"*\""},
    {.name = "port",
     .def = "51966",
     .type = NQT_OPT_INT,
     .max = 65535,
     .help = "Port of the server; 0 lets a server choose a free one"},
    {.name = "family",
     .def = "auto",
     .type = NQT_OPT_ENUM,
     .choices = opts_families,
     .help = "Use only addresses of this kind"},
    {.name = "congestion",
     .def = "auto",
     .type = NQT_OPT_STR,
     .help = "Congestion control: \"system\", a name that the system has, or \"auto\": the "
             "system's, but cubic instead of one that paces between programs of one machine"},
    {.name = "reuse_port",
     .def = "false",
     .type = NQT_OPT_BOOL,
     .help = "Share the port with other servers that say so, too (SO_REUSEPORT)"},
    {.name = "keepalive",
     .def = "60s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .max = INT64_C(86400000000000),
     .help = "Silence after which the system probes the peer, in whole seconds; 0 = never"},
    {.name = "user_timeout",
     .def = "30s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .max = INT64_C(86400000000000),
     .help = "How long sent bytes may stay unacknowledged before the connection is given up; "
             "0 = the system decides (many minutes)"},
    {.name = "connect_timeout",
     .def = "10s",
     .type = NQT_OPT_DURATION,
     .unit = "ns",
     .min = 1000000,
     .max = INT64_C(3600000000000),
     .help = "Time to find the host's addresses and to connect to one of them"},
    {.name = "send_buffer",
     .def = "0",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = 1 << 30,
     .help = "Send buffer of each socket; 0 = the system adapts it"},
    {.name = "receive_buffer",
     .def = "0",
     .type = NQT_OPT_SIZE,
     .unit = "bytes",
     .max = 1 << 30,
     .help = "Receive buffer of each socket; 0 = the system adapts it"},
    {.name = "backlog",
     .def = "1024",
     .type = NQT_OPT_INT,
     .min = 1,
     .max = 65535,
     .help = "Connections that may wait to be accepted"},
    NQT_TLS_OPTION_CA,
    NQT_TLS_OPTION_CERT,
    NQT_TLS_OPTION_KEY,
    NQT_TLS_OPTION_CRL,
    NQT_TLS_OPTION_NAME,
    {.name = "tls.version",
     .type = NQT_OPT_ENUM,
     .choices = nqt_tls_versions,
     .help = "The oldest version of TLS that is spoken; 1.3 when it is not set"},
    NQT_TLS_OPTION_UUID,
};

static int opts_numbers(const struct nqt_host *host, nqt_cfg *cfg, struct tcp_opts *opts,
                        struct nqt_error *err)
{
    int64_t port = 0, reuse = 0, keepalive = 0, user = 0, connecting = 0, tx = 0, rx = 0,
            backlog = 0;
    const struct nqt_number all[] = {
        {"port", &port},
        {"reuse_port", &reuse},
        {"keepalive", &keepalive},
        {"user_timeout", &user},
        {"connect_timeout", &connecting},
        {"send_buffer", &tx},
        {"receive_buffer", &rx},
        {"backlog", &backlog},
    };
    int rc = nqt_cfg_numbers(host, cfg, all, sizeof(all) / sizeof(all[0]), err);

    if (rc)
        return rc;
    opts->port = (uint16_t)port;
    opts->reuse_port = reuse != 0;
    opts->keepalive_s = (int)((keepalive + 999999999) / 1000000000);
    opts->user_timeout_ms = (unsigned)((user + 999999) / 1000000);
    opts->connect_timeout_ns = connecting;
    opts->send_buffer = (int)tx;
    opts->receive_buffer = (int)rx;
    opts->backlog = (int)backlog;
    return NQT_OK;
}

/* What the system offers, for an error text; "" when it does not say. */
static void opts_available(char *out, size_t cap)
{
    int fd = open(TCP_CC_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

static int opts_set_congestion(int fd, const char *name)
{
    return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) ? errno : 0;
}

static bool opts_is_name(const struct tcp_opts *opts)
{
    return strcmp(opts->congestion, "auto") != 0 && strcmp(opts->congestion, "system") != 0;
}

/* Try a named congestion control on a socket that goes nowhere. */
static int opts_check_congestion(const struct tcp_opts *opts, struct nqt_error *err)
{
    char have[160];
    int fd, error;

    if (!opts_is_name(opts))
        return NQT_OK;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return nqt_fail_native(err, NQT_E_SYS, "errno", errno, "socket: %s", strerror(errno));
    error = opts_set_congestion(fd, opts->congestion);
    close(fd);
    if (!error)
        return NQT_OK;
    opts_available(have, sizeof(have));
    return nqt_fail_native(err, NQT_E_CONFIG, "errno", error,
                           "congestion: \"%s\" cannot be used: %s; the system has: %s",
                           opts->congestion, strerror(error), have);
}

static int opts_family(const struct nqt_host *host, nqt_cfg *cfg, struct tcp_opts *opts,
                       struct nqt_error *err)
{
    static const int family[] = {AF_UNSPEC, AF_INET, AF_INET6};
    struct tcp_addr addr;
    uint32_t which = 0;
    int rc = nqt_cfg_choice(host, cfg, "family", opts_families, &which, err);

    if (rc)
        return rc;
    opts->family = family[which];
    if (opts->family == AF_UNSPEC || !tcp_addr_numeric(opts->host, 0, &addr))
        return NQT_OK;
    if (addr.u.sa.sa_family == opts->family)
        return NQT_OK;
    return nqt_fail(err, NQT_E_CONFIG, "host: %s is not an address of family %s", opts->host,
                    opts_families[which]);
}

int tcp_opts_read(const struct nqt_host *host, nqt_cfg *cfg, struct tcp_opts *out,
                  struct nqt_error *err)
{
    struct tcp_opts opts = {.family = AF_UNSPEC};
    int64_t wire = NQT_WIRE_NATIVE;
    int rc = nqt_cfg_text(host, cfg, "host", true, opts.host, sizeof(opts.host), err);

    if (!rc)
        rc = nqt_cfg_text(host, cfg, "congestion", true, opts.congestion, sizeof(opts.congestion),
                          err);
    if (!rc)
        rc = opts_family(host, cfg, &opts, err);
    if (!rc)
        rc = opts_numbers(host, cfg, &opts, err);
    if (!rc)
        rc = opts_check_congestion(&opts, err);
    if (!rc)
        rc = nqt_tls_opts_read(host, cfg, &opts.tls, err);
    if (rc)
        return rc;
    if (!host->cfg_int(cfg, NQT_FACT_WIRE, &wire)) /* earlier cores do not know it */
        opts.plain = wire == NQT_WIRE_PLAIN;
    *out = opts;
    return NQT_OK;
}

/* True when the socket's congestion control spreads its packets over time. */
static bool opts_paces(int fd, char name[TCP_CC_MAX])
{
    socklen_t len = TCP_CC_MAX - 1;

    memset(name, 0, TCP_CC_MAX);
    return !getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) && strncmp(name, "bbr", 3) == 0;
}

static int opts_number(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) ? errno : 0;
}

/* What every connected socket has; none of it is worth failing for. */
static void opts_common(const struct tcp_opts *opts, int fd)
{
    int each = opts->keepalive_s / 4 > 0 ? opts->keepalive_s / 4 : 1;

    opts_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (opts->user_timeout_ms)
        opts_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)opts->user_timeout_ms);
    if (!opts->keepalive_s)
        return;
    opts_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    opts_number(fd, IPPROTO_TCP, TCP_KEEPIDLE,
                opts->keepalive_s < 32767 ? opts->keepalive_s : 32767);
    opts_number(fd, IPPROTO_TCP, TCP_KEEPINTVL, each < 32767 ? each : 32767);
}

int tcp_opts_early(const struct tcp_opts *opts, int fd, bool near)
{
    char name[TCP_CC_MAX];

    opts_common(opts, fd);
    if (opts->send_buffer)
        opts_number(fd, SOL_SOCKET, SO_SNDBUF, opts->send_buffer);
    if (opts->receive_buffer)
        opts_number(fd, SOL_SOCKET, SO_RCVBUF, opts->receive_buffer);
    if (opts_is_name(opts))
        return opts_set_congestion(fd, opts->congestion);
    if (near && strcmp(opts->congestion, "auto") == 0 && opts_paces(fd, name))
        (void)opts_set_congestion(fd, "cubic"); /* where there is none, the system's will do */
    return 0;
}

/* The control that a new socket has. */
static bool opts_system_congestion(int family, char name[TCP_CC_MAX])
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool paces;

    if (fd < 0)
        return false;
    paces = opts_paces(fd, name);
    close(fd);
    return paces;
}

void tcp_opts_accepted(const struct tcp_opts *opts, int fd, bool near)
{
    char name[TCP_CC_MAX];
    int family = AF_INET;
    socklen_t len = sizeof(family);

    opts_common(opts, fd);
    if (near || strcmp(opts->congestion, "auto") != 0)
        return;
    /* A listener on every address chose for loopback: give a distant peer the system's. */
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    if (opts_system_congestion(family, name))
        (void)opts_set_congestion(fd, name);
}
